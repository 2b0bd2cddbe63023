//! Measures `keystead-server` beside the disk's sync and bare tonic, in one run: `cargo xtask bench server`.
//!
//! Prints Markdown. Figures are only comparable within one run; the machine should do nothing else. With `brief` it measures
//! Encrypt over gRPC and its limits only, in half a minute, for whoever works on the speed of a call.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    reason = "a program that prints figures, run by hand"
)]

mod bare_tonic;
mod connection;
mod disk;
mod load;
mod report;
#[expect(dead_code, reason = "some of it is for the benchmark `growth`")]
mod stage;

use anyhow::Result;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    let role = arguments.next();
    if role.as_deref() == Some(bare_tonic::ROLE) {
        return bare_tonic::serve(&arguments.collect::<Vec<_>>());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match role.as_deref() {
        Some("brief") => runtime.block_on(report::print_brief()),
        _ => runtime.block_on(report::print()),
    }
}
