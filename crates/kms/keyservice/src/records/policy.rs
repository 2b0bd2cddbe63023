use keystead_iam::CompiledPolicy;
use keystead_model::Policy;
use keystead_store::{Revision, Store};

use super::{decode, record_name};
use crate::KmsError;

/// A policy, ready to decide; none was set: an empty one of revision 0.
pub(crate) struct StoredPolicy {
    pub(crate) policy: Policy,
    pub(crate) compiled: CompiledPolicy,
    pub(crate) revision: Revision,
}

impl StoredPolicy {
    /// What a writer must name to be sure that nobody wrote in between.
    pub(crate) fn etag(&self) -> [u8; 8] {
        keystead_iam::etag(&self.policy, self.revision.0)
    }

    /// Reads the policy of one resource. `holder` as in [`crate::Resource::policy_holders`].
    pub(crate) async fn read(store: &dyn Store, holder: &str) -> Result<Self, KmsError> {
        let record = record_name::policy(holder);
        let (policy, revision) = match store.get(&record).await? {
            Some(entry) => (decode::<Policy>(&entry.name, &entry.value)?, entry.revision),
            None => (Policy::default(), Revision(0)),
        };
        let compiled = CompiledPolicy::compile(&policy);
        for ignored in compiled.ignored() {
            tracing::warn!(record, ignored, "a part of a policy is not understood and grants nothing");
        }
        Ok(Self { policy, compiled, revision })
    }

    pub(crate) fn is_set(&self) -> bool {
        self.revision != Revision(0)
    }
}
