use crate::{keystead, stderr, stdout};

#[test]
fn help_lists_the_commands() {
    let output = keystead().arg("--help").output().expect("runs");
    assert!(output.status.success());
    for word in [
        "quickstart",
        "plugin",
        "kms",
        "projects",
        "services",
        "iam",
        "Exit codes: 0 ok, 1 failed or refused, 2 usage or configuration text, 3 partly done",
    ] {
        assert!(stdout(&output).contains(word), "{word}: {}", stdout(&output));
    }
}

/// Three things are called rotation; whoever meets one must learn that it is not the others.
#[test]
fn help_tells_the_rotations_apart() {
    for (args, words) in [
        (
            &["kms", "--help"][..],
            &["versions create --primary", "plugin key rotate", "Neither rewrites a Secret"][..],
        ),
        (
            &["kms", "keys", "versions", "create", "--help"],
            &["rotates the key in the service and nothing else", "plugin key rotate", "written anew"],
        ),
        (&["kms", "keys", "set-rotation-schedule", "--help"], &["stays on the version that encrypted it"]),
    ] {
        let output = keystead().args(args).output().expect("runs");
        let text = stdout(&output).split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(text.contains(word), "{args:?} should say {word:?}: {text}");
        }
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_to_do() {
    for (args, hint) in [
        (&["plugin", "chek"][..], "check"),
        (&["plugin", "check"], "--socket"),
        (&["plugin", "check", "--socket", "tcp://127.0.0.1:1"], "unix:///PATH"),
        (&["plugin", "check", "--socket", "/nowhere", "--hook", "restart=x"], "rotate, kill, start"),
        (&["plugin", "check", "--socket", "/nowhere", "--only", "no-such-check"], "no-such-check"),
        (&["plugin", "check", "--socket", "/nowhere", "--timeout", "soon"], "soon"),
        (
            &["plugin", "key", "export", "--recipient", "me", "--key-file", "/nowhere"],
            "keystead-recipient-1:",
        ),
        (&["plugin", "run", "--socket", "/nowhere/kms.sock"], "--key-file"),
        (&["cluster", "status", "--over", "cluster"], "--over ssh --host HOST"),
        (&["cluster", "verify", "--over", "cluster"], "--over ssh --host HOST"),
        (&["cluster", "prepare-host", "--over", "cluster", "--yes"], "--over ssh --host HOST"),
        (&["cluster", "enable", "--over", "cluster", "--node", "cp_1"], "kubectl get nodes"),
        (&["cluster", "undo", "--over", "cluster", "--node", "a", "--host", "root@b"], "kubectl get nodes"),
    ] {
        let output = keystead().args(args).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(hint), "{args:?} should mention {hint}: {}", stderr(&output));
    }
}

#[test]
fn closed_pipe_is_quiet() {
    use std::process::Stdio;
    let (reader, writer) = std::io::pipe().expect("pipe");
    drop(reader);
    let output =
        keystead().args(["plugin", "check", "--list"]).stdout(writer).stderr(Stdio::piped()).output();
    let output = output.expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}
