//! Exports to real peers: files, syslog receivers, an HTTP server that speaks OTLP.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use keystead_audit::{
    AuditError, AuditLog, AuditSettings, Export, ExportSettings, OtlpSettings, SyslogAddress,
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::scene;

/// Far more than a busy machine needs.
const LIMIT: Duration = Duration::from_secs(60);

fn open(dir: &Path, to: impl IntoIterator<Item = Export>) -> AuditLog {
    let exports =
        to.into_iter().zip(1..).map(|(to, n)| ExportSettings { name: format!("to-{n}"), to }).collect();
    AuditLog::open(dir, AuditSettings { exports, ..scene::settings() }).expect("opens")
}

fn otlp(endpoint: String) -> OtlpSettings {
    OtlpSettings { endpoint, ca_file: None, token_file: None }
}

fn metrics(log: &AuditLog) -> impl Fn() -> String + use<> {
    let mut registry = Registry::default();
    log.register_metrics(&mut registry);
    move || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a string");
        text
    }
}

/// The id in a message that ends with a record.
fn id(message: &[u8]) -> String {
    let text = str::from_utf8(message).expect("text");
    let record: Value = serde_json::from_str(&text[text.find('{').expect("a record")..]).expect("JSON");
    record["insertId"].as_str().expect("an id").to_owned()
}

#[test]
fn a_file_has_the_lines_of_the_log_and_goes_on_after_a_restart() {
    let dir = scene::directory();
    let (log_dir, path) = (dir.path().join("log"), dir.path().join("copy.jsonl"));
    // Half a line of a process that died.
    fs::write(&path, "{\"half").expect("writable");
    let whole = || {
        scene::segments(&log_dir).iter().map(|it| fs::read_to_string(it).expect("text")).collect::<String>()
    };
    let copied = || fs::read_to_string(&path).unwrap_or_default();
    let log = open(&log_dir, [Export::File(path.clone())]);
    scene::append(&log, 1..=10);
    scene::wait_until("ten records", || copied().lines().count() == 11);
    scene::wait_until("the cursor", || {
        fs::read_to_string(log_dir.join("export-to-1.cursor")).is_ok_and(|it| it == "10\n")
    });
    log.close();
    assert_eq!(copied(), format!("{{\"half\n{}", whole()));

    let log = open(&log_dir, [Export::File(path.clone())]);
    scene::append(&log, [11]);
    scene::wait_until("the eleventh", || copied().lines().count() == 12);
    let moved = dir.path().join("moved");
    fs::rename(&path, &moved).expect("movable");
    scene::append(&log, [12]);
    scene::wait_until("a new file", || copied().lines().count() == 1);
    log.close();
    assert_eq!(fs::read_to_string(moved).expect("text") + &copied(), format!("{{\"half\n{}", whole()));
}

