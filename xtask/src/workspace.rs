//! The workspace as `cargo metadata` describes it.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;

/// A crate of ours.
pub struct Package {
    pub name: String,
    /// Folder of its manifest, relative to the root.
    pub dir: PathBuf,
    /// Dependencies on other crates of ours only.
    pub dependencies: Vec<Dependency>,
}

pub struct Dependency {
    pub name: String,
    /// Only for tests.
    pub dev: bool,
}

/// The checkout. Asked at run time: a target folder may be shared between checkouts.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let xtask = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it: run this as `cargo xtask`");
        Path::new(&xtask).parent().expect("xtask is a folder of the checkout").to_owned()
    });
    &ROOT
}

/// Of every crate of ours.
pub fn version() -> Result<String> {
    let text = std::fs::read_to_string(root().join("Cargo.toml"))?;
    let manifest: toml::Table = text.parse().context("cannot read Cargo.toml")?;
    let version = manifest["workspace"]["package"]["version"].as_str();
    Ok(version.context("the workspace has no version")?.to_owned())
}

pub fn packages() -> Result<Vec<Package>> {
    let text = process::output(process::cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
    parse(&serde_json::from_str(&text)?).context("cargo metadata has another form than we know")
}

fn parse(metadata: &Value) -> Option<Vec<Package>> {
    let packages = metadata["packages"].as_array()?;
    let ours: Vec<&str> = packages.iter().filter_map(|it| it["name"].as_str()).collect();
    let package = |it: &Value| {
        let manifest = Path::new(it["manifest_path"].as_str()?);
        let dependency = |it: &Value| {
            Some(Dependency {
                name: it["name"].as_str().filter(|name| ours.contains(name))?.to_owned(),
                dev: it["kind"].as_str() == Some("dev"),
            })
        };
        Some(Package {
            name: it["name"].as_str()?.to_owned(),
            dir: manifest.parent()?.strip_prefix(root()).ok()?.to_owned(),
            dependencies: it["dependencies"].as_array()?.iter().filter_map(dependency).collect(),
        })
    };
    packages.iter().map(package).collect()
}
