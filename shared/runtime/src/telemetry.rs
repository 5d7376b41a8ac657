//! Logs as JSON lines with dotted fields, as CloudWatch Logs reads them.

/// Starts logging at the level of `AWS_LAMBDA_LOG_LEVEL` or `RUST_LOG`; INFO otherwise.
pub fn init() {
    let level = ["AWS_LAMBDA_LOG_LEVEL", "RUST_LOG"].iter().find_map(|name| std::env::var(name).ok());
    // At TRACE the SDK logs what it signs, and session tokens are in that.
    let silent = [
        "aws_sigv4",
        "aws_smithy_runtime",
        "aws_smithy_http_client",
        "aws_runtime",
        "hyper",
        "hyper_util",
        "h2",
    ];
    let silent = silent.iter().filter_map(|target| format!("{target}=info").parse().ok());
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .parse_lossy(level.unwrap_or_default());
    let filter = silent.fold(filter, tracing_subscriber::EnvFilter::add_directive);
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(filter)
        .init();
}
