//! Start, end, and what the service manager sees.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::linux::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use keystead_proto::kms_v2::{DecryptRequest, EncryptRequest, StatusRequest};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::plugin_process::{BINARY, DEADLINE, NOBODY, Place, Plugin, get, v2};
use crate::transport_frames::{Client, END_HEADERS, End, HEADERS, PREFACE, authority, block, frame, message};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_under_way_at_sigterm_is_answered() {
    let place = Place::new();
    let mut plugin = place.start();
    plugin.says("encrypting");
    let mut client = Client::connect(&place.socket()).await;
    let head = block(&authority(0x41, "localhost"));
    assert!(matches!(client.call(&head, b"seed").await, End::Answered(_)), "it works");

    // Headers are there, the message is not.
    let stream = client.stream_id();
    client.send(&frame(HEADERS, END_HEADERS, stream, &head)).await;
    let mut late = Client::connect(&place.socket()).await;
    assert!(matches!(late.call(&head, b"seed").await, End::Answered(_)), "the headers have arrived");
    plugin.signal(Signal::TERM);
    plugin.says("stopping");
    let answer = client.finish(stream, &message(b"seed")).await;
    assert!(matches!(answer, End::Answered(_)), "{answer:?}");

    // Neither client answers the farewell, so that both are left behind in the end.
    let ended = plugin.ended();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!place.socket().exists(), "the socket file is removed");
}

#[test]
fn both_signals_end_it_well_at_any_moment() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        // Right after it says that it listens.
        let plugin = place.start();
        plugin.signal(signal);
        let ended = plugin.ended();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(!place.socket().exists());
    }
}

#[test]
fn the_service_manager_hears_ready_status_and_stopping() {
    let place = Place::new();
    let manager = UnixDatagram::bind(place.path("notify")).expect("a free path");
    manager.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    let mut command = place.serve();
    command.env("NOTIFY_SOCKET", place.path("notify"));
    let plugin = Plugin::spawn(command);
    let mut heard: Vec<String> = Vec::new();
    while !(heard.iter().any(|it| it == "READY=1") && heard.iter().any(|it| it.starts_with("STATUS=ok"))) {
        heard.extend(hear(&manager));
    }
    assert_eq!(heard[0], "READY=1", "before the backend is asked: {heard:?}");
    assert!(place.socket().exists(), "READY=1 says that it listens");
    let status = heard.iter().find(|it| it.starts_with("STATUS=ok")).expect("heard");
    assert!(status.contains("encrypting with local-v1-a1-"), "{status}");
    plugin.signal(Signal::TERM);
    while !hear(&manager).iter().any(|it| it == "STOPPING=1") {}
    assert_eq!(plugin.ended().code, 0);
}

fn hear(manager: &UnixDatagram) -> Vec<String> {
    let mut datagram = [0; 4096];
    let len = manager.recv(&mut datagram).expect("a word in time");
    let text = String::from_utf8_lossy(&datagram[..len]).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// As systemd does it: the listener is file descriptor 3 of the process that LISTEN_PID names.
fn activated(place: &Place, listener: &UnixListener) -> Command {
    let script = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    let mut command = Command::new("sh");
    let serve = place.serve();
    command.args(["-c", script, "sh", BINARY]).env_clear();
    command.env("PATH", std::env::var_os("PATH").expect("a path"));
    command.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().expect("a copy"))));
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_inherited_socket_is_served_and_never_removed() {
    let place = Place::new();
    let inherited = place.path("inherited.sock");
    let listener = UnixListener::bind(&inherited).expect("a free path");
    let before = fs::metadata(&inherited).expect("a socket").st_ino();

    for _ in 0..2 {
        // Waits in the listener's queue from before the start: a restart refuses nobody.
        let mut early = UnixStream::connect(&inherited).await.expect("the service manager listens");
        early.write_all(PREFACE).await.expect("sent");
        let mut plugin = Plugin::start(activated(&place, &listener));
        plugin.says("encrypting");
        assert_eq!(early.read_u8().await.expect("greeted"), 0, "the first byte of a SETTINGS frame");
        assert!(v2(&inherited).await.status(StatusRequest {}).await.is_ok());
        drop(early);
        assert_eq!(plugin.terminate().code, 0);
        assert_eq!(fs::metadata(&inherited).expect("still there").st_ino(), before);
        assert!(!place.socket().exists(), "the configured path is not used");
    }
}

