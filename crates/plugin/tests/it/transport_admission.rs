//! Peers with other uids, a process without file descriptors, sockets from the service manager.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};

use keystead_plugin::transport::{Listener, SocketSettings, inherited_listener};
use rustix::thread::set_thread_res_uid;
use tokio::io::AsyncReadExt;
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;

use crate::transport_echo::{self, Running};
use crate::transport_frames::*;

/// `nobody` on most systems.
const FOREIGN: u32 = 65_534;

#[tokio::test]
#[ignore = "needs root"]
async fn a_peer_with_another_uid_is_refused() {
    let log = Log::default();
    let _guard = log.collect();
    let server = Running::start_with("kms.sock", SocketSettings { mode: 0o666, ..Default::default() });
    let_everybody_in(&server.path);

    let mut client = connect_as_foreign(&server.path);
    assert!(client.read_u8().await.is_err(), "closed");
    let line = log.line_with("refused a connection");
    assert!(line.contains("--allow-uid 65534 would admit"), "{line}");
    assert!(line.contains(&format!("pid={}", std::process::id())) && line.contains("uid=65534"), "{line}");
    drop(client);
    server.stop().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn a_peer_on_the_list_is_admitted() {
    let settings = SocketSettings { mode: 0o666, allow_uids: vec![FOREIGN], ..Default::default() };
    let server = Running::start_with("kms.sock", settings);
    let_everybody_in(&server.path);
    let mut client = Client::greet(connect_as_foreign(&server.path)).await;
    let answer = client.call(&block(&authority(0x41, "/x")), b"seed").await;
    assert_eq!(answer, End::Answered(b"deesu".to_vec()));
    drop(client);
    server.stop().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn one_user_cannot_take_all_places() {
    let log = Log::default();
    let _guard = log.collect();
    let settings = SocketSettings { mode: 0o666, allow_uids: vec![FOREIGN], ..Default::default() };
    let server = Running::start_with("kms.sock", settings);
    let_everybody_in(&server.path);
    let mut held: Vec<_> = (0..128).map(|_| connect_as_foreign(&server.path)).collect();
    let mut one_more = connect_as_foreign(&server.path);
    assert!(one_more.read_u8().await.is_err(), "closed, after those that came before it were admitted");
    let line = log.line_with("refused a connection");
    assert!(line.contains("128 of this user are open already") && line.contains("uid=65534"), "{line}");

    let head = block(&authority(0x41, "/x"));
    let mut root = Client::connect(&server.path).await;
    assert_eq!(root.call(&head, b"seed").await, End::Answered(b"deesu".to_vec()));
    let mut client = Client::greet(held.remove(0)).await;
    assert_eq!(client.call(&head, b"seed").await, End::Answered(b"deesu".to_vec()));
    drop((client, root, held, one_more));
    server.stop().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn the_mode_keeps_others_out() {
    let server = Running::start();
    let_everybody_in(&server.path);
    let refused = as_foreign(&server.path).expect_err("the file's mode is 0600");
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    server.stop().await;
}

#[tokio::test]
async fn what_is_closed_is_logged() {
    let log = Log::default();
    let _guard = log.collect();
    let server = Running::start();
    let mut client = Client::connect(&server.path).await;
    client.send(&frame(CONTINUATION, END_HEADERS, 1, &[])).await;
    assert_eq!(client.answer(1).await, End::Closed);
    let line = log.line_with("closed a client's connection");
    assert!(line.contains("WARN") && line.contains("a CONTINUATION frame outside a header block"), "{line}");
    drop(client);
    server.stop().await;
}

#[test]
fn a_passed_socket_with_another_path_is_reported() {
    let log = Log::default();
    let _guard = log.collect();
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("passed.sock");
    let bind = |endpoint: Option<&str>| {
        let passed = UnixListener::bind(&path).expect("bound");
        let settings = SocketSettings { endpoint: endpoint.map(str::to_owned), ..Default::default() };
        drop(Listener::bind(&settings, Some(passed)).expect("taken"));
        std::fs::remove_file(&path).expect("left alone");
    };
    bind(None);
    bind(path.to_str());
    assert_eq!(log.text(), "");
    bind(Some("/run/other.sock"));
    let line = log.line_with("another socket than the configured one");
    assert!(line.contains("/run/other.sock") && line.contains("passed.sock"), "{line}");
}

/// Plays both parts: run by itself with few file descriptors, it is the server.
#[tokio::test]
async fn running_out_of_file_descriptors_does_not_end_the_accept_loop() {
    const NAME: &str = "transport_admission::running_out_of_file_descriptors_does_not_end_the_accept_loop";
    if let Some(path) = std::env::var_os(ROLE) {
        return serve_for_ever(Path::new(&path), None).await;
    }
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("kms.sock");
    let mut server = Server::start("ulimit -n 40; exec \"$0\" \"$@\"", NAME, &path, Stdio::null());
    server.wait_for("listening");

    let head = block(&authority(0x41, "/x"));
    let mut first = Client::connect(&path).await;
    assert_eq!(first.call(&head, b"seed").await, End::Answered(b"deesu".to_vec()));
    let mut many = Vec::new();
    for _ in 0..60 {
        many.push(Client::connect(&path).await);
    }
    server.wait_for("cannot accept a connection");
    assert_eq!(first.call(&head, b"seed").await, End::Answered(b"deesu".to_vec()), "old ones are served");
    drop(many.drain(..50));
    for client in &mut many {
        assert_eq!(
            client.call(&head, b"seed").await,
            End::Answered(b"deesu".to_vec()),
            "those who waited too"
        );
    }
}

/// Plays both parts, as above. What the service manager does is done with `sh`.
#[tokio::test]
async fn a_socket_kept_by_the_service_manager_survives_restarts() {
    const NAME: &str = "transport_admission::a_socket_kept_by_the_service_manager_survives_restarts";
    if let Some(path) = std::env::var_os(ROLE) {
        let passed = inherited_listener().expect("a listening socket");
        assert!(passed.is_some(), "a socket was passed");
        return serve_for_ever(Path::new(&path), passed).await;
    }
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("kms.sock");
    let kept = UnixListener::bind(&path).expect("bound");
    let pass = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 </dev/null";
    for _ in 0..2 {
        // Before there is a server.
        let mut client = Client::connect(&path).await;
        let passed = OwnedFd::from(kept.try_clone().expect("one more"));
        let mut server = Server::start(pass, NAME, &path, Stdio::from(passed));
        server.wait_for("listening");
        let answer = client.call(&block(&authority(0x41, "/x")), b"seed").await;
        assert_eq!(answer, End::Answered(b"deesu".to_vec()));
        drop(server);
        assert!(path.exists(), "never removed");
    }
}

/// Set for the part that serves: the path of its socket.
const ROLE: &str = "KEYSTEAD_TEST_SERVE";

async fn serve_for_ever(path: &Path, passed: Option<UnixListener>) {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stdout).init();
    let (_stop, mut server) = transport_echo::serve(path, SocketSettings::default(), passed);
    println!("listening");
    server.join_next().await;
}

/// Another process that runs one test of this program; killed when dropped.
struct Server {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Server {
    fn start(script: &str, test: &str, path: &Path, stdin: Stdio) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().expect("this program"))
            .args(["--exact", test, "--nocapture"])
            .env(ROLE, path)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh is here");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    fn wait_for(&mut self, text: &str) {
        let found = self.lines.by_ref().map_while(Result::ok).any(|line| line.contains(text));
        assert!(found, "the server ended before it said `{text}`");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("ours");
        self.child.wait().expect("ours");
    }
}

fn let_everybody_in(socket: &Path) {
    let directory = socket.parent().expect("a directory");
    std::fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("ours");
}

fn connect_as_foreign(path: &Path) -> tokio::net::UnixStream {
    let stream = as_foreign(path).expect("everybody may connect");
    stream.set_nonblocking(true).expect("a socket");
    tokio::net::UnixStream::from_std(stream).expect("a runtime")
}

/// Connects on a thread that has given up being root; the kernel notes whose thread it was.
fn as_foreign(path: &Path) -> std::io::Result<UnixStream> {
    assert!(rustix::process::geteuid().is_root(), "run this test as root: it acts as another user");
    let foreign = rustix::process::Uid::from_raw(FOREIGN);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_thread_res_uid(foreign, foreign, foreign).expect("root may");
            UnixStream::connect(path)
        });
        thread.join().expect("no panic")
    })
}

/// A second one that tracing knows. With one alone, a thread that has none and reaches a place in the code first switches that place off for
/// all (`Dispatchers::rebuilder` of tracing-core).
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));

/// What this thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn collect(&self) -> tracing::subscriber::DefaultGuard {
        LazyLock::force(&SECOND);
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("one thread").clone()).expect("text")
    }

    fn line_with(&self, text: &str) -> String {
        let all = self.text();
        all.lines()
            .find(|line| line.contains(text))
            .unwrap_or_else(|| panic!("no `{text}` in {all}"))
            .to_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
