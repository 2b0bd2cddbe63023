//! Licences, sources and forbidden dependencies, by cargo-deny and `deny.toml`.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::tools::Tool;
use crate::{process, workspace};

const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

pub fn check() -> Result<()> {
    let deny = DENY.program()?;
    process::run(
        Command::new(&deny)
            .args(["--log-level", "error", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"])
            .current_dir(workspace::root()),
    )?;
    let fetched = Command::new(&deny)
        .args(["--log-level", "error", "fetch", "db"])
        .current_dir(workspace::root())
        .stderr(Stdio::null())
        .status()?;
    if !fetched.success() {
        println!(
            "deny: advisories NOT checked: their database (a git repository on GitHub) cannot be had here"
        );
        return Ok(());
    }
    process::run(
        Command::new(&deny)
            .args(["--log-level", "error", "check", "--disable-fetch", "advisories"])
            .current_dir(workspace::root()),
    )
}
