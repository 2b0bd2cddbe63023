//! Whether clients still reach the socket by its path, and listening anew when they do not.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use keystead_model::ErrorChain;
use tokio::net::UnixListener;

use super::SocketError;
use super::directory;
use super::file::SocketFile;

/// What is known of the socket while it is served.
#[derive(Debug, Default)]
pub struct SocketWatch {
    lost: Mutex<Option<String>>,
    rebinds: AtomicU64,
}

impl SocketWatch {
    /// Why no client can connect by the socket's path now; `None` while all is well.
    pub fn lost(&self) -> Option<String> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the plugin has listened anew.
    pub fn rebinds(&self) -> u64 {
        self.rebinds.load(Ordering::Relaxed)
    }

    /// Logs what is new.
    fn set_lost(&self, reason: Option<String>) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if *lost != reason {
            match &reason {
                Some(reason) => tracing::error!(reason, "clients cannot reach the socket"),
                None => tracing::info!("clients can reach the socket again"),
            }
            *lost = reason;
        }
    }
}

/// The place of a socket in the file system, for as long as it is served.
#[derive(Debug)]
pub(in crate::transport) struct Kept {
    place: Place,
    watch: Arc<SocketWatch>,
}

#[derive(Debug)]
pub(super) enum Place {
    /// An abstract name, or a path that this process cannot see.
    Nowhere,
    /// The service manager's: it is looked at, and nothing is done about it.
    Inherited { path: PathBuf, identity: (u64, u64) },
    /// Made here, at the path as the user wrote it. There is no file while listening anew fails.
    Ours { path: PathBuf, mode: u32, file: Option<SocketFile> },
}

impl Place {
    /// Of a socket that the service manager passed.
    pub(super) fn inherited(path: Option<&Path>) -> Self {
        let found = path.and_then(|path| Some((path.to_owned(), identity_of(path)?)));
        found.map_or(Self::Nowhere, |(path, identity)| Self::Inherited { path, identity })
    }

    /// Listens on this path, under the rules for its directory.
    pub(super) fn listen(
        path: PathBuf,
        mode: u32,
    ) -> Result<(std::os::unix::net::UnixListener, Self), SocketError> {
        let (socket, file) = listen(&path, mode, None)?;
        Ok((socket, Self::Ours { path, mode, file: Some(file) }))
    }
}

impl Kept {
    pub(super) fn new(place: Place) -> Self {
        Self { place, watch: Arc::default() }
    }

    pub(super) fn watch(&self) -> Arc<SocketWatch> {
        Arc::clone(&self.watch)
    }

    /// Looks whether the path still leads to the socket. A listener that is given takes the place of the old one. Must be
    /// called inside a tokio runtime.
    pub(in crate::transport) fn look_after(&mut self) -> Option<UnixListener> {
        match &mut self.place {
            Place::Nowhere => None,
            Place::Inherited { path, identity } => {
                let lost = identity_of(path) != Some(*identity);
                self.watch.set_lost(lost.then(|| {
                    let path = path.display();
                    format!(
                        "{path} is not the socket that the service manager passed: restart its .socket unit"
                    )
                }));
                None
            }
            Place::Ours { path, mode, file } => {
                if file.as_ref().is_some_and(|file| identity_of(path) == Some(file.identity())) {
                    self.watch.set_lost(None);
                    return None;
                }
                match listen_anew(path, *mode, file) {
                    Ok(listener) => {
                        tracing::warn!(path = %path.display(), "the socket was gone from its path: listening anew");
                        self.watch.rebinds.fetch_add(1, Ordering::Relaxed);
                        self.watch.set_lost(None);
                        Some(listener)
                    }
                    Err(error) => {
                        self.watch.set_lost(Some(ErrorChain(&error).to_string()));
                        None
                    }
                }
            }
        }
    }
}

/// Under the same rules as at the start, so that nothing is replaced but a socket that nobody listens on.
fn listen_anew(path: &Path, mode: u32, file: &mut Option<SocketFile>) -> Result<UnixListener, SocketError> {
    let lock = file.take().and_then(SocketFile::into_lock);
    let (socket, made) = listen(path, mode, lock)?;
    let listener =
        UnixListener::from_std(socket).map_err(|source| SocketError::io("listen on", path, source))?;
    *file = Some(made);
    Ok(listener)
}

fn listen(
    path: &Path,
    mode: u32,
    lock: Option<fs::File>,
) -> Result<(std::os::unix::net::UnixListener, SocketFile), SocketError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        let reason = "a socket's path must end with a file name";
        return Err(SocketError::Invalid { given: path.display().to_string(), reason });
    };
    let directory = directory::prepare(parent, rustix::process::geteuid().as_raw())?;
    SocketFile::listen(directory.join(name), mode, lock)
}

/// Device and inode. A socket keeps its inode as long as it is open, so that no other file gets the same number.
pub(super) fn identity_of(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}
