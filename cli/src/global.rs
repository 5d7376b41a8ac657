//! The arguments that every command takes: where Tidegate is, and how it is answered.

use clap::Args;
use tidegate_core::ids::{AccountId, Region};

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Print JSON: one object, or one line for each change with `watch`
    #[arg(long, global = true)]
    pub json: bool,
    /// The AWS region Tidegate is installed in [env: AWS_REGION, or the profile's]
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<Region>,
    /// The AWS profile [env: AWS_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Another AWS endpoint [env: AWS_ENDPOINT_URL]
    #[arg(long, global = true, value_name = "URL", value_parser = endpoint)]
    pub endpoint_url: Option<String>,
    /// The name Tidegate's stack was deployed with
    #[arg(long, global = true, value_name = "NAME", env = "TIDEGATE_STACK", hide_env_values = true, default_value = "tidegate", value_parser = stack)]
    pub stack: String,
    /// The AWS account Tidegate is installed in [default: the caller's]
    #[arg(long, global = true, value_name = "ID")]
    pub account: Option<AccountId>,
}

/// An address that calls can be sent to. The SDK would find out at the first call, and say it in its own words.
pub fn endpoint(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host)
            if !host.is_empty() && !host.starts_with(['/', ':']) && !host.contains(char::is_whitespace) =>
        {
            Ok(text.to_owned())
        }
        Some(_) => Err("an address with a host is allowed, such as http://127.0.0.1:4566".into()),
        None => Err(format!(
            "an address with http:// or https:// in front is allowed, such as http://{}",
            text.trim_start_matches('/')
        )),
    }
}

/// The names CloudFormation allows: they become part of a table's and a queue's name.
fn stack(text: &str) -> Result<String, String> {
    let valid = text.len() <= 120
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if valid {
        Ok(text.to_owned())
    } else {
        Err("letters, digits and '-' are allowed, starting with a letter, at most 120".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address() {
        for right in ["http://127.0.0.1:4566", "https://sts.eu-central-1.amazonaws.com/", "http://[::1]:80"] {
            assert_eq!(endpoint(right).as_deref(), Ok(right));
        }
        for wrong in ["", "localhost:1", "ftp://x", "http://", "https:///x", "http://a b"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
