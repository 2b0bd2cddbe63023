use std::sync::Arc;

use crate::records::policy::StoredPolicy;
use crate::records::record_name;
use crate::remembered::Remembered;
use crate::{KeyService, KmsError};

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
        let policy = Arc::new(StoredPolicy::read(self.store.as_ref(), holder).await?);
        if policy.is_set() {
            policies.keep(&record, &policy, read_after);
        } else {
            unset_policies.keep(&record, &policy, unset_after);
        }
        Ok(policy)
    }
}
