//! Everything between the socket file and tonic.
//!
//! [`Listener::bind`] puts a socket where nobody but root and this process can replace it, [`Listener::incoming`]
//! admits peers by uid, and each [`Connection`] makes `:authority` legal ([`authority`]) and closes clients that
//! never finish what they began. It knows nothing of gRPC or of keys. Read `socket.rs` first.

mod accept;
pub mod authority;
mod connection;
mod places;
mod socket;

pub use connection::{Connection, Peer};
pub use socket::{DEFAULT_SOCKET, Listener, SocketError, SocketSettings, SocketWatch, inherited_listener};
