//! Ports that stay ours while nothing listens on them.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::net::TcpSocket;

/// A port of 127.0.0.1 that the operating system chose and gives to nobody else.
///
/// The socket is bound and never listens. Servers of ours share the port with it (`SO_REUSEPORT`), so that no other
/// program can take it before the first start or between two.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    _reservation: TcpSocket,
}

impl Port {
    pub(super) fn reserve() -> Result<Self> {
        let bind = || {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseport(true)?;
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            Ok::<_, std::io::Error>(Self { number: socket.local_addr()?.port(), _reservation: socket })
        };
        bind().context("cannot reserve a port of 127.0.0.1")
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }
}
