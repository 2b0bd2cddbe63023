//! The real binary as a child process, and what a test asks it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use keystead_proto::kms_v1::key_management_service_client::KeyManagementServiceClient as V1;
use keystead_proto::kms_v2::key_management_service_client::KeyManagementServiceClient as V2;
use keystead_testkit::process::clock_environment;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_keystead-plugin");
/// Far above what anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A user without any right.
pub(crate) const NOBODY: u32 = 65_534;

/// A directory of its own for one test, with a key file in it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self::empty();
        let made = place.run(["key", "create", "--key-file", place.key().to_str().expect("UTF-8")]);
        assert_eq!(made.code, 0, "{made:?}");
        place
    }

    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path("key")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("kms.sock")
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        path
    }

    /// The binary with nothing of the test's environment but its clock; it runs in this place.
    pub(crate) fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(BINARY);
        command.args(args).env_clear().envs(clock_environment()).current_dir(self.0.path());
        command
    }

    /// Runs a command that ends by itself.
    pub(crate) fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ended {
        Plugin::spawn(self.command(args)).ended()
    }

    /// A command that serves on this place's socket, with an admin port of its own and all logs in JSON.
    pub(crate) fn serve(&self) -> Command {
        let mut command = self.command([]);
        command.env("KEYSTEAD_SOCKET", self.socket()).env("KEYSTEAD_KEY_FILE", self.key());
        command.env("KEYSTEAD_ADMIN", "127.0.0.1:0").env("KEYSTEAD_LOG_LEVEL", "trace");
        command
    }

    /// The same command as [`NOBODY`] where the tests run as root, and whether they do.
    pub(crate) fn unprivileged(&self, command: Command) -> (Command, bool) {
        if !rustix::process::geteuid().is_root() {
            return (command, false);
        }
        // That user may not be able to reach the binary where it was built.
        let binary = self.path("keystead-plugin");
        // By another process: a child of another test would keep the file open for writing until its exec, and the kernel
        // starts no such file.
        let copied = Command::new("cp").arg(BINARY).arg(&binary).status().expect("cp runs");
        assert!(copied.success(), "{copied}");
        fs::set_permissions(self.0.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        let mut nobody = Command::new(binary);
        nobody.args(command.get_args()).env_clear().uid(NOBODY).gid(NOBODY);
        nobody.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        (nobody, true)
    }

    pub(crate) fn start(&self) -> Plugin {
        Plugin::start(self.serve())
    }
}

/// A child process. It is killed when a test fails.
pub(crate) struct Plugin {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    lines: Receiver<String>,
    /// What stderr has said so far.
    pub(crate) stderr: String,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// -1 when a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Plugin {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut stdout = child.stdout.take().expect("piped");
        let stdout = std::thread::spawn(move || {
            let mut text = Vec::new();
            stdout.read_to_end(&mut text).expect("read");
            String::from_utf8_lossy(&text).into_owned()
        });
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.split(b'\n') {
                let line = String::from_utf8_lossy(&line.expect("read")).into_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, stdout: Some(stdout), lines, stderr: String::new() }
    }

    /// Starts one that serves, and waits until it listens.
    pub(crate) fn start(command: Command) -> Self {
        let mut plugin = Self::spawn(command);
        plugin.says("listening");
        plugin
    }

    /// Waits for a line of the log that holds this text.
    pub(crate) fn says(&mut self, text: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            // A log that flows on without that line must end too.
            assert!(Instant::now() < end, "`{text}` was not said in time:\n{}", self.stderr);
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.stderr.push_str(&line);
                    self.stderr.push('\n');
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("`{text}` was not said ({error}):\n{}", self.stderr),
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The admin port, as the log says it, in whatever form.
    pub(crate) fn admin(&self) -> SocketAddr {
        let line = self.stderr.lines().find(|line| line.contains("listening")).expect("it listens");
        let (_, port) = line.split_once("127.0.0.1:").expect("an admin port");
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a number")))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("still running");
    }

    pub(crate) fn terminate(self) -> Ended {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits for the end.
    pub(crate) fn ended(mut self) -> Ended {
        let end = Instant::now() + DEADLINE;
        // The end of stderr is the end of the process.
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.stderr.push_str(&line);
            self.stderr.push('\n');
        }
        assert!(Instant::now() < end, "did not end:\n{}", self.stderr);
        let code = self.child.wait().expect("a status").code().unwrap_or(-1);
        let stdout = self.stdout.take().expect("once").join().expect("read");
        Ended { code, stdout, stderr: std::mem::take(&mut self.stderr) }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // Not there any more when the test went well.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// An answer of the admin port: status line and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the admin port listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, body.to_owned())
}

/// Both APIs over one connection.
pub(crate) async fn clients(socket: &Path) -> (V1<Channel>, V2<Channel>) {
    let path = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connect).await.expect("the socket listens");
    (V1::new(channel.clone()), V2::new(channel))
}

pub(crate) async fn v1(socket: &Path) -> V1<Channel> {
    clients(socket).await.0
}

pub(crate) async fn v2(socket: &Path) -> V2<Channel> {
    clients(socket).await.1
}
