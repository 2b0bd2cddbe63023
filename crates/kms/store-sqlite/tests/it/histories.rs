//! Histories of clients that meet on few records: on the store each has a legal order; with a flaw put before it, the
//! checker finds one that has none.

use std::collections::BTreeMap;
use std::sync::Arc;

use keystead_store::faulty::{FaultyStore, Flaw};
use keystead_store::linearizability::{Records, Verdict, check, history};
use keystead_store::{Revision, Store};

use crate::testbed::Testbed;

const CLIENTS: u64 = 8;
const CALLS: usize = 25;

/// A hundred in CI; a thousand is for a release.
fn histories() -> u64 {
    std::env::var("KEYSTEAD_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// Within so many histories a flaw must show.
const UNTIL_FOUND: u64 = 20;

async fn verdict(store: Arc<dyn Store>, seed: u64) -> Verdict {
    let history = history(store, seed, CLIENTS, CALLS).await;
    let verdict = check(&Records, (Revision(0), BTreeMap::new()), &history);
    if let Verdict::Illegal { unexplained, .. } = &verdict {
        println!("history {seed}: {:?} fits nowhere", history[*unexplained]);
    }
    verdict
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_histories_have_a_legal_order() {
    for seed in 0..histories() {
        let testbed = Testbed::new();
        assert_eq!(verdict(Arc::new(testbed.open()), seed).await, Verdict::Legal, "history {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_every_flaw_is_found() {
    for flaw in Flaw::ALL {
        let mut found = None;
        for seed in 0..UNTIL_FOUND {
            let testbed = Testbed::new();
            let store = Arc::new(FaultyStore::new(Arc::new(testbed.open()), flaw));
            if matches!(verdict(store, seed).await, Verdict::Illegal { .. }) {
                found = Some(seed + 1);
                break;
            }
        }
        println!("{flaw:?}: found in history {}", found.unwrap_or_default());
        assert!(found.is_some(), "{flaw:?} is not found in {UNTIL_FOUND} histories");
    }
}
