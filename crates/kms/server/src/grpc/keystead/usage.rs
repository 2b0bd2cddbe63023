use std::collections::BTreeMap;

use keystead_keyservice::operations::{
    DeleteInventory, GetVersionUsage, Inventory, ListInventories, RegisterInventory,
};
use keystead_keyservice::{KmsError, Method, MethodKind};
use keystead_model::VersionNumber;
use keystead_proto::keystead_v1 as proto;
use keystead_proto::keystead_v1::usage_server::Usage;
use tonic::{Request, Response};

use super::method;
use crate::grpc::time::{from_proto, to_proto};
use crate::grpc::{Adapter, Answer};

const fn reads(name: &'static str) -> Method {
    method(name, MethodKind::AdminRead)
}

const fn writes(name: &'static str) -> Method {
    method(name, MethodKind::AdminWrite)
}

#[tonic::async_trait]
impl Usage for Adapter {
    async fn register_inventory(
        &self,
        request: Request<proto::RegisterInventoryRequest>,
    ) -> Answer<proto::Inventory> {
        let (call, request) = self.identify(request, writes("RegisterInventory")).await?;
        let parent = request.parent.clone();
        let registered = call.run(&parent, register(request)).await?;
        Ok(Response::new(inventory(&registered)))
    }

    async fn list_inventories(
        &self,
        request: Request<proto::ListInventoriesRequest>,
    ) -> Answer<proto::ListInventoriesResponse> {
        let (call, proto::ListInventoriesRequest { parent }) =
            self.identify(request, reads("ListInventories")).await?;
        let command = parent.parse().map(|key| ListInventories { key }).map_err(KmsError::from);
        let inventories = call.run(&parent, command).await?.iter().map(inventory).collect();
        Ok(Response::new(proto::ListInventoriesResponse { inventories }))
    }

    async fn delete_inventory(&self, request: Request<proto::DeleteInventoryRequest>) -> Answer<()> {
        let (call, request) = self.identify(request, writes("DeleteInventory")).await?;
        let proto::DeleteInventoryRequest { parent, source } = request;
        let command = parent.parse().map(|key| DeleteInventory { key, source }).map_err(KmsError::from);
        Ok(Response::new(call.run(&parent, command).await?))
    }

    async fn get_version_usage(
        &self,
        request: Request<proto::GetVersionUsageRequest>,
    ) -> Answer<proto::VersionUsage> {
        let (call, proto::GetVersionUsageRequest { name }) =
            self.identify(request, reads("GetVersionUsage")).await?;
        let command: Result<GetVersionUsage, _> = name.parse().map(|name| GetVersionUsage { name });
        let number = command.as_ref().ok().map(|command| command.name.version);
        let usage = call.run(&name, command.map_err(KmsError::from)).await?;
        let users = usage.inventories.into_iter().map(|inventory| proto::version_usage::User {
            objects: number.and_then(|it| inventory.counts.get(&it)).map_or(0, |count| signed(*count)),
            source: inventory.source,
            observe_time: Some(to_proto(inventory.observe_time)),
        });
        let clusters = usage.clusters.into_iter().map(|user| proto::version_usage::ClusterUser {
            name: user.cluster.to_string(),
            reason: user.reason,
        });
        Ok(Response::new(proto::VersionUsage {
            name,
            last_decrypt_time: usage.decrypts.last.map(to_proto),
            last_encrypt_time: usage.encrypts.last.map(to_proto),
            encrypt_count: signed(usage.encrypts.count),
            decrypt_count: signed(usage.decrypts.count),
            users: users.collect(),
            clusters: clusters.collect(),
        }))
    }
}

fn register(request: proto::RegisterInventoryRequest) -> Result<RegisterInventory, KmsError> {
    let key = request.parent.parse()?;
    let given = request.inventory.unwrap_or_default();
    let observed = given.observe_time.ok_or_else(|| KmsError::invalid("observe_time is required."))?;
    let counts = given.counts.into_iter().map(|count| {
        let objects = u64::try_from(count.objects)
            .map_err(|_| KmsError::invalid(format!("{} objects are not possible.", count.objects)))?;
        Ok((count.crypto_key_version_id.parse()?, objects))
    });
    let counts = counts.collect::<Result<Vec<_>, KmsError>>()?;
    let by_version: BTreeMap<VersionNumber, u64> = counts.iter().copied().collect();
    if by_version.len() < counts.len() {
        return Err(KmsError::invalid("counts must name each version once: add up what belongs together."));
    }
    let inventory = Inventory {
        source: given.source,
        observe_time: from_proto("inventory.observe_time", observed)?,
        counts: by_version,
    };
    Ok(RegisterInventory { key, inventory })
}

fn inventory(inventory: &Inventory) -> proto::Inventory {
    let counts = inventory.counts.iter().map(|(version, objects)| proto::VersionCount {
        crypto_key_version_id: version.to_string(),
        objects: signed(*objects),
    });
    proto::Inventory {
        source: inventory.source.clone(),
        observe_time: Some(to_proto(inventory.observe_time)),
        counts: counts.collect(),
    }
}

/// It was one when it came.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
