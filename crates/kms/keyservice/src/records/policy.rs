use keystead_iam::CompiledPolicy;
use keystead_model::Policy;
use keystead_store::{Revision, Store};

use super::{decode, record_name};
use crate::KmsError;

/// What a policy takes without its bindings, with its name, in bytes; and what a binding takes without its texts.
const EMPTY_LEN: usize = 600;
const BINDING_LEN: usize = 128;
/// What a member takes besides its name, which is there as text and as principal: two strings, an entry of a table, two lists.
const MEMBER_LEN: usize = 400;
/// A condition takes this for each byte of its expression: a sign of one byte is a node of a tree.
const NODE_LEN: usize = 40;

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

    /// About how much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        let bindings = self.policy.bindings.iter().map(|binding| {
            let members = binding.members.iter().map(|member| MEMBER_LEN + 2 * member.len()).sum::<usize>();
            let condition = binding
                .condition
                .as_ref()
                .map_or(0, |it| it.title.len() + it.description.len() + NODE_LEN * it.expression.len());
            BINDING_LEN + binding.role.len() + members + condition
        });
        EMPTY_LEN + bindings.sum::<usize>()
    }

    pub(crate) fn is_set(&self) -> bool {
        self.revision != Revision(0)
    }
}
