//! A program to follow: `cargo live watch --example greeter`, then change the greeting and save.
//!
//! It greets each connection on a port of its own choice, which it prints.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener},
};

const GREETING: &str = "hello\n";

fn main() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    for stream in listener.incoming() {
        // A client that has left already misses nothing.
        stream?.write_all(GREETING.as_bytes()).unwrap_or(());
    }
    Ok(())
}
