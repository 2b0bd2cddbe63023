//! A log that nobody reads: standard error is a pipe that fills up.

use std::io::{BufRead, BufReader, PipeReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;

use keystead_proto::kms_v2::EncryptRequest;
use rustix::process::{Pid, Signal, kill_process};

use crate::plugin_process::{DEADLINE, Place, get, v2};
use crate::transport_frames::{CONTINUATION, Client, END_HEADERS, End, frame};

/// A plugin whose log is read only when a test says so.
struct Unread {
    child: Child,
    log: BufReader<PipeReader>,
    admin: SocketAddr,
}

impl Unread {
    /// Reads until it says that it encrypts, and nothing after that.
    fn start(place: &Place) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = place.serve();
        command.stdout(Stdio::null()).stderr(writer);
        let child = command.spawn().expect("the binary starts");
        // The command holds the other end of the pipe too.
        drop(command);
        let mut unread =
            Self { child, log: BufReader::new(reader), admin: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let line = unread.says("127.0.0.1:");
        let (_, port) = line.split_once("127.0.0.1:").expect("an admin port");
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        unread.admin.set_port(port.parse().expect("a number"));
        unread.says("encrypting");
        unread
    }

    fn says(&mut self, text: &str) -> String {
        let mut lines = self.log.by_ref().lines().map_while(Result::ok);
        lines.find(|line| line.contains(text)).unwrap_or_else(|| panic!("`{text}` was not said"))
    }

    /// Encrypts, each call a line of the log, until lines are dropped.
    async fn fill(&self, place: &Place) {
        let mut client = v2(&place.socket()).await;
        for call in 0..1000 {
            for _ in 0..100 {
                let request = EncryptRequest { plaintext: b"seed".to_vec(), uid: "u".repeat(64) };
                let sealed = tokio::time::timeout(DEADLINE, client.encrypt(request)).await;
                sealed.expect("an answer in time").expect("it encrypts");
            }
            assert_eq!(self.get("/livez").await, (200, "ok\n".to_owned()), "after {call} hundred calls");
            if self.dropped().await > 0 {
                return;
            }
        }
        panic!("no line was ever dropped");
    }

    async fn dropped(&self) -> u64 {
        let text = self.get("/metrics").await.1;
        let name = "keystead_plugin_log_lines_dropped_total ";
        let value = text.lines().find_map(|line| line.strip_prefix(name)).expect("the metric");
        value.parse().expect("a number")
    }

    async fn get(&self, path: &'static str) -> (u16, String) {
        let admin = self.admin;
        tokio::task::spawn_blocking(move || get(admin, path)).await.expect("an answer")
    }

    fn terminate(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("still running");
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // Not there any more when the test went well.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_that_nobody_reads_holds_up_neither_calls_nor_the_end() {
    let place = Place::new();
    let mut plugin = Unread::start(&place);
    plugin.fill(&place).await;

    plugin.terminate();
    let (sender, ended) = channel();
    std::thread::spawn(move || sender.send((plugin.child.wait().expect("a status").code(), plugin)));
    let (code, _plugin) = ended.recv_timeout(DEADLINE).expect("it ends while nobody reads");
    assert_eq!(code, Some(0));
    assert!(!place.socket().exists(), "it ended in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_that_flows_again_says_how_many_lines_are_missing() {
    let place = Place::new();
    let mut plugin = Unread::start(&place);
    plugin.fill(&place).await;
    let line = plugin.says("lines of the log were dropped");
    assert!(line.contains(r#""lines":"#), "{line}");
    plugin.terminate();
    plugin.says("stopping");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reason_that_repeats_is_limited_in_rate_and_what_was_left_out_is_counted() {
    const TIMES: u64 = 300;
    let place = Place::new();
    let plugin = place.start();
    for _ in 0..TIMES {
        let mut client = Client::connect(&place.socket()).await;
        client.send(&frame(CONTINUATION, END_HEADERS, 1, &[])).await;
        assert_eq!(client.answer(1).await, End::Closed);
    }
    let ended = plugin.terminate();
    assert_eq!(ended.code, 0, "{ended:?}");
    let written = ended.stderr.lines().filter(|line| line.contains("closed a client's connection")).count();
    // Twenty within ten seconds; a machine that is very slow takes more than one window for this.
    assert!((20..TIMES as usize / 2).contains(&written), "{written}");
    let left_out: u64 = ended.stderr.lines().filter_map(left_out_by_the_transport).sum();
    assert_eq!(written as u64 + left_out, TIMES, "{ended:?}");
}

fn left_out_by_the_transport(line: &str) -> Option<u64> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let place = line["place"].as_str()?;
    place.starts_with("keystead_plugin::transport::connection:").then_some(())?;
    line["suppressed"].as_u64()
}
