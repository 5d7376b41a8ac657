//! The keys of the table and of its indexes.

use jiff::Timestamp;
use tidegate_core::ids::{EcsService, LambdaAlias, ReleaseId, Resource, ServiceName, Target};
use tidegate_core::ports::Watched;
use tidegate_core::release::Wake;

pub(crate) const PK: &str = "pk";
pub(crate) const SK: &str = "sk";
pub(crate) const GSI1PK: &str = "gsi1pk";
pub(crate) const GSI1SK: &str = "gsi1sk";
pub(crate) const GSI2PK: &str = "gsi2pk";
pub(crate) const GSI2SK: &str = "gsi2sk";

/// What the sort keys of history entries begin with.
pub(crate) const HISTORY: &str = "HISTORY#";
/// The partition of `by-service` that lists the services.
pub(crate) const ALL_SERVICES: &str = "SERVICES";
/// The partition of `by-wake`: releases that have not ended.
pub(crate) const OPEN: &str = "OPEN";

pub(crate) const HEAD: &str = "HEAD";
pub(crate) const STATE: &str = "STATE";
/// What the sort keys of plans begin with: after the history and before the release itself, so that one query reads both.
pub(crate) const PLAN: &str = "PLAN#";
pub(crate) const REFUSALS: &str = "REFUSALS";
pub(crate) const TAGS: &str = "TAGS";
pub(crate) const AWAITED: &str = "AWAITED";
/// What the sort keys of what receivers were told begin with: after the release itself, so that nobody else reads them.
pub(crate) const TOLD: &str = "TOLD#";
const ONCE: &str = "ONCE";
const CLAIM: &str = "CLAIM";
pub(crate) const SERVICE_PREFIX: &str = "SERVICE#";
pub(crate) const RELEASE_PREFIX: &str = "RELEASE#";
const WATCH_PREFIX: &str = "WATCH#";
/// The sort key, and the beginning of the partition key, of the row that says whose an ECS service is.
const OWNER: &str = "OWNER";

/// A primary key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pk={} sk={}", self.pk, self.sk)
    }
}

impl Key {
    /// The service the key names.
    pub(crate) fn service(&self) -> Option<ServiceName> {
        let name = self.pk.strip_prefix(SERVICE_PREFIX).or_else(|| self.sk.strip_prefix(SERVICE_PREFIX))?;
        ServiceName::new(name).ok()
    }

    /// The release the key names.
    pub(crate) fn release(&self) -> Option<ReleaseId> {
        let id = self.pk.strip_prefix(RELEASE_PREFIX).or_else(|| self.sk.strip_prefix(RELEASE_PREFIX))?;
        ReleaseId::new(id).ok()
    }

    /// What the row is, for people.
    pub(crate) fn name(&self) -> String {
        let entry = self.sk.strip_prefix(HISTORY).map(|version| version.trim_start_matches('0'));
        let entry = entry.map(|version| if version.is_empty() { "0" } else { version });
        let watched = self.pk.strip_prefix(WATCH_PREFIX);
        match (self.service(), self.release(), entry, watched) {
            (None, Some(release), None, _) if self.sk.starts_with(PLAN) => {
                format!("the plan of release {release}")
            }
            (None, Some(release), None, _) if self.sk.starts_with(TOLD) => {
                format!("what {} was told of release {release}", self.sk.trim_start_matches(TOLD))
            }
            (Some(service), _, Some(version), _) => {
                format!("entry {version} of the history of service {service}")
            }
            (Some(service), _, None, Some(watched)) => {
                format!("the row by which events of {} find service {service}", watched.replace('#', " "))
            }
            (None, Some(release), None, Some(watched)) => {
                format!("the row by which events of {} find release {release}", watched.replace('#', " "))
            }
            (Some(service), _, None, None) => format!("service {service}"),
            (None, Some(release), Some(version), _) => {
                format!("entry {version} of the history of release {release}")
            }
            (None, Some(release), None, _) => format!("release {release}"),
            (None, None, ..) => format!("row {self}"),
        }
    }
}

