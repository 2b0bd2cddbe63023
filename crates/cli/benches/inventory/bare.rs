//! What nobody can be faster than by much: the same pages, or the same file, read and dropped.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use keystead_proto::etcd::RangeRequest;
use keystead_proto::etcd::kv_client::KvClient;
use tonic::transport::Endpoint;

use crate::filled::{Filled, PREFIX, check};

/// More than a page has.
const ANSWER_MAX: usize = 24 << 20;

/// One page after the other, all at the revision of the first.
pub(crate) async fn scan(url: &str, filled: &Filled) -> Result<Duration> {
    let client = KvClient::new(Endpoint::from_shared(url.to_owned())?.connect().await?);
    let mut client = client.max_decoding_message_size(ANSWER_MAX);
    let start = Instant::now();
    let mut request = RangeRequest {
        key: PREFIX.into(),
        // `0` follows `/`.
        range_end: PREFIX.replace("secrets/", "secrets0").into(),
        limit: i64::try_from(filled.page())?,
        ..Default::default()
    };
    let mut count = 0;
    loop {
        let answer = client.range(request.clone()).await?.into_inner();
        count += answer.kvs.len() as u64;
        if let Some(header) = answer.header
            && request.revision == 0
        {
            (request.revision, request.serializable) = (header.revision, true);
        }
        match answer.kvs.into_iter().next_back() {
            Some(last) if answer.more => request.key = [last.key.as_slice(), &[0]].concat(),
            _ => break,
        }
    }
    let took = start.elapsed();
    check(filled, count)?;
    Ok(took)
}

pub(crate) fn read(path: &Path) -> Result<Duration> {
    let mut buffer = vec![0; 1 << 20];
    let start = Instant::now();
    let mut file = File::open(path)?;
    while file.read(&mut buffer)? > 0 {}
    Ok(start.elapsed())
}
