//! The `hotspan` command.

fn main() {}
