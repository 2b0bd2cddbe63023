//! A key that may not be used any more.

use std::time::Duration;

use anyhow::{Result, bail};
use keystead_model::ErrorClass;
use keystead_provider::switchable::Mode;
use keystead_testkit::api::{Client, Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, Options, encryption_config};
use tokio::time::Instant;

use super::deadline::eventually;
use super::host::Host;

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p11_p20_revoked_key_stops_writes_at_once_and_reads_at_the_next_restart() -> Result<()> {
    const PROBE: Duration = Duration::from_millis(500);
    let mut host = Host::new(&["probeInterval: 500ms", "outageBound: 1h"])?;
    host.start_ready().await?;
    let encryption = Some(encryption_config(&["secrets"], &[host.v2("keystead")]));
    let mut control_plane = ControlPlane::start(Options { encryption, ..Options::default() }).await?;
    let client = control_plane.api_servers[0].client().clone();
    client.create(&Object::new(Kind::Secret, "default", "before", "key", b"value")).await?;

    // The plugin obeys within a probe, however long the bound for outages is.
    host.backend().set(Mode::Fails(ErrorClass::Denied));
    let began = Instant::now();
    eventually("Status is an error", Duration::from_secs(5), async || Ok(host.status().await.is_err()))
        .await?;
    assert!(began.elapsed() < PROBE * 3, "{:?}", began.elapsed());
    let status = host.status().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    assert!(status.message().contains("the key may not be used"), "{status:?}");

    // The API server goes on for 3 minutes since its last good look.
    until_a_write_is_refused(&client, PROBE).await?;

    // What it holds in memory it goes on reading, until it restarts.
    assert_eq!(client.get(Kind::Secret, "default", "before").await?.data["key"], b"value");
    let server = &mut control_plane.api_servers[0];
    server.stop().await?;
    server.spawn().await?;
    eventually("the new API server is there and not ready", Duration::from_secs(30), async || {
        Ok(server.readyz(true).await.is_ok_and(|it| !it.ok && it.text.contains("[-]kms-providers failed")))
    })
    .await?;
    let unreadable = client.get(Kind::Secret, "default", "before").await.unwrap_err();
    assert_eq!(unreadable.status(), Some(500), "{unreadable}");

    // Enabled again, it heals alone.
    host.backend().set(Mode::Works);
    server.wait_ready(Duration::from_secs(90)).await?;
    assert_eq!(client.get(Kind::Secret, "default", "before").await?.data["key"], b"value");
    client.create(&Object::new(Kind::Secret, "default", "healed", "key", b"value")).await?;
    Ok(())
}

/// Writes until kube-apiserver refuses for want of a fresh Status; how long that took. `margin` is how much later than
/// now Status turns into an error.
pub(crate) async fn until_a_write_is_refused(client: &Client, margin: Duration) -> Result<Duration> {
    /// `kmsv2PluginWriteDEKSourceMaxTTL`, compiled in.
    const WRITES_WITHOUT_STATUS: Duration = Duration::from_secs(180);
    let began = Instant::now();
    let mut beat = tokio::time::interval(Duration::from_millis(500));
    for index in 0.. {
        beat.tick().await;
        let secret = Object::new(Kind::Secret, "default", &format!("until-{index}"), "key", b"value");
        match client.create(&secret).await {
            Ok(_) => {}
            Err(error) if error.status() == Some(500) && error.to_string().contains("expired") => break,
            Err(error) => bail!("after {:?} not the refusal expected: {error}", began.elapsed()),
        }
        if began.elapsed() > Duration::from_secs(5 * 60) {
            bail!("writes go on after 5 minutes");
        }
    }
    let took = began.elapsed();
    // And a beat.
    let latest = WRITES_WITHOUT_STATUS + margin + Duration::from_secs(1);
    if took > latest {
        bail!("writes went on for {took:?}, more than {latest:?}");
    }
    Ok(took)
}
