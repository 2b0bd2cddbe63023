//! How long the API server waits for a plugin.

use std::time::Duration;

use anyhow::Result;
use keystead_testkit::api::{Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, Options};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::deadline::eventually;

/// With a plugin that takes connections and never answers, a write is refused after the entry's own `timeout`: the one with
/// a short one comes back while the one with a long one still waits.
#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k3_timeout_is_honoured_by_the_api_server() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("kms.sock");
    let _silent = UnixListener::bind(&socket)?;
    let entry = |resource: &str, timeout: &str| {
        format!(
            "  - resources: [{resource}]\n    providers:\n      - kms:\n          apiVersion: v1\n          name: silent-{resource}\n          \
             endpoint: unix://{}\n          timeout: {timeout}\n",
            socket.display()
        )
    };
    let config = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n{}{}",
        entry("secrets", "500ms"),
        entry("configmaps", "1h")
    );
    let options = Options {
        encryption: Some(config),
        args: vec!["--feature-gates=KMSv1=true".to_owned()],
        ..Options::default()
    };
    let mut control_plane = ControlPlane::prepare(options).await?;
    let server = &mut control_plane.api_servers[0];
    server.spawn().await?;
    // Not /readyz: that waits for the plugin too.
    let hasty = Object::new(Kind::Secret, "default", "hasty", "key", b"value");
    eventually(
        "the namespace is there, and the write gets as far as the plugin",
        Duration::from_secs(60),
        async || Ok(server.client().create(&hasty).await.is_err_and(|error| is_deadline(&error.to_string()))),
    )
    .await?;

    let patient = server.client().clone();
    let mut waits = JoinSet::new();
    waits.spawn(async move {
        patient.create(&Object::new(Kind::ConfigMap, "default", "patient", "key", b"value")).await.map(drop)
    });
    // Eight in a row take 4 s: by then an API server that waits for its default of 3 s would have refused the other too.
    for _ in 0..8 {
        let refused = server.client().create(&hasty).await.expect_err("nobody encrypts").to_string();
        assert!(is_deadline(&refused), "{refused}");
    }
    assert!(waits.try_join_next().is_none(), "the entry with a timeout of an hour still waits");
    Ok(())
}

fn is_deadline(text: &str) -> bool {
    text.contains("DeadlineExceeded")
}
