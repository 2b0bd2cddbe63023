//! The second document, command by command, on a cluster that kubeadm made: `tests/brief.sh` with the agent of this host.

use super::{image, try_to_run};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/brief.sh");

/// With whatever stands in gcloud's place, and more variables.
async fn tell(cli: &str, prepare: &str) {
    let (node, service) = super::node().await;
    let script = format!(
        "ctr --namespace k8s.io images import {}
        eval \"$(keystead env --data-dir {})\"
        for project in key-project cluster-project; do
            keystead services enable cloudkms.googleapis.com container.googleapis.com --project $project
        done
        {prepare}
        export CLOUDSDK_CONFIG=/var/gcloud CLOUDSDK_CORE_DISABLE_USAGE_REPORTING=1
        CLI={cli} KEY_PROJECT=key-project CLUSTER_PROJECT=cluster-project LOCATION=europe-west1 {SCRIPT} 2>&1",
        image().display(),
        super::key_service::DATA,
    );
    let said = try_to_run(&node, &script).await;
    let told = said.as_ref().map_or_else(|failure| format!("{failure:#}"), Clone::clone);
    assert!(said.is_ok() && told.trim_end().ends_with("--- done"), "{told}\n{}", node.logs());
    drop((node, service));
}

#[tokio::test]
#[ignore = "needs root and the real node and the plugin image: cargo xtask test --tools"]
async fn c2_c3_c4_c5_c6_c7_c8_c9_c10_c11_p4_p16_p18_the_document_with_keystead_in_gclouds_place() {
    tell("keystead", "").await;
}

#[tokio::test]
#[ignore = "needs root and the real node and the plugin image and gcloud: cargo xtask test --tools"]
async fn c2_c3_c4_c5_c6_c7_c8_c9_c10_c11_p4_p16_p18_the_document_with_gcloud() {
    tell(&std::env::var("KEYSTEAD_GCLOUD").unwrap_or_else(|_| "gcloud".to_owned()), "").await;
}

/// The agent is the pod that `keystead agent unit` prints. Other than a release, this program of the tests needs the host's libraries.
#[tokio::test]
#[ignore = "needs root and the real node and the plugin image: cargo xtask test --tools"]
async fn c6_c7_c8_c9_c10_c11_the_document_with_the_agent_as_a_static_pod() {
    let prepare = format!(
        "keystead agent unit --as static-pod | sed \\
            -e 's,path: /usr/local/bin/keystead,path: /run/keystead-programs/keystead,' \\
            -e '/^    volumeMounts:/a\\    - {{name: lib, mountPath: /lib}}\\n    - {{name: lib64, mountPath: /lib64}}' \\
            -e '/^  volumes:/a\\  - {{name: lib, hostPath: {{path: /lib}}}}\\n  - {{name: lib64, hostPath: {{path: /lib64}}}}' >/etc/agent-pod.yaml
        echo 'pluginOptions: [--as=static-pod, --image-name=keystead.io/keystead-plugin:{}]' >/etc/keystead/agent.yaml
        export AGENT_POD=/etc/agent-pod.yaml",
        env!("CARGO_PKG_VERSION")
    );
    tell("keystead", &prepare).await;
}
