//! Programs of Rust's ecosystem that commands of ours start, each at one version, built into the cache when it is not there.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::Result;

use crate::{go, process};

/// A program that is published as a crate of the same name.
pub struct Tool {
    pub name: &'static str,
    pub version: &'static str,
}

impl Tool {
    /// The path of the program.
    pub fn program(&self) -> Result<PathBuf> {
        let Self { name, version } = self;
        let folder = go::cache()?.join(format!("{name}-{version}"));
        let program = folder.join("bin").join(name);
        fs::create_dir_all(&folder)?;
        // A second run waits for the first one's build.
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        if !program.exists() {
            println!("installing {name} {version} into {} (1 to 3 minutes on 2 cores)", folder.display());
            process::run(
                process::cargo()
                    // Unoptimised: it runs for a second, and a release build takes several times as long to make.
                    .args(["install", "--quiet", "--locked", "--profile", "dev", "--root"])
                    .arg(&folder)
                    .arg(format!("{name}@{version}"))
                    // Its own folder for objects, and no flags of the caller.
                    .env("CARGO_PROFILE_DEV_DEBUG", "0")
                    .env_remove("RUSTFLAGS")
                    .env("CARGO_TARGET_DIR", folder.join("target")),
            )?;
            fs::remove_dir_all(folder.join("target"))?;
        }
        Ok(program)
    }
}
