//! AWS CodeBuild: builds that try a candidate.

/// A verification build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSeen {
    /// Its id: `project:uuid`.
    pub id: String,
    /// How far it is.
    pub status: BuildStatus,
    /// Where its log is read.
    pub log_url: Option<String>,
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildStatus {
    /// Under way.
    InProgress,
    /// It ended well.
    Succeeded,
    /// It did not: FAILED, FAULT, STOPPED, TIMED_OUT, or what AWS may add, as AWS spells it.
    Failed(String),
}
