//! `apply`: stores policies. All files are read before the first is stored, so a mistake in one stores none.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde::Serialize;
use tidegate_core::actor::Actor;
use tidegate_core::ids::ServiceName;
use tidegate_core::people::{self, Warning};
use tidegate_core::policy::Policy;

use crate::connect::Connection;
use crate::exit::Exit;
use crate::line::{Line, Tone};
use crate::output::Output;
use crate::policies::{self, Change};

/// The arguments of `apply`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Policy files; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
}

/// Policies that can be stored, each with the file it came from.
pub type Policies = Vec<(String, Policy)>;

#[derive(Debug, Serialize)]
struct Answer {
    policies: Vec<Applied>,
}

#[derive(Debug, Serialize)]
struct Applied {
    service: ServiceName,
    file: String,
    change: What,
    fields: Vec<Change>,
    warnings: Vec<Warning>,
    #[serde(skip)]
    strategy: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Created,
    Changed,
    Unchanged,
}

/// Reads every file; every mistake in any of them is told.
pub fn read(args: &Args) -> anyhow::Result<Policies> {
    let mut policies = Vec::new();
    let mut wrong = Vec::new();
    for file in &args.files {
        let read = policies::read(file)?;
        match read.policy {
            Ok(policy) => policies.push((read.file, policy)),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if !wrong.is_empty() {
        bail!("nothing was stored: {}", wrong.join("\n  "));
    }
    let mut by_service: BTreeMap<&ServiceName, &str> = BTreeMap::new();
    for (file, policy) in &policies {
        if let Some(other) = by_service.insert(&policy.service, file) {
            bail!("nothing was stored: {other} and {file} are both policies of service {}", policy.service);
        }
    }
    for (position, (file, policy)) in policies.iter().enumerate() {
        let same = policies[..position].iter().find(|(_, earlier)| earlier.to.is_same_place(&policy.to));
        if let Some((other, _)) = same {
            bail!("nothing was stored: {other} and {file} both release to {}", policy.to);
        }
    }
    Ok(policies)
}

/// Stores them, one after the other.
pub async fn run(policies: Policies, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let actor = connection.actor().await?;
    let mut applied = Vec::new();
    for (file, policy) in policies {
        let one = apply(file, &policy, connection, &actor).await?;
        if !out.is_json() {
            out.lines(&lines(&one))?;
        }
        applied.push(one);
    }
    if out.is_json() {
        out.object(&Answer { policies: applied })?;
    }
    Ok(Exit::Ok)
}

async fn apply(
    file: String,
    policy: &Policy,
    connection: &Connection,
    actor: &Actor,
) -> anyhow::Result<Applied> {
    let service = policy.service.clone();
    let installation = connection.installation();
    let before = installation.ledger.service(&service).await;
    let before = before.with_context(|| format!("failed to read service {service}"))?;
    let stored = installation.apply(policy, actor).await;
    let stored = stored.with_context(|| format!("failed to store the policy of {service}"))?;
    let change = match (&before, stored) {
        (_, false) => What::Unchanged,
        (None, true) => What::Created,
        (Some(_), true) => What::Changed,
    };
    let fields = match (&before, change) {
        (Some(before), What::Changed) => policies::changes(&before.policy, policy),
        (_, What::Created | What::Changed | What::Unchanged) => Vec::new(),
    };
    Ok(Applied {
        service,
        file,
        change,
        fields,
        warnings: people::warnings(policy),
        strategy: tidegate_view::strategy(policy),
    })
}

fn lines(applied: &Applied) -> Vec<Line> {
    let (mark, tone, word) = match applied.change {
        What::Created => ("+", Tone::Good, "stored"),
        What::Changed => ("~", Tone::Warn, "changed; a release under way keeps its plan"),
        What::Unchanged => ("=", Tone::Faint, "unchanged"),
    };
    let mut lines = vec![
        Line::of(tone, mark)
            .add(Tone::Strong, format!(" {}", applied.service))
            .add(Tone::Plain, format!(": {word} ({})", applied.strategy)),
    ];
    let told = |value: &Option<serde_json::Value>| match value {
        None => "nothing".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if applied.change == What::Created {
        let service = &applied.service;
        lines.push(Line::of(
            Tone::Faint,
            format!("    see what a release would do: tidegate plan {service} IMAGE"),
        ));
    }
    lines.extend(applied.fields.iter().map(|field| {
        Line::plain(format!("    {}: {} → {}", field.path, told(&field.from), told(&field.to)))
    }));
    lines.extend(policies::warned(&applied.warnings));
    lines
}
