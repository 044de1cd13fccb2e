//! Configuration of rbee: flags, environment, file and defaults become typed values, each of
//! which knows where it came from.
//!
//! [`RbeeConfig::load`] reads once; the result is passed down as a value. An unknown key or a
//! value of the wrong type is refused with its place and what would have been right. What the
//! values are used for is not known here.
//!
//! ```
//! use rbee_config::{Environment, Origin, Overrides, RbeeConfig};
//!
//! let environment = Environment::from_iter([("RBEE_HOME", "/none"), ("RBEE_QUEEN_PORT", "0")]);
//! let config = RbeeConfig::resolve(&Overrides::default(), &environment, None)?;
//! assert_eq!(config.queen.port, 0);
//! let port = config.values().find(|value| value.key == "queen.port").expect("every key is listed");
//! assert_eq!(port.origin, Origin::Environment("RBEE_QUEEN_PORT".into()));
//! # Ok::<(), rbee_config::Error>(())
//! ```

mod config; // the values, and the one list of keys with their defaults
mod listen; // where the queen listens, and what keeps that secret
mod edit; // the file, with single keys changed
mod live; // the values of a process that outlives edits of the file
mod called; // how the program is called in texts
mod environment; // the only place that reads the process's environment
mod origin; // where a value came from
mod file; // config.toml as keys with lines
mod hives; // the `[[hive]]` tables
pub mod installation; // where an installed release lies
mod engines; // what computes tokens
mod model; // what is set for single models
mod nodes; // which hives compute one together
mod table; // one of the user's own names
mod layers; // flag over environment over file over default
mod nearest; // the known name that an unknown one was meant to be
mod paths; // where files and sockets live
mod programs; // which file the name of a program leads to
mod setting; // types that a value may have
mod request; // those that members of a request have
mod trust; // whether somebody else could have written what is read and executed
mod web; // who addresses the queen, and from which pages
mod error;

pub use crate::{
    called::{COMPLETES, Called, IN_A_TREE, INSTALLED, for_here, is_completing, script_here},
    config::{AutoUpdate, DOWNLOAD_VARIABLES, Models, Overrides, Queen, RbeeConfig, Worker},
    edit::{ConfigFile, hive_lines},
    engines::{BUILT_IN_WORKERS, EngineLimits, External, Vllm},
    environment::Environment,
    error::Error,
    hives::HiveEntry,
    installation::Installation,
    layers::ConfigValue,
    listen::Tls,
    live::LiveConfig,
    model::{ChatTemplate, ModelEntry, RequestDefaults},
    nodes::Node,
    origin::Origin,
    paths::Paths,
    programs::SETUP_VLLM,
    request::Speculative,
    setting::{HistoryMode, LocalUse, NarrationMode, OnBuildFailure, QueenUrl},
};
