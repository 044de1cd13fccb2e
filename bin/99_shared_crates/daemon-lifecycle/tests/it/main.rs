//! Daemons as their starters see them: real processes, real sockets, real faults.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults; // daemons that misbehave, and what is in their way
mod rollback; // new binaries that fail to replace the old one
mod kills; // whoever is killed, whenever
mod edges; // whoever is killed or hangs, at each step
mod late; // whoever has lost its starter and comes to nothing
mod paper; // docs/handover.md
mod overlap; // a second edit within a probation
mod waiting; // nobody waits for another's pace
mod removed; // its files are removed
mod gone; // what it was built from is removed
mod disk; // no room
mod clock; // the time of day is set
mod earlier; // what a replaced generation is still asked for
mod activation; // without a starter, as systemd does
mod again; // in another surrounding
mod http; // a client that hides nothing
mod lifecycle; // start, reuse, replace, stop
mod load; // replacement while requests and streams go on
mod supervise; // started again and again
mod update; // with a real workspace and a real cargo
mod random; // whatever may happen, in any order
mod tutorial; // docs/tutorial.md
mod tree; // a real workspace with a scripted binary
mod world; // a hermetic place with scripted binaries
