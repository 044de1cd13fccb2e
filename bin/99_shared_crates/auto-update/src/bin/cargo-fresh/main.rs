//! `cargo fresh`: is this binary what its sources say, and if not, make it so.

fn main() {}
