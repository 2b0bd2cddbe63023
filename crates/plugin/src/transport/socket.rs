//! Where the plugin listens, and the rules that keep others from taking its place.

mod address;
mod directory;
mod error;
mod file;
mod watch;

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::Stream;
use listenfd::ListenFd;

use self::address::Address;
pub use self::address::DEFAULT_SOCKET;
pub use self::error::SocketError;
pub(super) use self::watch::Kept;
use self::watch::Place;
pub use self::watch::SocketWatch;
use super::accept;
use super::connection::Connection;

/// How to listen.
#[derive(Debug, Clone)]
pub struct SocketSettings {
    /// `/path`, `unix:///path`, `@name` or `unix:///@name`; `None` stands for [`DEFAULT_SOCKET`].
    pub endpoint: Option<String>,
    /// The socket file's mode, 0600 unless set. kube-apiserver needs the right to write to the socket.
    pub mode: u32,
    /// Allows abstract names: they have no owner and no mode.
    pub allow_abstract_socket: bool,
    /// Users who may connect besides root and the user of this process.
    pub allow_uids: Vec<u32>,
}

impl Default for SocketSettings {
    fn default() -> Self {
        Self { endpoint: None, mode: 0o600, allow_abstract_socket: false, allow_uids: Vec::new() }
    }
}

/// A listening socket. Dropping it, or its stream of connections, removes the socket file if it is still the one that
/// was made here.
#[derive(Debug)]
pub struct Listener {
    /// First, so that the file goes before the socket closes.
    kept: Kept,
    socket: UnixListener,
    allowed_uids: Vec<u32>,
}

impl Listener {
    /// Listens as `settings` say, or takes `inherited` when the service manager keeps the socket open, so that
    /// restarts refuse no connection. The mode and the directory of such a socket are the service manager's business.
    pub fn bind(settings: &SocketSettings, inherited: Option<UnixListener>) -> Result<Self, SocketError> {
        let own_uid = rustix::process::geteuid().as_raw();
        let mut allowed_uids = settings.allow_uids.clone();
        allowed_uids.extend([0, own_uid]);

        let address = Address::parse(settings)?;
        let (place, socket) = match (inherited, address) {
            (Some(socket), address) => {
                warn_if_elsewhere(&socket, settings, &address);
                let path = socket.local_addr().ok().and_then(|it| it.as_pathname().map(Path::to_owned));
                (Place::inherited(path.as_deref()), socket)
            }
            (None, Address::Abstract(name)) => (Place::Nowhere, bind_abstract(&name)?),
            (None, Address::Path(path)) => {
                let (socket, place) = Place::listen(path, settings.mode)?;
                (place, socket)
            }
        };
        socket.set_nonblocking(true).map_err(SocketError::Inherited)?;
        Ok(Self { kept: Kept::new(place), socket, allowed_uids })
    }

    /// The socket's path, or `@` and its abstract name, for logs.
    pub fn name(&self) -> String {
        self.socket.local_addr().map_or_else(|_| "an unknown socket".to_owned(), |address| name_of(&address))
    }

    /// What is known of the socket while it is served.
    pub fn watch(&self) -> Arc<SocketWatch> {
        self.kept.watch()
    }

    /// Connections of admitted peers; errors of accepting are logged and survived. Must be called inside a tokio
    /// runtime.
    pub fn incoming(self) -> io::Result<impl Stream<Item = io::Result<Connection>> + Send + use<>> {
        let Self { kept, socket, allowed_uids } = self;
        Ok(accept::connections(tokio::net::UnixListener::from_std(socket)?, allowed_uids, kept))
    }
}

/// The listener that systemd passed (`LISTEN_FDS`), if it did.
///
/// Call it at the start of `main`, while there is one thread: it takes the variables out of the environment, so that
/// no child process believes they are for it.
pub fn inherited_listener() -> Result<Option<UnixListener>, SocketError> {
    let listener = ListenFd::from_env().take_unix_listener(0).map_err(SocketError::Inherited)?;
    if let Some(listener) = &listener
        && !rustix::net::sockopt::socket_acceptconn(listener).is_ok_and(|listens| listens)
    {
        return Err(SocketError::Inherited(io::Error::other("the socket does not listen")));
    }
    Ok(listener)
}

/// The service manager decides; the user may have meant another path.
fn warn_if_elsewhere(socket: &UnixListener, settings: &SocketSettings, configured: &Address) {
    let Ok(actual) = socket.local_addr() else { return };
    let same = match configured {
        Address::Path(path) => actual.as_pathname() == Some(path),
        Address::Abstract(name) => actual.as_abstract_name() == Some(name.as_bytes()),
    };
    if settings.endpoint.is_some() && !same {
        let (actual, configured) = (name_of(&actual), settings.endpoint.as_deref());
        tracing::warn!(
            actual,
            configured,
            "the service manager passed another socket than the configured one"
        );
    }
}

fn name_of(address: &SocketAddr) -> String {
    match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(name)) => format!("@{}", String::from_utf8_lossy(name)),
        (None, None) => "an unnamed socket".to_owned(),
    }
}

fn bind_abstract(name: &str) -> Result<UnixListener, SocketError> {
    let bound = SocketAddr::from_abstract_name(name).and_then(|address| UnixListener::bind_addr(&address));
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => SocketError::InUse { name: format!("@{name}"), pid: None },
        _ => SocketError::Io { action: "listen on", name: format!("@{name}"), source },
    })
}

#[cfg(test)]
mod tests;
