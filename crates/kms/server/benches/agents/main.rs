//! Measures a server with 1,000 agents beside as many connections of bare tonic, in one run: `cargo xtask bench agents`.
//!
//! Prints Markdown. Figures are only comparable within one run; the machine should do nothing else. `AGENTS=50` makes it smaller, to try
//! it out.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    reason = "a program that prints figures, run by hand"
)]

#[expect(dead_code, reason = "some of it is for the other benchmark")]
#[path = "../server/bare_tonic.rs"]
mod bare_tonic;
#[path = "../server/connection.rs"]
mod connection;
#[expect(dead_code, reason = "some of it is for the other benchmark")]
#[path = "../server/disk.rs"]
mod disk;
mod fleet;
#[expect(dead_code, reason = "some of it is for the other benchmarks")]
#[path = "../server/load.rs"]
mod load;
#[expect(dead_code, reason = "some of it is for the tests")]
#[path = "../../tests/it/played_agent.rs"]
mod played_agent;
mod report;
#[expect(dead_code, reason = "some of it is for the other benchmarks")]
#[path = "../server/stage.rs"]
mod stage;

use anyhow::Result;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    if arguments.next().as_deref() == Some(bare_tonic::ROLE) {
        return bare_tonic::serve(&arguments.collect::<Vec<_>>());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(report::print())
}
