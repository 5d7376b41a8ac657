//! AWS Lambda: a function, its published versions, and the alias that shares invocations out between two of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Digest, FunctionVersion, ReleaseId};
use crate::policy::Percent;
use crate::seen::Seen;

/// What was seen of a function in one look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// The alias; `Known(None)` when there is no such function or alias.
    pub alias: Seen<Option<AliasSeen>>,
    /// `$LATEST`: what is published next; `Known(None)` when there is no such function.
    pub latest: Seen<Option<CodeSeen>>,
    /// The versions that were asked for; `None` for one that was deleted.
    pub versions: Seen<BTreeMap<FunctionVersion, Option<CodeSeen>>>,
    /// What stands around the alias.
    pub around: Seen<Around>,
}

/// What can be asked about a function. What is not asked for stays [`Seen::NotAsked`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Needs {
    pub alias: bool,
    pub latest: bool,
    pub versions: BTreeSet<FunctionVersion>,
    pub around: bool,
}

impl Needs {
    /// What of it has not been asked for yet.
    #[must_use]
    pub fn without(mut self, asked: &Self) -> Self {
        self.alias &= !asked.alias;
        self.latest &= !asked.latest;
        self.versions.retain(|version| !asked.versions.contains(version));
        self.around &= !asked.around;
        self
    }
}

impl Observation {
    /// With what a later question was answered. Versions beside those seen before are added; one that cannot be seen makes all unknown.
    pub fn merge(&mut self, later: Self) {
        self.alias.merge(later.alias);
        self.latest.merge(later.latest);
        match (&mut self.versions, later.versions) {
            (_, Seen::NotAsked) | (Seen::Unknown(_), _) => {}
            (Seen::Known(versions), Seen::Known(later)) => versions.extend(later),
            (versions @ (Seen::NotAsked | Seen::Known(_)), later) => *versions = later,
        }
        self.around.merge(later.around);
    }
}

/// An alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasSeen {
    /// The version it points at; `None`: `$LATEST`.
    pub version: Option<FunctionVersion>,
    /// What share of its invocations goes to another version, by version.
    pub weights: BTreeMap<FunctionVersion, Percent>,
    /// Changes with every change of the alias: who changes it can say which one they saw.
    pub revision: String,
}

impl AliasSeen {
    /// What it does, apart from which change of it this is.
    pub fn routing(&self) -> Option<Routing> {
        let version = self.version.clone()?;
        let mut weights = self.weights.iter().map(|(version, share)| (version.clone(), *share));
        match (weights.next(), weights.next()) {
            (other, None) => Some(Routing { version, other }),
            (_, Some(_)) => None,
        }
    }
}

/// Where an alias sends its invocations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// To this version.
    pub version: FunctionVersion,
    /// And this share of them to another.
    pub other: Option<(FunctionVersion, Percent)>,
}

impl Routing {
    /// Everything to one version.
    pub fn all(version: FunctionVersion) -> Self {
        Self { version, other: None }
    }

    /// The share of one version.
    pub fn share(&self, version: &FunctionVersion) -> Percent {
        match &self.other {
            Some((other, share)) if other == version => *share,
            Some((_, share)) if self.version == *version => share.rest(),
            None if self.version == *version => Percent::ALL,
            Some(_) | None => Percent::NONE,
        }
    }
}

impl std::fmt::Display for Routing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.other {
            None => write!(f, "version {}", self.version),
            Some((other, share)) => write!(f, "version {} and {share}% to version {other}", self.version),
        }
    }
}

/// `$LATEST`, or a published version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeSeen {
    /// `Image` or `Zip`, as AWS spells it.
    pub package: String,
    /// The image it runs, by digest; `None` for what is no image, and as long as AWS has not resolved it.
    pub image: Option<String>,
    /// Whether it can be invoked.
    pub state: CodeState,
    /// How far the last change of it is. A published version has none under way.
    pub update: Update,
    /// Identifies the code.
    pub code_sha256: String,
    /// Changes with every change.
    pub revision: String,
    /// `arm64`, `x86_64`, as AWS spells it.
    pub architecture: Option<String>,
    /// Everything else that a version keeps, by the name of its setting: only whether two are the same can be told.
    pub settings: BTreeMap<String, String>,
    /// Whether versions are published with SnapStart.
    pub snap_start: bool,
}

impl CodeSeen {
    /// The digest of its image.
    pub fn digest(&self) -> Option<Digest> {
        crate::reference::digest_of(self.image.as_deref()?)
    }

    /// The settings in which two differ.
    pub fn differing<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let names = self.settings.keys().chain(other.settings.keys());
        names
            .filter(|name| self.settings.get(*name) != other.settings.get(*name))
            .map(String::as_str)
            .collect()
    }
}

/// Whether a version can be invoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeState {
    /// It can: `Active`, and `Inactive`, which the next invocation wakes.
    Ready,
    /// Not yet.
    Pending,
    /// It cannot, and what AWS says.
    Failed(String),
}

/// How far a change is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Done.
    Done,
    /// Under way: nothing else can be changed meanwhile.
    UnderWay,
    /// It failed, and what AWS says.
    Failed(String),
}

/// What stands around an alias.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// How many environments are provisioned for the alias; `None`: none are.
    pub provisioned: Option<i32>,
    /// What sends the function events past the alias: the sources of event source mappings of the function itself.
    pub past_alias: Vec<String>,
}

/// One thing to do to a function. Every effect is an "ensure …": performing it again, or when it has already been done, changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Effect {
    /// Ensure that `$LATEST` runs this image.
    UpdateCode {
        /// By digest.
        image: String,
        /// The revision of `$LATEST` that was seen: somebody else's change is not overwritten.
        seen: String,
    },
    /// Ensure that what `$LATEST` runs is published.
    Publish {
        /// Kept in the version's description.
        release: ReleaseId,
        code_sha256: String,
        /// The revision of `$LATEST` that was seen.
        seen: String,
    },
    /// Ensure that the alias does this: one call, which AWS takes or refuses as a whole.
    Route {
        to: Routing,
        /// The share the candidate has with it.
        share: Percent,
        /// The revision of the alias that was seen, or is known: somebody else's change is not overwritten.
        seen: String,
    },
}
