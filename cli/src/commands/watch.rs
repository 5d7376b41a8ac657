//! `watch`: follows a release until it has ended. The ledger is read every second; weights and alarms less often, because AWS
//! limits those calls for the whole account.

use anyhow::{Context as _, bail};
use jiff::{SignedDuration, Timestamp};
use tidegate_core::fault::PortError;
use tidegate_core::history::Entry;
use tidegate_core::ids::ReleaseId;
use tidegate_core::release::Release;
use tidegate_runtime::Context;

use super::clock;
use super::expect::{self, Expected};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::find::{self, ReleaseArg};
use crate::image::ImageArg;
use crate::line::Line;
use crate::live;
use crate::output::Output;
use crate::render::{self, Clock};
use crate::words;
use tidegate_view::{Live, ReleaseView};

/// How often the ledger is read.
const POLL: SignedDuration = SignedDuration::from_secs(1);
/// How often weights and alarms are read while nothing changes.
const LOOK: SignedDuration = SignedDuration::from_secs(3);
/// How often they are asked for again after they could not be read.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// The arguments of `watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A release id or the beginning of it, or a service: its active release, else the one that waits, else the newest
    #[arg(value_name = "RELEASE|SERVICE")]
    pub release: ReleaseArg,
    /// Wait for the release of this image to the service, and follow that one: a tag or a digest
    #[arg(long, value_name = "TAG|DIGEST", conflicts_with = "once")]
    pub image: Option<ImageArg>,
    /// Show where it is now and end, with code 6 when it is still under way
    #[arg(long)]
    pub once: bool,
    /// Stop following after this time (e.g. 30m), with code 6; with --image also the time the release has to appear in [default there: 10m]
    #[arg(long, value_name = "TIME", conflicts_with = "once", value_parser = timeout)]
    pub timeout: Option<SignedDuration>,
}

fn timeout(text: &str) -> Result<SignedDuration, String> {
    let wanted: SignedDuration =
        text.parse().map_err(|_| "a time such as 90s, 30m or 2h is allowed".to_owned())?;
    if wanted.is_positive() { Ok(wanted) } else { Err("a time above zero is allowed".into()) }
}

/// How long to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// One look.
    Once,
    /// This long at most.
    Timeout(SignedDuration),
    /// Until it has ended.
    Ended,
}

/// Finds the release and follows it.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let until = match (args.once, args.timeout) {
        (true, _) => Until::Once,
        (false, Some(timeout)) => Until::Timeout(timeout),
        (false, None) => Until::Ended,
    };
    let Some(image) = &args.image else {
        let found = find::release(&*connection.installation().ledger, &args.release).await?;
        if let Some(waiting) = &found.other {
            let (name, id) = (words::release(waiting), waiting.id.short());
            out.note(&format!("{name} waits for it; to follow that one: tidegate watch {id}"));
        }
        return follow(connection, &found.release.id, until, out).await;
    };
    let time = &connection.installation().time;
    let began = time.now();
    let service = find::service_of(&*connection.installation().ledger, &args.release).await?;
    match expect::release_of(connection, &service, image, args.timeout, out).await? {
        Expected::Release(id) => {
            let until = match until {
                // The time is that of both: to appear, and to end.
                Until::Timeout(limit) => {
                    Until::Timeout(limit.saturating_sub(time.now().duration_since(began)))
                }
                Until::Once | Until::Ended => until,
            };
            follow(connection, &id, until, out).await
        }
        Expected::Interrupted => Ok(Exit::Interrupted),
    }
}

/// Follows a release; ends with how it ended. Whoever stops following stops nothing else, and is told so.
pub async fn follow(
    connection: &Connection,
    id: &ReleaseId,
    until: Until,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let ended = tokio::select! {
        ended = follow_on(connection, id, until, out) => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
    };
    if let Some(ended) = ended {
        return ended;
    }
    let id = id.short();
    out.note(&format!(
        "stopped watching; the release continues. Follow it again: tidegate watch {id}  Stop it: tidegate cancel {id}"
    ));
    Ok(Exit::Interrupted)
}

