//! Deadlines on a simulated clock, and what passes through.

use std::io::{ErrorKind, IoSlice};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
/// HEADERS with END_HEADERS and the field `:authority: /x`.
const HEADERS: &[u8] = &[0, 0, 4, 1, 4, 0, 0, 0, 1, 0x41, 2, b'/', b'x'];
/// The same without END_HEADERS.
const UNFINISHED_BLOCK: &[u8] = &[0, 0, 4, 1, 0, 0, 0, 0, 1, 0x41, 2, b'/', b'x'];

fn pair() -> (UnixStream, Connection) {
    let (client, server) = UnixStream::pair().expect("a pair of sockets");
    let peer = Peer { pid: Some(7), uid: 8, gid: 9 };
    (client, Connection::new(server, peer, None))
}

/// Reads until an error and answers it, with the simulated time that it took.
async fn failure(connection: &mut Connection) -> (ErrorKind, Duration) {
    let began = Instant::now();
    let reading = async {
        loop {
            match connection.read(&mut [0; 64]).await {
                Ok(0) => panic!("a clean end"),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(60), reading).await.expect("a failure");
    (error.kind(), began.elapsed())
}

/// The clock's wheel turns in milliseconds.
fn is_about(took: Duration, seconds: u64) -> bool {
    took.abs_diff(Duration::from_secs(seconds)) < Duration::from_millis(5)
}

#[tokio::test(start_paused = true)]
async fn one_that_never_finishes_its_handshake_is_closed() {
    let almost = [PREFACE, PING, &SETTINGS[..8]].concat();
    for sent in [&[], &PREFACE[..23], PREFACE, &almost] {
        let (mut client, mut connection) = pair();
        client.write_all(sent).await.expect("sent");
        let (kind, took) = failure(&mut connection).await;
        assert_eq!(kind, ErrorKind::TimedOut);
        assert!(is_about(took, 5), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_never_finishes_its_frame_is_closed() {
    for unfinished in [&PING[..1], &PING[..16], &HEADERS[..12], UNFINISHED_BLOCK] {
        let (mut client, mut connection) = pair();
        client.write_all(&[PREFACE, SETTINGS, PING].concat()).await.expect("sent");
        connection.read_exact(&mut [0; 24 + 9 + 17]).await.expect("whole frames");
        tokio::time::advance(Duration::from_secs(1000)).await;
        client.write_all(unfinished).await.expect("sent");
        let (kind, took) = failure(&mut connection).await;
        assert_eq!(kind, ErrorKind::TimedOut);
        assert!(is_about(took, 10), "{took:?}");
        assert!(connection.read(&mut [0; 64]).await.is_err(), "closed for good");
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_does_not_help() {
    let (mut client, mut connection) = pair();
    client.write_all(&[PREFACE, SETTINGS].concat()).await.expect("sent");
    let slowly = async {
        for byte in [PING; 3].concat() {
            client.write_u8(byte).await.expect("sent");
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    };
    tokio::select! {
        () = slowly => panic!("not closed"),
        (kind, took) = failure(&mut connection) => {
            assert_eq!(kind, ErrorKind::TimedOut);
            assert!(is_about(took, 10), "{took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_frame_has_its_own_deadline() {
    let (mut client, mut connection) = pair();
    client.write_all(&[PREFACE, SETTINGS].concat()).await.expect("sent");
    connection.read_exact(&mut [0; 24 + 9]).await.expect("whole frames");
    // Each write ends one frame and begins the next, so that there is always half a frame.
    client.write_all(&PING[..9]).await.expect("sent");
    connection.read_exact(&mut [0; 9]).await.expect("passed on");
    for _ in 0..10 {
        assert!(tokio::time::timeout(Duration::from_secs(9), connection.read(&mut [0; 1])).await.is_err());
        client.write_all(&[&PING[9..], &PING[..9]].concat()).await.expect("sent");
        connection.read_exact(&mut [0; 17]).await.expect("passed on");
    }
    client.write_all(&PING[9..]).await.expect("sent");
    connection.read_exact(&mut [0; 8]).await.expect("passed on");
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_is_never_closed() {
    let (mut client, mut connection) = pair();
    client.write_all(&[PREFACE, SETTINGS].concat()).await.expect("sent");
    connection.read_exact(&mut [0; 24 + 9]).await.expect("whole frames");
    let day = Duration::from_secs(24 * 3600);
    assert!(tokio::time::timeout(day, connection.read(&mut [0; 1])).await.is_err(), "still waiting");
    client.write_all(PING).await.expect("sent");
    connection.read_exact(&mut [0; 17]).await.expect("still open");
}

#[tokio::test(start_paused = true)]
async fn authority_is_edited_whatever_the_size_of_reads_and_writes() {
    let sent =
        [PREFACE, SETTINGS, HEADERS, UNFINISHED_BLOCK, &[0, 0, 1, 9, 4, 0, 0, 0, 1, 0x82], PING].concat();
    let expected = String::from_utf8_lossy(&sent).replace("/x", "aa");
    for size in [1, 5, 10_000] {
        let (mut client, mut connection) = pair();
        let mut received = Vec::new();
        for chunk in sent.chunks(size) {
            client.write_all(chunk).await.expect("sent");
            let mut out = [0; 3];
            // Takes what there is: the deadlines are far away.
            while let Ok(read) =
                tokio::time::timeout(Duration::from_millis(1), connection.read(&mut out)).await
            {
                received.extend_from_slice(&out[..read.expect("open")]);
            }
        }
        assert_eq!(String::from_utf8_lossy(&received), expected);
        drop(client);
        assert_eq!(connection.read(&mut [0; 1]).await.expect("a clean end"), 0);
    }
}

#[tokio::test]
async fn an_end_inside_what_is_held_back_is_an_error() {
    for cut in [&PING[..4], UNFINISHED_BLOCK] {
        let (mut client, mut connection) = pair();
        client.write_all(&[PREFACE, SETTINGS, cut].concat()).await.expect("sent");
        drop(client);
        assert_eq!(failure(&mut connection).await.0, ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn a_broken_stream_is_closed() {
    let (mut client, mut connection) = pair();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    assert_eq!(failure(&mut connection).await.0, ErrorKind::InvalidData);
    assert_eq!(failure(&mut connection).await.0, ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn what_the_server_writes_is_forwarded() {
    let (mut client, mut connection) = pair();
    assert!(connection.is_write_vectored());
    let written = connection.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"cd")]).await.expect("sent");
    assert_eq!(written, 4);
    connection.write_all(b"ef").await.expect("sent");
    connection.flush().await.expect("sent");
    connection.shutdown().await.expect("ended");
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.expect("a clean end");
    assert_eq!(received, b"abcdef");
    assert_eq!(connection.connect_info(), Peer { pid: Some(7), uid: 8, gid: 9 });
}
