//! What to check, how long to wait, and the commands that act on the plugin.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio::net::UnixStream;

use crate::check::Check;

/// What one run checks. `new` gives the defaults of kube-apiserver and of its documentation.
#[derive(Clone, Debug)]
pub struct Options {
    /// The plugin's socket.
    pub socket: Socket,
    /// The same plugin on another node: what one wraps the other must open.
    pub peer: Option<Socket>,
    /// Which versions the plugin must serve; `None` checks whatever it serves.
    pub kms: Option<Kms>,
    /// Commands that rotate the key, stop and start the plugin, and cut it off from its backend.
    pub hooks: Hooks,
    /// The deadline of each call: `timeout` of the KMS entry in the EncryptionConfiguration, 3 s unless set.
    pub timeout: Duration,
    /// How long to leave a connection idle; `None` skips that check. kube-apiserver is silent for 60 s between polls.
    pub idle: Option<Duration>,
    /// How many rotations to ask for; 3 unless set: with two, a plugin that has only two ids would pass.
    pub rotations: usize,
    /// How long after the hook a rotation may stay unseen in Status; 90 s unless set.
    pub rotate_limit: Duration,
    /// How long the plugin may take until it serves after the start hook; 30 s unless set.
    pub start_limit: Duration,
    /// How long to watch the plugin while its backend is down; 20 s unless set.
    pub outage: Duration,
    /// How long the plugin may take to heal when its backend is back; 60 s unless set.
    pub heal_limit: Duration,
    /// Run these checks and no others; empty runs all. See [`crate::select`].
    pub only: Vec<&'static Check>,
}

impl Options {
    /// The defaults for `socket`.
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            peer: None,
            kms: None,
            hooks: Hooks::default(),
            timeout: Duration::from_secs(3),
            idle: None,
            rotations: 3,
            rotate_limit: Duration::from_secs(90),
            start_limit: Duration::from_secs(30),
            outage: Duration::from_secs(20),
            heal_limit: Duration::from_secs(60),
            only: Vec::new(),
        }
    }
}

/// Which versions of the Kubernetes KMS API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kms {
    /// `v1beta1`.
    V1,
    /// `v2`.
    V2,
    /// Both, on one socket.
    Both,
}

impl Kms {
    /// Whether `self` asks for everything that `other` asks for.
    pub(crate) fn includes(self, other: Self) -> bool {
        self == Self::Both || self == other
    }
}

impl FromStr for Kms {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Self, OptionsError> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            "both" => Ok(Self::Both),
            _ => Err(OptionsError::Kms(text.to_owned())),
        }
    }
}

/// Where a plugin listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    /// A socket file.
    Path(PathBuf),
    /// A Linux abstract socket: a name without a file, written `@name`.
    Abstract(String),
}

impl Socket {
    /// The file, if there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Abstract(_) => None,
        }
    }

    /// What a Go client puts into `:authority`, raw: the path, or `@name`.
    pub(crate) fn authority(&self) -> String {
        self.to_string()
    }

    pub(crate) async fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Self::Path(path) => UnixStream::connect(path).await,
            // tokio takes a leading NUL for an abstract name, as the kernel does.
            Self::Abstract(name) => UnixStream::connect(format!("\0{name}")).await,
        }
    }
}

impl FromStr for Socket {
    type Err = OptionsError;

    /// A path, `@name`, or either behind `unix://` as in an EncryptionConfiguration (there the name stands as `/@name`).
    fn from_str(text: &str) -> Result<Self, OptionsError> {
        let place = match text.strip_prefix("unix://") {
            Some(rest) if rest.starts_with("/@") => rest.trim_start_matches('/'),
            Some(rest) => rest,
            None => text,
        };
        match place.strip_prefix('@') {
            Some("") => Err(OptionsError::Socket(text.to_owned())),
            Some(name) => Ok(Self::Abstract(name.to_owned())),
            None if place.is_empty() || place.contains("://") => Err(OptionsError::Socket(text.to_owned())),
            None => Ok(Self::Path(place.into())),
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

/// Shell commands (`sh -c`) that act on the plugin under test. A check that needs one that is not given is skipped.
///
/// A hook returns when it has done its work, within 60 s; what it starts in the background may go on.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Makes a new primary key version in the backend. Until the plugin shows it, eight callers encrypt without a pause: mind what a
    /// KMS of a cloud charges.
    pub rotate: Option<String>,
    /// Stops the plugin without letting it clean up (`kill -9`), so that a stale socket file stays.
    pub kill: Option<String>,
    /// Starts the plugin again, in the background.
    pub start: Option<String>,
    /// Makes the plugin's backend unreachable.
    pub backend_down: Option<String>,
    /// Undoes `backend_down`.
    pub backend_up: Option<String>,
}

impl Hooks {
    /// Takes `NAME=COMMAND`, where the name is `rotate`, `kill`, `start`, `backend-down` or `backend-up`.
    pub fn set(&mut self, text: &str) -> Result<(), OptionsError> {
        let (name, command) = text.split_once('=').ok_or_else(|| OptionsError::Hook(text.to_owned()))?;
        let hook = match name {
            "rotate" => &mut self.rotate,
            "kill" => &mut self.kill,
            "start" => &mut self.start,
            "backend-down" => &mut self.backend_down,
            "backend-up" => &mut self.backend_up,
            _ => return Err(OptionsError::Hook(text.to_owned())),
        };
        *hook = Some(command.to_owned());
        Ok(())
    }
}

/// A value on the command line that means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Neither a path nor an abstract name.
    #[error("`{0}` is no socket: write a path, unix:///PATH or @NAME")]
    Socket(String),
    /// Not a version of the KMS API.
    #[error("`{0}` is no version of the KMS API: write v1, v2 or both")]
    Kms(String),
    /// Not a hook.
    #[error(
        "`{0}` is no hook: write NAME=COMMAND with the name rotate, kill, start, backend-down or backend-up"
    )]
    Hook(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read_as_in_an_encryption_configuration() {
        for (text, socket) in [
            ("/run/kms.sock", Socket::Path("/run/kms.sock".into())),
            ("unix:///run/kms.sock", Socket::Path("/run/kms.sock".into())),
            ("kms.sock", Socket::Path("kms.sock".into())),
            ("@kms", Socket::Abstract("kms".into())),
            ("unix:///@kms", Socket::Abstract("kms".into())),
        ] {
            assert_eq!(text.parse(), Ok(socket), "{text}");
        }
        for text in ["", "@", "unix://", "tcp://127.0.0.1:1"] {
            assert_eq!(text.parse::<Socket>(), Err(OptionsError::Socket(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn hooks_have_known_names() {
        let mut hooks = Hooks::default();
        assert_eq!(hooks.set("rotate=a=b"), Ok(()));
        assert_eq!(hooks.rotate.as_deref(), Some("a=b"));
        for text in ["rotate", "restart=x"] {
            assert_eq!(hooks.set(text), Err(OptionsError::Hook(text.to_owned())), "{text}");
        }
    }
}
