//! What the full test run needs beyond Rust: built or installed here, each part by its name.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};

use crate::{control_plane, go, image, node, packages, workspace};

/// kube-apiserver and etcd of every version in `tests/control-plane`.
const CONTROL_PLANE: &str = "control plane";

/// Tests that change owners or become another user.
const ROOT: &str = "root";

/// Tests that take too long for each run; only `cargo xtask test --tools` has it.
const HOUR: &str = "an hour";

/// Programs under `tests/go`, and the variable in which the tests find each.
const GO: &[(&str, &str)] = &[
    ("kms-client", "KEYSTEAD_GO_KMS_CLIENT"),
    ("kms-client-1.56", "KEYSTEAD_GO_KMS_CLIENT_156"),
    ("kms-reference-plugin", "KEYSTEAD_GO_REFERENCE_PLUGIN"),
    ("google-clients", "KEYSTEAD_GO_GOOGLE_CLIENTS"),
];

/// How a part is found or installed; the answer is its path.
type Provide = fn() -> Result<PathBuf>;

/// What package managers install, and the variable in which the tests find each; without one they find it on PATH.
const PACKAGES: &[(&str, Option<&str>, Provide)] = &[
    ("gcloud", Some("KEYSTEAD_GCLOUD"), packages::gcloud),
    ("kubectl", Some("KEYSTEAD_KUBECTL"), packages::kubectl),
    ("python clients", Some("KEYSTEAD_PYTHON"), packages::python),
    ("node clients", Some("KEYSTEAD_NODE_MODULES"), packages::node),
    ("browser", Some("KEYSTEAD_BROWSER"), packages::browser),
    ("libfaketime", Some("KEYSTEAD_FAKETIME"), packages::faketime),
    ("promtool", Some("KEYSTEAD_PROMTOOL"), packages::promtool),
    ("ssh-keygen", None, packages::ssh_keygen),
    ("containerd", Some("KEYSTEAD_CONTAINERD"), packages::containerd),
];

/// What only `cargo xtask test --tools` provides: the variable in which the tests find it, and why other runs do without.
const TOOLS: &[(&str, &str, Provide, &str)] = &[
    ("plugin image", "KEYSTEAD_PLUGIN_IMAGE", image::for_tests, "it takes another build of the plugin"),
    // Not `node`: a test that needs the part `node clients` would be taken for one that needs this.
    (
        "real node",
        "KEYSTEAD_NODE",
        node::programs,
        "it takes eight more programs in Go and packages of Debian",
    ),
    (
        "local clusters",
        "KEYSTEAD_KUBERNETES_PROGRAMS",
        control_plane::build_for_local_clusters,
        "it takes two more programs in Go, one of which is a long build",
    ),
    (
        "real systemd",
        "KEYSTEAD_SYSTEMD",
        packages::systemd,
        "it takes packages of Debian and a machine to be root on",
    ),
];

/// The list of parts that may be absent.
const MAY_BE_MISSING: &str = "tests/may-be-missing.toml";

