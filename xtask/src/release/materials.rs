//! What is linked into a program: a software bill of materials in CycloneDX, by cargo-cyclonedx.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::image::Commit;
use crate::static_build::Program;
use crate::tools::Tool;
use crate::{process, workspace};

const CYCLONEDX: Tool = Tool { name: "cargo-cyclonedx", version: "0.5.9" };

/// Writes the list of `program` for `target` to `path`.
pub fn list(program: Program, target: &str, commit: &Commit, path: &Path) -> Result<()> {
    println!("listing what is linked into {}", program.name);
    // It writes beside every Cargo.toml, so it gets a copy of the sources.
    let copy = tempfile::tempdir()?;
    let prefix = format!("--prefix={}/", copy.path().display());
    process::run(
        Command::new("git").args(["checkout-index", "--all"]).arg(prefix).current_dir(workspace::root()),
    )?;
    let package = workspace::packages()?.into_iter().find(|it| it.name == program.name);
    let folder = copy.path().join(package.context("the workspace has no such package")?.dir);
    let mut command = Command::new(CYCLONEDX.program()?);
    command
        .args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5", "--target", target])
        .args(["--all", "--no-build-deps", "--override-filename", FILE, "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .env("SOURCE_DATE_EPOCH", commit.time.to_string())
        .current_dir(copy.path());
    if !program.default_features {
        command.arg("--no-default-features");
    }
    process::run(&mut command)?;
    let text = fs::read_to_string(folder.join(format!("{FILE}.json")))?;
    // Our crates are named by their folder: the same for everybody.
    let text = text.replace(&copy.path().display().to_string(), "/keystead");
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

const FILE: &str = "linked";
