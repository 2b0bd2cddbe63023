//! Which of the two starts first.

use std::time::Duration;

use anyhow::Result;
use keystead_model::ErrorClass;
use keystead_provider::switchable::Mode;
use keystead_testkit::api::{Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, Options, encryption_config};

use super::deadline::eventually;
use super::host::Host;

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k2_api_server_before_plugin_before_backend_becomes_ready_by_itself() -> Result<()> {
    let mut host = Host::new(&["probeInterval: 500ms"])?;
    host.backend().set(Mode::Fails(ErrorClass::Unavailable));
    let encryption = Some(encryption_config(&["secrets"], &[host.v2("keystead")]));
    let mut control_plane = ControlPlane::prepare(Options { encryption, ..Options::default() }).await?;
    let server = &mut control_plane.api_servers[0];

    // No socket, not even a file.
    server.spawn().await?;
    eventually("the API server is there and not ready", Duration::from_secs(30), async || {
        Ok(server.readyz(true).await.is_ok_and(|it| !it.ok && it.text.contains("[-]kms-providers failed")))
    })
    .await?;

    // A plugin that listens at once, says why it cannot encrypt, and does not end.
    host.start().await?;
    let status = host.status().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    assert!(status.message().contains("not ready yet"), "{status:?}");
    eventually("the API server still knows no key", Duration::from_secs(60), async || {
        Ok(server.readyz(true).await?.text.contains("[-]kms-providers failed"))
    })
    .await?;

    host.backend().set(Mode::Works);
    server.wait_ready(Duration::from_secs(90)).await?;
    let object = Object::new(Kind::Secret, "default", "name", "key", b"value");
    server.client().create(&object).await?;
    assert_eq!(server.client().get(Kind::Secret, "default", "name").await?.data["key"], b"value");
    Ok(())
}
