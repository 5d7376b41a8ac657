//! What a link to the dashboard is good for: which pages it opens, for whom it was made, until when, and whether its holder may act.
//!
//! A pass is made where AWS has checked who asks (`POST /links` of `gate-api`), and is all that a page of the public door needs: nothing of
//! it is stored. It is signed with the link key; what it lets its holder do is part of what is signed, so that one that reads never acts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tidegate_core::approval::same_secret;
use tidegate_core::ids::{ReleaseId, ServiceName};

use crate::keys::pass_signature;

/// A longer one is not ours: an ARN has 2048 characters at most, and an id 128.
const LONGEST: usize = 4096;

/// What its holder may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum May {
    /// Look.
    Look,
    /// Look, and act in the name of whom it was made for.
    Act,
}

/// How long a pass is good: when nothing else is asked for, and at most.
pub(crate) struct Good {
    pub(crate) usually: SignedDuration,
    pub(crate) longest: SignedDuration,
}

impl May {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Act => "act",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Look, Self::Act].into_iter().find(|may| may.word() == word)
    }

    pub(crate) const fn good(self) -> Good {
        match self {
            Self::Look => {
                Good { usually: SignedDuration::from_hours(12), longest: SignedDuration::from_hours(7 * 24) }
            }
            Self::Act => {
                Good { usually: SignedDuration::from_hours(1), longest: SignedDuration::from_hours(8) }
            }
        }
    }
}

/// What it opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    /// Every service and every release.
    All,
    /// One service and its releases.
    Service(ServiceName),
    /// One release.
    Release(ReleaseId),
}

/// A pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pass {
    pub(crate) may: May,
    pub(crate) scope: Scope,
    /// The ARN of whom it was made for.
    pub(crate) by: String,
    pub(crate) until: Timestamp,
}

/// What is signed, as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    scope: Scope,
    by: String,
    /// Seconds since 1970.
    until: i64,
}

/// Why a pass does not open anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Void {
    /// Nothing of ours, or changed by somebody.
    Unknown,
    /// It was good once.
    Expired(Box<Pass>),
}

impl Pass {
    /// As it stands in a link: `look.WHAT.SIGNATURE`.
    pub(crate) fn sealed(&self, link_key: &str) -> String {
        let Self { may, scope, by, until } = self;
        let written = Written { scope: scope.clone(), by: by.clone(), until: until.as_second() };
        // Strings and numbers: there is nothing in it that JSON could not hold.
        let written = serde_json::to_string(&written).unwrap_or_default();
        let what = URL_SAFE_NO_PAD.encode(written);
        let signature = pass_signature(link_key, may.word(), &what);
        format!("{}.{what}.{signature}", may.word())
    }

    /// What a caller sent. Nothing of it is read before its signature has been checked.
    pub(crate) fn opened(link_key: &str, sent: &str, now: Timestamp) -> Result<Self, Void> {
        if sent.len() > LONGEST {
            return Err(Void::Unknown);
        }
        let mut parts = sent.split('.');
        let (Some(word), Some(what), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Void::Unknown);
        };
        let right = pass_signature(link_key, word, what);
        if !same_secret(&right, signature) {
            return Err(Void::Unknown);
        }
        let pass = May::of(word).and_then(|may| Self::read(may, what)).ok_or(Void::Unknown)?;
        if now >= pass.until { Err(Void::Expired(Box::new(pass))) } else { Ok(pass) }
    }

    fn read(may: May, what: &str) -> Option<Self> {
        let written = URL_SAFE_NO_PAD.decode(what).ok()?;
        let Written { scope, by, until } = serde_json::from_slice(&written).ok()?;
        Some(Self { may, scope, by, until: Timestamp::from_second(until).ok()? })
    }

    /// Whether it opens the page of all services.
    pub(crate) fn opens_services(&self) -> bool {
        self.scope == Scope::All
    }

    /// Whether it opens a service's page.
    pub(crate) fn opens_service(&self, service: &ServiceName) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Service(own) => own == service,
            Scope::Release(_) => false,
        }
    }

    /// Whether it opens the page of a release of this service.
    pub(crate) fn opens_release(&self, service: &ServiceName, release: &ReleaseId) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Service(own) => own == service,
            Scope::Release(own) => own == release,
        }
    }

    /// How another one is had.
    pub(crate) fn command(&self) -> String {
        let act = match self.may {
            May::Look => "",
            May::Act => " --act",
        };
        match &self.scope {
            Scope::All => format!("tidegate open{act}"),
            Scope::Service(service) => format!("tidegate open {service}{act}"),
            Scope::Release(release) => format!("tidegate open {release}{act}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pass(may: May, scope: Scope) -> Pass {
        Pass {
            may,
            scope,
            by: "arn:aws:sts::111122223333:assumed-role/engineer/anna".into(),
            until: at(1000),
        }
    }

    #[test]
    fn a_pass_opens_what_it_says_until_it_expires() {
        let checkout = ServiceName::new("checkout").unwrap();
        for scope in [Scope::All, Scope::Service(checkout.clone())] {
            for may in [May::Look, May::Act] {
                let pass = pass(may, scope.clone());
                let sent = pass.sealed(KEY);
                assert_eq!(Pass::opened(KEY, &sent, at(999)), Ok(pass.clone()));
                assert_eq!(Pass::opened(KEY, &sent, at(1000)), Err(Void::Expired(Box::new(pass.clone()))));
                assert_eq!(
                    Pass::opened("another key of more than 32 letters", &sent, at(1)),
                    Err(Void::Unknown)
                );
            }
        }
    }

    #[test]
    fn one_that_reads_cannot_be_made_one_that_acts_and_no_letter_of_it_can_be_changed() {
        let look = pass(May::Look, Scope::All).sealed(KEY);
        let act = look.replacen("look", "act", 1);
        assert_eq!(Pass::opened(KEY, &act, at(1)), Err(Void::Unknown));
        for at_byte in 0..look.len() {
            let mut changed = look.clone().into_bytes();
            changed[at_byte] = if changed[at_byte] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(Pass::opened(KEY, &changed, at(1)), Err(Void::Unknown), "{changed}");
        }
        for garbage in ["", ".", "..", "look..", "look.e30.", "a.b.c.d", &"x".repeat(5000)] {
            assert_eq!(Pass::opened(KEY, garbage, at(1)), Err(Void::Unknown));
        }
    }

    #[test]
    fn a_scope_opens_its_own_pages_and_no_others() {
        let (checkout, search) = (ServiceName::new("checkout").unwrap(), ServiceName::new("search").unwrap());
        let release = ReleaseId::new("01kj0000000000000000000001").unwrap();
        let other = ReleaseId::new("01kj0000000000000000000002").unwrap();
        let opens = |scope: Scope| {
            let pass = pass(May::Look, scope);
            let releases = [(&checkout, &release), (&checkout, &other), (&search, &other)];
            let releases = releases.map(|(service, release)| pass.opens_release(service, release));
            (pass.opens_services(), [&checkout, &search].map(|service| pass.opens_service(service)), releases)
        };
        assert_eq!(opens(Scope::All), (true, [true, true], [true, true, true]));
        assert_eq!(opens(Scope::Service(checkout.clone())), (false, [true, false], [true, true, false]));
        assert_eq!(opens(Scope::Release(release.clone())), (false, [false, false], [true, false, false]));
    }
}
