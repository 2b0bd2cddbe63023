//! Where kube-apiserver and etcd are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// The version of Kubernetes that is used where nothing else is asked for.
pub const DEFAULT_VERSION: &str = "1.37.2";

/// go.mod and go.sum of each version: they name the folder in the cache.
macro_rules! module {
    ($version:literal) => {
        (
            $version,
            include_bytes!(concat!("../../../../../tests/control-plane/", $version, "/go.mod")).as_slice(),
            include_bytes!(concat!("../../../../../tests/control-plane/", $version, "/go.sum")).as_slice(),
        )
    };
}
const MODULES: [(&str, &[u8], &[u8]); 4] =
    [module!("1.28.15"), module!("1.31.0"), module!("1.36.3"), module!("1.37.2")];

/// Paths of the programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// The etcd server.
    pub etcd: PathBuf,
}

impl Binaries {
    /// The versions of Kubernetes that [`Self::find`] knows, the oldest first.
    pub fn versions() -> [&'static str; MODULES.len()] {
        MODULES.map(|(version, ..)| version)
    }

    /// Takes them from `directory`, or else from the cache that `cargo xtask control-plane` fills, or else from PATH
    /// if that kube-apiserver is of this version.
    pub fn find(directory: Option<&Path>, version: &str) -> Result<Self> {
        if let Some(directory) = directory {
            return Self::inside(directory)
                .with_context(|| format!("no kube-apiserver and etcd in {}", directory.display()));
        }
        let cached = cache_folder(version)?;
        if let Some(found) = Self::inside(&cached) {
            return Ok(found);
        }
        if let Some(found) = Self::on_path()
            && reported_version(&found.kube_apiserver)? == version
        {
            return Ok(found);
        }
        bail!(
            "no kube-apiserver {version} and etcd in {} nor on PATH; build them: cargo xtask control-plane {version}",
            cached.display()
        )
    }

    fn inside(directory: &Path) -> Option<Self> {
        let found = Self { kube_apiserver: directory.join("kube-apiserver"), etcd: directory.join("etcd") };
        (found.kube_apiserver.is_file() && found.etcd.is_file()).then_some(found)
    }

    fn on_path() -> Option<Self> {
        let path = env::var_os("PATH")?;
        let find = |name| env::split_paths(&path).map(|it| it.join(name)).find(|it| it.is_file());
        Some(Self { kube_apiserver: find("kube-apiserver")?, etcd: find("etcd")? })
    }
}

/// The same name as in xtask/src/control_plane.rs, which fills the folder.
fn cache_folder(version: &str) -> Result<PathBuf> {
    let Some((_, go_mod, go_sum)) = MODULES.iter().find(|(name, ..)| *name == version) else {
        bail!("Kubernetes {version} is not one of {}", Binaries::versions().join(", "));
    };
    let digest = hex::encode(Sha256::new().chain_update(go_mod).chain_update(go_sum).finalize());
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("KEYSTEAD_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|it| it.join("keystead")))
        .or_else(|| set("HOME").map(|it| it.join(".cache/keystead")))
        .context("no folder for the cache: set KEYSTEAD_CACHE")?;
    let digest = digest.get(..16).context("a digest has 64 digits")?;
    Ok(cache.join("control-plane").join(format!("{version}-{digest}")))
}

/// Asks the program, which answers `Kubernetes v1.37.2`.
fn reported_version(kube_apiserver: &Path) -> Result<String> {
    let output = Command::new(kube_apiserver)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {}", kube_apiserver.display()))?;
    ensure!(output.status.success(), "{} --version failed", kube_apiserver.display());
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().trim_start_matches("Kubernetes v").to_owned())
}
