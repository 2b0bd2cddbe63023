//! A key service that the node reaches, and what its control-plane host has of it: an authority, a token and two ids.

use std::path::Path;
use std::process::{Child, Stdio};

use keystead_testkit::node::Node;

use super::{PATIENCE, SHELL_PATH, runs};

pub(super) const DATA: &str = "/var/lib/key-service";

pub(super) const KEY: &str =
    "projects/key-project/locations/europe-west1/keyRings/clusters/cryptoKeys/secrets";

/// A running `keystead server run`, by itself on the node's loopback. A reboot of the node ends it.
pub(super) struct KeyService {
    process: Child,
    /// The token's id.
    pub(super) user: String,
    /// The token itself.
    pub(super) token: String,
}

impl KeyService {
    /// With one key, and everything in `/etc/keystead` that a plugin needs.
    pub(super) async fn start(node: &Node) -> Self {
        let process = spawn(node);
        until_it_answers(node).await;
        let prepare = format!(
            "eval \"$(keystead env --data-dir {DATA})\"
            keystead projects create key-project
            keystead projects create cluster-project
            keystead services enable cloudkms.googleapis.com --project key-project
            keystead kms keyrings create clusters --location europe-west1 --project key-project
            keystead kms keys create secrets --location europe-west1 --keyring clusters --purpose encryption --project key-project
            number=$(keystead projects describe cluster-project --format='value(projectNumber)')
            member=serviceAccount:service-$number@container-engine-robot.iam.gserviceaccount.com
            keystead kms keys add-iam-policy-binding secrets --location europe-west1 --keyring clusters --member $member \\
                --role roles/cloudkms.cryptoKeyEncrypterDecrypter --project key-project
            install -d -m 0700 /etc/keystead
            keystead iam tokens create --principal $member --expires-in 90d --output-file /etc/keystead/token
            install -m 0644 {DATA}/tls/ca.pem /etc/keystead/ca.pem"
        );
        runs(node, &prepare).await;
        let token = runs(node, "cat /etc/keystead/token && rm /etc/keystead/token").await.trim().to_owned();
        let user = token.split('_').nth(1).expect("ks_ID_SECRET").to_owned();
        let credentials = format!(
            "{{\"endpoint\": \"https://127.0.0.1:9443\", \"caFile\": \"ca.pem\", \"tokens\": [\"{token}\"]}}"
        );
        let file = Path::new("/etc/keystead/credentials.json");
        node.write(file, &credentials).await.expect("written");
        runs(node, "chmod 0600 /etc/keystead/credentials.json").await;
        Self { process, user, token }
    }

    /// After a reboot of the node.
    pub(super) async fn start_again(&mut self, node: &Node) {
        self.process.wait().expect("the reboot ended it");
        self.process = spawn(node);
        until_it_answers(node).await;
    }
}

impl Drop for KeyService {
    fn drop(&mut self) {
        // nsenter and what it started are one process. It ends with the node, if not before.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn spawn(node: &Node) -> Child {
    let mut command = node.command(super::PROGRAM);
    command.args(["server", "run", "--data-dir", DATA]).env("PATH", SHELL_PATH);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

async fn until_it_answers(node: &Node) {
    let ask = format!("eval \"$(keystead env --data-dir {DATA})\" && keystead projects list");
    node.wait("the key service answers", PATIENCE, async |node| {
        super::try_to_run(node, &ask).await.map(drop)
    })
    .await
    .expect("it serves");
}
