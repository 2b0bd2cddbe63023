//! The directory that holds everything the server keeps: whose it is, who has it open, and where clients find us.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use keystead_runtime::whole_file::{self, Readers};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::Serialize;

/// An open data directory. One process has it.
pub(crate) struct DataDir {
    path: PathBuf,
    /// The directory itself, and its file `lock`.
    _locks: [File; 2],
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// A file, a link, ...
    #[error("the data directory {} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Others can use it.
    #[error("the data directory {} has mode {mode:04o}: others can use it", path.display())]
    Mode { path: PathBuf, mode: u32 },
    /// Somebody else's.
    #[error("the data directory {} belongs to user {owner}, and the server runs as user {ours}", path.display())]
    Owner { path: PathBuf, owner: u32, ours: u32 },
    /// Another server has it.
    #[error("another keystead-server{} runs with the data directory {}", pid.as_ref().map(|pid| format!(" (pid {pid})")).unwrap_or_default(), path.display())]
    InUse { path: PathBuf, pid: Option<String> },
}

impl DataDirError {
    /// One action that helps.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Io { .. } => "check the path, who may write there, and the room on the disk".to_owned(),
            Self::NotADirectory(_) => "choose another path with --data-dir".to_owned(),
            Self::Mode { path, .. } => format!("chmod 0700 {}", path.display()),
            Self::Owner { path, .. } => format!("run the server as its owner, or chown {}", path.display()),
            Self::InUse { .. } => "stop the other server, or give this one another --data-dir".to_owned(),
        }
    }
}

/// `endpoint.json`: what `keystead env` and other programs on this host read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    /// Such as `https://localhost:9443`.
    pub(crate) endpoint: String,
    /// The same for programs on this host, where no name has to be known; none when the certificate was given, which may be for
    /// the name alone.
    pub(crate) local_endpoint: Option<String>,
    /// Every TLS address.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Every loopback address without TLS.
    pub(crate) plain_http: Vec<SocketAddr>,
    /// The bundle of our own authority; none when the certificate was given.
    pub(crate) ca_file: Option<PathBuf>,
    /// The first administrator's token, if its file is there.
    pub(crate) token_file: Option<PathBuf>,
}

impl DataDir {
    /// Opens it, or makes it with mode 0700.
    pub(crate) fn open(given: &Path) -> Result<Self, DataDirError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { action, path, source }
        };
        if let Some(parent) = given.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(io("make", parent))?;
        }
        match DirBuilder::new().mode(0o700).create(given) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(io("make", given)(error)),
            _ => {}
        }
        let path = judged(given)?;
        // A file can be removed and made anew, and then two servers would each have one.
        let directory = File::open(&path).map_err(io("open", &path))?;
        let taken = match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            // NFS locks no directories: there the file has to do.
            Ok(()) | Err(Errno::BADF | Errno::NOLCK | Errno::NOTSUP) => false,
            Err(_) => true,
        };
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(io("open", &lock_path))?;
        if taken || flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let known = lock.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            return Err(DataDirError::InUse { path, pid: known.then(|| pid.trim().to_owned()) });
        }
        let pid = format!("{}\n", std::process::id());
        lock.set_len(0).and_then(|()| lock.write_all(pid.as_bytes())).map_err(io("write", &lock_path))?;
        Ok(Self { path, _locks: [directory, lock] })
    }

    /// Whether it could be opened, as far as that can be said without making or locking anything.
    pub(crate) fn check(given: &Path) -> Result<(), DataDirError> {
        // What is not there is made, where there is a directory to make it in.
        match given.ancestors().find(|path| path.symlink_metadata().is_ok()) {
            Some(path) if path == given => judged(given).map(drop),
            Some(path) if !path.is_dir() => Err(DataDirError::NotADirectory(path.to_owned())),
            _ => Ok(()),
        }
    }

    /// Makes a directory in it, for us alone.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf, DataDirError> {
        let path = self.path.join(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => {
                Err(DataDirError::Io { action: "make", path, source })
            }
            _ => Ok(path),
        }
    }

    /// The absolute path of something in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Says where clients find us. It is left there when the server stops: the next one most often has the same address.
    pub(crate) fn write_endpoint(&self, endpoint: &Endpoint) -> Result<(), DataDirError> {
        let path = self.join("endpoint.json");
        let text = serde_json::to_vec_pretty(endpoint).map_err(std::io::Error::other);
        text.and_then(|text| whole_file::replace(&path, &text, Readers::Owner))
            .map_err(|source| DataDirError::Io { action: "write", path, source })
    }
}

/// The absolute path of a directory that is ours alone.
fn judged(given: &Path) -> Result<PathBuf, DataDirError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| DataDirError::Io { action, path, source }
    };
    let path = fs::canonicalize(given).map_err(io("find", given))?;
    let metadata = fs::metadata(&path).map_err(io("look at", &path))?;
    if !metadata.is_dir() {
        return Err(DataDirError::NotADirectory(path));
    }
    let ours = geteuid().as_raw();
    if metadata.uid() != ours {
        return Err(DataDirError::Owner { path, owner: metadata.uid(), ours });
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(DataDirError::Mode { path, mode });
    }
    Ok(path)
}
