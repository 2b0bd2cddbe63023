//! Values that were sealed by a real plugin.

use std::fs;

use serde_json::Value;

use super::{CANARY, Plugin, STANDARD, lines, only, run, sealed, secret, shown, write_snapshot};
use crate::stdout;
use base64::Engine as _;

const A: &str = "/registry/secrets/ns/a";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_sealed_opens_and_what_was_copied_is_told() {
    let plugin = Plugin::start().await;
    let (wrapped, seed) = plugin.wrap().await.expect("wrapped");
    let seal = |key: &str, object: &[u8]| sealed(key, &wrapped, &seed, object);
    let directory = tempfile::tempdir().expect("a directory");
    let (file, output) = (directory.path().join("db"), directory.path().join("out"));
    let (path, out) = (file.to_str().expect("text"), output.to_str().expect("text"));
    let good = [
        (A, seal(A, &secret("ns", "a"))),
        ("/registry/secrets/ns/plain", secret("ns", "plain")),
        ("/registry/pods/ns/p", b"k8s\0 not a message".to_vec()),
        ("/registry/example.com/widgets/ns/w", b"{\"kind\":\n\"Widget\"}".to_vec()),
    ];
    write_snapshot(&file, &good);
    let socket = plugin.socket();

    // Without a place for values it only tries.
    let (code, text, err) = run(&["decrypt", path, "--socket", &socket]);
    assert_eq!(code, Some(0), "{text}{err}");
    assert!(text.contains("opened: 4 of 4 objects") && text.contains("hash at the end: matches"), "{text}");
    only(directory.path(), &["db"]);

    let (code, text, err) = run(&["decrypt", path, "--socket", &socket, "--output-file", out]);
    assert_eq!(code, Some(0), "{text}{err}");
    let found = lines(&output);
    let object = &found[A]["object"];
    assert_eq!(object["data"]["password"], STANDARD.encode(CANARY));
    assert_eq!((&object["kind"], &object["type"]), (&Value::from("Secret"), &Value::from("Opaque")));
    assert_eq!((&object["metadata"]["name"], &object["metadata"]["namespace"]), (&"a".into(), &"ns".into()));
    assert_eq!(found["/registry/pods/ns/p"]["value"], STANDARD.encode("k8s\0 not a message"));
    assert_eq!(found["/registry/example.com/widgets/ns/w"]["object"]["kind"], "Widget");
    only(directory.path(), &["db", "out"]);
    let (code, _, err) = run(&["decrypt", path, "--socket", &socket, "--output-file", out]);
    assert_eq!(code, Some(1), "what is there is not replaced: {err}");

    // A single value, to standard output only when told so.
    let one =
        ["decrypt", path, "--socket", &socket, "--resource", "secrets", "--namespace", "ns", "--name", "a"];
    assert_eq!(run(&one).0, Some(0));
    let output = shown(&[&one[..], &["--show-value"]].concat());
    let line: Value = serde_json::from_str(&stdout(&output)).expect("one line of JSON");
    assert_eq!(line["object"]["data"]["password"], STANDARD.encode(CANARY));
    let by_key = shown(&["decrypt", path, "--socket", &socket, "--key", A, "--show-value"]);
    assert_eq!(stdout(&by_key), stdout(&output));
    for (wrong, code) in [
        (&["--show-value"][..], 2),
        (&["--name", "a"], 2),
        (&["--key", "/registry/secrets/ns/none"], 1),
        (&["--resource", "none"], 1),
        (&["--key", A, "--resource", "secrets"], 2),
    ] {
        assert_eq!(
            run(&[&["decrypt", path, "--socket", &socket], wrong].concat()).0,
            Some(code),
            "{wrong:?}"
        );
    }

    // Copies: the AAD does not fit; and an object in plain says another name.
    let copy = directory.path().join("copy");
    let mut values = good.to_vec();
    values.push(("/registry/secrets/ns/stolen", good[0].1.clone()));
    values.push(("/registry/secrets/other/plain", good[1].1.clone()));
    values.push(("/registry/secrets/ns/broken", b"k8s:enc:kms:v2:keystead:\xff".to_vec()));
    write_snapshot(&copy, &values);
    let copied = directory.path().join("copied");
    let args = [
        "decrypt",
        copy.to_str().expect("text"),
        "--socket",
        &socket,
        "--output-file",
        copied.to_str().expect("text"),
    ];
    let (code, text, err) = run(&args);
    assert_eq!(code, Some(6), "{text}{err}");
    assert!(
        text.contains("opened: 4 of 7 objects") && err.contains("2 objects are not what was stored"),
        "{text}{err}"
    );
    assert_eq!(text.matches("TAMPERED").count(), 2, "{text}");
    assert!(
        text.contains("/registry/secrets/ns/stolen") && text.contains("no kube-apiserver can read it"),
        "{text}"
    );
    assert_eq!(lines(&copied).keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_is_named_and_damage_leaves_nothing() {
    let (plugin, other) = (Plugin::start().await, Plugin::start().await);
    let (wrapped, seed) = plugin.wrap().await.expect("wrapped");
    let directory = tempfile::tempdir().expect("a directory");
    let (file, output) = (directory.path().join("db"), directory.path().join("out"));
    let (path, out) = (file.to_str().expect("text"), output.to_str().expect("text"));
    let values =
        [(A, sealed(A, &wrapped, &seed, &secret("ns", "a"))), ("/registry/secrets/ns/p", secret("ns", "p"))];
    write_snapshot(&file, &values);
    let socket = plugin.socket();

    for (with, code, words) in [
        (&[][..], 3, "no --socket serves the KMS entry"),
        (&["--socket", &format!("another={socket}")], 3, "no --socket serves the KMS entry"),
        (&["--socket", &other.socket()], 3, "does not unwrap it"),
        (&["--socket", &format!("keystead=unix://{socket}")], 0, "opened: 2 of 2"),
        (&["--socket", &socket, "--socket", &socket], 2, "is given twice"),
    ] {
        let (found, text, err) = run(&[&["decrypt", path][..], with].concat());
        assert_eq!(found, Some(code), "{with:?}: {text}{err}");
        assert!(text.contains(words) || err.contains(words), "{words}: {text}{err}");
    }
    let nobody = directory.path().join("none.sock").display().to_string();
    let nothing = ["decrypt", path, "--output-file", out, "--socket", &nobody];
    let (code, _, err) = run(&nothing);
    assert_eq!(code, Some(4), "{err}");
    // Nothing was opened, so nothing is written.
    let (code, _, err) = run(&["decrypt", path, "--output-file", out, "--key", A]);
    assert_eq!(code, Some(1), "{err}");
    only(directory.path(), &["db"]);

    // What a restore needs.
    let (code, text, err) = run(&["plan-restore", path]);
    assert_eq!(code, Some(0), "{text}{err}");
    assert!(text.contains(&wrapped.key_id) && text.contains("not tried"), "{text}");
    assert!(text.contains("unix:///FILL-IN/kms.sock") && text.contains("- identity: {}"), "{text}");
    let (code, text, err) = run(&["plan-restore", path, "--socket", &socket, "--format", "json"]);
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(code, Some(0), "{text}{err}");
    let proofs: Vec<_> =
        report["needs"].as_array().expect("a list").iter().map(|it| &it["proof"]["is"]).collect();
    assert_eq!(proofs, ["plain", "reads"]);
    let (code, text, err) = run(&["plan-restore", path, "--socket", &other.socket()]);
    assert_eq!(code, Some(6), "{text}{err}");
    assert!(text.contains("NO: the plugin"), "{text}");

    let good = fs::read(&file).expect("readable");
    let mut flipped = good.clone();
    flipped[2 * 4096 + 100] ^= 1;
    for (bytes, code) in [(&good[..good.len() / 2], 6), (&flipped, 6), (b"{}", 1), (b"", 1)] {
        fs::write(&file, bytes).expect("written");
        for args in
            [&["decrypt", path, "--output-file", out, "--socket", &socket][..], &["plan-restore", path]]
        {
            let (found, _, err) = run(args);
            assert_eq!(found, Some(code), "{args:?}: {err}");
        }
    }
    only(directory.path(), &["db"]);
}
