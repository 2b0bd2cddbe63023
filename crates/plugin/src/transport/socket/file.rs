//! The socket file: taking its place, and leaving it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::SocketError;
use super::address::LONGEST_NAME;
use super::watch::identity_of;

/// A socket file of ours. Dropping it removes the file, unless something else has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    /// Held as long as the file is ours, so that two plugins cannot both find the other's socket stale.
    lock: Option<File>,
}

impl SocketFile {
    /// Listens on `path`, whose directory is known to be safe. `kept` is the lock of a socket file that was there before.
    pub(super) fn listen(
        path: PathBuf,
        mode: u32,
        kept: Option<File>,
    ) -> Result<(UnixListener, Self), SocketError> {
        if path.as_os_str().len() > LONGEST_NAME {
            let (given, length) = (path.display().to_string(), path.as_os_str().len());
            return Err(SocketError::TooLong { given, length });
        }
        let lock = match kept.filter(|kept| is_at(kept, &lock_path(&path))) {
            Some(kept) => kept,
            None => lock(&path)?,
        };
        remove_stale(&path)?;

        let error = |action| {
            let path = path.as_path();
            move |errno: Errno| SocketError::io(action, path, errno)
        };
        let address = SocketAddrUnix::new(&path).map_err(error("bind"))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(error("create the socket"))?;
        // Linux gives the file the socket's mode less the umask, so it is never wider than asked. And nobody can
        // connect before `listen`. Binding elsewhere and renaming would be no safer and could hide a file that
        // appeared in between.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode)).map_err(error("set the mode of"))?;
        net::bind(&socket, &address).map_err(|errno| match errno {
            Errno::ADDRINUSE => SocketError::InUse { name: path.display().to_string(), pid: None },
            errno => SocketError::io("bind", &path, errno),
        })?;
        let found =
            fs::symlink_metadata(&path).map_err(|source| SocketError::io("examine", &path, source))?;
        let file = Self { identity: (found.dev(), found.ino()), path: path.clone(), lock: Some(lock) };
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .map_err(|source| SocketError::io("set the mode of", &path, source))?;
        net::listen(&socket, BACKLOG).map_err(error("listen on"))?;
        Ok((UnixListener::from(socket), file))
    }

    /// Device and inode.
    pub(super) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Gives the file up, and keeps the place locked for another one.
    pub(super) fn into_lock(mut self) -> Option<File> {
        self.lock.take()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|it| (it.dev(), it.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket file");
        }
    }
}

/// The lock file stays for ever: removing it would let two processes lock two different files.
fn lock(socket: &Path) -> Result<File, SocketError> {
    let path = lock_path(socket);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(|source| SocketError::io("open the lock file", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let pid =
                probe(socket).ok().and_then(|state| if let State::Live(pid) = state { pid } else { None });
            Err(SocketError::InUse { name: socket.display().to_string(), pid })
        }
        Err(fs::TryLockError::Error(source)) => Err(SocketError::io("lock", &path, source)),
    }
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

/// A lock whose file was removed keeps nobody out.
fn is_at(lock: &File, path: &Path) -> bool {
    lock.metadata().is_ok_and(|it| identity_of(path) == Some((it.dev(), it.ino())))
}

/// Removes a socket file that is proven to have no listener, and nothing else.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SocketError::io("examine", path, source)),
        Ok(found) => found.file_type(),
    };
    if !kind.is_socket() {
        let kind = if kind.is_dir() {
            "a directory"
        } else if kind.is_symlink() {
            "a symbolic link"
        } else if kind.is_fifo() {
            "a named pipe"
        } else {
            "a file"
        };
        return Err(SocketError::NotASocket { path: path.to_owned(), kind });
    }
    match probe(path).map_err(|errno| SocketError::io("find out who listens on", path, errno))? {
        State::Live(pid) => Err(SocketError::InUse { name: path.display().to_string(), pid }),
        State::Stale => {
            tracing::info!(path = %path.display(), "removing a socket file that nobody listens on");
            fs::remove_file(path).map_err(|source| SocketError::io("remove", path, source))
        }
    }
}

enum State {
    Live(Option<u32>),
    Stale,
}

/// Tries to connect, without waiting: a listener that hangs has a full queue and still is one.
fn probe(path: &Path) -> Result<State, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => {
            let pid = sockopt::socket_peercred(&socket).ok().map(|peer| peer.pid.as_raw_nonzero().get());
            Ok(State::Live(pid.and_then(|pid| u32::try_from(pid).ok())))
        }
        Err(Errno::CONNREFUSED) => Ok(State::Stale),
        // A full queue, or a socket of another type.
        Err(Errno::AGAIN | Errno::PROTOTYPE) => Ok(State::Live(None)),
        Err(errno) => Err(errno),
    }
}

/// Clients that may wait to be accepted; the kernel caps it at `net.core.somaxconn`, 4,096 by default.
const BACKLOG: i32 = 1024;
