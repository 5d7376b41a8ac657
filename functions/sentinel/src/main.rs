//! The sentinel Lambda function.
fn main() {}
