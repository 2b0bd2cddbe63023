//! An HTTP/2 client that writes frames by hand, as no library would let us.

use std::path::Path;
use std::time::Duration;

use keystead_proto::kms_v2;
use loona_hpack::Decoder;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITY: u8 = 0x20;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), content].concat()
}

/// The block of a call of KMS v2 `Encrypt`, with this field for `:authority` at the end of the pseudo headers.
pub(crate) fn block(authority: &[u8]) -> Vec<u8> {
    let path = b"/v2.KeyManagementService/Encrypt";
    let content_type = b"application/grpc";
    [
        &[0x83, 0x86, 0x04, path.len() as u8],
        path.as_slice(),
        authority,
        // content-type; then te, which has no name in the static table.
        &[0x0f, 0x10, content_type.len() as u8],
        content_type,
        b"\x00\x02te\x08trailers",
    ]
    .concat()
}

/// `:authority` as a literal of this kind (0x41, 0x01 or 0x11), without Huffman coding.
pub(crate) fn authority(kind: u8, value: &str) -> Vec<u8> {
    [&[kind, value.len() as u8], value.as_bytes()].concat()
}

/// A gRPC message that asks to encrypt these bytes.
pub(crate) fn message(plaintext: &[u8]) -> Vec<u8> {
    let request = kms_v2::EncryptRequest { plaintext: plaintext.to_vec(), uid: "u".into() };
    let coded = request.encode_to_vec();
    [&[0], u32::try_from(coded.len()).expect("short").to_be_bytes().as_slice(), &coded].concat()
}

/// Longer than any deadline of the transport, and than an overloaded machine takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The ciphertext.
    Answered(Vec<u8>),
    /// The gRPC status.
    Failed(String),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with an error, or the end of the connection.
    Closed,
}

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    decoder: Decoder<'static>,
    next: u32,
}

impl Client {
    /// Connects and sends preface and SETTINGS.
    pub(crate) async fn connect(path: &Path) -> Self {
        Self::greet(UnixStream::connect(path).await.expect("somebody listens")).await
    }

    /// Sends preface and SETTINGS.
    pub(crate) async fn greet(stream: UnixStream) -> Self {
        let mut client = Self { stream, decoder: Decoder::new(), next: 1 };
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        client
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// A call with this block in one frame.
    pub(crate) async fn call(&mut self, block: &[u8], plaintext: &[u8]) -> End {
        let stream = self.stream_id();
        self.send(&frame(HEADERS, END_HEADERS, stream, block)).await;
        self.finish(stream, &message(plaintext)).await
    }

    /// Sends the body of a call whose headers were sent, and reads the answer.
    pub(crate) async fn finish(&mut self, stream: u32, body: &[u8]) -> End {
        self.send(&frame(DATA, END_STREAM, stream, body)).await;
        self.answer(stream).await
    }

    pub(crate) fn stream_id(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        stream
    }

    pub(crate) async fn answer(&mut self, stream: u32) -> End {
        let answer = tokio::time::timeout(PATIENCE, self.read_answer(stream)).await;
        answer.expect("an answer, or the end of the connection")
    }

    async fn read_answer(&mut self, stream: u32) -> End {
        let mut body = Vec::new();
        loop {
            let mut head = [0; 9];
            if self.stream.read_exact(&mut head).await.is_err() {
                return End::Closed;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut content = vec![0; length];
            if self.stream.read_exact(&mut content).await.is_err() {
                return End::Closed;
            }
            let for_us = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) == stream;
            match head[3] {
                GOAWAY if content[4..8] != [0; 4] => return End::Closed,
                RST_STREAM if for_us => {
                    return End::Reset(u32::from_be_bytes(content[..4].try_into().expect("four bytes")));
                }
                DATA if for_us => body.extend_from_slice(&content),
                HEADERS => {
                    let fields = self.decoder.decode(&content).expect("the server's headers");
                    let status = fields.into_iter().find(|(name, _)| name == b"grpc-status");
                    match status.map(|(_, value)| String::from_utf8(value).expect("a number")) {
                        Some(status) if for_us && status != "0" => return End::Failed(status),
                        Some(_) if for_us => {
                            let answer = kms_v2::EncryptResponse::decode(&body[5..]).expect("an answer");
                            return End::Answered(answer.ciphertext);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
}
