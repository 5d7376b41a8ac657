//! Alarm mute rules: alarms still change state in a window, but their actions are muted and their events say so.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};

/// When a mute rule mutes.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    start: Start,
    duration: SignedDuration,
    zone: TimeZone,
}

#[derive(Debug, Clone)]
enum Start {
    At(DateTime),
    /// Minutes, hours, days of the month, months, days of the week (0 is Sunday).
    Cron(Box<[Field; 5]>),
}

/// The values a cron field allows; `None` is any.
type Field = Option<Vec<i8>>;

impl Schedule {
    /// Parses `at(2026-05-10T14:00)` or `cron(0 2 * * SUN)`, and an ISO 8601 duration.
    pub(super) fn parse(expression: &str, duration: &str, timezone: &str) -> Result<Self, String> {
        let zone = if timezone.is_empty() { Ok(TimeZone::UTC) } else { TimeZone::get(timezone) };
        let zone = zone.map_err(|_| format!("'{timezone}' is not a time zone"))?;
        let span: Span = duration.parse().map_err(|_| format!("'{duration}' is not an ISO 8601 duration"))?;
        let duration = span
            .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
            .map_err(|error| format!("'{duration}': {error}"))?;
        if duration < SignedDuration::from_mins(1) || duration > SignedDuration::from_hours(15 * 24) {
            return Err("a mute rule lasts from 1 minute to 15 days".to_owned());
        }
        let inner = |kind: &str| expression.strip_prefix(kind)?.strip_suffix(')').map(str::trim);
        let start = match (inner("at("), inner("cron(")) {
            (Some(at), _) => Start::At(at.parse().map_err(|_| format!("'{at}' is not a date and time"))?),
            (None, Some(fields)) => Start::Cron(Box::new(cron(fields)?)),
            (None, None) => return Err(format!("'{expression}' is neither at(…) nor cron(…)")),
        };
        Ok(Self { start, duration, zone })
    }

    /// The window around `now`, if there is one.
    pub(super) fn window(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let start = match &self.start {
            Start::At(at) => at.to_zoned(self.zone.clone()).ok()?.timestamp(),
            Start::Cron(fields) => self.last_start(fields, now)?,
        };
        let end = start.checked_add(self.duration).ok()?;
        (start <= now && now < end).then_some((start, end))
    }

    /// Whether no window can come any more.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        match &self.start {
            Start::At(at) => (at.to_zoned(self.zone.clone()).ok())
                .and_then(|start| start.timestamp().checked_add(self.duration).ok())
                .is_some_and(|end| end <= now),
            Start::Cron(_) => false,
        }
    }

    /// The newest start whose window could still be open.
    fn last_start(&self, fields: &[Field; 5], now: Timestamp) -> Option<Timestamp> {
        let minute = Timestamp::from_second(now.as_second().div_euclid(60) * 60).ok()?;
        let minutes = Duration::try_from(self.duration).ok()?.as_secs() / 60;
        (0..=minutes).find_map(|back| {
            let at = minute.checked_sub(SignedDuration::from_mins(i64::try_from(back).ok()?)).ok()?;
            matches(fields, &at.to_zoned(self.zone.clone())).then_some(at)
        })
    }
}

fn matches(fields: &[Field; 5], at: &Zoned) -> bool {
    let now = [at.minute(), at.hour(), at.day(), at.month(), at.weekday().to_sunday_zero_offset()];
    fields.iter().zip(now).all(|(field, value)| field.as_ref().is_none_or(|allowed| allowed.contains(&value)))
}

fn cron(text: &str) -> Result<[Field; 5], String> {
    const MONTHS: [&str; 12] =
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [minutes, hours, days, months, weekdays] = parts.as_slice() else {
        return Err(format!("'{text}' does not have the five fields of cron(…)"));
    };
    Ok([
        field(minutes, 0, 59, &[], 0)?,
        field(hours, 0, 23, &[], 0)?,
        field(days, 1, 31, &[], 0)?,
        field(months, 1, 12, &MONTHS, 1)?,
        field(weekdays, 0, 6, &DAYS, 0)?,
    ])
}

fn field(text: &str, low: i8, high: i8, names: &[&str], first: i8) -> Result<Field, String> {
    if text == "*" {
        return Ok(None);
    }
    let number = |part: &str| {
        let named =
            (first..).zip(names).find(|(_, name)| name.eq_ignore_ascii_case(part)).map(|(index, _)| index);
        named
            .or_else(|| part.parse().ok())
            .filter(|number| (low..=high).contains(number))
            .ok_or_else(|| format!("'{part}' is not between {low} and {high}"))
    };
    let mut allowed = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((from, to)) => allowed.extend(number(from)?..=number(to)?),
            None => allowed.push(number(part)?),
        }
    }
    Ok(Some(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_muted(expression: &str, duration: &str, zone: &str, now: &str) -> bool {
        Schedule::parse(expression, duration, zone).unwrap().window(now.parse().unwrap()).is_some()
    }

    #[test]
    fn windows() {
        assert!(is_muted("at(2026-05-10T14:00)", "PT1H", "", "2026-05-10T14:59:59Z"));
        assert!(!is_muted("at(2026-05-10T14:00)", "PT1H", "", "2026-05-10T15:00:00Z"));
        // Sunday the 10th of May 2026, two o'clock.
        assert!(is_muted("cron(0 2 * * SUN)", "PT3H", "UTC", "2026-05-10T04:30:00Z"));
        assert!(!is_muted("cron(0 2 * * SUN)", "PT3H", "UTC", "2026-05-11T04:30:00Z"));
        assert!(is_muted("cron(0 2 1-9,10 MAY *)", "P1D", "UTC", "2026-05-11T01:00:00Z"));
    }

    #[test]
    fn what_is_refused() {
        for (expression, duration) in [
            ("at(tomorrow)", "PT1H"),
            ("cron(0 2 * *)", "PT1H"),
            ("cron(0 24 * * *)", "PT1H"),
            ("at(2026-05-10T14:00)", "PT1S"),
        ] {
            assert!(Schedule::parse(expression, duration, "UTC").is_err(), "{expression} {duration}");
        }
    }
}
