//! Three API servers go from one minor version to the next, one after another, while clients read and write Secrets through all of
//! them. `cargo xtask bench upgrade` does the same with 100,000 Secrets and measures it.

mod clients;
#[expect(dead_code, reason = "the benchmark uses more of it")]
mod cluster;
mod host;
#[expect(dead_code, reason = "the benchmark uses more of it")]
mod load;

use anyhow::Result;

use cluster::{Cluster, FROM, Restarted, TO};
use host::Encryption;
use load::{Load, Seen};

const SECRETS: u64 = 300;

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p17_an_upgrade_under_kms_v2_fails_no_call_and_asks_for_each_seed_and_not_for_each_secret()
-> Result<()> {
    let (starts, seen) = upgrade(Encryption::V2).await?;
    assert_nothing_failed(&seen);
    for start in starts {
        let calls = start.ready_calls;
        // Three API servers had a seed each, and have another one after their restart; whoever needs one meanwhile asks too.
        assert!((1..SECRETS / 5).contains(&calls.decrypts), "{calls:?}");
        assert_eq!((calls.misses, calls.failures), (0, 0), "{calls:?}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p17_an_upgrade_under_kms_v1_fails_no_call_and_asks_the_backend_for_no_secret() -> Result<()> {
    let (starts, seen) = upgrade(Encryption::V1).await?;
    assert_nothing_failed(&seen);
    for start in starts {
        let calls = start.ready_calls;
        // Each Secret has a key of its own, which an API server that starts does not know.
        assert!(calls.decrypts >= SECRETS, "{calls:?}");
        assert_eq!((calls.misses, calls.failures), (0, 0), "{calls:?}");
    }
    Ok(())
}

/// Every restart is a new version. A list of all Secrets follows each.
async fn upgrade(encryption: Encryption) -> Result<(Vec<Restarted>, Seen)> {
    let mut cluster = Cluster::start(encryption).await?;
    cluster.fill(SECRETS as usize).await?;
    let load = Load::start(&cluster, "upgrade").await.map_err(anyhow::Error::msg)?;
    let mut starts = Vec::new();
    for index in 0..cluster.api_servers() {
        starts.push(cluster.restart(index, TO).await?);
    }
    let seen = load.stop(&cluster).await.map_err(anyhow::Error::msg)?;
    println!("{encryption:?}, {FROM} to {TO}: {starts:?} {seen:?}");
    Ok((starts, seen))
}

fn assert_nothing_failed(seen: &Seen) {
    let none = Vec::<String>::new();
    assert_eq!((&seen.reads.failed, &seen.writes.failed, &seen.lost), (&none, &none, &none));
    // Clients that do nothing, or that notice no restart, prove nothing.
    assert!(seen.reads.done > 100 && seen.writes.done > 100 && seen.refused > 0, "{seen:?}");
}
