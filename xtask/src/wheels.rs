//! Programs that are published as Python wheels: they need no root and no newer distribution.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{apt, process};

/// Installs the wheels of `requirements`, in pip's words, into `folder`, unless it is there. An interrupted
/// installation leaves no `folder`, and a second one waits for the first. `advice` says what to
/// do where Python has no pip, or pip fails.
pub fn install(folder: &Path, what: &str, size: &str, requirements: &str, advice: &str) -> Result<()> {
    let parent = folder.parent().context("a folder of the cache")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let lock = File::create(folder.with_extension("lock"))?;
    lock.lock()?;
    if folder.exists() {
        return Ok(());
    }
    eprintln!("installing {what} into {} ({size})", folder.display());
    if !process::succeeds(Command::new("python3").args(["-m", "pip", "--version"])) {
        apt::install(&["python3", "python3-pip"]).with_context(|| advice.to_owned())?;
    }
    let unfinished = folder.with_extension("part");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    let list = tempfile::NamedTempFile::new()?;
    fs::write(list.path(), requirements)?;
    process::run(
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"])
            .args(["--root-user-action=ignore", "--target"])
            .arg(&unfinished)
            .arg("--requirement")
            .arg(list.path()),
    )
    .with_context(|| advice.to_owned())?;
    Ok(fs::rename(&unfinished, folder)?)
}
