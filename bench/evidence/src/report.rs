//! Many releases, and tables of what was made of them.

use tidegate_stats::Test;

use crate::judges::Judge;
use crate::traffic::{MINUTES, Traffic};

/// How many releases, and from which seed on.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    /// Releases of each cell.
    pub releases: u64,
    /// The first one's seed; the others follow.
    pub seed: u64,
}

/// What a judge made of a number of releases.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The share of releases whose candidate was called bad, 0 to 1.
    pub caught: f64,
    /// The median of the seconds until then, over those that were.
    pub secs: Option<f64>,
    /// The median of the candidate's bad requests until then or, where none was called bad, in the whole bake.
    pub users: f64,
}

/// The usual test: what `evidence:` asks unless it says something else.
pub fn usual() -> Test {
    Test::new(1.5, 0.01)
}

/// What a canary of 10% is like.
pub fn canary(requests_per_sec: f64, bad_rate: f64, ratio: f64) -> Traffic {
    Traffic { requests_per_sec, bad_rate, share: 0.1, ratio, own_swing: 0.0, load_swing: 0.0 }
}

/// Has the judges judge the same releases.
pub fn judge(runs: Runs, traffic: &Traffic, judges: &[Judge]) -> Vec<Outcome> {
    let threads =
        std::thread::available_parallelism().map_or(1, |count| u64::try_from(count.get()).unwrap_or(1));
    let seen: Vec<Vec<(Option<usize>, f64)>> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| scope.spawn(move || judge_part(runs, traffic, judges, part, threads)))
            .collect();
        let parts = parts.into_iter().map(|part| part.join().expect("no judge panics"));
        parts.reduce(|mut all, part| {
            all.iter_mut().zip(part).for_each(|(all, part)| all.extend(part));
            all
        })
    })
    .unwrap_or_default();
    seen.into_iter().map(outcome).collect()
}

/// For each judge: when each release was caught, and how many users saw an error.
fn judge_part(
    runs: Runs,
    traffic: &Traffic,
    judges: &[Judge],
    part: u64,
    parts: u64,
) -> Vec<Vec<(Option<usize>, f64)>> {
    let mut seen = vec![Vec::new(); judges.len()];
    for number in (part..runs.releases).step_by(usize::try_from(parts).unwrap_or(1)) {
        let minutes = traffic.release(runs.seed + number);
        for (judge, seen) in judges.iter().zip(&mut seen) {
            let caught = judge.caught(&minutes);
            let users = minutes.iter().take(caught.unwrap_or(MINUTES)).map(|tick| tick.candidate.bad).sum();
            seen.push((caught, users));
        }
    }
    seen
}

fn outcome(seen: Vec<(Option<usize>, f64)>) -> Outcome {
    let count = |all: usize| u32::try_from(all).map_or(f64::MAX, f64::from);
    let minutes: Vec<f64> = seen.iter().filter_map(|(caught, _)| caught.map(count)).collect();
    Outcome {
        caught: count(minutes.len()) / count(seen.len()),
        secs: median(minutes).map(|minutes| 60.0 * minutes),
        users: median(seen.iter().map(|(_, users)| *users).collect()).unwrap_or_default(),
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

const RATES: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];

/// All tables, as Markdown.
pub fn report(runs: Runs) -> String {
    [false_alarms(runs, 0.001), false_alarms(runs, 0.01), detections(runs)].join("\n")
}

fn judges() -> Vec<Judge> {
    vec![
        Judge::Compare(usual()),
        Judge::Compare(Test::new(1.0, 0.01)),
        Judge::ServiceAlarm,
        Judge::CandidateAlarm,
        Judge::Flagger,
        Judge::MannWhitneyEachMinute,
        Judge::MannWhitneyOnce,
    ]
}

/// What swings: a name, each arm's own rate, and the load of both.
const SWINGS: [(&str, f64, f64); 3] = [
    ("steady", 0.0, 0.0),
    ("own rates swing, 0.25", 0.25, 0.0),
    ("load swings, 1.0; own rates, 0.25", 0.25, 1.0),
];

/// Good candidates that were called bad.
pub fn false_alarms(runs: Runs, bad_rate: f64) -> String {
    let judges = judges();
    let mut text = format!(
        "### False alarms: candidate and stable alike, {}% of requests bad, {} releases a cell\n\n",
        100.0 * bad_rate,
        runs.releases
    );
    for (swing, own_swing, load_swing) in SWINGS {
        let columns = RATES.map(|rate| {
            judge(runs, &Traffic { own_swing, load_swing, ..canary(rate, bad_rate, 1.0) }, &judges)
        });
        text += &table(swing, &RATES.map(|rate| format!("{rate} requests/s")), &judges, |judge, column| {
            format!("{:.2}%", 100.0 * columns[column][judge].caught)
        });
    }
    text
}

/// Bad candidates: how many were called bad, when, and how many users saw an error by then.
pub fn detections(runs: Runs) -> String {
    let ratios = [2.0, 3.0, 10.0];
    let runs = Runs { releases: runs.releases.div_ceil(5), ..runs };
    let judges = judges();
    let mut text = format!(
        "### Regressions found: stable has 0.1% bad requests, {} releases a cell\n\nFound within the bake of an hour · median seconds until then · median number of the candidate's bad requests until then, or in the hour.\n\n",
        runs.releases
    );
    for rate in RATES {
        let columns = ratios.map(|ratio| judge(runs, &canary(rate, 0.001, ratio), &judges));
        let heads = ratios.map(|ratio| format!("{ratio} × as many"));
        text += &table(&format!("{rate} requests/s"), &heads, &judges, |judge, column| {
            let Outcome { caught, secs, users } = &columns[column][judge];
            let secs = secs.map_or("–".to_owned(), |secs| format!("{secs:.0} s"));
            format!("{:.0}% · {secs} · {users:.0}", 100.0 * caught)
        });
    }
    text
}

fn table(title: &str, heads: &[String], judges: &[Judge], cell: impl Fn(usize, usize) -> String) -> String {
    let mut text = format!("| {title} | {} |\n|---|{}\n", heads.join(" | "), "--:|".repeat(heads.len()));
    for (index, judge) in judges.iter().enumerate() {
        let cells: Vec<String> = (0..heads.len()).map(|column| cell(index, column)).collect();
        text += &format!("| {} | {} |\n", judge.name(), cells.join(" | "));
    }
    text + "\n"
}
