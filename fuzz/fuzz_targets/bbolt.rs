//! Any bytes as a snapshot: no panic, and what is counted is no larger than the file. Good and bad inputs to start from:
//! `crates/cluster/etcd/tests/it/snapshots`. Most of them have a checksum over the meta page, which the fuzzer cannot guess; so
//! it is made right here.
#![no_main]

use keystead_etcd::{Layout, Snapshot, snapshot_inventory};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    for page in [0, 1024] {
        sign(&mut bytes, page);
    }
    let size = bytes.len() as u64;
    let Ok(snapshot) = Snapshot::from_bytes(bytes) else { return };
    if let Ok(counted) = snapshot_inventory(&snapshot, &Layout::default(), &[]) {
        let groups = counted.current.groups.iter().chain(&counted.history.old.groups);
        assert!(groups.map(|group| group.bytes).sum::<u64>() <= size);
    }
});

/// FNV-1a over the 56 bytes behind the page header.
fn sign(bytes: &mut [u8], page: usize) {
    let Some(meta) = bytes.get_mut(page + 16..page + 80) else { return };
    let sum = meta[..56].iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    meta[56..].copy_from_slice(&sum.to_le_bytes());
}
