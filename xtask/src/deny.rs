//! Licences, sources and forbidden dependencies, by cargo-deny and `deny.toml`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::{go, process, workspace};

const VERSION: &str = "0.20.2";

pub fn check() -> Result<()> {
    let deny = program()?;
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

/// cargo-deny in the cache, built from crates.io when it is not there.
fn program() -> Result<PathBuf> {
    let folder = go::cache()?.join(format!("cargo-deny-{VERSION}"));
    let program = folder.join("bin/cargo-deny");
    fs::create_dir_all(&folder)?;
    // A second run waits for the first one's build.
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    if !program.exists() {
        println!(
            "deny: installing cargo-deny {VERSION} into {} (1 to 2 minutes on 2 cores)",
            folder.display()
        );
        process::run(
            process::cargo()
                // Unoptimised: it runs for a second, and a release build takes several times as long to make.
                .args(["install", "--quiet", "--locked", "--profile", "dev", "--root"])
                .arg(&folder)
                .arg(format!("cargo-deny@{VERSION}"))
                // Its own folder for objects, and no flags of the caller.
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .env_remove("RUSTFLAGS")
                .env("CARGO_TARGET_DIR", folder.join("target")),
        )?;
        fs::remove_dir_all(folder.join("target"))?;
    }
    Ok(program)
}
