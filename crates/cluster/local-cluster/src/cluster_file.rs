//! `cluster.json`: what the server says about a cluster.

use std::path::PathBuf;

use keystead_runtime::Failure;
use serde::Deserialize;

use crate::files;
use crate::layout::Layout;

/// The text of `cluster.json`. The server writes it by rename, at each of its starts and before it starts the supervisor. A field that is not
/// known here is left alone, because the server may be newer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterFile {
    /// Its name on the server: `projects/P/locations/L/clusters/C`. Shown in logs and nothing else.
    pub(crate) cluster: String,
    /// How many API servers it has, each on a host of its own: 1 or 3.
    pub(crate) api_servers: usize,
    /// The directory with etcd, kube-apiserver, kube-controller-manager and kube-scheduler.
    pub(crate) programs: PathBuf,
    /// The server's address, such as `https://127.0.0.1:9443`.
    pub(crate) server: String,
}

/// An etcd of one member, and as many API servers as a cluster that is really of several hosts has.
const API_SERVERS: [usize; 2] = [1, 3];

impl ClusterFile {
    pub(crate) fn read(layout: &Layout) -> Result<Self, Failure> {
        let path = layout.cluster_file();
        let text = std::fs::read(&path).map_err(|error| files::failed("read", &path, &error).usage())?;
        let wrong = |reason: String| Failure::new(format!("{}: {reason}", path.display())).usage();
        let cluster: Self = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if !API_SERVERS.contains(&cluster.api_servers) {
            return Err(wrong(format!("apiServers is to be 1 or 3, and is {}", cluster.api_servers)));
        }
        if !cluster.server.starts_with("https://") {
            return Err(wrong("server is to begin with https://".to_owned()));
        }
        Ok(Self { server: cluster.server.trim_end_matches('/').to_owned(), ..cluster })
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ClusterFile, Failure> {
        let directory = tempfile::tempdir().expect("a directory");
        let layout = Layout::of(directory.path()).expect("short");
        std::fs::write(layout.cluster_file(), text).expect("written");
        ClusterFile::read(&layout)
    }

    #[test]
    fn the_servers_words_are_read_and_what_cannot_be_run_is_refused() {
        let text = |count: &str, server: &str| {
            format!(
                r#"{{"cluster":"projects/p/locations/l/clusters/c","apiServers":{count},"programs":"/p","server":"{server}","later":1}}"#
            )
        };
        let good = read(&text("3", "https://127.0.0.1:9443/")).expect("good");
        assert_eq!((good.api_servers, good.server.as_str()), (3, "https://127.0.0.1:9443"));
        for bad in [text("2", "https://127.0.0.1:9443"), text("1", "http://127.0.0.1:9443"), "{}".to_owned()]
        {
            assert_eq!(read(&bad).expect_err(&bad).code(), 2);
        }
    }
}