pub(crate) fn head(service: &ServiceName) -> Key {
    Key { pk: format!("{SERVICE_PREFIX}{service}"), sk: HEAD.into() }
}

/// A row of its own beside a service's.
pub(crate) fn beside(service: &ServiceName, name: &str) -> Key {
    Key { pk: format!("{SERVICE_PREFIX}{service}"), sk: name.into() }
}

pub(crate) fn release(id: &ReleaseId) -> Key {
    Key { pk: format!("{RELEASE_PREFIX}{id}"), sk: STATE.into() }
}

/// The plan of a release that was made then. A release that is planned anew has another plan, and a row more.
pub(crate) fn plan(id: &ReleaseId, made_at: Timestamp) -> Key {
    Key { sk: format!("{PLAN}{made_at:.9}"), ..release(id) }
}

/// Who writes which version of a release next.
pub(crate) fn claim(id: &ReleaseId) -> Key {
    Key { sk: CLAIM.into(), ..release(id) }
}

/// What a receiver was told of a release.
pub(crate) fn told(id: &ReleaseId, receiver: &str) -> Key {
    Key { sk: format!("{TOLD}{receiver}"), ..release(id) }
}

/// That a trial of a service's channels was asked for.
pub(crate) fn trial_asked(service: &ServiceName, id: &str) -> Key {
    Key { sk: format!("NOTIFY_TEST#{id}"), ..head(service) }
}

/// What came of a trial.
pub(crate) fn trial(service: &ServiceName, id: &str) -> Key {
    Key { sk: format!("NOTIFY_TESTED#{id}"), ..head(service) }
}

/// The history entry of `of` (a head or a release) at `version`.
pub(crate) fn entry(of: &Key, version: u64) -> Key {
    Key { pk: of.pk.clone(), sk: history_sort(version) }
}

pub(crate) fn history_sort(version: u64) -> String {
    format!("{HISTORY}{version:020}")
}

pub(crate) fn watch(watched: &Watched, service: &ServiceName) -> Key {
    Key { pk: self::watched(watched), sk: format!("{SERVICE_PREFIX}{service}") }
}

/// By which events of what a release is judged by find it.
pub(crate) fn concerns(watched: &Watched, id: &ReleaseId) -> Key {
    Key { pk: self::watched(watched), sk: release(id).pk }
}

pub(crate) fn watched(watched: &Watched) -> String {
    match watched {
        Watched::Repository(account, region, name) => {
            format!("{WATCH_PREFIX}repository#{account}#{region}#{name}")
        }
        // The name comes last: it is the only part that may hold a '#'.
        Watched::Alarm(account, region, name) => format!("{WATCH_PREFIX}alarm#{account}#{region}#{name}"),
        Watched::EcsService(account, region, service) => {
            format!("{WATCH_PREFIX}ecs#{account}#{region}#{service}")
        }
        Watched::LambdaFunction(account, region, function) => {
            format!("{WATCH_PREFIX}lambda#{account}#{region}#{function}")
        }
        Watched::BuildProject(account, region, project) => {
            format!("{WATCH_PREFIX}build#{account}#{region}#{project}")
        }
        Watched::Bucket(bucket) => format!("{WATCH_PREFIX}bucket#{bucket}"),
    }
}

/// Who alone releases to a target. No part may hold a '#'.
pub(crate) fn owner(Target { account, region, resource, .. }: &Target) -> Key {
    let pk = match resource {
        Resource::EcsService(EcsService { cluster, service }) => {
            format!("{OWNER}#ecs#{account}#{region}#{cluster}#{service}")
        }
        // What is published is one for all aliases.
        Resource::LambdaAlias(LambdaAlias { function, .. }) => {
            format!("{OWNER}#lambda#{account}#{region}#{function}")
        }
    };
    Key { pk, sk: OWNER.into() }
}

pub(crate) fn delivery(key: &str) -> Key {
    Key { pk: format!("SEEN#{key}"), sk: ONCE.into() }
}

/// What the sort key of a release ends with that is to be looked at again and again.
pub(crate) const SOON: &str = "#soon";

