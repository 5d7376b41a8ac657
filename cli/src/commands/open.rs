//! `open`: a signed link to the dashboard that expires, and a browser that shows it. Who asks is proven to `gate-api` by AWS.

use anyhow::Context as _;
use jiff::SignedDuration;
use tidegate_core::words::span;

use crate::connect::Connection;
use crate::door::{Given, Wanted};
use crate::exit::Exit;
use crate::find::{self, Meant, ReleaseArg};
use crate::line::{Line, Tone};
use crate::output::Output;

/// The arguments of `open`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A service, or a release: its id or the beginning of it; without one, the page of all services
    #[arg(value_name = "SERVICE|RELEASE")]
    pub what: Option<ReleaseArg>,
    /// A link to act with, in your name: approve, reject, roll back, cancel, pause, continue, promote; of one service or release
    #[arg(long, requires = "what")]
    pub act: bool,
    /// How long the link is good (e.g. 30m) [default: 12h, with --act 1h]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub good_for: Option<SignedDuration>,
    /// Only print the link
    #[arg(long)]
    pub print: bool,
}

fn time(text: &str) -> Result<SignedDuration, String> {
    let wanted: SignedDuration =
        text.parse().map_err(|_| "a time such as 90s, 30m or 2h is allowed".to_owned())?;
    if wanted.is_positive() { Ok(wanted) } else { Err("a time above 0s is allowed".to_owned()) }
}

/// Has a link made, prints it, and opens it where a person sits at a terminal.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let mut wanted = Wanted {
        act: args.act,
        secs: args.good_for.map(|good| good.unsigned_abs().as_secs()),
        ..Wanted::default()
    };
    if let Some(what) = &args.what {
        match find::meant(&*connection.installation().ledger, what).await? {
            Meant::Service(service) => wanted.service = Some(service),
            Meant::Release(release) => wanted.release = Some(release),
        }
    }
    let given = connection.door()?.link(&wanted).await?;
    if out.is_json() {
        out.object(&given)?;
    } else {
        out.lines(&lines(&given, connection.installation().time.now()))?;
    }
    if out.is_live() && !args.print {
        open::that_detached(&given.url).context("no browser could be started; open the link yourself")?;
    }
    Ok(Exit::Ok)
}

/// The link alone on its line, to be copied; what it is good for is said beside it.
fn lines(given: &Given, now: jiff::Timestamp) -> Vec<Line> {
    let left = span(given.until.duration_since(now));
    let does = if given.may == "act" { "its holder acts in your name" } else { "it only reads" };
    vec![
        Line::plain(given.url.clone()),
        Line::of(Tone::Faint, format!("{does}, and is good for {left}; made for {}", given.by)),
    ]
}
