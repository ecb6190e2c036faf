//! The `nke` command.
fn main() {}
