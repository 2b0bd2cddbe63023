use keystead_model::Policy;
use sha2::{Digest, Sha256};

/// A policy as a caller of `getIamPolicy` sees it who asked for `options.requestedPolicyVersion`.
///
/// A client that does not know conditions must not see a conditional binding as one that always holds, and must not be able
/// to write it back as such: as Google does, the condition is left out and the role gets a name that no role has.
pub fn as_requested(mut policy: Policy, requested_version: i32) -> Policy {
    if policy.version < 3 || requested_version >= 3 {
        return policy;
    }
    policy.version = 1;
    for binding in &mut policy.bindings {
        if let Some(condition) = binding.condition.take() {
            let digest = Sha256::digest(condition.expression.as_bytes());
            let short: String = digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
            binding.role = format!("{}_withcond_{short}", binding.role);
        }
    }
    policy
}