async fn follow_on(
    connection: &Connection,
    id: &ReleaseId,
    until: Until,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let context = &connection.context;
    let time = &context.installation.time;
    let began = time.now();
    let mut watched = Watched::new(id.clone());
    let mut screen = Screen::default();
    loop {
        let (release, view) = watched.look(context).await?;
        let now = time.now();
        screen.show(view, &clock(now), out)?;
        let enough = match until {
            Until::Once => true,
            Until::Timeout(limit) => now.duration_since(began) >= limit,
            Until::Ended => false,
        };
        if release.is_over() || enough {
            return Ok(Exit::of(&release));
        }
        time.sleep(POLL).await;
    }
}

/// What is known of the release that is watched, so that nothing is read in vain.
struct Watched {
    id: ReleaseId,
    release: Option<Release>,
    history: Vec<Entry>,
    /// What of the history cannot be read.
    damaged: Vec<String>,
    live: Live,
    looked_at: Option<Timestamp>,
}

impl Watched {
    fn new(id: ReleaseId) -> Self {
        Self {
            id,
            release: None,
            history: Vec::new(),
            damaged: Vec::new(),
            live: Live::default(),
            looked_at: None,
        }
    }

    /// One look. A ledger that does not answer for a moment is no reason to stop watching.
    async fn look(&mut self, context: &Context) -> anyhow::Result<(Release, ReleaseView)> {
        let mut trouble = None;
        match self.read(context).await {
            Ok(()) => {}
            Err(error) if error.kind.is_transient() && self.release.is_some() => {
                trouble = Some(live::unseen("the ledger", &error));
            }
            Err(error) => return Err(error).with_context(|| format!("failed to read release {}", self.id)),
        }
        let Some(release) = self.release.clone() else { bail!("there is no release {}", self.id) };
        let mut view = ReleaseView::new(&release, &self.history, &self.live);
        view.unseen.extend(trouble.into_iter().chain(self.damaged.iter().cloned()));
        Ok((release, view))
    }

    async fn read(&mut self, context: &Context) -> Result<(), PortError> {
        let ledger = &context.installation.ledger;
        let Some(release) = ledger.release(&self.id).await? else { return Ok(()) };
        let changed = self.release.as_ref().is_none_or(|before| before.version != release.version);
        if changed {
            let mut damaged = Vec::new();
            self.history = ledger.history(&self.id).await?.tell(&mut damaged);
            self.damaged = damaged;
        }
        let now = context.installation.time.now();
        if release.is_over() {
            // What is live from now on is the business of other releases.
            self.live = Live::default();
        } else if changed || self.is_stale(now) {
            self.live = live::look(&release, context).await;
            self.looked_at = Some(now);
        }
        self.release = Some(release);
        Ok(())
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        let every = if self.live.unseen.is_empty() { LOOK } else { LOOK_AGAIN };
        self.looked_at.is_none_or(|at| now.duration_since(at) >= every)
    }
}

/// What has been shown so far.
#[derive(Default)]
struct Screen {
    /// Lines on the terminal that the next look writes over.
    drawn: usize,
    last: Option<ReleaseView>,
}

impl Screen {
    fn show(&mut self, view: ReleaseView, clock: &Clock, out: &mut Output) -> anyhow::Result<()> {
        if out.is_json() {
            self.json(&view, out)?;
        } else if out.is_live() {
            self.redraw(&view, clock, out)?;
        } else {
            out.lines(&render::changes(self.last.as_ref(), &view, clock))?;
        }
        self.last = Some(view);
        Ok(())
    }

    /// A line for each change, with only those history entries no line before it had.
    fn json(&self, view: &ReleaseView, out: &mut Output) -> anyhow::Result<()> {
        if self.last.as_ref() == Some(view) {
            return Ok(());
        }
        let mut line = view.clone();
        if let Some(last) = &self.last {
            line.history.retain(|entry| !last.history.contains(entry));
        }
        out.object_line(&line)
    }

    fn redraw(&mut self, view: &ReleaseView, clock: &Clock, out: &mut Output) -> anyhow::Result<()> {
        let (columns, rows) = out.size();
        // One row stays free for the cursor; a line as wide as the terminal would wrap on some.
        let lines = render::fitted(view, clock, rows.saturating_sub(1));
        let lines: Vec<Line> = lines.into_iter().map(|line| line.cut(columns.saturating_sub(1))).collect();
        out.redraw(self.drawn, &lines)?;
        self.drawn = lines.len();
        Ok(())
    }
}
