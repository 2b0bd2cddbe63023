//! A small HTTP/2 client that can send any `:authority`, which Rust's own libraries refuse to.
//!
//! It knows just enough for a unary gRPC call: preface, SETTINGS, one HEADERS frame of literals without Huffman
//! coding, one DATA frame; then it reads frames until the stream ends. It never decodes header blocks of the
//! plugin: whether a message came tells enough.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::options::Socket;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A gRPC message came, then the end of the stream.
    Message(Vec<u8>),
    /// The stream ended without a message: an error in the trailers.
    Trailers,
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code.
    GoAway(u32),
    /// The connection was not made, ended, or carried what is not HTTP/2.
    Lost(String),
    /// Nothing within the deadline.
    Late,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(bytes) => write!(f, "a message of {} bytes", bytes.len()),
            Self::Trailers => f.write_str("an error without a message"),
            Self::Reset(code) => write!(f, "the stream was reset with {}", error_name(*code)),
            Self::GoAway(code) => write!(f, "the connection was refused with GOAWAY {}", error_name(*code)),
            Self::Lost(cause) => write!(f, "the connection was lost: {cause}"),
            Self::Late => f.write_str("no answer in time"),
        }
    }
}

/// How the authority stands in the header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    /// Added to the plugin's HPACK table, as grpc-go does in its first request.
    Indexed = 0x41,
    /// Not added, as any client may do in any request.
    Plain = 0x01,
}

/// Makes two calls on a connection of their own and answers how the second ended, or the first when it brought no
/// message: the second shows that the plugin's header table is still right.
pub(crate) async fn unary(
    socket: &Socket,
    authority: &[u8],
    path: &str,
    message: &[u8],
    deadline: Duration,
) -> Ending {
    match tokio::time::timeout(deadline, calls(socket, authority, path, message)).await {
        Ok(Ok(ending)) => ending,
        Ok(Err(error)) => Ending::Lost(error.to_string()),
        Err(_) => Ending::Late,
    }
}

async fn calls(socket: &Socket, authority: &[u8], path: &str, message: &[u8]) -> std::io::Result<Ending> {
    let mut stream = socket.connect().await?;
    stream.write_all(&greeting()).await?;
    let mut ending = Ending::Trailers;
    for (id, literal) in [(1, Literal::Indexed), (3, Literal::Plain)] {
        let headers = headers(authority, literal, path);
        stream.write_all(&frame(HEADERS, END_HEADERS, id, &headers)).await?;
        stream.write_all(&frame(DATA, END_STREAM, id, &grpc_frame(message))).await?;
        ending = read_answer(&mut stream, id).await?;
        if !matches!(ending, Ending::Message(_)) {
            break;
        }
    }
    Ok(ending)
}

/// Reads until stream `id` or the connection ends. Bounded in memory: one frame, and an answer of [`LARGEST`] bytes.
async fn read_answer(stream: &mut UnixStream, id: u32) -> std::io::Result<Ending> {
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream_id @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > LARGEST {
            return Ok(Ending::Lost(format!("a frame of {length} bytes: not HTTP/2")));
        }
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        let ours = u32::from_be_bytes(stream_id) & 0x7fff_ffff == id;
        match kind {
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
            PING if flags & ACK == 0 => stream.write_all(&frame(PING, ACK, 0, &payload)).await?,
            GOAWAY => return Ok(Ending::GoAway(code(payload.get(4..)))),
            RST_STREAM if ours => return Ok(Ending::Reset(code(Some(&payload)))),
            DATA if ours => body.extend(unpadded(&payload, flags)),
            _ => {}
        }
        if body.len() > LARGEST {
            return Ok(Ending::Lost("an answer without end".to_owned()));
        }
        // CONTINUATION never carries END_STREAM, and that of a HEADERS frame ends the stream all the same.
        if ours && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return Ok(message_of(&body).map_or(Ending::Trailers, Ending::Message));
        }
    }
}

