//! Clients that are admitted and take all they can get.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;

use bytes::Bytes;
use h2::client::handshake;
use hyper::{HeaderMap, Request};
use keystead_proto::kms_v2::EncryptRequest;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::plugin_in_process::Served;
use crate::plugin_process::{DEADLINE, Place, Plugin, get, v2};

/// Far above the budget of the plugin and what it needs itself, in a build without optimisation; far below what the clients
/// send.
const MOST_MEMORY: usize = 192 * 1024 * 1024;
const CONNECTIONS: usize = 12;
/// As many as an HTTP/2 client that knows no limit would open.
const STREAMS: usize = 1024;
/// In each stream, which never ends.
const SENT: usize = 60 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn streams_that_never_end_are_bounded_in_memory_and_in_time() {
    let place = Place::new();
    let mut plugin = Plugin::start(place.serve());
    plugin.says("encrypting");
    let mut honest = v2(&place.socket()).await;

    let mut attack = JoinSet::new();
    for _ in 0..CONNECTIONS {
        attack.spawn(open_streams(place.socket()));
    }
    // Each ends with the answer to a stream that was never finished; on the way the honest client is served.
    let mut answers = Vec::new();
    let all = async {
        while let Some(answer) = attack.join_next().await {
            answers.push(answer.expect("no panic"));
            let request = EncryptRequest { plaintext: b"seed".to_vec(), uid: "1".into() };
            honest.encrypt(request).await.expect("others are served");
        }
    };
    tokio::time::timeout(DEADLINE, all).await.expect("a deadline for each request");
    let deadline_exceeded = (tonic::Code::DeadlineExceeded as i32).to_string();
    assert_eq!(answers, vec![deadline_exceeded; CONNECTIONS]);
    let peak = peak_memory(&plugin);
    assert!(peak < MOST_MEMORY, "{peak} bytes");
    assert_eq!(plugin.terminate().code, 0);
}

/// Opens streams and sends a part of a message in each, and gives the gRPC status that the first one is answered with.
async fn open_streams(socket: PathBuf) -> String {
    let stream = UnixStream::connect(socket).await.expect("it listens");
    let (mut sender, connection) = handshake(stream).await.expect("HTTP/2");
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = || {
        let uri = "http://localhost/v2.KeyManagementService/Encrypt";
        let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
        request.body(()).expect("a request")
    };
    // The length of a message that is allowed and never comes whole.
    let mut part = vec![0; SENT];
    part[..5].copy_from_slice(&[0, 0, 1, 0x80, 0]);
    let part = Bytes::from(part);

    let (first, mut body) = sender.send_request(request(), false).expect("sent");
    body.send_data(part.clone(), false).expect("sent");
    let others = async {
        // Kept, because dropping them would reset the streams.
        let mut kept = Vec::new();
        for _ in 1..STREAMS {
            sender = sender.ready().await?;
            let (answer, mut body) = sender.send_request(request(), false)?;
            body.send_data(part.clone(), false)?;
            kept.push((answer, body));
        }
        std::future::pending::<Result<(), h2::Error>>().await
    };
    let answer = tokio::select! {
        answer = first => answer.expect("an answer"),
        error = others => panic!("{error:?}"),
    };
    status(answer.headers()).expect("refused at once, without a message")
}

fn status(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("grpc-status")?.to_str().ok()?.to_owned())
}

/// The most that was ever resident.
fn peak_memory(plugin: &Plugin) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", plugin.pid())).expect("there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_do_not_close_the_admin_port_to_others() {
    let served = Served::ready().await;
    let admin = served.admin();
    let silent: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(admin).expect("the admin port listens")).collect();
    assert_eq!(get(admin, "/livez"), (200, "ok\n".to_owned()));
    drop(silent);
    served.stop().await;
}
