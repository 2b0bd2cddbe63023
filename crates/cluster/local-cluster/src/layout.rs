//! Where everything is in the directory of a cluster.

use std::path::{Path, PathBuf};

use keystead_runtime::Failure;

use crate::files;

/// The directory of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    directory: PathBuf,
}

/// The directory of one control-plane host.
#[derive(Clone, Debug)]
pub(crate) struct HostLayout {
    /// `host-0` and so on: the name of its Node, too.
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
}

/// A plugin's socket on a host, as the agent names it: `keystead-` and ten digits that stand for the key.
const LONGEST_SOCKET: &str = "host-0/run/keystead-0123456789/kms.sock";
/// `sun_path` has 108 bytes, the last of them NUL.
const SOCKET_MAX: usize = 107;
/// What each host has, all of it for its owner alone.
const HOST_DIRECTORIES: [&str; 8] =
    ["manifests", "pki", "run", "state", "staging", "agent", "credentials", "logs"];

impl Layout {
    /// Checks that paths fit: plugins bind their sockets at the real path, whatever it is called by others.
    pub(crate) fn of(directory: &Path) -> Result<Self, Failure> {
        let real =
            directory.canonicalize().map_err(|error| files::failed("find", directory, &error).usage())?;
        let Some(text) = real.to_str().filter(|it| !it.contains(char::is_control)) else {
            return Err(Failure::new(format!("{} is not text that manifests can hold", real.display()))
                .usage()
                .hint("choose a directory whose name is plain text".to_owned()));
        };
        let longest = text.len() + 1 + LONGEST_SOCKET.len();
        if longest > SOCKET_MAX {
            return Err(Failure::new(format!(
                "{text} is too long: the socket of a plugin in it would have a path of {longest} bytes, and {SOCKET_MAX} are the most"
            ))
            .usage()
            .hint(format!("choose a directory whose path has {} bytes at most", SOCKET_MAX - 1 - LONGEST_SOCKET.len())));
        }
        Ok(Self { directory: real })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn cluster_file(&self) -> PathBuf {
        self.path("cluster.json")
    }

    /// Its appearance ends the supervisor and leaves the data.
    pub(crate) fn stop(&self) -> PathBuf {
        self.path("stop")
    }

    /// Its appearance ends the supervisor and removes the directory.
    pub(crate) fn delete(&self) -> PathBuf {
        self.path("delete")
    }

    /// Keys and certificates that belong to no host alone.
    pub(crate) fn pki(&self, name: &str) -> PathBuf {
        self.directory.join("pki").join(name)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.path("logs")
    }

    pub(crate) fn host(&self, index: usize) -> HostLayout {
        let name = format!("host-{index}");
        HostLayout { directory: self.directory.join(&name), name }
    }
}

impl HostLayout {
    pub(crate) fn make(&self) -> Result<(), Failure> {
        HOST_DIRECTORIES.iter().try_for_each(|name| files::make_directory(&self.path(name)))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The same for a flag or a file's text. The directory was found to be text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn log(&self, of: &str) -> PathBuf {
        self.path("logs").join(format!("{of}.log"))
    }

    pub(crate) fn has_joined(&self) -> bool {
        self.path("agent/joined.json").exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_whose_sockets_would_be_too_long_is_refused_with_the_length_that_fits() {
        let directory = tempfile::tempdir().expect("a directory");
        let base = directory.path().canonicalize().expect("real");
        let fits = SOCKET_MAX - 1 - LONGEST_SOCKET.len();
        let of_length = |length: usize| base.join("a".repeat(length - base.as_os_str().len() - 1));
        let (good, long) = (of_length(fits), of_length(fits + 1));
        std::fs::create_dir(&good).expect("made");
        std::fs::create_dir(&long).expect("made");
        let layout = Layout::of(&good).expect("it fits");
        assert_eq!(layout.path(LONGEST_SOCKET).as_os_str().len(), SOCKET_MAX);
        let refused = Layout::of(&long).expect_err("too long").to_string();
        assert!(refused.contains(&format!("{fits} bytes at most")), "{refused}");
    }
}