#[test]
fn what_is_inherited_and_no_listener_is_refused() {
    let place = Place::new();
    let mut command = activated(&place, &UnixListener::bind(place.path("unused")).expect("a free path"));
    command.stdin(Stdio::from(fs::File::open("/dev/null").expect("there")));
    let ended = Plugin::spawn(command).ended();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("hint: ") && ended.stderr.contains("service manager"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn after_sigkill_the_next_start_takes_the_stale_socket() {
    let place = Place::new();
    let mut plugin = place.start();
    plugin.says("encrypting");
    let request = EncryptRequest { plaintext: b"seed".to_vec(), uid: "1".into() };
    let sealed = v2(&place.socket()).await.encrypt(request).await.expect("works").into_inner();
    plugin.signal(Signal::KILL);
    assert_eq!(plugin.ended().code, -1);
    assert!(place.socket().exists(), "left behind");

    let mut plugin = place.start();
    plugin.says("encrypting");
    let request = DecryptRequest {
        ciphertext: sealed.ciphertext,
        uid: "2".into(),
        key_id: sealed.key_id,
        annotations: Default::default(),
    };
    let opened = v2(&place.socket()).await.decrypt(request).await.expect("the other life's ciphertext");
    assert_eq!(opened.into_inner().plaintext, b"seed");
    assert_eq!(plugin.terminate().code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_file_that_turns_bad_is_reported_and_the_last_good_one_kept() {
    let place = Place::new();
    let mut command = place.serve();
    command.env("KEYSTEAD_PROBE_INTERVAL", "100ms");
    let mut plugin = Plugin::start(command);
    plugin.says("encrypting");
    let mut client = v2(&place.socket()).await;
    let before = client.status(StatusRequest {}).await.expect("ready").into_inner();

    let good = fs::read(place.key()).expect("a key file");
    place.write("key", &good[..good.len() / 2], 0o600);
    let line = plugin.says("going on with the last good one");
    assert!(line.contains(place.key().to_str().expect("UTF-8")), "it names the file: {line}");
    assert_eq!(client.status(StatusRequest {}).await.expect("still ready").into_inner(), before);
    assert_eq!(get(plugin.admin(), "/readyz").0, 200);

    // Mended, and rotated by the command beside it: taken up without a restart.
    place.write("key", good, 0o600);
    plugin.says("key file read again");
    assert_eq!(place.run(["key", "rotate", "--single-host", "--key-file", "key"]).code, 0);
    plugin.says("the key was rotated");
    let after = client.status(StatusRequest {}).await.expect("ready").into_inner();
    assert!(after.key_id.starts_with("local-v2-a2-"), "{after:?}");
    assert_eq!(plugin.terminate().code, 0);
}

/// No core files, and a process that only root may look into.
#[test]
fn memory_does_not_leave_the_process() {
    let place = Place::new();
    // What is not dumpable belongs to root in /proc, which shows only under another user.
    let (command, root) = place.unprivileged(place.serve());
    if root {
        for path in [place.path(""), place.key()] {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
    }
    let plugin = Plugin::start(command);
    let proc = format!("/proc/{}", plugin.pid());
    let limits = fs::read_to_string(format!("{proc}/limits")).expect("there");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let owner = fs::metadata(format!("{proc}/environ")).expect("there").st_uid();
    assert_eq!(owner, 0, "dumpable: /proc shows the process as its user's");
    let status = fs::read_to_string(format!("{proc}/status")).expect("there");
    let user = status.lines().find(|line| line.starts_with("Uid:")).expect("a user");
    assert_ne!(user.split_whitespace().nth(1), Some("0"), "as root the owner would show nothing: {user}");
    assert_eq!(plugin.terminate().code, 0);
}
