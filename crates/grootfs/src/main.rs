//! The grootfs command.
fn main() {}
