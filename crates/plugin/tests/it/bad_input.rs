//! Whatever is wrong at the start: one sentence that names the file, a hint, and the exit code that says whose fault it
//! is: 2 for the text of the configuration, 1 for everything else.

use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keystead_crypto::sha256;

use crate::plugin_process::{Ended, Place, Plugin};

/// `error:` one line, causes if any, `hint:` one line, and nothing else.
fn assert_refused(what: &str, ended: &Ended, code: i32, names: &[&str]) {
    assert_eq!(ended.code, code, "{what}: {ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !is_log(line)).collect();
    assert!(lines[0].starts_with("error: "), "{what}: {ended:?}");
    let hints: Vec<_> = lines.iter().filter(|line| line.starts_with("hint: ")).collect();
    assert_eq!(hints.len(), 1, "{what}: {ended:?}");
    for line in &lines {
        let shaped = ["error: ", "caused by: ", "hint: "].iter().any(|start| line.starts_with(start));
        assert!(shaped && line.len() > 12, "{what}: not the shape of an error: {line}");
    }
    for name in names {
        assert!(ended.stderr.contains(name), "{what}: `{name}` is missing: {ended:?}");
    }
    assert_eq!(ended.stdout, "", "{what}");
}

fn is_log(line: &str) -> bool {
    line.starts_with('{')
}

#[test]
fn a_configuration_file_that_is_wrong_names_the_line_and_what_to_write() {
    for (text, names) in [
        (
            "keyFile: key\nprobeIntervall: 3s\n",
            &["line 2", "probeIntervall", "did you mean `probeInterval`?"][..],
        ),
        ("keyFile: key\n\nprobeInterval: soon\n", &["line 3", "`soon` is not a time"]),
        ("keyFile: key\nprobeInterval: 15\n", &["line 2", "not a time"]),
        ("keyFile: [key]\n", &["line 1"]),
        ("keyFile: key\nkeyFile: other\n", &["line 2", "keyFile"]),
        ("provider: locl\nkeyFile: key\n", &["line 1", "locl", "did you mean `local`?"]),
        ("keyFile: key\nsocketMode: \"0666\"\n", &["line 2", "`0666` is not a mode"]),
        ("keyFile: key\nadmin: 0.0.0.0:80\n", &["line 2", "loopback"]),
        ("keyFile: key\nallowUids: [root]\n", &["line 2"]),
        ("keyFile: key\nlogLevel: loud\n", &["line 2", "loud", "known are"]),
        ("keyFile: key\nsocket: [a\n", &["line"]),
        ("- keyFile\n", &["line 1"]),
        ("keyFile: key\n\tsocket: a\n", &["line 1", "tab"]),
    ] {
        let place = Place::new();
        let file = place.write("plugin.yaml", text, 0o644);
        let file = file.to_str().expect("UTF-8");
        for args in [&["--config", file][..], &["--config", file, "--check-config"]] {
            let ended = place.run(args.iter().copied());
            assert_refused(text, &ended, 2, names);
            assert!(ended.stderr.contains("plugin.yaml"), "{ended:?}");
        }
    }
}

#[test]
fn a_configuration_that_cannot_be_complete_is_refused() {
    let place = Place::new();
    assert_refused("no key file", &place.run([]), 2, &["no key file", "--key-file"]);
    for often in ["0s", "1ns", "99ms"] {
        let ended = place.run(["--key-file", "key", "--probe-interval", often]);
        assert_refused(often, &ended, 2, &["probe interval", "100ms at least"]);
    }
    for (flag, given, most) in [
        ("--probe-interval", "61m", "3600 s at most"),
        ("--outage-bound", "169h", "604800 s at most"),
        ("--outage-bound", "500000000000h", "604800 s at most"),
    ] {
        let ended = place.run(["--key-file", "key", flag, given]);
        assert_refused(given, &ended, 2, &[flag[2..].replace('-', " ").as_str(), most]);
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let place = Place::new();
    let missing = place.path("missing.yaml");
    let missing = missing.to_str().expect("UTF-8");
    assert_refused("missing", &place.run(["--config", missing]), 1, &[missing]);
    let directory = place.path("");
    let directory = directory.to_str().expect("UTF-8");
    assert_refused("directory", &place.run(["--config", directory]), 1, &[directory]);
    place.write("binary.yaml", [0xff, 0xfe, 0], 0o644);
    assert_refused("binary", &place.run(["--config", "binary.yaml"]), 1, &["binary.yaml"]);
    place.write("long.yaml", " ".repeat(2 << 20), 0o644);
    assert_refused("long", &place.run(["--config", "long.yaml"]), 2, &["long.yaml", "bytes"]);
}

/// A key file's text with the right digest.
fn signed(body: &str) -> String {
    let digest: String = sha256(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{body}sha256 {digest}\n")
}

fn body_of(text: &str) -> &str {
    text.split_at(text.find("sha256 ").expect("a digest")).0
}

#[test]
fn a_key_file_that_is_wrong_is_named_and_its_keys_are_not_printed() {
    let place = Place::new();
    let good = std::fs::read_to_string(place.key()).expect("a key file");
    let body = body_of(&good);
    let version = body.lines().last().expect("a version");
    let key = version.split(' ').nth(3).expect("a key").to_owned();
    let mut flipped = good.clone().into_bytes();
    flipped[good.len() / 2] ^= 1;

    for (what, content, mode, names) in [
        ("others can read it", good.clone().into_bytes(), 0o644, &["mode 0644", "chmod 0600"][..]),
        ("its group can read it", good.clone().into_bytes(), 0o640, &["mode 0640"]),
        ("truncated", good.as_bytes()[..good.len() - 30].to_vec(), 0o600, &[]),
        ("half", good.as_bytes()[..good.len() / 2].to_vec(), 0o600, &[]),
        ("empty", Vec::new(), 0o600, &["first line"]),
        ("a flipped bit", flipped, 0o600, &[]),
        (
            "two keys with one id",
            signed(&format!("{body}{version}\n")).into(),
            0o600,
            &["line 8", "version 1 is there twice"],
        ),
        ("no primary", signed(&body.replace("primary 1", "primary 7")).into(), 0o600, &["version 7"]),
        ("a short key", signed(&body.replace(&key, &STANDARD.encode([7; 31]))).into(), 0o600, &["line 7"]),
        ("other spaces", signed(&body.replace("next 2", "next  2")).into(), 0o600, &["line 6"]),
        ("a sealed file", b"keystead-sealed-key-file 1\n".to_vec(), 0o600, &["first line"]),
        ("not text", vec![0xff; 100], 0o600, &["not text"]),
        ("huge", vec![b'a'; 1 << 20], 0o600, &["at most"]),
    ] {
        let file = place.write("bad", content, mode);
        let socket = place.socket();
        let args = ["--key-file", file.to_str().expect("UTF-8"), "--socket", socket.to_str().expect("UTF-8")];
        for more in [&["--admin", "off"][..], &["--check-config"]] {
            let ended = place.run(args.into_iter().chain(more.iter().copied()));
            assert_refused(what, &ended, 1, names);
            assert!(ended.stderr.contains(file.to_str().expect("UTF-8")), "{what}: {ended:?}");
            assert!(!ended.stderr.contains(&key[..8]), "{what}: key material: {ended:?}");
        }
        assert!(!socket.exists(), "{what}: nothing is left behind");
    }
    let missing = place.run(["--key-file", "nowhere", "--admin", "off"]);
    assert_refused("missing", &missing, 1, &["nowhere", "key create"]);
    assert_refused("directory", &place.run(["--key-file", "."]), 1, &["not a regular file"]);
}

#[test]
fn a_key_file_that_may_not_be_read_is_named() {
    let place = Place::new();
    let key = place.key();
    let key = key.to_str().expect("UTF-8");
    let (command, root) = place.unprivileged(place.command(["--key-file", key, "--admin", "off"]));
    if !root {
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o000)).expect("its mode");
    }
    assert_refused("not for us", &Plugin::spawn(command).ended(), 1, &[key, "ermission denied"]);
}

#[test]
fn a_socket_that_cannot_be_is_refused_with_the_reason() {
    let place = Place::new();
    let long = format!("/{}", "a".repeat(107));
    let longest_missing = place.path("no/such/directory/kms.sock");
    let below_file = place.path("key/kms.sock");
    let file = place.write("in-the-way", "", 0o644);
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    for (socket, code, names) in [
        (long.clone(), 2, vec!["108 bytes", "107", &long]),
        ("kms.sock".into(), 2, vec!["kms.sock", "absolute"]),
        ("unix:///a%20b".into(), 2, vec!["%"]),
        ("/run/keystead/".into(), 2, vec!["file name"]),
        ("@keystead".into(), 2, vec!["--allow-abstract-socket"]),
        (text(&longest_missing), 1, vec!["does not exist", "mkdir -p"]),
        (text(&below_file), 1, vec!["not a directory"]),
        (text(&file), 1, vec!["in-the-way", "a file"]),
    ] {
        let ended = place.run(["--key-file", "key", "--admin", "off", "--socket", &socket]);
        assert_refused(&socket, &ended, code, &names);
        if code == 2 {
            let checked = place.run(["--key-file", "key", "--socket", &socket, "--check-config"]);
            assert_refused(&socket, &checked, 2, &names);
        }
    }
}

#[test]
fn a_socket_where_another_plugin_listens_is_left_alone() {
    let place = Place::new();
    let running = place.start();
    let second = Plugin::spawn(place.serve()).ended();
    let (pid, socket) = (format!("pid {}", running.pid()), place.socket());
    let names = [pid.as_str(), socket.to_str().expect("UTF-8"), "stop the other process"];
    assert_refused("taken", &second, 1, &names);
    assert!(socket.exists(), "the first still has its socket");
    assert_eq!(running.terminate().code, 0);
    assert!(!socket.exists());
}

#[test]
fn an_admin_address_that_is_taken_is_named() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = place.serve();
    command.env("KEYSTEAD_ADMIN", &address);
    assert_refused("taken", &Plugin::spawn(command).ended(), 1, &[&address, "--admin"]);
    assert!(!place.socket().exists(), "nothing is left behind");
}

#[test]
fn wrong_usage_ends_with_2() {
    let place = Place::new();
    for args in [
        &["--no-such-flag"][..],
        &["--key-file"],
        &["--key-file", "key", "--probe-interval", "soon"],
        &["--key-file", "key", "--socket-mode", "0777"],
        &["--key-file", "key", "--admin", "192.0.2.1:80"],
        &["--key-file", "key", "--provider", "none"],
        &["--key-file", "key", "--allow-uid", "root"],
        &["no-such-command"],
        &["key"],
        &["key", "no-such-command"],
        &["key", "promote", "first"],
        &["key", "rotate"],
        &["key", "export"],
        &["key", "import"],
        &["key", "remove", "1", "--yes", "--dry-run"],
    ] {
        let ended = place.run(args.iter().copied());
        assert_eq!(ended.code, 2, "{args:?}: {ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") || ended.stderr.contains("Usage:"),
            "{args:?}: {ended:?}"
        );
    }
}
