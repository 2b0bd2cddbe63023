//! The table as text: one line a method.

use std::collections::BTreeSet;

const TABLE: &str = include_str!("table.txt");

/// One method: how it is called, on what, and by whom it may be.
#[derive(Debug)]
pub(super) struct Row {
    /// `package.Service/Method`.
    pub(super) method: String,
    /// What the permission is asked for.
    pub(super) level: Level,
    /// `METHOD PATH BODY`.
    pub(super) rest: String,
    /// The gRPC message as JSON, with `{ring}`, `{key}` and so on.
    pub(super) message: String,
    /// The roles that may.
    pub(super) roles: BTreeSet<&'static str>,
}

/// What a permission is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Key,
    Ring,
    Project,
    Server,
}

/// Lines of five columns: method, level, REST call, message, roles.
pub(super) fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(row).collect()
}

fn row(line: &'static str) -> Row {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let [method, level, rest, message, roles] = columns[..] else { panic!("five columns: {line}") };
    let level = match level {
        "key" => Level::Key,
        "ring" => Level::Ring,
        "project" => Level::Project,
        "server" => Level::Server,
        other => panic!("{other} is no level"),
    };
    Row {
        method: method.to_owned(),
        level,
        rest: rest.to_owned(),
        message: message.to_owned(),
        roles: roles.split_whitespace().map(long).collect(),
    }
}

/// Short names keep a line of the table readable.
fn long(short: &'static str) -> &'static str {
    match short {
        "admin" => "roles/cloudkms.admin",
        "kviewer" => "roles/cloudkms.viewer",
        "encdec" => "roles/cloudkms.cryptoKeyEncrypterDecrypter",
        "enc" => "roles/cloudkms.cryptoKeyEncrypter",
        "dec" => "roles/cloudkms.cryptoKeyDecrypter",
        "operator" => "roles/cloudkms.cryptoOperator",
        "prviewer" => "roles/cloudkms.protectedResourcesViewer",
        "cadmin" => "roles/container.admin",
        "ccluster" => "roles/container.clusterAdmin",
        "cviewer" => "roles/container.viewer",
        "ccv" => "roles/container.clusterViewer",
        "cdev" => "roles/container.developer",
        "owner" => "roles/owner",
        "editor" => "roles/editor",
        "viewer" => "roles/viewer",
        "browser" => "roles/browser",
        "piam" => "roles/resourcemanager.projectIamAdmin",
        "su" => "roles/serviceusage.serviceUsageAdmin",
        "saadmin" => "roles/iam.serviceAccountAdmin",
        "sakeyadmin" => "roles/iam.serviceAccountKeyAdmin",
        "approver" => "roles/keystead.destructionApprover",
        "*" => "*",
        other => panic!("{other} is no role"),
    }
}
