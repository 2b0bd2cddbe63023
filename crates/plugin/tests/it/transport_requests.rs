//! What tonic serves behind the transport, and what it still refuses.

use tokio::task::JoinSet;

use crate::transport_echo::{LIMIT, Running};
use crate::transport_frames::*;

/// What the echo answers to `seed` from uid `u`.
fn echoed() -> End {
    End::Answered(b"deesu".to_vec())
}

#[tokio::test]
async fn a_path_as_authority_is_served() {
    let server = Running::start();
    let path = server.path.to_str().expect("UTF-8");
    let encoded = path.replace('/', "%2F");
    for value in [path, &encoded, "/a b/ü/:@[]~{}", "#^\\", "localhost", "@name"] {
        let mut client = Client::connect(&server.path).await;
        for kind in [0x41, 0x01, 0x11] {
            assert_eq!(
                client.call(&block(&authority(kind, value)), b"seed").await,
                echoed(),
                "{value} {kind}"
            );
        }
        // By the dynamic index that the first call has made, then as a literal again, as after an eviction.
        assert_eq!(client.call(&block(&[0xbe]), b"seed").await, echoed(), "{value} by index");
        assert_eq!(client.call(&block(&authority(0x41, value)), b"seed").await, echoed(), "{value} again");
        assert_eq!(client.call(&block(&[0xbf]), b"seed").await, echoed(), "{value} by index");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_huffman_coded_path_is_served() {
    let server = Running::start();
    for value in ["/tmp/kms.sock", "%2Ftmp%2Fkms.sock", "/run/keystead/kms.sock"] {
        let mut coded = Vec::new();
        httlib_huffman::encode(value.as_bytes(), &mut coded).expect("coded");
        let field = [&[0x41, 0x80 | coded.len() as u8], coded.as_slice()].concat();
        let mut client = Client::connect(&server.path).await;
        assert_eq!(client.call(&block(&field), b"seed").await, echoed(), "{value}");
        assert_eq!(client.call(&block(&[0xbe]), b"seed").await, echoed(), "{value} by index");
    }
    server.stop().await;
}

#[tokio::test]
async fn authority_first_padding_priority_and_continuations_are_served() {
    let server = Running::start();
    let mut client = Client::connect(&server.path).await;
    let value = authority(0x41, "/tmp/kms.sock");
    let block = [value.as_slice(), &block(&[])].concat();
    for cut in 1..block.len() - 1 {
        let stream = client.stream_id();
        let first = [&[4][..], &[0, 0, 0, 0, 15], &block[..cut], &[9; 4]].concat();
        let frames = [
            frame(HEADERS, PADDED | PRIORITY, stream, &first),
            frame(CONTINUATION, 0, stream, &block[cut..cut + 1]),
            frame(CONTINUATION, END_HEADERS, stream, &block[cut + 1..]),
        ];
        for piece in frames.concat().chunks(cut) {
            client.send(piece).await;
        }
        assert_eq!(client.finish(stream, &message(b"seed")).await, echoed(), "cut at {cut}");
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn data_that_looks_like_an_authority_is_not_touched() {
    let server = Running::start();
    let mut client = Client::connect(&server.path).await;
    let seed = [0x41, 2, b'/', b'x', 0, 0, 4, 1, 4, 0, 0, 0, 1, 0x41, 2, b'/', b'x'];
    let mut backwards: Vec<u8> = seed.iter().rev().copied().collect();
    backwards.push(b'u');
    let answer = client.call(&block(&authority(0x41, "/tmp/kms.sock")), &seed).await;
    assert_eq!(answer, End::Answered(backwards));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn an_illegal_authority_in_a_form_that_grpc_go_never_sends_is_reset() {
    const PROTOCOL_ERROR: u32 = 1;
    let server = Running::start();
    let by_name = [b"\x40\x0a:authority".as_slice(), &[2], b"/x"].concat();
    let mut client = Client::connect(&server.path).await;
    assert_eq!(client.call(&block(&by_name), b"seed").await, End::Reset(PROTOCOL_ERROR));
    assert_eq!(client.call(&block(&authority(0x41, "")), b"seed").await, End::Reset(PROTOCOL_ERROR));
    assert_eq!(client.call(&block(&authority(0x41, "/x")), b"seed").await, echoed(), "the connection lives");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn broken_streams_close_the_connection() {
    let server = Running::start();
    let good = block(&authority(0x41, "/x"));
    let cases = [
        frame(CONTINUATION, END_HEADERS, 1, &good),
        [frame(HEADERS, 0, 1, &good), frame(DATA, 0, 1, &[])].concat(),
        frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 0x83]),
        frame(HEADERS, END_HEADERS, 1, &[0x41, 100, b'/']),
        frame(HEADERS, END_HEADERS, 1, &[0x41, 0x7f, 0x80, 0x80, 0x80, 0x80, 0]),
        [frame(HEADERS, 0, 1, &good), frame(CONTINUATION, 0, 1, &[]).repeat(8)].concat(),
    ];
    for bytes in cases {
        let mut client = Client::connect(&server.path).await;
        client.send(&bytes).await;
        assert_eq!(client.answer(1).await, End::Closed, "{bytes:?}");
    }
    server.stop().await;
}

/// The day this fails, `transport::authority` can go.
#[tokio::test]
async fn h2_alone_still_refuses_a_path_as_authority() {
    use futures_util::stream;
    use keystead_proto::kms_v2::key_management_service_server::KeyManagementServiceServer;

    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("plain.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("bound");
    let incoming = stream::unfold(listener, async |listener| {
        Some((listener.accept().await.map(|(stream, _)| stream), listener))
    });
    let mut server = JoinSet::new();
    let service = KeyManagementServiceServer::new(crate::transport_echo::Echo);
    server.spawn(tonic::transport::Server::builder().serve_with_incoming(service, incoming));

    let mut client = Client::connect(&path).await;
    assert_eq!(client.call(&block(&authority(0x41, "/tmp/kms.sock")), b"seed").await, End::Reset(1));
    assert_eq!(client.call(&block(&authority(0x41, "localhost")), b"seed").await, echoed());
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_without_being_read_whole() {
    const OUT_OF_RANGE: &str = "11";
    let server = Running::start();
    let mut client = Client::connect(&server.path).await;
    let head = block(&authority(0x41, "/tmp/kms.sock"));

    let stream = client.stream_id();
    client.send(&frame(HEADERS, END_HEADERS, stream, &head)).await;
    let length = u32::try_from(LIMIT + 1).expect("short").to_be_bytes();
    client.send(&frame(DATA, 0, stream, &[&[0][..], &length, &[7; 100]].concat())).await;
    assert_eq!(client.answer(stream).await, End::Failed(OUT_OF_RANGE.into()), "after 100 bytes of 65,537");

    assert_eq!(client.call(&head, b"seed").await, echoed(), "the connection lives");
    drop(client);
    server.stop().await;
}
