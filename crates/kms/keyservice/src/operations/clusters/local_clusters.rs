//! Which clusters the server itself runs.

use std::collections::BTreeMap;

use keystead_model::cluster::{LOCAL_API_SERVERS, LOCAL_LABEL};
use keystead_model::{Cluster, ErrorClass};
use keystead_store::Batch;

use crate::KmsError;
use crate::records::{encode, record_name};

/// The value of the label for hosts of somebody's own.
const OWN_HOSTS: &str = "no";

/// What the labels of a new cluster say, and what it is where they say nothing.
pub(super) fn local_api_servers(
    labels: &BTreeMap<String, String>,
    served: bool,
) -> Result<Option<u8>, KmsError> {
    let asked = match labels.get(LOCAL_LABEL).map(String::as_str) {
        None if served => return Ok(LOCAL_API_SERVERS.first().copied()),
        None | Some(OWN_HOSTS) => return Ok(None),
        Some(asked) => asked,
    };
    let count = LOCAL_API_SERVERS.into_iter().find(|it| it.to_string() == asked);
    match count {
        None => Err(KmsError::invalid(format!(
            "The label {LOCAL_LABEL} is {asked:?}. It says how many API servers this server runs for the cluster: 1 or 3; or {OWN_HOSTS}: \
             its hosts are your own."
        ))),
        Some(_) if !served => {
            let text = format!(
                "The label {LOCAL_LABEL} asks for a local cluster, and this server has none: it is started with --local-clusters, or the \
                 label is left out and the hosts are your own."
            );
            Err(KmsError::new(ErrorClass::FailedPrecondition, text))
        }
        count => Ok(count),
    }
}

/// With a local cluster goes all that it holds; noted in the same batch, because nothing is removed for not being found.
pub(super) fn removing_local(batch: Batch, cluster: &Cluster) -> Result<Batch, KmsError> {
    Ok(match cluster.local_api_servers {
        Some(_) => batch.create(record_name::deleted_local_cluster(&cluster.id), encode(&cluster.id)?),
        None => batch,
    })
}
