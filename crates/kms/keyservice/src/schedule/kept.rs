use std::collections::{HashMap, HashSet};

use keystead_model::CryptoKeyVersionName;

use crate::remembered::Due;

/// Versions that are due for destruction and in use, with the reason that the log has. A version may be kept for months,
/// and the schedule looks every few seconds: it says so again only when the reason is another one.
#[derive(Debug, Default)]
pub(crate) struct Kept(HashMap<CryptoKeyVersionName, String>);

impl Kept {
    /// Whether the log does not have this reason yet; from now on it has.
    pub(super) fn is_news(&mut self, version: &CryptoKeyVersionName, reason: &str) -> bool {
        if self.0.get(version).is_some_and(|known| known == reason) {
            return false;
        }
        self.0.insert(version.clone(), reason.to_owned());
        true
    }

    /// Forgets versions that are not due any more: restored, or destroyed.
    pub(super) fn retain_due(&mut self, due: &[Due]) {
        let mut versions = HashSet::new();
        for due in due {
            if let Due::Destruction(version) = due {
                versions.insert(version);
            }
        }
        self.0.retain(|version, _| versions.contains(version));
    }
}
