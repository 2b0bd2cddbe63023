//! Whether the hosts decide about kube-apiserver's flags at all: asked before anything else.

use keystead_cluster::api::ApiServer;
use keystead_cluster::platform::{RunBy, recognise};
use keystead_runtime::Failure;

use crate::output::visible;

/// Refuses clusters whose control plane a vendor runs, or a distribution that writes the flags itself, and names their own way.
pub(super) async fn refuse_others(server: &ApiServer) -> Result<(), Failure> {
    let Some(platform) = recognise(&server.platform_facts().await) else { return Ok(()) };
    let text = match platform.run_by {
        RunBy::Vendor => format!(
            "this is a cluster of {}, whose control plane its vendor runs: nobody else can set kube-apiserver's flags",
            platform.name
        ),
        RunBy::Distribution => format!(
            "this is a cluster of {}, which writes kube-apiserver's flags itself: what is edited on a host would be lost",
            platform.name
        ),
    };
    // The label of a node is whatever somebody gave it.
    Err(Failure::new(text).caused_by(visible(&platform.because)).hint(platform.way.to_owned()))
}
