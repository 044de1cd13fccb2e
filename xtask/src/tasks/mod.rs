//! One module for each task.

pub mod rbee; // run the keeper
pub mod setup; // get what building needs
pub mod test; // run every test
pub mod tidy; // check what compiler and lints cannot
pub mod bench; // measure
pub mod dist; // pack what is installed without this checkout
mod fuzz; // a random test, for as long as wanted
pub mod fuzz_api; // requests of any kind, for as long as wanted
pub mod fuzz_chain; // whatever may happen to a chain or a daemon, for as long as wanted
pub mod fuzz_freshness; // random edits, for as long as wanted
