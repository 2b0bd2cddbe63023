//! The programs of a real node for the tests: Kubernetes' and containerd's from their published Go modules, the rest from Debian.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{apt, control_plane, go, workspace};

/// Where go.mod and go.sum of Kubernetes' and of containerd's programs are, seen from the checkout.
const FOLDER: &str = "tests/real-node";

/// The version of Kubernetes: a folder below [`FOLDER`], and one of those that `cargo xtask control-plane` builds.
const VERSION: &str = "1.37.2";

const KUBERNETES: [&str; 5] = ["kubelet", "kubeadm", "kubectl", "kube-controller-manager", "kube-scheduler"];

const CONTAINERD: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "ctr"];

/// What a node needs of Debian: the package, and a file by which it is known to be there.
const PACKAGES: [(&str, &str); 4] = [
    ("runc", "/usr/sbin/runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("busybox-static", "/bin/busybox"),
    ("iproute2", "/sbin/ip"),
];

/// The folder with the programs of [`KUBERNETES`] and [`CONTAINERD`]; builds and installs what is missing.
pub fn programs() -> Result<PathBuf> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect();
    if !missing.is_empty() {
        apt::install(&missing)?;
    }
    control_plane::build(VERSION)?;
    let (kubernetes, containerd) = modules();
    let out = folder()?;
    for program in CONTAINERD {
        let package = format!("github.com/containerd/containerd/v2/cmd/{program}");
        go::build(&containerd, &package, "-s -w", &out.join(program), "about 1 minute on 2 cores")?;
    }
    let stamp = control_plane::stamp(VERSION)?;
    for program in KUBERNETES {
        let package = format!("k8s.io/kubernetes/cmd/{program}");
        go::build(&kubernetes, &package, &stamp, &out.join(program), "up to 5 minutes on 2 cores")?;
    }
    Ok(out)
}

/// Where [`programs`] puts them, whether or not they are there.
pub fn folder() -> Result<PathBuf> {
    let (kubernetes, containerd) = modules();
    let mut digest = Sha256::new();
    for file in ["go.mod", "go.sum"].iter().flat_map(|name| [kubernetes.join(name), containerd.join(name)]) {
        digest.update(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(go::cache()?.join("node").join(format!("{VERSION}-{}", go::short(digest))))
}

/// The modules of Kubernetes' programs and of containerd's.
fn modules() -> (PathBuf, PathBuf) {
    let modules = workspace::root().join(FOLDER);
    (modules.join(VERSION), modules.join("containerd"))
}
