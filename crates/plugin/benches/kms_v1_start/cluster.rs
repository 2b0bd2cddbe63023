//! A control plane whose Secrets are under KMS v1, and how long its API server takes to start.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use keystead_testkit::api::{Kind, Object};
pub(crate) use keystead_testkit::control_plane::DEFAULT_VERSION as VERSION;
use keystead_testkit::control_plane::{ControlPlane, EncryptionProvider, Options, encryption_config};

/// From 1.29 on v1 is off unless asked for.
const KMS_V1_ON: &str = "--feature-gates=KMSv1=true";
/// 2,000 calls of 40 ms one after the other are 80 s.
const PATIENCE: Duration = Duration::from_secs(600);
/// As many as keep an API server on two cores busy.
const AT_ONCE: usize = 16;
const VALUE: [u8; 100] = [b'v'; 100];

pub(crate) struct Cluster {
    control_plane: ControlPlane,
}

/// From the start of the process.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    /// `/readyz` is content.
    pub(crate) ready: Duration,
    /// A list has all Secrets; asked for when it is ready.
    pub(crate) listed: Duration,
}

impl Cluster {
    pub(crate) async fn start(socket: &Path) -> Result<Self> {
        let provider = EncryptionProvider::KmsV1 {
            name: "kms".to_owned(),
            endpoint: format!("unix://{}", socket.display()),
            cache_size: None,
            timeout: None,
            explicit_version: true,
        };
        let encryption = Some(encryption_config(&["secrets"], &[provider]));
        let args = vec![KMS_V1_ON.to_owned()];
        let control_plane = ControlPlane::start(Options { encryption, args, ..Options::default() }).await?;
        Ok(Self { control_plane })
    }

    /// Writes Secrets with these numbers.
    pub(crate) async fn fill(&self, numbers: Range<usize>) -> Result<()> {
        let client = self.control_plane.api_servers[0].client();
        let create = |number| async move {
            let name = format!("secret-{number:06}");
            client.create(&Object::new(Kind::Secret, "default", &name, "value", &VALUE)).await
        };
        stream::iter(numbers)
            .map(create)
            .buffer_unordered(AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        Ok(())
    }

    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.control_plane.api_servers[0].stop().await?;
        Ok(())
    }

    pub(crate) async fn start_again(&mut self, secrets: usize) -> Result<Start> {
        let server = &mut self.control_plane.api_servers[0];
        let start = Instant::now();
        server.spawn().await?;
        server.wait_ready(PATIENCE).await?;
        let ready = start.elapsed();
        let listed = server.client().list(Kind::Secret, "", 0, "").await?.items.len();
        ensure!(listed == secrets, "{listed} Secrets were listed of {secrets}");
        Ok(Start { ready, listed: start.elapsed() })
    }
}
