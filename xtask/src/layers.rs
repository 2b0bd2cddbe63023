//! Which crate may depend on which, and which module of a crate: arrows point downwards only, and what must stay apart stays
//! apart.

mod modules;
mod paths;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::{self, Package};
use paths::Source;

/// A group, which is the folder under `crates/`, and the groups that its crates may depend on.
/// From the ground up, so that a row names only itself and rows above it.
const ALLOWED: &[(&str, &[&str])] = &[
    ("base", &["base"]),
    ("providers", &["base", "providers"]),
    // No SQL, no HTML and no cluster tooling beside the key.
    ("plugin", &["base", "providers"]),
    ("cluster", &["base", "cluster"]),
    // The key service wraps its root key with the same providers as the plugin.
    ("kms", &["base", "providers", "kms"]),
    // The suite and the real parts know the base and the readers of etcd, not the programs that they test.
    ("test", &["base", "cluster", "test"]),
    ("cli", &["base", "providers", "plugin", "kms", "cluster", "test"]),
    // Compiles before everything, so it depends on nothing of ours.
    ("xtask", &[]),
];

/// Generated types stop at the adapters. Tests may see them too.
const SEES_PROTO: &[&str] = &[
    "keystead-plugin",
    "keystead-server",
    "keystead-provider-cloudkms",
    "keystead-etcd",
    "keystead-cluster",
    "keystead-conformance",
    "keystead-testkit",
];

/// Edges inside the group `kms`: every other one is refused.
const INSIDE_KMS: &[(&str, &[&str])] = &[
    ("keystead-store-sqlite", &["keystead-store"]),
    ("keystead-keyservice", &["keystead-store", "keystead-audit"]),
    ("keystead-console", &["keystead-keyservice"]),
    (
        "keystead-server",
        &[
            "keystead-store",
            "keystead-store-sqlite",
            "keystead-audit",
            "keystead-keyservice",
            "keystead-console",
        ],
    ),
];

/// A crate whose modules are checked.
struct Modules {
    src: &'static str,
    /// From the ground up: each imports only what stands before it, and those in one text do not know each other. The parts of one
    /// module may import each other, but not in a circle.
    order: &'static [&'static str],
}

const MODULES: &[Modules] = &[AUDIT, KEYSERVICE, SERVER];

const AUDIT: Modules = Modules {
    src: "crates/kms/audit/src",
    order: &[
        // What a record says.
        "error",
        "problem",
        "safe_value",
        "resource",
        "event",
        "entry",
        "record",
        // What a log is on the disk, and what is found there.
        "head",
        "signed_head",
        "line",
        "chain",
        "files",
        "segment",
        "reader",
        "retention",
        "verify",
        "reserve",
        "active",
        "recover",
        // An open log: what all sides share, the threads, the callers' side.
        "clock_watch",
        "state",
        "metrics",
        "refusals",
        "queue",
        "shared",
        "export",
        "settings",
        "writer",
        "log",
    ],
};

const KEYSERVICE: Modules = Modules {
    src: "crates/kms/keyservice/src",
    order: &[
        // What everybody may say.
        "error",
        "resource",
        // What is stored, and how it is changed.
        "records",
        "key_material",
        "root",
        "remembered",
        "ledger",
        // Who calls, and what there is.
        "identity",
        "service",
        // One call, and all that can be asked for.
        "call",
        "authentication",
        "operations",
        // What happens by itself, and the start.
        "schedule",
        "open",
        // For benchmarks.
        "filling",
    ],
};

const SERVER: Modules = Modules {
    src: "crates/kms/server/src",
    order: &[
        // What the APIs, the port and the metrics share.
        "methods",
        "metrics",
        "blocking_work",
        // The port.
        "pki",
        "tls",
        "listener",
        // What is configured, and the files.
        "data_dir",
        "backup_folder",
        "local_clusters",
        "webhooks",
        "settings",
        "restore",
        // What is wrong now, and what says so.
        "health",
        "root_key",
        // From a request to a command and back.
        "grpc rest",
        "api",
        "front",
        // The process.
        "app",
        "check",
        "run",
        "main",
    ],
};

/// Runs `cargo xtask layers`.
pub fn run() -> Result<()> {
    let packages = workspace::packages()?;
    let mut forbidden = check(&packages);
    let files = process::files()?;
    for Modules { src, order } in MODULES {
        let src = Path::new(src);
        let sources: Vec<Source> = files.iter().filter_map(|it| source(it, src)).collect::<Result<_>>()?;
        forbidden.extend(modules::check(order, src, &sources));
    }
    if !forbidden.is_empty() {
        bail!(
            "dependencies against the layers (tables in xtask/src/layers.rs):\n  {}",
            forbidden.join("\n  ")
        );
    }
    let (crates, modules) =
        (packages.len(), MODULES.iter().flat_map(|it| it.order).flat_map(|it| it.split(' ')).count());
    println!(
        "layers: {crates} crates, and {modules} modules of {} of them; all arrows point downwards",
        MODULES.len()
    );
    Ok(())
}

/// A file, if it is a source file under `src`.
fn source(file: &Path, src: &Path) -> Option<Result<Source>> {
    let path = file.strip_prefix(src).ok().filter(|it| it.extension().is_some_and(|it| it == "rs"))?;
    let text = fs::read_to_string(workspace::root().join(file)).with_context(|| file.display().to_string());
    Some(text.map(|text| Source { path: path.to_owned(), text }))
}

