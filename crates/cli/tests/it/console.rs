//! The console's way with clusters, in a real Chromium: `tests/node/console_story.js`. What etcd holds is looked at after each step.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cluster_server::ClusterServer;

/// What etcd holds of a Secret: its bytes, as far as they can be printed.
const STORED: &str = r#"port=$(sed -n 's/.*"etcd":\([0-9]*\).*/\1/p' "$AT/ports.json")
key=$(printf /registry/secrets/default/s | base64)
curl --silent --show-error --fail --noproxy '*' --cacert "$AT/pki/etcd-authority.pem" --cert "$AT/pki/etcd-client.pem" \
    --key "$AT/pki/etcd-client.key" "https://127.0.0.1:$port/v3/kv/range" -d "{\"key\":\"$key\"}" |
    tr ',{' '\n\n' | sed -n 's/^"value":"\([^"]*\)".*/\1/p' | base64 -d | tr -cd '[:print:]'"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the local clusters, kubectl, node clients and a browser: cargo xtask test --tools"]
async fn u5_u6_u7_u8_u9_in_english_from_nothing_to_an_encrypted_cluster_to_a_plain_one_and_back() {
    tell("en", "script").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the local clusters, kubectl, node clients and a browser: cargo xtask test --tools"]
async fn u5_u6_u7_u8_u9_in_korean_without_script() {
    tell("ko", "no-script").await;
}

/// `KEYSTEAD_SCREENSHOTS` names a folder for what the pages look like.
async fn tell(language: &str, script: &str) {
    let server = ClusterServer::start().await;
    let story = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/node/console_story.js");
    let part = |name| std::env::var_os(name).expect("set by cargo xtask test --tools");
    let mut command = Command::new("node");
    command
        .env("NODE_PATH", part("KEYSTEAD_NODE_MODULES"))
        .arg(story)
        .arg(part("KEYSTEAD_BROWSER"))
        .args([server.endpoint(), server.token_file().display().to_string()])
        .args(["console-project", language, script, "clusters"])
        .args(std::env::var_os("KEYSTEAD_SCREENSHOTS"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node runs");
    let mut go_on = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut stored = Vec::new();
    while let Some(line) = tokio::task::block_in_place(|| lines.next()) {
        let line = line.expect("text");
        let Some(step) = line.strip_prefix("ok ") else { continue };
        if step == "U5" {
            let at = directory(&server);
            let create = "create secret generic s --from-literal=value=plaintext-one";
            server.until(&format!("kubectl --kubeconfig {at}/kubeconfig {create}")).await;
        }
        if matches!(step, "U5" | "U6" | "U7" | "U8") {
            let at = directory(&server);
            let output = tokio::task::block_in_place(|| server.shell(STORED, &[("AT", &at)]));
            let value = crate::stdout(&output);
            let way = match value.contains("plaintext-one") {
                true => "plain".to_owned(),
                false => key_id(&value),
            };
            stored.push((step.to_owned(), way));
        }
        writeln!(go_on).expect("it waits");
    }
    let status = tokio::task::block_in_place(|| child.wait()).expect("it ends");
    assert!(status.success(), "{language}, {script}: {stored:?}\n{}", server.log());
    let steps: Vec<&str> = stored.iter().map(|(step, _)| step.as_str()).collect();
    assert_eq!(steps, ["U5", "U7", "U8", "U6"]);
    let ways: Vec<&str> = stored.iter().map(|(_, way)| way.as_str()).collect();
    let [first, second, plain, again] = ways.as_slice() else { unreachable!("there are four steps") };
    assert_ne!(first, second, "the key was changed");
    assert_eq!(*plain, "plain");
    assert_eq!(again, first, "the first key once more");
}

/// The id of the key that a stored value is under.
fn key_id(stored: &str) -> String {
    assert!(stored.starts_with("k8s:enc:kms:v2:"), "{stored}");
    let at = stored.rfind("cloudkms-v").expect("a key id");
    stored[at..]
        .split_terminator(|it: char| !it.is_ascii_alphanumeric() && it != '-')
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn directory(server: &ClusterServer) -> String {
    let entries = fs::read_dir(server.clusters()).expect("listed");
    entries.map(|it| it.expect("an entry").path()).next().expect("a cluster").display().to_string()
}