/// The sort key in `by-wake`: from when on somebody has to come, and which release.
pub(crate) fn wake(wake: &Wake, id: &ReleaseId) -> String {
    let soon = if wake.soon { SOON } else { "" };
    format!("{:.9}#{id}{soon}", wake.due_at())
}

/// Not less than any sort key of a wake-up at `until` or before, less than any later one.
pub(crate) fn wake_until(until: Timestamp) -> String {
    // '~' comes after every character of an id.
    format!("{until:.9}#~")
}

#[cfg(test)]
mod tests {
    use tidegate_core::ids::{AccountId, AlarmName, Region};

    use super::*;

    #[test]
    fn wake_keys_sort_as_time_does() {
        let id = ReleaseId::new("01k9zq3v8wd4x5n6p7r8s9t0ab").unwrap();
        let key = |at: &str| wake(&Wake::new(at.parse().unwrap()), &id);
        let times = ["2026-01-01T00:00:51Z", "2026-01-01T00:00:51.5Z", "2026-01-01T00:00:52Z"];
        for pair in times.windows(2) {
            assert!(key(pair[0]) < key(pair[1]));
            let until = wake_until(pair[0].parse().unwrap());
            assert!(key(pair[0]) <= until && until < key(pair[1]));
        }
    }

    #[test]
    fn a_release_and_its_plan_are_one_range_without_history_and_claim() {
        let id = ReleaseId::new("01k9zq3v8wd4x5n6p7r8s9t0ab").unwrap();
        let within = |key: Key| (PLAN..=STATE).contains(&key.sk.as_str());
        assert!(within(release(&id)) && within(plan(&id, Timestamp::UNIX_EPOCH)));
        assert!(
            !within(told(&id, "slack #deploys"))
                && !within(claim(&id))
                && !within(entry(&release(&id), u64::MAX))
        );
    }

    #[test]
    fn every_row_has_a_name_for_people() {
        let service = ServiceName::new("shop").unwrap();
        let id = ReleaseId::new("01k9zq3v8wd4x5n6p7r8s9t0ab").unwrap();
        let alarm = Watched::Alarm(
            AccountId::new("111122223333").unwrap(),
            Region::new("eu-central-1").unwrap(),
            AlarmName::new("5xx").unwrap(),
        );
        let named = [
            (head(&service), "service shop"),
            (entry(&head(&service), 30), "entry 30 of the history of service shop"),
            (release(&id), "release 01k9zq3v8wd4x5n6p7r8s9t0ab"),
            (plan(&id, Timestamp::UNIX_EPOCH), "the plan of release 01k9zq3v8wd4x5n6p7r8s9t0ab"),
            (told(&id, "slack #ops"), "what slack #ops was told of release 01k9zq3v8wd4x5n6p7r8s9t0ab"),
            (entry(&release(&id), 0), "entry 0 of the history of release 01k9zq3v8wd4x5n6p7r8s9t0ab"),
            (
                watch(&alarm, &service),
                "the row by which events of alarm 111122223333 eu-central-1 5xx find service shop",
            ),
            (
                concerns(&alarm, &id),
                "the row by which events of alarm 111122223333 eu-central-1 5xx find release 01k9zq3v8wd4x5n6p7r8s9t0ab",
            ),
            (Key { pk: "OTHER".into(), sk: "X".into() }, "row pk=OTHER sk=X"),
        ];
        for (key, name) in named {
            assert_eq!(key.name(), name);
        }
    }

    #[test]
    fn an_alarm_name_with_separators_is_not_another_alarm() {
        let alarm = |region: &str, name: &str| {
            watched(&Watched::Alarm(
                AccountId::new("111122223333").unwrap(),
                Region::new(region).unwrap(),
                AlarmName::new(name).unwrap(),
            ))
        };
        assert_ne!(alarm("eu-central-1", "b#c"), alarm("eu-central-1", "b"));
        assert_eq!(alarm("eu-west-1", "a#b"), "WATCH#alarm#111122223333#eu-west-1#a#b");
    }
}
