//! The hive over its routes, with workers that are scripts: no process is started.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crowd; // what one person asks at once
mod flood; // what refused requests leave behind
mod reach; // what a request may name
mod read_on; // what another process has begun to read
mod refusals; // what nobody is let do
mod stays;
mod parts; // of models that several hives compute together
mod turns;
mod workers; // bringing up, replacing, making room, adopting
mod carry; // conversations, on to another worker
mod crashes; // workers that end, and what they were answering
mod process; // a process in its parts
mod world; // a hive on a machine that is a script
