//! CONNECT on the TLS port: what a client asks of its proxy before it speaks TLS.
//!
//! `keystead env` names this server as gcloud's proxy. gcloud then asks here before each connection, whatever the host, so that a
//! token of ours goes nowhere else. Nothing is ever forwarded: the one destination that is granted is this port itself.

use std::io::{Error, Result};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tls::Tls;

/// gcloud sends about 100 bytes. A user agent and the credentials of a proxy that it had before have room.
const MAX_HEAD_LEN: usize = 4 * 1024;
const END: &[u8] = b"\r\n\r\n";
const GRANTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// In the status line, because clients print that and not the body.
const REFUSED: &[u8] = b"HTTP/1.1 403 keystead env lets gcloud in this shell call Keystead only\r\n\
                         content-length: 0\r\nconnection: close\r\n\r\n";

/// What a request in plain HTTP on the TLS port comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This port: the client was told to go on, and speaks TLS next.
    Here,
    /// Another host: the client was told no.
    Elsewhere,
    /// It is no CONNECT; nothing was answered.
    NoTunnel,
}

/// Reads the head of a request and answers it if it is CONNECT. The caller limits the time.
pub(super) async fn answer(stream: &mut TcpStream, tls: &Tls) -> Result<Wanted> {
    let head = read_head(stream).await?;
    let Some(authority) = destination(&head) else { return Ok(Wanted::NoTunnel) };
    let port = stream.local_addr()?.port();
    let here = split(authority).is_some_and(|(host, to)| to == port && tls.is_for(host));
    stream.write_all(if here { GRANTED } else { REFUSED }).await?;
    Ok(if here { Wanted::Here } else { Wanted::Elsewhere })
}

/// Up to and with the empty line. The client waits for an answer, so nothing may follow.
async fn read_head(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut rest = stream.take(MAX_HEAD_LEN as u64);
    while !head.ends_with(END) {
        if rest.read_buf(&mut head).await? == 0 {
            return Err(Error::other("the head of the request is too long or has no end"));
        }
    }
    Ok(head)
}

/// `HOST:PORT` of `CONNECT HOST:PORT HTTP/1.1`.
fn destination(head: &[u8]) -> Option<&str> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, authority, version) = (words.next()?, words.next()?, words.next()?);
    (method == "CONNECT" && version.starts_with("HTTP/1.") && words.next().is_none()).then_some(authority)
}

/// Some clients leave out the brackets of an IPv6 address.
fn split(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = authority.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_connect_has_a_destination() {
        let read =
            |line: &str| destination(format!("{line}\r\nhost: a\r\n\r\n").as_bytes()).and_then(split_owned);
        assert_eq!(read("CONNECT localhost:1 HTTP/1.1"), Some(("localhost".to_owned(), 1)));
        assert_eq!(read("CONNECT localhost:1 HTTP/1.0"), Some(("localhost".to_owned(), 1)));
        for address in ["CONNECT [::1]:9443 HTTP/1.1", "CONNECT ::1:9443 HTTP/1.0"] {
            assert_eq!(read(address), Some(("::1".to_owned(), 9443)), "{address}");
        }
        for bad in [
            "COPY localhost:1 HTTP/1.1",
            "CONNECT localhost HTTP/1.1",
            "CONNECT localhost:70000 HTTP/1.1",
            "CONNECT localhost:1",
            "CONNECT localhost:1 HTTP/2",
            "CONNECT localhost:1 HTTP/1.1 x",
            "CONNECT  localhost:1 HTTP/1.1",
            "",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    fn split_owned(authority: &str) -> Option<(String, u16)> {
        split(authority).map(|(host, port)| (host.to_owned(), port))
    }
}
