//! `ports.json`: on which ports of 127.0.0.1 the cluster listens, the same at each start.

use std::net::{Ipv4Addr, TcpListener};

use keystead_runtime::Failure;
use serde::{Deserialize, Serialize};

use crate::files;
use crate::layout::Layout;

/// The ports of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ports {
    pub(crate) etcd: u16,
    /// etcd wants one for its members, also where it is alone.
    pub(crate) etcd_peers: u16,
    /// In the order of the hosts.
    pub(crate) api_servers: Vec<u16>,
}

impl Ports {
    /// Those that were chosen before, and new ones for what has none yet.
    pub(crate) fn of(layout: &Layout, api_servers: usize) -> Result<Self, Failure> {
        let path = layout.path("ports.json");
        let mut ports = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(files::failed("read", &path, &error)),
        };
        let before = ports.clone();
        // Kept open until all are chosen, or the same one could be chosen twice.
        let mut chosen = Vec::new();
        if ports.etcd == 0 {
            ports.etcd = free(&mut chosen)?;
        }
        if ports.etcd_peers == 0 {
            ports.etcd_peers = free(&mut chosen)?;
        }
        while ports.api_servers.len() < api_servers {
            ports.api_servers.push(free(&mut chosen)?);
        }
        if ports != before {
            let text = serde_json::to_string(&ports)
                .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
            files::write(&path, &text)?;
        }
        Ok(ports)
    }

    /// The port of a host's API server.
    pub(crate) fn api_server(&self, host: usize) -> Result<u16, Failure> {
        let port = self.api_servers.get(host).copied();
        port.ok_or_else(|| Failure::new(format!("ports.json has no port for host-{host}")))
    }
}

fn free(chosen: &mut Vec<TcpListener>) -> Result<u16, Failure> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| Ok((it.local_addr()?.port(), it)));
    let (port, listener) =
        bound.map_err(|error| Failure::new(format!("no port of 127.0.0.1 is to be had: {error}")))?;
    chosen.push(listener);
    Ok(port)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_chosen_once_and_more_hosts_get_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let layout = Layout::of(directory.path()).expect("short");
        let one = Ports::of(&layout, 1).expect("ports");
        assert_eq!(Ports::of(&layout, 1).expect("ports"), one);
        let three = Ports::of(&layout, 3).expect("ports");
        assert_eq!((three.etcd, three.api_servers.first()), (one.etcd, one.api_servers.first()));
        let all: BTreeSet<u16> =
            three.api_servers.iter().chain([&three.etcd, &three.etcd_peers]).copied().collect();
        assert_eq!(all.len(), 5, "{three:?}");
        // A file that somebody spoiled is not taken for none: the cluster's clients know the ports.
        std::fs::write(layout.path("ports.json"), "{").expect("written");
        Ports::of(&layout, 1).expect_err("no JSON");
    }
}
