//! What can go wrong before the plugin listens.

use std::io;
use std::path::{Path, PathBuf};

use keystead_model::ErrorClass;

/// Why the plugin cannot listen. [`SocketError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A text that names no socket.
    #[error("`{given}` is no socket: {reason}")]
    Invalid {
        /// As the user wrote it.
        given: String,
        /// What is allowed.
        reason: &'static str,
    },
    /// More than a socket address holds.
    #[error("the socket's name `{given}` has {length} bytes, and a UNIX socket's name has at most 107")]
    TooLong {
        /// As the user wrote it.
        given: String,
        /// Bytes of the name that would be bound.
        length: usize,
    },
    /// An abstract name without the option.
    #[error("`{given}` is an abstract socket, which is allowed only with --allow-abstract-socket")]
    AbstractNotAllowed {
        /// As the user wrote it.
        given: String,
    },
    /// A directory that the socket's directory should be in.
    #[error("the directory {} does not exist, and only a socket's own directory is created", path.display())]
    NoDirectory {
        /// The first missing directory.
        path: PathBuf,
    },
    /// A file on the way to the socket.
    #[error("{} is on the way to the socket and is not a directory", path.display())]
    NotADirectory {
        /// The file.
        path: PathBuf,
    },
    /// A loop, most likely.
    #[error("{} leads through more than 40 symbolic links", path.display())]
    TooManyLinks {
        /// As the user wrote it.
        path: PathBuf,
    },
    /// Somebody else could replace the socket.
    #[error("{} belongs to uid {uid}, and everything on the way to the socket must belong to root{}", path.display(), or_uid(*own_uid))]
    ForeignOwner {
        /// Directory or symbolic link.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// The uid of this process.
        own_uid: u32,
    },
    /// Somebody else could replace the socket.
    #[error(
        "the directory {} has mode {mode:04o}, and nobody but its owner may write to a socket's directory or to those above it",
        path.display()
    )]
    DirectoryWritable {
        /// The directory.
        path: PathBuf,
        /// Its mode, with the special bits.
        mode: u32,
    },
    /// Something is there that this plugin did not make.
    #[error("{} is {kind}, and only a socket file that nobody listens on is replaced", path.display())]
    NotASocket {
        /// Where the socket should be.
        path: PathBuf,
        /// "a directory", ...
        kind: &'static str,
    },
    /// Another process listens, or another plugin is about to.
    #[error("another process{} is listening on {name}, and a socket has one listener", with_pid(*pid))]
    InUse {
        /// The path, or `@` and the abstract name.
        name: String,
        /// The listener's, if the kernel tells.
        pid: Option<u32>,
    },
    /// What the service manager passed is of no use.
    #[error("the service manager passed a file descriptor that is no listening UNIX stream socket")]
    Inherited(#[source] io::Error),
    /// The system refused something.
    #[error("cannot {action} {name}")]
    Io {
        /// A verb.
        action: &'static str,
        /// What it was done to.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl SocketError {
    /// What the user can do, where there is something better than reading the error again.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Invalid { .. } => "write a path, such as /run/keystead/kms.sock".to_owned(),
            Self::TooLong { .. } => "use a shorter path, such as /run/keystead/kms.sock".to_owned(),
            Self::AbstractNotAllowed { .. } => {
                "use a path; an abstract socket has no file mode, so every process in the \
                 network namespace can take its name first"
                    .to_owned()
            }
            Self::NoDirectory { path } => format!("mkdir -p {}", path.display()),
            Self::ForeignOwner { path, own_uid, .. } => {
                format!("check who made it, then: chown {own_uid} {}", path.display())
            }
            Self::DirectoryWritable { path, mode } if mode & 0o1000 != 0 => {
                format!("use a directory of its own: {}", path.join("keystead/kms.sock").display())
            }
            Self::DirectoryWritable { path, .. } => format!("chmod go-w {}", path.display()),
            Self::NotASocket { path, .. } => format!("move {} away, or choose another path", path.display()),
            Self::InUse { .. } => "stop the other process, or choose another path with --socket".to_owned(),
            Self::Inherited(_) => "give the .socket unit exactly one ListenStream= with a path".to_owned(),
            Self::NotADirectory { .. } | Self::TooManyLinks { .. } | Self::Io { .. } => return None,
        })
    }

    /// How callers tell errors apart.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::InUse { .. } => ErrorClass::FailedPrecondition,
            _ => ErrorClass::Misconfigured,
        }
    }

    pub(super) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { action, name: path.display().to_string(), source: source.into() }
    }
}

fn or_uid(own_uid: u32) -> String {
    if own_uid == 0 { String::new() } else { format!(" or to uid {own_uid}") }
}

fn with_pid(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}