#[test]
fn syslog_receivers_of_every_kind_get_every_record() {
    let dir = scene::directory();
    let (datagrams, streams) = (dir.path().join("datagrams"), dir.path().join("streams"));
    let unix = UnixDatagram::bind(&datagrams).expect("bound");
    let stream = UnixListener::bind(&streams).expect("bound");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = |it: std::io::Result<std::net::SocketAddr>| it.expect("an address").to_string();
    let log = open(
        &dir.path().join("log"),
        [
            Export::Syslog(SyslogAddress::Unix(datagrams)),
            Export::Syslog(SyslogAddress::Unix(streams)),
            Export::Syslog(SyslogAddress::Udp(address(udp.local_addr()))),
            Export::Syslog(SyslogAddress::Tcp(address(tcp.local_addr()))),
        ],
    );
    scene::append(&log, 1..=3);
    let expected = ["1", "2", "3"];

    let mut buffer = vec![0; 65_536];
    unix.set_read_timeout(Some(LIMIT)).expect("a limit");
    udp.set_read_timeout(Some(LIMIT)).expect("a limit");
    let ids = [(); 3].map(|()| {
        let len = unix.recv(&mut buffer).expect("a datagram");
        assert!(
            buffer.starts_with(b"<110>1 2026-01-31T12:00:00.500000Z "),
            "{}",
            String::from_utf8_lossy(&buffer[..len])
        );
        id(&buffer[..len])
    });
    assert_eq!(ids, expected);
    let ids = [(); 3].map(|()| {
        let len = udp.recv(&mut buffer).expect("a datagram");
        id(&buffer[..len])
    });
    assert_eq!(ids, expected);
    let connection = stream.accept().expect("a connection").0;
    connection.set_read_timeout(Some(LIMIT)).expect("a limit");
    assert_eq!(framed(BufReader::new(connection), 3), expected);

    // A receiver that is restarted while nothing is sent gets what comes afterwards.
    tcp.set_nonblocking(true).expect("a mode");
    let connection = || {
        let mut accepted = None;
        scene::wait_until("a connection", || {
            accepted = tcp.accept().ok();
            accepted.is_some()
        });
        let (connection, _) = accepted.expect("a connection");
        connection
            .set_nonblocking(false)
            .and_then(|()| connection.set_read_timeout(Some(LIMIT)))
            .expect("a limit");
        BufReader::new(connection)
    };
    assert_eq!(framed(connection(), 3), expected);
    for id in ["4", "5"] {
        scene::append(&log, [id]);
        assert_eq!(framed(connection(), 1), [id]);
    }
}

/// Reads messages with their lengths before them, and closes the connection.
fn framed(mut stream: impl BufRead, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| {
            let mut len = Vec::new();
            stream.read_until(b' ', &mut len).expect("a length");
            let len: usize = str::from_utf8(&len).expect("text").trim().parse().expect("a number");
            let mut message = vec![0; len];
            stream.read_exact(&mut message).expect("a message");
            id(&message)
        })
        .collect()
}

/// A request as the collector got it.
struct Posted {
    head: String,
    body: Value,
}

/// Answers each request with the next of `answers`, and passes on what was posted.
fn collector(answers: Vec<String>) -> (String, mpsc::Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let (send, posted) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().expect("a connection");
            let request = serve(BufReader::new(stream), &answer);
            if send.send(request).is_err() {
                return;
            }
        }
    });
    (endpoint, posted)
}

fn serve<S: Read + Write>(mut stream: BufReader<S>, answer: &str) -> Posted {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).expect("a line") > 0, "{head}");
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().expect("a number"))
    });
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body).expect("a body");
    let answer = format!("HTTP/1.1 {answer}");
    stream.get_mut().write_all(answer.as_bytes()).and_then(|()| stream.get_mut().flush()).expect("an answer");
    Posted { head, body: serde_json::from_slice(&body).expect("JSON") }
}

const GOOD: &str = "200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";

fn ids(posted: &Posted) -> Vec<String> {
    let records = posted.body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().expect("records");
    records.iter().map(|it| id(it["body"]["stringValue"].as_str().expect("a body").as_bytes())).collect()
}

