//! What `auto-update` promises, observed against real cargo on workspaces that the tests make.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world; // a workspace of a test's own
mod sources; // what the compiler reads
mod scripts; // what build scripts watch
mod manifests; // manifests, lock file, members, patches
mod surroundings; // variables, configuration, toolchain, target directories
mod toolchains; // which compiler
mod registries; // crates from elsewhere
mod packages; // which files of a package count
mod outputs; // the binary, the store, branches
mod concurrency; // several callers, edits during builds
mod checkout; // what git is in the middle of
mod idle; // builds that give way
mod receipts; // damaged, cut short, foreign
mod during; // what changes while it is built, and who else builds there
mod beside; // what a person's own cargo builds
mod examples;
mod faults; // full disks, killed builders, clocks
mod together; // several binaries at once
mod random; // all of it at random, against cargo and clean builds
mod waiting; // builds that are raised, or ended
mod watching; // the resident answer
mod failures; // builds that fail
