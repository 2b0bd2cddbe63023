//! A policy as `getIamPolicy` answers it: in the version that the caller knows, and with an etag by which it can be written back.

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

/// The etag of a policy that was written by commit `revision` of the store; 0 for a resource without a policy.
///
/// It changes with every commit, even one that writes the same policy, so that what was read before a change that was taken
/// back is stale; and with the contents, so that it does not match after a restore of an older database whose revisions are
/// given out again. 8 bytes, so that it is 12 characters of base64.
pub fn etag(policy: &Policy, revision: u64) -> [u8; 8] {
    let mut digest = Sha256::new();
    digest.update(revision.to_be_bytes());
    digest.update(policy.version.to_be_bytes());
    for binding in &policy.bindings {
        // Each text with its length.
        let mut text = |it: &str| {
            digest.update((it.len() as u64).to_be_bytes());
            digest.update(it);
        };
        text(&binding.role);
        binding.members.iter().for_each(|member| text(member));
        // No member is empty.
        text("");
        if let Some(condition) = &binding.condition {
            text(&condition.expression);
            text(&condition.title);
            text(&condition.description);
        }
        text("");
    }
    let mut etag = [0; 8];
    etag.iter_mut().zip(digest.finalize()).for_each(|(to, from)| *to = from);
    etag
}