#[test]
fn a_collector_gets_otlp_and_what_it_refused_comes_again() {
    let dir = scene::directory();
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("bound");
    elsewhere.set_nonblocking(true).expect("a mode");
    let redirect =
        format!("307 Elsewhere\r\nlocation: http://{}/", elsewhere.local_addr().expect("an address"));
    let empty = |status: &str| format!("{status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let (endpoint, posted) = collector(vec![GOOD.into(), empty("503 Busy"), empty(&redirect), GOOD.into()]);
    let token = dir.path().join("token");
    fs::write(&token, "secret-token\n").expect("writable");
    let log_dir = dir.path().join("log");
    let settings = OtlpSettings { token_file: Some(token), ..otlp(format!("{endpoint}/")) };
    let log = open(&log_dir, [Export::Otlp(settings)]);
    let page = metrics(&log);
    scene::append(&log, [1]);
    let first = posted.recv().expect("a request");
    assert!(first.head.starts_with("POST /v1/logs HTTP/1.1\r\n"), "{}", first.head);
    assert!(first.head.to_ascii_lowercase().contains("content-type: application/json\r\n"), "{}", first.head);
    assert!(first.head.contains("authorization: Bearer secret-token\r\n"), "{}", first.head);
    let line = fs::read_to_string(&scene::segments(&log_dir)[0]).expect("text");
    let line = line.trim_end_matches('\0');
    assert_eq!(
        first.body,
        json!({"resourceLogs": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "keystead-server"}}]},
            "scopeLogs": [{"scope": {"name": "keystead.audit"}, "logRecords": [{
                "timeUnixNano": "1769860800500000000",
                "severityNumber": 9,
                "severityText": "INFO",
                "body": {"stringValue": line.trim_end()},
                "attributes": [{"key": "keystead.audit.sequence", "value": {"intValue": "1"}}],
            }]}],
        }]})
    );
    scene::append(&log, [2]);
    for _ in 0..3 {
        assert_eq!(ids(&posted.recv().expect("a request")), ["2"]);
    }
    scene::wait_until("the export to catch up", || {
        page().contains("keystead_audit_export_lag{export=\"to-1\"} 0\n")
    });
    assert!(elsewhere.accept().is_err(), "nobody follows a redirect with the token");
    let page = page();
    assert!(page.contains("keystead_audit_export_failures_total{export=\"to-1\"} 2\n"), "{page}");
    assert!(page.contains("keystead_audit_export_sequence{export=\"to-1\"} 2\n"), "{page}");
}

#[test]
fn a_collector_with_a_private_authority_is_known_by_it() {
    let dir = scene::directory();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let ca_file = dir.path().join("ca.pem");
    fs::write(&ca_file, made.cert.pem()).expect("writable");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a good pair");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let settings = OtlpSettings { ca_file: Some(ca_file), ..otlp(format!("https://localhost:{port}")) };
    let log = open(&dir.path().join("log"), [Export::Otlp(settings)]);
    scene::append(&log, [1]);
    let (stream, _) = listener.accept().expect("a connection");
    let session = rustls::ServerConnection::new(Arc::new(config)).expect("a session");
    let posted = serve(BufReader::new(rustls::StreamOwned::new(session, stream)), GOOD);
    assert_eq!(ids(&posted), ["1"]);
}

