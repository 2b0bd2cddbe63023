//! Syslog by RFC 5424: datagrams, or a stream with the length before each message (RFC 6587).
//!
//! Syslog has no acknowledgement. What a receiver had not read when its connection broke is lost, though it counts as sent.

use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};

use crate::RecordLine;

/// "Log audit".
const FACILITY: u8 = 13;

/// Where a syslog receiver listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A socket such as `/dev/log`, for datagrams or for a stream.
    Unix(PathBuf),
    /// `HOST:PORT`, one datagram for each record.
    Udp(String),
    /// `HOST:PORT`, a stream.
    Tcp(String),
}

pub(super) struct SyslogSink {
    address: SyslogAddress,
    open: Option<Socket>,
    host: String,
}

enum Socket {
    Unix(UnixDatagram),
    UnixStream(UnixStream),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl SyslogSink {
    pub(super) fn new(address: &SyslogAddress) -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        let good = !host.is_empty() && host.len() < 256 && host.bytes().all(|it| it.is_ascii_graphic());
        Self { address: address.clone(), open: None, host: if good { host } else { "-" }.to_owned() }
    }

    pub(super) async fn send(&mut self, batch: &[RecordLine]) -> io::Result<()> {
        let mut socket = match self.open.take() {
            Some(socket) if !socket.is_closed() => socket,
            _ => Socket::open(&self.address).await?,
        };
        for record in batch {
            socket.send(message(record, &self.host).as_bytes()).await?;
        }
        self.open = Some(socket);
        Ok(())
    }
}

impl Socket {
    async fn open(address: &SyslogAddress) -> io::Result<Self> {
        match address {
            SyslogAddress::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                match socket.connect(path) {
                    Ok(()) => Ok(Self::Unix(socket)),
                    Err(error) if error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => {
                        UnixStream::connect(path).await.map(Self::UnixStream)
                    }
                    Err(error) => Err(error),
                }
            }
            SyslogAddress::Udp(address) => {
                let to = tokio::net::lookup_host(address).await?.next();
                let to =
                    to.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))?;
                let any: (std::net::IpAddr, u16) =
                    if to.is_ipv4() { ([0; 4].into(), 0) } else { ([0_u16; 8].into(), 0) };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(to).await?;
                Ok(Self::Udp(socket))
            }
            SyslogAddress::Tcp(address) => TcpStream::connect(address).await.map(Self::Tcp),
        }
    }

    /// A receiver that was restarted is seen before a batch is lost in a dead connection.
    fn is_closed(&self) -> bool {
        // Asked of the system itself: the runtime knows of it only after it has waited once more.
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = match self {
            Self::Tcp(stream) => recv(stream, &mut [0; 1], flags),
            Self::UnixStream(stream) => recv(stream, &mut [0; 1], flags),
            Self::Unix(_) | Self::Udp(_) => return false,
        };
        match peeked {
            Ok((bytes, _)) => bytes == 0,
            Err(errno) => errno != Errno::AGAIN,
        }
    }

    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.send(message).await.map(drop),
            Self::Udp(socket) => socket.send(message).await.map(drop),
            Self::UnixStream(stream) => stream.write_all(&framed(message)).await,
            Self::Tcp(stream) => stream.write_all(&framed(message)).await,
        }
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [message.len().to_string().as_bytes(), b" ", message].concat()
}

/// `<PRI>1 TIME HOST APP PID METHOD - JSON`.
fn message(record: &RecordLine, host: &str) -> String {
    #[derive(Deserialize)]
    struct Record<'a> {
        timestamp: Timestamp,
        severity: &'a str,
        #[serde(rename = "protoPayload")]
        proto_payload: Option<Payload<'a>>,
    }
    #[derive(Deserialize)]
    struct Payload<'a> {
        #[serde(rename = "methodName", borrow)]
        method_name: std::borrow::Cow<'a, str>,
    }
    let read: Option<Record<'_>> = serde_json::from_str(&record.text).ok();
    let severity = match read.as_ref().map(|it| it.severity) {
        Some("ERROR") => 3,
        Some("WARNING") => 4,
        Some("NOTICE") => 5,
        _ => 6,
    };
    // Fractions of a second have six digits at most.
    let time = read.as_ref().map_or_else(|| "-".to_owned(), |it| format!("{:.6}", it.timestamp));
    let method: String = read
        .and_then(|it| it.proto_payload)
        .map(|it| it.method_name.chars().filter(char::is_ascii_graphic).take(32).collect())
        .filter(|it: &String| !it.is_empty())
        .unwrap_or_else(|| "-".to_owned());
    let priority = FACILITY * 8 + severity;
    let process = std::process::id();
    format!("<{priority}>1 {time} {host} keystead-server {process} {method} - {}", record.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_form_of_rfc_5424() {
        let text = r#"{"timestamp":"2026-01-31T12:00:00.123456789Z","severity":"NOTICE","protoPayload":{"methodName":"Destroy Key\u00e9"}}"#;
        let record = RecordLine { sequence: 1, text: text.into() };
        let process = std::process::id();
        let expected = format!(
            "<109>1 2026-01-31T12:00:00.123456Z host-1 keystead-server {process} DestroyKey - {text}"
        );
        assert_eq!(message(&record, "host-1"), expected);
        let own = RecordLine { sequence: 1, text: "{}".into() };
        assert_eq!(message(&own, "-"), format!("<110>1 - - keystead-server {process} - - {{}}"));
    }
}
