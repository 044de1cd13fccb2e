//! A model that several hives compute together: one worker on each of them.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A worker's place among those that compute one model together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Part {
    /// 0 is the head, which answers; the others serve nobody.
    pub rank: u32,
    /// How many parts there are.
    pub parts: u32,
    /// Where they meet: the head's address, and a port that is another one at each start of them all.
    #[schema(value_type = String)]
    pub meet: SocketAddr,
    /// This part's own address in the same network.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// The interface that has it, where the configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

impl Part {
    pub fn is_head(&self) -> bool {
        self.rank == 0
    }
}

/// The body of `DELETE /v1/engine` of a worker whose tokens another program computes: that program is
/// given up, and every request with it, by the word of who sees what the worker cannot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineLost {
    pub why: String,
}