/// Peers that take a connection and then do nothing: a pipe that nobody reads, sockets that nobody serves.
#[test]
fn exports_that_hang_hold_up_nobody() {
    let dir = scene::directory();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let silent = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("bound"));
    let [tcp, http] = silent.each_ref().map(|it| it.local_addr().expect("an address").to_string());
    let copy = dir.path().join("copy");
    let log = open(
        &dir.path().join("log"),
        [
            Export::File(pipe),
            Export::Syslog(SyslogAddress::Tcp(tcp)),
            Export::Otlp(otlp(format!("http://{http}"))),
            Export::File(copy.clone()),
        ],
    );
    let page = metrics(&log);
    // More than the buffers of a socket hold.
    let records = 20_000;
    let started = Instant::now();
    let appends: Vec<_> = (0..records)
        .map(|id| {
            if id % 1000 == 999 {
                scene::append(&log, [id]);
            }
            log.append(&scene::event(id))
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for append in appends {
        runtime.block_on(append).expect("written");
    }
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    // The one that works is not held up by the others.
    let head = log.head().sequence;
    scene::wait_until("the good export", || {
        page().contains(&format!("keystead_audit_export_sequence{{export=\"to-4\"}} {head}\n"))
    });
    let text = page();
    for export in ["to-1", "to-3"] {
        let lag = format!("keystead_audit_export_lag{{export=\"{export}\"}} {head}\n");
        assert!(text.contains(&lag), "{lag} is not in {text}");
    }
    let closing = Instant::now();
    log.close();
    assert!(closing.elapsed() < Duration::from_secs(10), "{:?}", closing.elapsed());
}

#[test]
fn records_whose_time_was_over_are_counted_as_lost() {
    let dir = scene::directory();
    let (log_dir, copy) = (dir.path().join("log"), dir.path().join("copy"));
    let log =
        AuditLog::open(&log_dir, AuditSettings { segment_bytes: 2000, ..scene::settings() }).expect("opens");
    scene::append(&log, 1..=12);
    log.close();
    let segments = scene::segments(&log_dir);
    fs::remove_file(&segments[0]).expect("removable");
    let gone = segments[1].file_stem().and_then(|it| it.to_str()).expect("a name")[6..]
        .parse::<u64>()
        .expect("a number")
        - 1;
    let log = open(&log_dir, [Export::File(copy)]);
    let page = metrics(&log);
    scene::append(&log, [13]);
    let line = format!("keystead_audit_export_lost_total{{export=\"to-1\"}} {gone}\n");
    scene::wait_until("the count", || page().contains(&line));
}

#[test]
fn damaged_lines_are_stepped_over_and_counted_as_lost() {
    let dir = scene::directory();
    let (log_dir, copy) = (dir.path().join("log"), dir.path().join("copy"));
    let small = || AuditSettings { segment_bytes: 2000, ..scene::settings() };
    let log = AuditLog::open(&log_dir, small()).expect("opens");
    scene::append(&log, 1..=8);
    log.close();
    let segments = scene::segments(&log_dir);
    assert!(segments.len() >= 3, "{segments:?}");
    // Of each segment the first line, and of the first two the last one too.
    let mut damaged = 0;
    for (index, path) in segments.iter().enumerate() {
        let mut lines: Vec<Vec<u8>> =
            fs::read(path).expect("readable").split(|it| *it == b'\n').map(Vec::from).collect();
        let last = lines.len() - 2;
        for at in [Some(0), (index < 2).then_some(last)].into_iter().flatten() {
            lines[at] = b"\xff\xfe".repeat(9);
            damaged += 1;
        }
        fs::write(path, lines.join(&b'\n')).expect("writable");
    }
    let log = open(&log_dir, [Export::File(copy.clone())]);
    let page = metrics(&log);
    scene::append(&log, ["last"]);
    let copied = || fs::read_to_string(&copy).unwrap_or_default();
    scene::wait_until("the newest record", || copied().contains("\"last\""));
    let line = format!("keystead_audit_export_lost_total{{export=\"to-1\"}} {damaged}\n");
    scene::wait_until("the count", || page().contains(&line));
    let head = log.head().sequence;
    assert_eq!(copied().lines().count() as u64, head - damaged);
}

#[test]
fn settings_that_cannot_work_are_refused_at_start() {
    let dir = scene::directory();
    for (name, to) in [
        ("", Export::File("x".into())),
        ("../x", Export::File("x".into())),
        ("A", Export::File("x".into())),
        ("good", Export::Otlp(otlp("localhost:4318".into()))),
        (
            "good",
            Export::Otlp(OtlpSettings {
                ca_file: Some("/nowhere".into()),
                ..otlp("https://localhost".into())
            }),
        ),
    ] {
        let exports = vec![ExportSettings { name: name.into(), to }];
        let error =
            AuditLog::open(dir.path(), AuditSettings { exports, ..scene::settings() }).err().expect(name);
        assert!(matches!(error, AuditError::Setting(_) | AuditError::Io { .. }), "{error}");
    }
    let twice = vec![ExportSettings { name: "a".into(), to: Export::File(dir.path().join("x")) }; 2];
    let error = AuditLog::open(dir.path(), AuditSettings { exports: twice, ..scene::settings() }).err();
    assert!(matches!(error, Some(AuditError::Setting(_))), "{error:?}");
    scene::open(dir.path()).close();
}
