//! ministack, the emulator behind the sandbox: DynamoDB, SQS, S3, IAM, ECR, EventBridge rules, CloudFormation and Lambda.
//!
//! [`Process`] runs it, [`Client`] calls it, [`deploy`] puts the project's own `template.yaml` into it. What ministack does
//! differently from AWS is worked around here, never in the template or the product; each workaround says which
//! difference it is for.

mod client;
mod deploy;
mod process;

pub use client::Client;
pub use deploy::{Deployed, Deployment, deploy};
pub use process::{Options, Process};

/// What the tests of this module share.
#[cfg(test)]
mod testing {
    use std::path::{Path, PathBuf};

    use super::Options;

    /// ministack as the tests run it; the virtual environment is the one `cargo xtask test` makes.
    pub(super) fn options(dir: &Path) -> Options {
        Options {
            venv: venv(),
            dir: dir.to_owned(),
            endpoint_url: None,
            account_id: "111122223333".to_owned(),
            region: "eu-central-1".to_owned(),
        }
    }

    pub(super) fn venv() -> PathBuf {
        let default = workspace().join(".venv");
        let venv = std::env::var_os("TIDEGATE_VENV").map_or(default, PathBuf::from);
        assert!(venv.join("bin/python").exists(), "{} is missing: run `cargo xtask test`", venv.display());
        venv
    }

    pub(super) fn workspace() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
    }
}
