//! The clock Lambda function.
fn main() {}
