//! Calls to etcd that the product never makes.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

/// What `etcdctl snapshot save` does: etcd sends its database and the hash of it behind.
pub(crate) async fn save_snapshot(url: &str, path: &Path) -> Result<()> {
    #[derive(Clone, PartialEq, Message)]
    struct SnapshotResponse {
        #[prost(bytes, tag = "3")]
        blob: Vec<u8>,
    }
    let mut client = client(url).await?;
    let codec = tonic_prost::ProstCodec::<(), SnapshotResponse>::default();
    let path_of_call = "/etcdserverpb.Maintenance/Snapshot".parse()?;
    let mut stream =
        client.server_streaming(tonic::Request::new(()), path_of_call, codec).await?.into_inner();
    let mut file = std::fs::File::create(path)?;
    while let Some(part) = stream.message().await? {
        file.write_all(&part.blob)?;
    }
    Ok(())
}

/// One call without streams.
pub(crate) async fn call<M: Message + Default + 'static>(url: &str, path: &str, request: M) -> Result<()> {
    let mut client = client(url).await?;
    let codec = tonic_prost::ProstCodec::<M, ()>::default();
    client.unary(tonic::Request::new(request), path.parse()?, codec).await?;
    Ok(())
}

/// `KV.Compact`, until the freed revisions are gone from the database.
pub(crate) async fn compact(url: &str, revision: i64) -> Result<()> {
    #[derive(Clone, PartialEq, Message)]
    struct CompactionRequest {
        #[prost(int64, tag = "1")]
        revision: i64,
        #[prost(bool, tag = "2")]
        physical: bool,
    }
    call(url, "/etcdserverpb.KV/Compact", CompactionRequest { revision, physical: true }).await
}

async fn client(url: &str) -> Result<Grpc<Channel>> {
    let mut client = Grpc::new(Endpoint::from_shared(url.to_owned())?.connect().await?);
    client.ready().await?;
    Ok(client)
}
