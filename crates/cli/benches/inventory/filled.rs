//! Values as an API server with KMS v2 stores them, written straight to etcd.

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use keystead_etcd::stored::{KmsV2, SealRandomness, SeedKind, WrappedSeed};
use keystead_proto::etcd::PutRequest;
use keystead_proto::etcd::kv_client::KvClient;
use tonic::transport::Endpoint;

pub(crate) const PREFIX: &str = "/registry/secrets/";
/// Bytes of the stored object: about 1 KB when it is sealed.
const OBJECT: usize = 780;
/// What our plugin answers to Encrypt has about so many bytes.
const WRAPPED: usize = 160;
const KEY_ID: &str = "local-v1-a2f6c1d4";
/// Seeds differ by API server and start.
const SEEDS: u64 = 10;
const NAMESPACES: u64 = 1_000;
/// Puts under way at once: as many as keep etcd busy.
const AT_ONCE: usize = 128;
/// Bytes that our scanner aims for in a page (`PAGE_BYTES` of its `scan.rs`).
const PAGE: u64 = 8 << 20;

pub(crate) struct Filled {
    pub(crate) values: u64,
    /// Of each key with its value.
    pub(crate) bytes: u64,
}

impl Filled {
    /// Keys in a page.
    pub(crate) fn page(&self) -> u64 {
        PAGE / self.bytes.max(1)
    }
}

pub(crate) async fn fill(url: &str, values: u64) -> Result<Filled> {
    let client = KvClient::new(Endpoint::from_shared(url.to_owned())?.connect().await?);
    let mut bytes = 0;
    let puts = (0..values).map(|index| {
        let put = put(index);
        if let Ok(put) = &put {
            bytes = (put.key.len() + put.value.len()) as u64;
        }
        let mut client = client.clone();
        async move { anyhow::Ok(client.put(put?).await?) }
    });
    stream::iter(puts).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    Ok(Filled { values, bytes })
}

/// All have the same size.
fn put(index: u64) -> Result<PutRequest> {
    let namespace = index % NAMESPACES;
    let key = format!("{PREFIX}namespace-{namespace:04}/secret-{index:07}").into_bytes();
    let seed = u8::try_from(index % SEEDS)?;
    let wrapped = WrappedSeed {
        kind: SeedKind::HkdfSeed,
        key_id: KEY_ID.to_owned(),
        ciphertext: vec![seed; WRAPPED],
        annotations: Default::default(),
    };
    let mut random = SealRandomness { info: [0; 32], nonce: [0; 12] };
    let number = random.info.first_chunk_mut().context("32 bytes hold 8")?;
    *number = index.to_be_bytes();
    let object = [&b"k8s\0"[..], &[b'v'; OBJECT]].concat();
    let value = KmsV2::seal("kms", wrapped, &[seed; 32], &key, &object, &random)?.encode()?;
    Ok(PutRequest { key, value })
}

/// All that was written was counted, and nothing else.
pub(crate) fn check(filled: &Filled, counted: u64) -> Result<()> {
    ensure!(counted == filled.values, "{counted} values were counted of {}", filled.values);
    Ok(())
}