/// With what a client begins; a server has no reason to close a connection that began so.
pub(crate) fn greeting() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = length.get(1..).unwrap_or_default().to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of grpc-go, without Huffman coding: authority last among the pseudo headers.
fn headers(authority: &[u8], literal: Literal, path: &str) -> Vec<u8> {
    // `:method: POST` and `:scheme: http` from the static table, `:path` as a literal with its static name.
    let mut block = vec![0x83, 0x86, 0x04];
    push_string(&mut block, path.as_bytes());
    block.push(literal as u8);
    push_string(&mut block, authority);
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        block.push(0x00);
        push_string(&mut block, name.as_bytes());
        push_string(&mut block, value.as_bytes());
    }
    block
}

/// A string of HPACK (RFC 7541, 5.1 and 5.2) without Huffman coding.
fn push_string(block: &mut Vec<u8>, text: &[u8]) {
    const PREFIX: usize = 127;
    if text.len() < PREFIX {
        block.push(text.len() as u8);
    } else {
        block.push(PREFIX as u8);
        let mut rest = text.len() - PREFIX;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend(text);
}

/// A message as gRPC frames it: not compressed, 4 bytes of length.
pub(crate) fn grpc_frame(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend(message);
    framed
}

/// The first gRPC message in `body`, when it is whole.
fn message_of(body: &[u8]) -> Option<Vec<u8>> {
    let (head, rest) = body.split_first_chunk::<5>()?;
    let [_, length @ ..] = *head;
    rest.get(..u32::from_be_bytes(length) as usize).map(<[u8]>::to_vec)
}

fn unpadded(payload: &[u8], flags: u8) -> &[u8] {
    match payload.split_first() {
        Some((padding, rest)) if flags & PADDED != 0 => {
            rest.get(..rest.len().saturating_sub(usize::from(*padding))).unwrap_or_default()
        }
        _ => payload,
    }
}

fn code(payload: Option<&[u8]>) -> u32 {
    payload.and_then(|it| it.first_chunk::<4>()).map_or(u32::MAX, |it| u32::from_be_bytes(*it))
}

/// Names of RFC 9113, section 7, that a refusal may have.
fn error_name(code: u32) -> String {
    match code {
        0 => "NO_ERROR".to_owned(),
        1 => "PROTOCOL_ERROR".to_owned(),
        2 => "INTERNAL_ERROR".to_owned(),
        7 => "REFUSED_STREAM".to_owned(),
        8 => "CANCEL".to_owned(),
        9 => "COMPRESSION_ERROR".to_owned(),
        11 => "ENHANCE_YOUR_CALM".to_owned(),
        code => format!("error {code}"),
    }
}

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// More than any answer to our requests; an HTTP/2 frame is at most 16 KiB unless we allow more, which we do not.
const LARGEST: usize = 1 << 16;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_strings_follow_rfc_7541() {
        // Appendix C.1 of RFC 7541 gives 1337 with a 5-bit prefix; with 7 bits, 127 + 1210 is 7f ba 09.
        let mut block = Vec::new();
        push_string(&mut block, &[b'a'; 1337]);
        assert_eq!(block[..3], [0x7f, 0xba, 0x09]);
        assert_eq!(block.len(), 3 + 1337);
        block.clear();
        push_string(&mut block, &[b'a'; 127]);
        assert_eq!(block[..2], [0x7f, 0x00]);
    }

    #[test]
    fn hostile_frames_are_read_without_panic() {
        assert_eq!(unpadded(&[9, 1, 2], PADDED), [0; 0]);
        assert_eq!(unpadded(&[1, 7, 0], PADDED), [7]);
        assert_eq!(unpadded(&[], PADDED), [0; 0]);
        assert_eq!(message_of(&[0, 0, 0, 0, 2, 1]), None);
        assert_eq!(message_of(&[0, 0, 0, 0, 1, 7, 8]), Some(vec![7]));
        assert_eq!(code(Some(&[1])), u32::MAX);
    }
}
