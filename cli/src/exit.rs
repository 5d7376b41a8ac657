//! The exit codes: a script tells from them alone how a release ended. "Rolled back" is never success.

use std::process::ExitCode;

use serde::Serialize;
use tidegate_core::outcome::Outcome;
use tidegate_core::release::Release;

/// How the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The release was promoted, or the command did what it was asked.
    Ok,
    /// The command failed: AWS, the network, a file, something that does not exist.
    Error,
    /// The arguments are wrong. (clap ends with this one by itself.)
    Usage,
    /// The release was rolled back.
    RolledBack,
    /// The release failed: manual intervention required.
    Failed,
    /// The release was superseded or cancelled.
    NotReleased,
    /// The release is still under way.
    UnderWay,
    /// Preflight blocks the release, or the image is quarantined.
    Blocked,
    /// Ctrl-C while a release was followed: what a program ends with that is killed by SIGINT.
    Interrupted,
    /// Nobody reads the output any more: what a program ends with that is killed by SIGPIPE.
    ClosedPipe,
}

/// The list for `--help`.
pub const HELP: &str = "\
Exit codes:
    0  the release was promoted, or the command did what it was asked
    1  error: AWS, the network, a file, something that does not exist
    2  wrong arguments
    3  the release was rolled back, also when this command asked for it
    4  the release failed: manual intervention required
    5  the release was superseded or cancelled
    6  the release is still under way
    7  blocked by preflight, or the image is quarantined
  130  stopped with Ctrl-C; the release continues
  141  the reader closed the pipe

Codes 3 to 6 come from the commands that tell of one release: watch, why, and whatever is given --watch.

Region, profile, credentials and endpoint are found as the AWS CLI finds them.";

impl Exit {
    /// How a command that tells of this release ends.
    pub fn of(release: &Release) -> Self {
        match release.outcome() {
            None => Self::UnderWay,
            Some(Outcome::Promoted) => Self::Ok,
            Some(Outcome::RolledBack { .. }) => Self::RolledBack,
            Some(Outcome::Failed { .. }) => Self::Failed,
            Some(Outcome::Superseded { .. } | Outcome::Cancelled { .. }) => Self::NotReleased,
        }
    }

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::RolledBack => 3,
            Self::Failed => 4,
            Self::NotReleased => 5,
            Self::UnderWay => 6,
            Self::Blocked => 7,
            Self::Interrupted => 130,
            Self::ClosedPipe => 141,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Serialize for Exit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.code())
    }
}