/// What was built, and what could not be.
#[derive(Default)]
pub struct Parts {
    /// For the tests' environment.
    pub variables: Vec<(&'static str, PathBuf)>,
    pub missing: Vec<Missing>,
}

pub struct Missing {
    pub name: String,
    pub cause: String,
    /// Why `tests/may-be-missing.toml` puts up with it; `None` fails the run.
    pub excuse: Option<String>,
}

/// Builds every part, saying what takes long, and with `tools` also what the commands for releases make. A part that cannot be
/// built does not keep the others from it.
pub fn provide(tools: bool) -> Result<Parts> {
    let excuses = excuses(&std::fs::read_to_string(workspace::root().join(MAY_BE_MISSING))?)?;
    let mut parts = Parts::default();
    let mut missing = |name: &str, cause: anyhow::Error| {
        let excuse = excuses.iter().find(|(excused, _)| excused == name).map(|(_, reason)| reason.clone());
        parts.missing.push(Missing { name: name.to_owned(), cause: format!("{cause:#}"), excuse });
    };
    // The owner of our own entry in /proc is who we are.
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        missing(ROOT, anyhow!("this user is not root"));
    }
    for version in control_plane::versions()? {
        if let Err(cause) = control_plane::build(&version) {
            missing(CONTROL_PLANE, cause.context(version));
        }
    }
    for (name, variable) in GO {
        match go_program(name) {
            Ok(path) => parts.variables.push((variable, path)),
            Err(cause) => missing(name, cause),
        }
    }
    for (name, variable, provide) in PACKAGES {
        match provide() {
            Ok(path) => parts.variables.extend(variable.map(|variable| (variable, path))),
            Err(cause) => missing(name, cause),
        }
    }
    if tools {
        for (name, variable, provide, _) in TOOLS {
            match provide() {
                Ok(path) => parts.variables.push((variable, path)),
                Err(cause) => missing(name, cause),
            }
        }
    } else {
        let tools = TOOLS.iter().map(|(name, _, _, cause)| (*name, *cause));
        let hour = (HOUR, "it is too long for each run");
        parts.missing.extend(tools.chain([hour]).map(|(name, cause)| Missing {
            name: name.to_owned(),
            cause: (*cause).to_owned(),
            excuse: Some("`cargo xtask test --tools` has it".to_owned()),
        }));
    }
    Ok(parts)
}

/// The program under `tests/go/NAME`.
pub fn go_program(name: &str) -> Result<PathBuf> {
    go::build_program(&workspace::root().join("tests/go").join(name), name)
}

/// The parts besides the programs under `tests/go`.
fn kinds() -> impl Iterator<Item = &'static str> {
    let packages = PACKAGES.iter().map(|(name, _, _)| *name);
    let tools = TOOLS.iter().map(|(name, ..)| *name);
    [CONTROL_PLANE, ROOT].into_iter().chain(packages).chain(tools)
}

/// Names and reasons in the list. A name that is no part of ours is a mistake, not a promise for later.
fn excuses(text: &str) -> Result<Vec<(String, String)>> {
    let table: toml::Table = text.parse().with_context(|| format!("cannot read {MAY_BE_MISSING}"))?;
    let known: Vec<&str> = kinds().chain(GO.iter().map(|(name, _)| *name)).collect();
    let mut excuses = Vec::new();
    for (name, reason) in table {
        let reason = reason.as_str().with_context(|| format!("{MAY_BE_MISSING}: {name} has no reason"))?;
        ensure!(
            known.contains(&name.as_str()),
            "{MAY_BE_MISSING}: there is no part {name}; parts: {}",
            known.join(", ")
        );
        ensure!(!reason.trim().is_empty(), "{MAY_BE_MISSING}: {name} has no reason");
        excuses.push((name, reason.to_owned()));
    }
    Ok(excuses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excuse_names_a_part_and_a_reason() {
        assert_eq!(
            excuses("\"kms-client\" = \"no Go on this machine\"\n").expect("a good list"),
            [("kms-client".to_owned(), "no Go on this machine".to_owned())]
        );
        assert!(excuses("\"kms-clinet\" = \"a slip\"\n").is_err());
        assert!(excuses("\"kms-client\" = \" \"\n").is_err());
        assert!(excuses("\"kms-client\" = true\n").is_err());
    }

    #[test]
    fn the_list_in_the_checkout_can_be_read() {
        let text = std::fs::read_to_string(workspace::root().join(MAY_BE_MISSING)).expect("the list exists");
        excuses(&text).expect("the list is well formed");
        let comment: String = text.lines().filter_map(|it| it.strip_prefix("# ")).collect();
        for kind in kinds() {
            assert!(comment.contains(&format!("`{kind}`")), "its comment does not name {kind}");
        }
    }
}
