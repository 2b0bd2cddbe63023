//! Starting, stopping, and what is in the data directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use keystead_testkit::process::clock_environment;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server_process::{BINARY, Place};

#[tokio::test]
async fn a_data_directory_is_all_that_is_needed() {
    let place = Place::new();
    let server = place.start(&[]).await;
    for (name, mode) in [
        ("", 0o700),
        ("admin-token", 0o600),
        ("audit", 0o700),
        ("audit-head", 0o600),
        ("audit-head.pem", 0o600),
        ("endpoint.json", 0o600),
        ("keystead.db", 0o600),
        ("root", 0o700),
        ("root/audit-signing-key", 0o600),
        ("root/root-key", 0o600),
        ("root/server-id", 0o600),
        ("tls", 0o700),
        ("tls/authority.pem", 0o600),
        ("tls/ca.pem", 0o644),
        ("tls/server.pem", 0o600),
    ] {
        let metadata = fs::metadata(server.data.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
    }
    assert_eq!(server.text("/livez").await, "ok\n");
    let ready = server.text("/readyz").await;
    assert!(ready.starts_with("ok\n") && ready.contains("unprotected: "), "{ready}");
    assert!(server.text("/metrics").await.contains("keystead_server_connections "));

    // Paths are said, and nothing of what is in them.
    let said = server.said();
    let data = server.data.canonicalize().expect("a path");
    assert!(said.contains(data.join("admin-token").to_str().expect("UTF-8")), "{said}");
    assert!(said.contains("keystead env --data-dir"), "{said}");
    let token = fs::read_to_string(server.data.join("admin-token")).expect("a token");
    let token = token.trim();
    assert!(token.starts_with("ks_") && token.len() > 40, "a token");
    assert!(!said.contains(token), "the token is in the log");
    // It is the administrator's, and without it nothing is answered.
    let projects = server.client().get(server.url("/v1/projects"));
    let refused = projects.try_clone().expect("a copy").send().await.expect("answered");
    assert_eq!(refused.status(), 401);
    let listed = projects.bearer_auth(token).send().await.expect("answered");
    assert_eq!(listed.status(), 200);
    let metrics = server.text("/metrics").await;
    assert!(
        metrics.contains(r#"code="UNAUTHENTICATED""#) && metrics.contains("keystead_audit_"),
        "{metrics}"
    );

    // The second start finds everything and makes nothing anew.
    let kept = |data: &Path| {
        ["admin-token", "root/root-key", "tls/authority.pem", "tls/server.pem"]
            .map(|name| fs::read(data.join(name)).expect(name))
    };
    let before = kept(&server.data);
    assert_eq!(server.stop().await, 0);
    let server = place.start(&[]).await;
    assert!(kept(&server.data) == before);
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn a_start_makes_another_administrators_token_where_there_is_none() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let file = server.data.join("admin-token");
    let first = fs::read_to_string(&file).expect("a token");
    assert_eq!(server.stop().await, 0);

    // Not over one that is there.
    let server = place.start(&["--new-admin-token"]).await;
    assert_eq!(fs::read_to_string(&file).expect("a token"), first);
    assert!(server.said().contains("remove the file and start again"), "{}", server.said());
    assert_eq!(server.stop().await, 0);

    fs::remove_file(&file).expect("removed");
    let server = place.start(&["--new-admin-token"]).await;
    let another = fs::read_to_string(&file).expect("a token");
    assert_ne!(another, first);
    let listed = server.client().get(server.url("/v1/projects")).bearer_auth(another.trim()).send();
    assert_eq!(listed.await.expect("answered").status(), 200);
    assert!(!server.said().contains(another.trim()), "the token is in the log");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(server.stop().await, 0);
}

#[test]
#[ignore = "needs root"]
fn a_first_start_without_room_says_what_it_needs_and_leaves_nothing() {
    let place = Place::new();
    let disk = place.path("disk");
    fs::create_dir(&disk).expect("made");
    // The mount ends with the process.
    let script = "mount -t tmpfs -o size=20m none \"$1\" && \"$2\" --listen 127.0.0.1:0 --data-dir \"$1/new/data\"; \
                  echo \"code $?\"; ls -A \"$1\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).args([disk.as_os_str(), BINARY.as_ref()]);
    let output =
        command.env_clear().envs(clock_environment()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
    let output = output.expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "code 1\n", "{said}");
    for part in ["20 MiB free", "/new/data", "needs 48: 32", "--audit-reserve"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// What it says of itself leads to it also where `localhost` is 127.0.0.1 alone, and the certificate is good for that.
#[tokio::test]
async fn a_server_of_an_ipv6_address_alone_is_found_by_it() {
    let place = Place::new();
    let server = place.start(&["--listen", "[::1]:0"]).await;
    let own = format!("https://{}", server.address());
    assert!(own.starts_with("https://[::1]:"), "{own}");
    assert_eq!(server.endpoint["endpoint"], own);
    assert_eq!(server.endpoint["localEndpoint"], own);
    assert_eq!(server.text("/livez").await, "ok\n");
    // The key file of an account names it too, and tokens for it count.
    let admin = fs::read_to_string(server.data.join("admin-token")).expect("a token");
    let post = async |path: &str, body: serde_json::Value| -> serde_json::Value {
        let sent = server.client().post(server.url(path)).bearer_auth(admin.trim()).json(&body).send().await;
        sent.expect("answered").error_for_status().expect("done").json().await.expect("JSON")
    };
    post("/v1/projects", json!({"projectId": "project-one", "name": "project-one"})).await;
    let accounts = "/v1/projects/project-one/serviceAccounts";
    let account = post(accounts, json!({"accountId": "account"})).await;
    let email = account["email"].as_str().expect("an address");
    let made = post(&format!("{accounts}/{email}/keys"), json!({})).await;
    let file = BASE64.decode(made["privateKeyData"].as_str().expect("data")).expect("base64");
    let file: serde_json::Value = serde_json::from_slice(&file).expect("JSON");
    assert_eq!(file["token_uri"], format!("{own}/token"));
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn two_servers_do_not_share_a_directory() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let second = place.run(&["--data-dir", "data", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains(&format!("pid {}", server.process.pid())), "{second:?}");
    assert!(second.stderr.contains("hint: stop the other server"), "{second:?}");
    // Whoever removes the files of the locks removes no lock: neither that of the directory nor that of the root directory.
    for name in ["lock", "root/lock", "keystead.db.lock"] {
        fs::remove_file(server.data.join(name)).expect(name);
    }
    let third = place.run(&["--data-dir", "data", "--listen", "127.0.0.1:0"]);
    assert_eq!(third.code, Some(1), "{third:?}");
    assert!(third.stderr.contains("another keystead-server runs with the data directory"), "{third:?}");
    let fourth = ["--data-dir", "other", "--root-dir", "data/root", "--listen", "127.0.0.1:0"];
    let fourth = place.run(&fourth);
    assert_eq!(fourth.code, Some(1), "{fourth:?}");
    assert!(fourth.stderr.contains("data/root") && fourth.stderr.contains("in use"), "{fourth:?}");
    assert_eq!(server.text("/livez").await, "ok\n");
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn a_directory_that_others_can_use_and_a_lost_root_key_are_refused() {
    let place = Place::new();
    let open = place.path("open");
    fs::create_dir(&open).expect("made");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("set");
    let refused = place.run(&["--data-dir", "open", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("mode 0755") && refused.stderr.contains("hint: chmod 0700"),
        "{refused:?}"
    );
    place.write("file", "");
    let refused = place.run(&["--data-dir", "file"]);
    assert!(refused.stderr.contains("is not a directory"), "{refused:?}");

    let server = place.start(&[]).await;
    let root_key = server.data.join("root/root-key");
    assert_eq!(server.stop().await, 0);
    fs::remove_file(&root_key).expect("removed");
    let refused = place.run(&["--data-dir", "data", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("no root key") && refused.stderr.contains("key import"), "{refused:?}");
    assert!(!root_key.exists(), "none was made in its place");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let place = Place::new();
    let mut server = place.start(&["--drain-deadline", "50s"]).await;
    // A call that goes on: its body does not come, and the server has begun to wait for it.
    let stream = crate::raw::tcp(server.address()).await;
    let mut stream = crate::raw::tls(server.tls_config("http/1.1"), stream).await.expect("TLS");
    let head = b"POST /v1/projects/p/locations/global/keyRings HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\
                 content-type: application/json\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head).await.expect("written");
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    let pid = Pid::from_raw(i32::try_from(server.process.pid()).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::TERM).expect("sent");
    crate::polite::until(|| server.said().contains("once more ends at once")).await;
    kill_process(pid, Signal::TERM).expect("sent");
    let ended = tokio::time::timeout(Duration::from_secs(5), server.process.wait()).await;
    assert_eq!(ended.expect("at once").expect("a status"), 1);
    assert!(server.said().contains("SIGTERM once more"), "{}", server.said());
}

#[tokio::test]
async fn what_is_configured_is_used() {
    let place = Place::new();
    let config = "hostNames: [kms.example.com, 192.0.2.7]\nplainHttp: [\"127.0.0.1:0\"]\nadmin: 127.0.0.1:0\n\
                  rootDir: elsewhere\ndatabase: data/other.db\nlogFormat: text\nlimits: {connections: 500}\n\
                  tls: {minVersion: \"1.2\"}\n";
    let config = place.write("server.yaml", config);
    let elsewhere = place.path("elsewhere");
    let root = elsewhere.to_str().expect("UTF-8").to_owned();
    let database = place.path("data/other.db").to_str().expect("UTF-8").to_owned();
    let args = ["--config", config.to_str().expect("UTF-8"), "--root-dir", &root, "--database", &database];
    // Waits for `localhost`, which is not what the endpoint says here.
    let (data, log) = (place.path("data"), place.path("log"));
    let mut all: Vec<std::ffi::OsString> = args.iter().map(Into::into).collect();
    all.extend(["--data-dir".into(), data.clone().into(), "--listen".into(), "127.0.0.1:0".into()]);
    let binary = Path::new(crate::server_process::BINARY);
    let mut process = keystead_testkit::process::Process::spawn(binary, &all, &log).await.expect("started");
    let endpoint = data.join("endpoint.json");
    crate::polite::until(|| endpoint.exists()).await;
    let endpoint: serde_json::Value =
        serde_json::from_slice(&fs::read(&endpoint).expect("read")).expect("JSON");
    let name = endpoint["endpoint"].as_str().expect("a text");
    assert!(name.starts_with("https://kms.example.com:"), "{name}");
    let plain = endpoint["plainHttp"][0].as_str().expect("a text").to_owned();
    let answered = async || reqwest::get(format!("http://{plain}/livez")).await.is_ok();
    while !answered().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(elsewhere.join("root-key").exists() && data.join("other.db").exists());
    assert!(!data.join("root").exists() && !data.join("keystead.db").exists());
    let address = endpoint["addresses"][0].as_str().expect("a text").parse().expect("an address");
    let ca = reqwest::Certificate::from_pem_bundle(&fs::read(data.join("tls/ca.pem")).expect("a bundle"));
    let client = reqwest::Client::builder()
        .tls_certs_only(ca.expect("a bundle"))
        .tls_version_max(reqwest::tls::Version::TLS_1_2)
        .resolve("kms.example.com", address)
        .build()
        .expect("a client");
    let response = client.get(format!("{name}/livez")).send().await.expect("answered");
    assert_eq!(response.status(), 200);
    assert_eq!(process.stop(Duration::from_secs(20)).await.expect("ended"), 0);
}

/// A process that ends with its test, however that ends.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Not there any more when the test went well.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_neither_answers_nor_the_end() {
    let place = Place::new();
    let data = place.path("data");
    let (unread, writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(BINARY);
    command.args(["--listen", "127.0.0.1:0", "--plain-http", "127.0.0.1:0", "--log-level", "debug"]);
    command.arg("--data-dir").arg(&data).env_clear().envs(clock_environment());
    let mut server = Guarded(command.stdout(Stdio::null()).stderr(writer).spawn().expect("started"));
    // The command holds the other end of the pipe too.
    drop(command);
    let endpoint = data.join("endpoint.json");
    crate::polite::until(|| endpoint.exists()).await;
    let endpoint: serde_json::Value =
        serde_json::from_slice(&fs::read(&endpoint).expect("read")).expect("JSON");
    let address = endpoint["addresses"][0].as_str().expect("an address").to_owned();
    let metrics = format!("http://{}/metrics", endpoint["plainHttp"][0].as_str().expect("an address"));

    // Each connection that speaks no TLS is a line of the log.
    let client = reqwest::Client::new();
    let dropped = async {
        loop {
            for _ in 0..100 {
                let mut stream = TcpStream::connect(&address).await.expect("it listens");
                stream.write_all(b"this is no TLS\r\n\r\n").await.expect("sent");
                let mut answer = Vec::new();
                // The server closes it, in whichever way.
                drop(stream.read_to_end(&mut answer).await);
            }
            let page = client.get(&metrics).send().await.expect("answered").text().await.expect("text");
            let series = "keystead_server_log_lines_dropped_total ";
            let value = page.lines().find_map(|line| line.strip_prefix(series)).expect("the metric");
            if value != "0" {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), dropped).await.expect("lines are dropped");

    kill_process(Pid::from_child(&server.0), Signal::TERM).expect("still running");
    let mut code = None;
    crate::polite::until(|| {
        code = server.0.try_wait().expect("its state").and_then(|status| status.code());
        code.is_some()
    })
    .await;
    assert_eq!(code, Some(0));
    drop(unread);
}
