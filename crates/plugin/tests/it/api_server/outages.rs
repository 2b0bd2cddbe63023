//! A key backend that does not answer.

use std::time::Duration;

use anyhow::{Result, ensure};
use keystead_model::ErrorClass;
use keystead_provider::switchable::Mode;
use keystead_testkit::api::{Client, Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, EncryptionProvider, Options, encryption_config};
use tokio::time::Instant;

use super::deadline::eventually;
use super::host::Host;
use super::revocation::until_a_write_is_refused;

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p6_outage_restarts_and_writes_go_on_for_the_bound_and_stop_after_it() -> Result<()> {
    const BOUND: Duration = Duration::from_secs(45);
    let mut host = Host::new(&["probeInterval: 500ms", "outageBound: 45s"])?;
    host.start_ready().await?;
    // Shorter than the guard gives the backend: none of this may wait for it.
    let kms = EncryptionProvider::KmsV2 {
        name: "keystead".to_owned(),
        endpoint: format!("unix://{}", host.socket().display()),
        timeout: Some("1s".to_owned()),
    };
    let encryption = Some(encryption_config(&["secrets"], &[kms]));
    let mut control_plane = ControlPlane::start(Options { encryption, ..Options::default() }).await?;
    let client = control_plane.api_servers[0].client().clone();
    write(&client, "before").await?;

    // Within the bound an API server may restart, whether the backend refuses or hangs.
    let began = Instant::now();
    for (mode, name) in
        [(Mode::Fails(ErrorClass::Unavailable), "in-the-outage"), (Mode::Hangs, "while-it-hangs")]
    {
        host.backend().set(mode);
        write(&client, name).await?;
        control_plane.api_servers[0].restart().await?;
        read(&client, "before").await?;
        write(&client, &format!("{name}-after-a-restart")).await?;
    }
    ensure!(began.elapsed() < BOUND, "two restarts took {:?}: the machine is too slow", began.elapsed());
    host.status().await?;

    // Then Status is an error, and a new API server is not ready and reads nothing.
    eventually("Status is an error", BOUND + Duration::from_secs(10), async || {
        Ok(host.status().await.is_err())
    })
    .await?;
    // The outage began at the first probe that failed, and that may have been tried again for 2.5 s.
    let (earliest, latest) = (BOUND, BOUND + Duration::from_secs(5));
    assert!((earliest..latest).contains(&began.elapsed()), "after {:?}", began.elapsed());
    let status = host.status().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("longer than the outage bound"), "{status:?}");
    let server = &mut control_plane.api_servers[0];
    server.stop().await?;
    server.spawn().await?;
    eventually("the new API server is there and not ready", Duration::from_secs(30), async || {
        Ok(server.readyz(true).await.is_ok_and(|it| !it.ok && it.text.contains("[-]kms-providers failed")))
    })
    .await?;
    let unreadable = client.get(Kind::Secret, "default", "before").await.unwrap_err();
    assert_eq!(unreadable.status(), Some(500), "{unreadable}");
    let refused = client.create(&secret("too-late")).await.unwrap_err();
    assert_eq!(refused.status(), Some(500), "{refused}");

    // Nobody restarts anything.
    host.backend().set(Mode::Works);
    server.wait_ready(Duration::from_secs(90)).await?;
    for name in ["before", "in-the-outage", "in-the-outage-after-a-restart", "while-it-hangs"] {
        read(&client, name).await?;
    }
    write(&client, "healed").await
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p6_outage_over_the_bound_stops_writes_within_three_minutes_and_heals() -> Result<()> {
    let mut host = Host::new(&["probeInterval: 500ms", "outageBound: 1s"])?;
    host.start_ready().await?;
    let encryption = Some(encryption_config(&["secrets"], &[host.v2("keystead")]));
    let control_plane = ControlPlane::start(Options { encryption, ..Options::default() }).await?;
    let client = control_plane.api_servers[0].client();
    write(client, "before").await?;

    host.backend().set(Mode::Fails(ErrorClass::Unavailable));
    // One probe with its retries, and the bound.
    let took = until_a_write_is_refused(client, Duration::from_secs(4 + 1)).await?;
    // Since its last good look the API server goes on for 3 minutes, and it looks each minute.
    assert!(took > Duration::from_secs(100), "{took:?}");
    read(client, "before").await?;

    host.backend().set(Mode::Works);
    eventually("writes go on by themselves", Duration::from_secs(60), async || {
        Ok(write(client, "healed").await.is_ok())
    })
    .await?;
    read(client, "before").await
}

async fn write(client: &Client, name: &str) -> Result<()> {
    client.create(&secret(name)).await?;
    read(client, name).await
}

async fn read(client: &Client, name: &str) -> Result<()> {
    assert_eq!(client.get(Kind::Secret, "default", name).await?.data["key"], b"value", "{name}");
    Ok(())
}

fn secret(name: &str) -> Object {
    Object::new(Kind::Secret, "default", name, "key", b"value")
}
