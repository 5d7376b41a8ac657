//! The conductor Lambda function.
fn main() {}
