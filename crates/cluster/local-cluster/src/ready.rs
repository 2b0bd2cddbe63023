//! `ready.json`: how the first API server is reached, once it is ready.

use std::time::Duration;

use keystead_runtime::Failure;
use serde::Serialize;
use tokio::sync::watch;

use crate::files;
use crate::layout::Layout;
use crate::objects::Administrator;
use crate::report::{Trouble, say};

/// How often an API server is asked that is not ready yet.
const AGAIN: Duration = Duration::from_millis(500);

/// What the server reads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ready {
    /// Such as `127.0.0.1:40123`.
    endpoint: String,
    /// What the certificates of the cluster's API servers are verified with.
    authority_pem: String,
    /// Such as `v1.37.2`, as the API server says.
    version: String,
}

/// Waits until the first API server is ready, makes what a new cluster needs, writes the file and says so to all hosts. Never
/// returns.
pub(crate) async fn tell(layout: &Layout, port: u16, hosts: usize, told: watch::Sender<bool>) {
    let mut trouble = Trouble::default();
    loop {
        match attempt(layout, port, hosts).await {
            Ok(version) => {
                say(&format!("ready: the API server of host-0 is at 127.0.0.1:{port}, {version}"));
                told.send_replace(true);
                return std::future::pending().await;
            }
            Err(failure) => trouble.say(&format!("not ready yet: {failure}")),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn attempt(layout: &Layout, port: u16, hosts: usize) -> Result<String, Failure> {
    let administrator = Administrator::new(layout, port)?;
    administrator.is_ready().await?;
    administrator.create_all(hosts).await?;
    let version = administrator.version().await?;
    let path = layout.pki("authority.pem");
    let authority_pem =
        std::fs::read_to_string(&path).map_err(|error| files::failed("read", &path, &error))?;
    let ready = Ready { endpoint: format!("127.0.0.1:{port}"), authority_pem, version: version.clone() };
    let path = layout.path("ready.json");
    let text = serde_json::to_string(&ready)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    files::write(&path, &text)?;
    Ok(version)
}
