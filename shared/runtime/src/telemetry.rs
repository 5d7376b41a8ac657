//! Logs as JSON lines with dotted fields, as CloudWatch Logs reads them.

use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::metrics;

/// Starts logging at the level of `AWS_LAMBDA_LOG_LEVEL` or `RUST_LOG`; INFO otherwise.
pub fn init() {
    let level = ["AWS_LAMBDA_LOG_LEVEL", "RUST_LOG"].iter().find_map(|name| std::env::var(name).ok());
    if let Ok(installation) = std::env::var("TIDEGATE_STACK") {
        metrics::of_installation(installation);
    }
    subscriber(&level.unwrap_or_default(), std::io::stdout).init();
}

fn subscriber<W>(level: &str, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    let asked = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(level);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_writer(writer.clone());
    // A filter of its own, so that no level and no directive that is asked for can widen it.
    tracing_subscriber::registry()
        .with(Metrics(writer).with_filter(filter_fn(is_metric)))
        .with(lines.with_filter(asked).with_filter(filter_fn(may_be_logged)))
}

/// Lines that CloudWatch makes metrics of go out as they are, whatever level is asked for.
struct Metrics<W>(W);

impl<S, W> Layer<S> for Metrics<W>
where
    S: Subscriber,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Document(String::new());
        event.record(&mut line);
        line.0.push('\n');
        if let Err(error) = self.0.make_writer().write_all(line.0.as_bytes()) {
            tracing::warn!(error = %error, "a metric could not be written");
        }
    }
}

struct Document(String);

impl Visit for Document {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == metrics::DOCUMENT {
            self.0 = format!("{value:?}");
        }
    }
}

fn is_metric(about: &Metadata<'_>) -> bool {
    about.target() == metrics::TARGET
}

/// Below WARN only our own crates are heard. The others log what passes through them: the Lambda runtime whole events and answers, with
/// the tokens of links, webhooks' secrets and the keys of artifact stores in them; the SDK what it signs and sends; hyper every byte.
fn may_be_logged(about: &Metadata<'_>) -> bool {
    let target = about.target();
    if is_metric(about) {
        return false;
    }
    *about.level() <= Level::WARN || is_function(target) || target.starts_with("tidegate")
}

/// The functions' own crates are named after them.
fn is_function(target: &str) -> bool {
    let crate_name = target.split("::").next().unwrap_or_default();
    matches!(crate_name, "intake" | "conductor" | "sentinel" | "clock" | "gate" | "pipeline" | "herald")
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::buffer::Buffer;

    use super::*;

    #[test]
    fn a_metric_goes_out_as_it_is_and_is_no_line_of_the_log() {
        for level in ["", "error", "off"] {
            let buffer = Buffer::default();
            let writer = buffer.clone();
            tracing::subscriber::with_default(subscriber(level, move || writer.clone()), || {
                tracing::info!(target: metrics::TARGET, document = %r#"{"TimeToRestore":6}"#);
            });
            assert_eq!(buffer.text(), "{\"TimeToRestore\":6}\n", "{level}");
        }
    }

    fn logged(level: &str) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        tracing::subscriber::with_default(subscriber(level, move || writer.clone()), || {
            tracing::trace!(target: "lambda_runtime::layers::api_response", body = "secret", "raw JSON event");
            tracing::debug!(target: "aws_sigv4::http_request", "secret");
            tracing::info!(target: "aws_config::profile", "secret");
            tracing::warn!(target: "aws_config::profile", "no region");
            tracing::trace!(target: "tidegate_core", "ours, in detail");
            tracing::debug!(target: "gate", "the function, in detail");
            tracing::info!(target: "tidegate_runtime::drive", "ours");
        });
        buffer.text()
    }

    #[test]
    fn no_level_and_no_directive_lets_other_crates_tell_what_passes_through_them() {
        for level in [
            "TRACE",
            "trace,lambda_runtime=trace",
            "lambda_runtime::layers=trace,aws_sigv4=debug,aws_config=info,info",
        ] {
            let lines = logged(level);
            assert!(!lines.contains("secret"), "{level}: {lines}");
            assert!(lines.contains("no region") && lines.contains(r#""message":"ours""#), "{level}: {lines}");
        }
        assert!(logged("TRACE").contains("ours, in detail"));
        assert!(logged("DEBUG").contains("the function, in detail"));
        assert!(!logged("INFO").contains("in detail"));
        assert!(!logged("").contains("in detail"));
    }
}
