//! The intake Lambda function.
fn main() {}
