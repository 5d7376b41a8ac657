//! A service compared with itself: how often the test would have called a candidate bad that was none, on traffic there really was.
//!
//! The minutes of some days are parted into a candidate and a stable version that are the same, and judged like a release that begins at some
//! minute. How they are parted decides what is found:
//!
//! - by requests: each bad request falls to the candidate by chance. Nothing can differ but chance, so this holds the promise to account, and finds
//!   nothing about the service;
//! - by zones: the targets of one zone are the candidate, the others stable. What differs between targets at the same time is in it;
//! - by minutes: the candidate has one minute's traffic, stable the next one's. What swings from minute to minute is in it, which is more than swings
//!   between two versions at the same time: the harshest of the three.

use serde::{Deserialize, Serialize};

use crate::counts::{Arm, Tick};
use crate::tally::{Tally, Test};

/// One minute of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Minute {
    /// All of it.
    pub all: Arm,
    /// The same by zone, always in the same order; empty where zones are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<Arm>,
}

/// How minutes are parted into two arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parted {
    /// By chance, request by request.
    Requests,
    /// One zone against the others.
    Zones,
    /// One minute against the next.
    Minutes,
}

/// The releases that are played.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Replays {
    /// How many.
    pub count: usize,
    /// How many minutes each takes.
    pub minutes: usize,
    /// The candidate's share, 0 to 1. Zones have the share they have.
    pub share: f64,
}

/// What came of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// How minutes were parted.
    pub parted: Parted,
    /// How many releases were played.
    pub replays: usize,
    /// For each tolerated ratio the share of them that was called bad, 0 to 1.
    pub false_alarms: Vec<FalseAlarms>,
}

/// How often a tolerated ratio was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FalseAlarms {
    /// The tolerated ratio.
    pub tolerate: f64,
    /// The share of releases that were called bad, 0 to 1.
    pub rate: f64,
}

impl Calibration {
    /// How often the ratio was wrong, where it was among those tried.
    pub fn rate(&self, tolerate: f64) -> Option<f64> {
        self.false_alarms.iter().find(|it| it.tolerate == tolerate).map(|it| it.rate)
    }

    /// The smallest of the tolerated ratios from which on no more than `allowed` were wrong.
    pub fn holds(&self, allowed: f64) -> Option<f64> {
        let holds = self.false_alarms.iter().rev().take_while(|it| it.rate <= allowed);
        holds.map(|it| it.tolerate).last()
    }
}

/// Plays releases over a service's minutes. `uniform` draws numbers from 0 to below 1; with the same ones the answer is the same. `None` when
/// there are not enough minutes for a single release, or no zones to part by.
pub fn calibrate(
    minutes: &[Minute],
    parted: Parted,
    test: &Test,
    tolerate: &[f64],
    replays: Replays,
    uniform: &mut dyn FnMut() -> f64,
) -> Option<Calibration> {
    let zones = minutes.iter().map(|minute| minute.zones.len()).min().unwrap_or_default();
    // The last minute has no next one.
    let needed = replays.minutes + usize::from(parted == Parted::Minutes);
    let starts = (minutes.len() + 1).checked_sub(needed).filter(|starts| *starts > 0)?;
    if replays.minutes == 0 || replays.count == 0 || (parted == Parted::Zones && zones < 2) {
        return None;
    }
    let mut tolerate = tolerate.to_vec();
    tolerate.sort_by(f64::total_cmp);
    let mut wrong = vec![0_u32; tolerate.len()];
    for number in 0..replays.count {
        // Spread over all of the time; each beginning as often as any other.
        let start = if replays.count > starts { number % starts } else { number * starts / replays.count };
        let ticks: Vec<Tick> = (start..start + replays.minutes)
            .map(|at| match parted {
                Parted::Requests => thin(minutes[at].all, minutes[at].all, replays.share, uniform),
                Parted::Minutes => thin(minutes[at].all, minutes[at + 1].all, replays.share, uniform),
                Parted::Zones => zone(&minutes[at].zones, number % zones),
            })
            .collect();
        for (tolerate, wrong) in tolerate.iter().zip(&mut wrong) {
            *wrong += u32::from(is_ever_bad(&Test { tolerate: *tolerate, ..*test }, &ticks));
        }
    }
    let count = f64::from(u32::try_from(replays.count).unwrap_or(u32::MAX));
    let rates = tolerate.iter().zip(wrong);
    Some(Calibration {
        parted,
        replays: replays.count,
        false_alarms: rates
            .map(|(tolerate, wrong)| FalseAlarms { tolerate: *tolerate, rate: f64::from(wrong) / count })
            .collect(),
    })
}

fn is_ever_bad(test: &Test, ticks: &[Tick]) -> bool {
    let mut seen = Tally::default();
    ticks.iter().any(|tick| {
        seen.add(test, *tick);
        seen.is_bad(test)
    })
}

/// The candidate's share of one minute's requests and stable's of another one's; of the same one each bad request goes to one of them.
fn thin(candidate: Arm, stable: Arm, share: f64, uniform: &mut dyn FnMut() -> f64) -> Tick {
    let taken = draw(candidate.bad, share, uniform);
    let left =
        if candidate == stable { candidate.bad - taken } else { draw(stable.bad, 1.0 - share, uniform) };
    Tick {
        candidate: Arm::new(candidate.requests * share, taken),
        stable: Arm::new(stable.requests * (1.0 - share), left),
    }
}

/// How many of so many go one way, each with this probability.
fn draw(of: f64, probability: f64, uniform: &mut dyn FnMut() -> f64) -> f64 {
    const ONE_BY_ONE: u32 = 1000;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held between 0 and 1001")]
    let whole = of.clamp(0.0, f64::from(ONE_BY_ONE) + 1.0) as u32;
    if whole <= ONE_BY_ONE {
        let drawn: f64 = (0..whole).map(|_| f64::from(u8::from(uniform() < probability))).sum();
        // What is not a whole one is shared.
        return drawn + (of - f64::from(whole)).max(0.0) * probability;
    }
    // So many are normal; Box and Muller.
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - uniform()));
    let normal = radius * libm::cos(std::f64::consts::TAU * uniform());
    let spread = libm::sqrt(of * probability * (1.0 - probability));
    (of * probability + spread * normal).round().clamp(0.0, of)
}

fn zone(zones: &[Arm], candidate: usize) -> Tick {
    let sum = |arms: &mut dyn Iterator<Item = &Arm>| {
        arms.fold(Arm::default(), |sum, arm| Arm::new(sum.requests + arm.requests, sum.bad + arm.bad))
    };
    let others = &mut zones.iter().enumerate().filter(|(at, _)| *at != candidate).map(|(_, arm)| arm);
    Tick { candidate: zones[candidate], stable: sum(others) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parting_a_minute_loses_no_request() {
        let mut state = 1_u32;
        let mut uniform = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1_u32 << 24)
        };
        for bad in [0.0, 1.0, 7.25, 999.0, 50_000.0] {
            let minute = Arm::new(100_000.0, bad);
            let mut taken = 0.0;
            for _ in 0..50 {
                let Tick { candidate, stable } = thin(minute, minute, 0.1, &mut uniform);
                assert!((candidate.bad + stable.bad - bad).abs() < 1e-9, "{candidate:?} {stable:?}");
                assert!((candidate.requests + stable.requests - 100_000.0).abs() < 1e-6);
                taken += candidate.bad;
            }
            // As many as its share, within five standard deviations.
            let spread = (50.0 * bad * 0.1 * 0.9_f64).sqrt();
            assert!((taken - 5.0 * bad).abs() <= 5.0 * spread, "{taken} of {bad}");
        }
    }
}
