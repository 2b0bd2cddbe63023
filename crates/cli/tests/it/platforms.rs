//! `keystead cluster` at clusters whose control plane is not their users': the API server is played, by as much as is asked before the refusal.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;

use keystead_testkit::api;

use crate::{keystead, stderr};

/// Answers as an API server of this version with these labels on its only node, which is no control plane, until the test program ends.
fn play(version: &'static str, label: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
            lines.take_while(|it| !it.is_empty()).for_each(drop);
            let (status, body) = match path.as_str() {
                "/api/v1/namespaces/kube-system" => {
                    ("200 OK", r#"{"metadata": {"uid": "uid-1"}}"#.to_owned())
                }
                "/version" => ("200 OK", format!(r#"{{"minor": "31", "gitVersion": "{version}"}}"#)),
                "/api/v1/nodes?limit=100" => {
                    ("200 OK", format!(r#"{{"items": [{{"metadata": {{"labels": {{"{label}": "a"}}}}}}]}}"#))
                }
                path if path.starts_with("/api/v1/nodes?") => ("200 OK", r#"{"items": []}"#.to_owned()),
                _ => ("404 Not Found", "{}".to_owned()),
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close");
            // Whoever asked may have gone away.
            drop(write!(&stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        }
    });
    url
}

fn refused(directory: &Path, url: &str, args: &[&str]) -> String {
    let kubeconfig = directory.join("kubeconfig");
    std::fs::write(&kubeconfig, api::kubeconfig(url, None, "token")).expect("written");
    let mut command = keystead();
    command.arg("cluster").args(args).arg("--kubeconfig").arg(&kubeconfig);
    command.arg("--state").arg(directory.join("state")).arg("--staging").arg(directory.join("staging"));
    let output = command.output().expect("runs");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(output.stdout.is_empty(), "{args:?}");
    said
}

#[test]
fn k12_every_command_about_the_control_plane_names_the_vendors_own_way() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = play("v1.31.2-eks-7f9249a", "topology.kubernetes.io/zone");
    for args in [
        &["status"][..],
        &["verify"],
        &["enable", "--yes"],
        &["enable", "--dry-run"],
        &["migrate", "--to", "kms:v2:a", "--yes"],
        &["rotate", "--yes"],
        &["disable", "--yes"],
        &["undo", "--yes"],
        &["continue", "--yes"],
    ] {
        let said = refused(directory.path(), &url, args);
        assert!(
            said.contains("a cluster of Amazon EKS, whose control plane its vendor runs"),
            "{args:?}: {said}"
        );
        assert!(said.contains("v1.31.2-eks-7f9249a"), "{args:?}: {said}");
        assert!(said.contains("hint: use EKS's envelope encryption"), "{args:?}: {said}");
    }
    let left: Vec<_> = std::fs::read_dir(directory.path()).expect("listed").collect();
    assert_eq!(left.len(), 1, "only the kubeconfig: {left:?}");
}

#[test]
fn k12_k3s_is_refused_before_anything_is_changed_with_the_way_by_hand() {
    let directory = tempfile::tempdir().expect("a directory");
    let said = refused(directory.path(), &play("v1.31.4+k3s1", "a"), &["enable", "--yes"]);
    assert!(said.contains("a cluster of k3s, which writes kube-apiserver's flags itself"), "{said}");
    assert!(said.contains("docs/guides/k3s-rke2.md"), "{said}");
    // What a label says cannot steer a terminal, and a vendor comes before what it builds on.
    let said = refused(
        directory.path(),
        &play("v1.28.7+k3s1", "kubernetes.civo.com/civo-node-pool\\u001b[2J"),
        &["status"],
    );
    assert!(said.contains("Civo Kubernetes") && !said.contains('\u{1b}'), "{said}");
}
