//! Two nodes with the same key: what one wraps the other opens.

use crate::check::{Check, Judged};
use crate::options::Kms;
use crate::plugin::{Plugin, quote};
use crate::report::Outcome;
use crate::run::{Sample, Suite, seed, skip};

/// Why nodes must be able to read each other's data.
const ACROSS: &str =
    "API servers share one etcd: each must read what any other wrote, or reads fail on one node of three";

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "v2-peer-decrypt",
        title: "Across nodes: v2 Decrypt",
        rule: "each of two nodes opens what the other wrapped",
        why: ACROSS,
        kms: Kms::V2,
        judge: |suite| Box::pin(decrypt(suite)),
    },
    Check {
        id: "v2-peer-key-id",
        title: "Across nodes: the key id",
        rule: "two nodes with the same key have the same key id",
        why: "to each API server the objects of the other are stale: re-encryption never ends",
        kms: Kms::V2,
        judge: |suite| Box::pin(key_id(suite)),
    },
    Check {
        id: "v1-peer-decrypt",
        title: "Across nodes: v1 Decrypt",
        rule: "each of two nodes opens what the other wrapped",
        why: ACROSS,
        kms: Kms::V1,
        judge: |suite| Box::pin(v1_decrypt(suite)),
    },
];

async fn decrypt(suite: &Suite) -> Judged {
    let Some(peer) = peer(suite) else { return skip(NO_PEER) };
    for (from, to, name) in [(&suite.plugin, &peer, "the peer"), (&peer, &suite.plugin, "the plugin")] {
        let sample = Sample::new(from, seed()?).await?;
        match to.decrypt(sample.request()).await {
            Ok(plaintext) if plaintext == sample.seed => {}
            Ok(_) => return Ok(Outcome::fail(format!("{name} answers other bytes"))),
            Err(refusal) => return Ok(Outcome::fail(format!("{name} cannot open it: {refusal}"))),
        }
    }
    Ok(Outcome::pass("both ways"))
}

async fn key_id(suite: &Suite) -> Judged {
    let Some(peer) = peer(suite) else { return skip(NO_PEER) };
    let (here, there) = (suite.plugin.status().await?.key_id, peer.status().await?.key_id);
    Ok(Outcome::pass_if(here == there, format!("`{}`, the peer `{}`", quote(&here), quote(&there))))
}

async fn v1_decrypt(suite: &Suite) -> Judged {
    let Some(peer) = peer(suite) else { return skip(NO_PEER) };
    for (from, to, name) in [(&suite.plugin, &peer, "the peer"), (&peer, &suite.plugin, "the plugin")] {
        let seed = seed()?;
        let cipher = from.v1_encrypt(seed.clone()).await?;
        match to.v1_decrypt(cipher).await {
            Ok(plain) if plain == seed => {}
            Ok(_) => return Ok(Outcome::fail(format!("{name} answers other bytes"))),
            Err(refusal) => return Ok(Outcome::fail(format!("{name} cannot open it: {refusal}"))),
        }
    }
    Ok(Outcome::pass("both ways"))
}

fn peer(suite: &Suite) -> Option<Plugin> {
    let socket = suite.options.peer.as_ref()?;
    Some(Plugin::new(socket, suite.options.timeout))
}

const NO_PEER: &str = "needs the same plugin on another node: --peer-socket";
