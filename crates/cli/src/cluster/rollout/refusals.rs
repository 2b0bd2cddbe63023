//! What a rollout cannot be for, seen at its start.

use std::collections::BTreeSet;

use keystead_cluster::executor::Preview;
use keystead_runtime::Failure;

/// Without the flag what it encrypts for others could not be read.
pub(super) fn nothing_beside(others: &BTreeSet<String>) -> Result<(), Failure> {
    if others.is_empty() {
        return Ok(());
    }
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    Err(Failure::new(format!("the same file encrypts {} too, which would be unreadable without it", others.join(", ")))
        .hint(
            "name all of them with --resource, or take the rollout's entry out of the file by hand when nothing needs it"
                .to_owned(),
        ))
}

/// An API server that is not known may write in any way, and two hosts under one address are one that is asked twice.
pub(super) fn all_are_named(seen: &Preview) -> Result<(), Failure> {
    let servers = || seen.observed.servers.iter().filter(|it| !it.address.is_empty());
    for server in servers() {
        if let Some(other) = servers().find(|it| it.name < server.name && it.address == server.address) {
            return Err(Failure::new(format!(
                "{} and {} have the same address, {}",
                other.name, server.name, server.address
            ))
            .usage()
            .hint("name each host once; kube-apiserver's --advertise-address must be its own".to_owned()));
        }
    }
    if seen.unnamed.is_empty() {
        return Ok(());
    }
    let unnamed = seen.unnamed.join(", ");
    Err(Failure::new(format!("no host was named for these API servers of the cluster: {unnamed}"))
        .usage()
        .hint("name all control-plane hosts: --over ssh --host HOST ..., or run the same command with --over cluster on each".to_owned()))
}

pub(super) fn refuse_wildcards(resources: &[String]) -> Result<(), Failure> {
    match resources.iter().find(|it| it.contains('*')) {
        None => Ok(()),
        Some(wildcard) => Err(Failure::new(format!(
            "{wildcard} is a wildcard, and a rollout of one is not supported: what it covers changes as the cluster does"
        ))
        .hint("put the resources into an entry of their own before the wildcard's, by name".to_owned())),
    }
}
