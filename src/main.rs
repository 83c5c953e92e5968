//! Arguments and exit codes, nothing else.

fn main() {}
