//! Policies as they are stored and cached.

use std::sync::Arc;

use keystead_iam::CompiledPolicy;
use keystead_model::Policy;
use keystead_store::Revision;

use crate::records::{decode, record_name};
use crate::remembered::Remembered;
use crate::{KeyService, KmsError};

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

    pub(crate) fn is_set(&self) -> bool {
        self.revision != Revision(0)
    }
}

impl KeyService {
    /// The policy of one resource, from memory or with one read. `holder` as in [`crate::Resource::policy_holders`].
    pub(crate) async fn policy(&self, holder: &str) -> Result<Arc<StoredPolicy>, KmsError> {
        let record = record_name::policy(holder);
        let Remembered { policies, unset_policies, .. } = &*self.remembered;
        if let Some(policy) = policies.get(&record).or_else(|| unset_policies.get(&record)) {
            return Ok(policy);
        }
        let read_after = policies.epoch();
        let unset_after = unset_policies.epoch();
        let (policy, revision) = match self.store.get(&record).await? {
            Some(entry) => (decode::<Policy>(&entry.name, &entry.value)?, entry.revision),
            None => (Policy::default(), Revision(0)),
        };
        let compiled = CompiledPolicy::compile(&policy);
        for ignored in compiled.ignored() {
            tracing::warn!(record, ignored, "a part of a policy is not understood and grants nothing");
        }
        let policy = Arc::new(StoredPolicy { policy, compiled, revision });
        if policy.is_set() {
            policies.keep(&record, &policy, read_after);
        } else {
            unset_policies.keep(&record, &policy, unset_after);
        }
        Ok(policy)
    }
}