/// One sentence for each forbidden edge.
fn check(packages: &[Package]) -> Vec<String> {
    let mut forbidden = Vec::new();
    for from in packages {
        for dependency in &from.dependencies {
            let to = packages.iter().find(|it| it.name == dependency.name);
            if let Some(reason) = to.and_then(|to| refusal(from, to, dependency.dev)) {
                forbidden.push(format!("{} -> {}: {reason}", from.name, dependency.name));
            }
        }
    }
    forbidden
}

fn refusal(from: &Package, to: &Package, dev: bool) -> Option<String> {
    let (lower, upper) = (group(&to.dir), group(&from.dir));
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == upper) else {
        return Some(format!("group {upper:?} is not in the table"));
    };
    // What a test starts may be anything below the CLI; what is shipped may not.
    let allowed = allowed.contains(&lower) || (dev && !["cli", "xtask"].contains(&lower));
    if !allowed {
        return Some(format!("{upper} may not depend on {lower}"));
    }
    if dev {
        return None;
    }
    if upper == "providers" && lower == "providers" && to.name != "keystead-provider" {
        return Some("a provider knows the trait and no other provider".into());
    }
    if upper == "kms" && lower == "kms" {
        let inside = INSIDE_KMS.iter().find(|(name, _)| *name == from.name);
        if !inside.is_some_and(|(_, allowed)| allowed.contains(&to.name.as_str())) {
            return Some("inside the key service arrows point to the store and to the audit log".into());
        }
    }
    if from.name == "keystead-provider" && lower == "providers" {
        return Some("the trait knows none of its providers".into());
    }
    if to.name == "keystead-proto" && !SEES_PROTO.contains(&from.name.as_str()) {
        return Some("generated types stop at the adapters".into());
    }
    None
}

/// `crates/base/model` is in `base`; `crates/plugin` and `xtask` are groups of one.
fn group(dir: &Path) -> &str {
    let mut parts = dir.iter().filter_map(|it| it.to_str());
    match parts.next() {
        Some("crates") => parts.next().unwrap_or("crates"),
        first => first.unwrap_or("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    /// The crates that `from` depends on, among all that the cases below name.
    fn forbidden(from: &str, to: &str, dev: bool) -> Vec<String> {
        let name = |dir: &str| match dir {
            "xtask" => "xtask".to_owned(),
            "crates/cli" => "keystead".to_owned(),
            "crates/providers/provider" => "keystead-provider".to_owned(),
            _ if dir.starts_with("crates/providers/") => format!("keystead-provider-{}", last(dir)),
            _ => format!("keystead-{}", last(dir)),
        };
        let dependency = Dependency { name: name(to), dev };
        check(&[
            Package { name: name(from), dir: from.into(), dependencies: vec![dependency] },
            Package { name: name(to), dir: to.into(), dependencies: Vec::new() },
        ])
    }

    fn last(dir: &str) -> &str {
        dir.rsplit('/').next().unwrap_or(dir)
    }

    #[test]
    fn an_edge_upwards_or_across_is_named() {
        for (from, to) in [
            ("crates/base/model", "crates/providers/provider"),
            ("crates/base/runtime", "crates/plugin"),
            ("crates/providers/local", "crates/providers/vault"),
            ("crates/providers/provider", "crates/providers/local"),
            ("crates/providers/local", "crates/base/proto"),
            ("crates/plugin", "crates/cluster/etcd"),
            ("crates/plugin", "crates/test/testkit"),
            ("crates/cluster/etcd", "crates/plugin"),
            ("crates/test/conformance", "crates/plugin"),
            ("crates/cli", "crates/base/proto"),
            ("crates/plugin", "crates/cli"),
            ("xtask", "crates/base/model"),
            ("crates/kms/store", "crates/kms/store-sqlite"),
            ("crates/kms/audit", "crates/kms/store"),
            ("crates/kms/keyservice", "crates/kms/store-sqlite"),
            ("crates/kms/keyservice", "crates/base/proto"),
            ("crates/plugin", "crates/kms/store"),
            ("crates/kms/server", "crates/plugin"),
        ] {
            let found = forbidden(from, to, false);
            assert_eq!(found.len(), 1, "{from} -> {to} was let through");
        }
    }

    #[test]
    fn an_edge_downwards_is_allowed() {
        for (from, to) in [
            ("crates/providers/local", "crates/providers/provider"),
            ("crates/providers/local", "crates/base/crypto"),
            ("crates/plugin", "crates/providers/local"),
            ("crates/plugin", "crates/base/proto"),
            ("crates/kms/store", "crates/base/model"),
            ("crates/kms/server", "crates/kms/keyservice"),
            ("crates/kms/keyservice", "crates/providers/provider"),
            ("crates/cluster/etcd", "crates/base/proto"),
            ("crates/cli", "crates/plugin"),
            ("crates/cli", "crates/test/conformance"),
        ] {
            assert_eq!(forbidden(from, to, false), Vec::<String>::new());
        }
    }

    #[test]
    fn tests_may_start_what_is_below_the_cli() {
        assert_eq!(forbidden("crates/plugin", "crates/test/testkit", true), Vec::<String>::new());
        assert_eq!(forbidden("crates/test/conformance", "crates/plugin", true), Vec::<String>::new());
        assert_eq!(forbidden("crates/plugin", "crates/cli", true).len(), 1);
    }
}
