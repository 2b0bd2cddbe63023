//! Many clients, silent clients, clients that stop in the middle.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::transport_echo::Running;
use crate::transport_frames::*;

fn head() -> Vec<u8> {
    block(&authority(0x41, "/run/keystead/kms.sock"))
}

#[tokio::test]
async fn five_hundred_connections_are_served() {
    // Both ends are in this process, and common limits are 1,024 files.
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limits.maximum, maximum: limits.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised)
        .expect("a process may use its limit");

    let server = Running::start();
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(Client::connect(&server.path).await);
    }
    for round in 0..3 {
        let streams: Vec<u32> = clients.iter_mut().map(Client::stream_id).collect();
        for (client, stream) in clients.iter_mut().zip(&streams) {
            client.send(&frame(HEADERS, END_HEADERS, *stream, &head())).await;
            client.send(&frame(DATA, END_STREAM, *stream, &message(b"seed"))).await;
        }
        for (client, stream) in clients.iter_mut().zip(&streams) {
            assert_eq!(client.answer(*stream).await, End::Answered(b"deesu".to_vec()), "round {round}");
        }
    }
    drop(clients);
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_of_an_hour_is_served() {
    let server = Running::start();
    let mut client = Client::connect(&server.path).await;
    for _ in 0..3 {
        assert_eq!(client.call(&head(), b"seed").await, End::Answered(b"deesu".to_vec()));
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
    // Also one that has only greeted.
    let mut late = Client::connect(&server.path).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(late.call(&head(), b"seed").await, End::Answered(b"deesu".to_vec()));
    assert_eq!(client.call(&head(), b"seed").await, End::Answered(b"deesu".to_vec()));
    drop((client, late));
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_never_finishes_its_handshake_or_frame_is_closed() {
    let server = Running::start();
    let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let half_frame = [&greeting[..], &frame(DATA, 0, 1, &[0; 50])[..30]].concat();
    let half_block = [&greeting[..], &frame(HEADERS, 0, 1, &head())].concat();
    for (sent, seconds) in [(&[][..], 5), (PREFACE, 5), (&half_frame, 10), (&half_block, 10)] {
        let mut client = UnixStream::connect(&server.path).await.expect("listens");
        client.write_all(sent).await.expect("sent");
        let began = Instant::now();
        let mut received = Vec::new();
        let end = tokio::time::timeout(PATIENCE, client.read_to_end(&mut received)).await;
        end.expect("closed").expect("a clean end");
        assert_eq!(began.elapsed().as_secs_f64().round() as u64, seconds, "after {sent:?}");
    }
    server.stop().await;
}
