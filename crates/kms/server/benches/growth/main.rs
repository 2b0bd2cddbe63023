//! Measures a server with 100,000 keys and 1,000,000 key versions in one ring, 10,000 projects, and policies of 1,500 members, in
//! one run: `cargo xtask bench growth`.
//!
//! Prints Markdown. Figures are only comparable within one run; the machine should do nothing else.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that prints figures, run by hand"
)]

#[path = "../server/connection.rs"]
mod connection;
mod filled;
mod lists;
#[path = "../server/load.rs"]
mod load;
mod report;
#[expect(dead_code, reason = "much of it is for the other benchmark")]
#[path = "../server/stage.rs"]
mod stage;

use std::alloc::System;

use anyhow::Result;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts what Rust allocates in this process. SQLite's own memory, which is its page cache, is not in it.
#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(report::print())
}
