//! The kube-apiserver and etcd that the tests run against, built from their published Go modules.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{go, workspace};

/// Where go.mod and go.sum of each version are, seen from the checkout.
const FOLDER: &str = "tests/control-plane";

/// Builds one version, or every version that the checkout names, and says where it is.
#[derive(clap::Args)]
pub struct Args {
    /// Version of Kubernetes: a folder under tests/control-plane.
    #[arg(default_value = "1.37.2")]
    version: String,
    /// Every version under tests/control-plane.
    #[arg(long, conflicts_with = "version")]
    all: bool,
    /// And kube-controller-manager and kube-scheduler of the default version, which clusters need that a server runs itself.
    #[arg(long, conflicts_with_all = ["version", "all"])]
    local_clusters: bool,
}

/// The version that local clusters run.
const LOCAL: &str = "1.37.2";

/// Runs `cargo xtask control-plane`.
pub fn run(args: &Args) -> Result<()> {
    if args.local_clusters {
        println!("{}", build_for_local_clusters()?.display());
        return Ok(());
    }
    let versions = if args.all { versions()? } else { vec![args.version.clone()] };
    for version in versions {
        println!("{}", build(&version)?.display());
    }
    Ok(())
}

/// The folder with `kube-apiserver` and `etcd` of `version`; builds what is missing.
pub fn build(version: &str) -> Result<PathBuf> {
    let module = folder()?.join(version);
    let mut digest = Sha256::new();
    for name in ["go.mod", "go.sum"] {
        digest.update(fs::read(module.join(name)).with_context(|| {
            format!(
                "cannot read {FOLDER}/{version}/{name}; there are {}",
                versions().unwrap_or_default().join(", ")
            )
        })?);
    }
    // The testkit computes the same name (crates/test/testkit/src/control_plane/binaries.rs).
    let out = go::cache()?.join("control-plane").join(format!("{version}-{}", go::short(digest)));
    let stamp = stamp(version)?;
    let etcd = "go.etcd.io/etcd/server/v3";
    go::build(&module, etcd, "-s -w", &out.join("etcd"), "about 1 minute on 2 cores")?;
    let server = "k8s.io/kubernetes/cmd/kube-apiserver";
    go::build(&module, server, &stamp, &out.join("kube-apiserver"), "about 3 to 6 minutes on 2 cores")?;
    Ok(out)
}

/// The folder with all four programs of a local cluster; builds what is missing.
pub fn build_for_local_clusters() -> Result<PathBuf> {
    let out = build(LOCAL)?;
    // They use more modules than the API server does.
    let module = workspace::root().join("tests/real-node").join(LOCAL);
    let stamp = stamp(LOCAL)?;
    for program in ["kube-controller-manager", "kube-scheduler"] {
        let package = format!("k8s.io/kubernetes/cmd/{program}");
        go::build(&module, &package, &stamp, &out.join(program), "up to 5 minutes on 2 cores")?;
    }
    Ok(out)
}

/// The linker's flags for Kubernetes' programs. Without the version in them they call themselves v0.0.0.
pub fn stamp(version: &str) -> Result<String> {
    let minor = version.split('.').nth(1).context("a version is 1.MINOR.PATCH")?;
    let stamp = "k8s.io/component-base/version";
    Ok(format!("-s -w -X {stamp}.gitVersion=v{version} -X {stamp}.gitMajor=1 -X {stamp}.gitMinor={minor}"))
}

/// Every version under tests/control-plane, oldest first.
pub fn versions() -> Result<Vec<String>> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(folder()?)? {
        let entry = entry?;
        if entry.path().join("go.mod").exists() {
            versions.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    ensure!(!versions.is_empty(), "no version under {FOLDER}");
    versions.sort_by_key(|it| it.split('.').map(|number| number.parse().unwrap_or(0)).collect::<Vec<u32>>());
    Ok(versions)
}

fn folder() -> Result<PathBuf> {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask control-plane`")?;
    Ok(Path::new(&xtask).join("..").join(FOLDER).canonicalize()?)
}
