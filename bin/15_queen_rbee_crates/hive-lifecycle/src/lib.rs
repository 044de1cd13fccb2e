//! What the queen knows about hives: how to start one, find it and stop it.

mod error;
mod start; // start, or replace a stale one
mod stop;
mod elsewhere; // on other machines

pub use crate::{
    elsewhere::{Elsewhere, HiveElsewhere, Installed},
    error::Error,
    start::{
        HiveStartRequest,   // which hive
        HiveStartResponse,  // where it answers, and what was done
        base_url,           // (&Identity) -> String
        execute_hive_start, // (HiveStartRequest, Arc<RbeeConfig>) -> HiveStartResponse
        find_hive,          // (&RbeeConfig, alias) -> Option<Identity>
        hive_is_current,    // is this process what the sources say now?
        hive_sign,          // (&RbeeConfig, alias) -> Option<SignOfLife>
    },
    stop::execute_hive_stop, // (&RbeeConfig, alias, now) -> names of what was stopped
};
