//! How conversations get from a worker to the one in its place, on a socket in the folder of each.
//!
//! Whoever replaces a worker connects two of them: it gives each one end of a pair of sockets, the old
//! one with [`GIVE`], the new one with [`TAKE`]. What passes between these two is the workers' own.

/// The socket's file, beside the one for HTTP.
pub const SOCKET: &str = "carry.sock";

/// With a descriptor: send your conversations there, now and until you end.
pub const GIVE: u8 = b'g';
/// With a descriptor: conversations come from there.
pub const TAKE: u8 = b't';
/// The answer to [`TAKE`], without a descriptor: what was there at once is taken.
pub const TAKEN: u8 = b'k';
