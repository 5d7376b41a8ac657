//! tidegate: the command line.
fn main() {}
