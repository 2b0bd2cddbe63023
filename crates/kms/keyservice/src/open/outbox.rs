use keystead_audit::Record;
use keystead_model::ErrorClass;

use crate::{KeyService, KmsError, record_name};

/// Outbox records that are read at once.
const PAGE: usize = 1000;

impl KeyService {
    /// Appends to the audit log what was committed and not recorded when the process before this one ended, once: under the
    /// id that it has, unless a record of that id is there.
    pub(super) async fn deliver_outbox(&self) -> Result<(), KmsError> {
        let mut after = String::new();
        loop {
            let page = self.store.list(record_name::OUTBOX, &after, PAGE).await?;
            let ids: Vec<&str> =
                page.iter().filter_map(|entry| entry.name.strip_prefix(record_name::OUTBOX)).collect();
            let recorded = self.audit.contained(&ids)?;
            for (entry, id) in page.iter().zip(&ids) {
                let record = Record::from_json(&entry.value).ok_or_else(|| {
                    KmsError::new(ErrorClass::Corrupt, format!("the stored record {} is damaged", entry.name))
                })?;
                if !recorded.contains(*id) {
                    self.audit.append_record(record).await?;
                }
                self.delivered().push(entry.name.clone());
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(&last.name),
                _ => return Ok(()),
            }
        }
    }
}
