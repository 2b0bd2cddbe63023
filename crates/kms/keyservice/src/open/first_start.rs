use std::sync::Arc;

use keystead_audit::{AuditLog, Event, EventKind, Record, SafeFields};
use keystead_crypto::{Random, Secret32};
use keystead_model::{Binding, ErrorClass, Policy, Principal};
use keystead_provider::Provider;
use keystead_store::{Batch, Store};

use super::admin_token::ADMINISTRATOR;
use super::{KeepToken, OpenError, store_key};
use crate::ledger::outbox_entry;
use crate::records::token::{TokenFor, mint};
use crate::records::{encode, record_name};
use crate::{Clock, KmsError};

/// Administrators of the server give every right; to use keys they need a right of their own, as the first owner.
const ROLES: [&str; 2] = ["roles/keystead.admin", "roles/owner"];

/// Makes the store key, the server's policy and the first administrator's token: all or nothing.
pub(super) async fn make(
    store: &Arc<dyn Store>,
    audit: &Arc<AuditLog>,
    root_key: &Arc<dyn Provider>,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
    server: &str,
    keep_admin_token: &KeepToken,
) -> Result<Secret32, OpenError> {
    let no_random = |_| KmsError::new(ErrorClass::Bug, "no random bytes can be had");
    let store_key = Secret32::generate(random.as_ref()).map_err(no_random)?;
    let principal = Principal::User(ADMINISTRATOR.to_owned());
    let now = clock.now();
    let binding =
        |role: &str| Binding { role: role.to_owned(), members: vec![principal.to_string()], condition: None };
    let policy = Policy { version: 1, bindings: ROLES.into_iter().map(binding).collect() };
    let made_for = TokenFor {
        principal: principal.clone(),
        description: "the first administrator".to_owned(),
        account: None,
        create_time: now,
        expire_time: None,
    };
    let (token, secret) = mint(made_for, random.as_ref()).map_err(no_random)?;

    let mut id = [0; 16];
    random.fill(&mut id).map_err(no_random)?;
    let id = hex::encode(id);
    let mut event =
        Event::new(id.as_str(), now, "keystead.io", "StartFirstTime", "server", EventKind::System);
    event.response = SafeFields::new()
        .with("administrator", principal.to_string())
        .with("roles", ROLES.map(str::to_owned).to_vec())
        .with("tokenId", token.token.id.as_str())
        .with("neverExpires", true);
    let record = Record::of(&event);

    keep_admin_token(&secret).map_err(OpenError::AdminToken)?;
    let batch = Batch::default()
        .create(record_name::STORE_KEY, store_key::wrap(&store_key, root_key.as_ref()).await?)
        .create(record_name::policy(""), encode(&policy)?)
        .create(record_name::token(&token.token.id), encode(&token)?)
        .create(record_name::outbox(server, &id), outbox_entry(audit.head().sequence, &record)?);
    store.commit(batch).await?;
    // The outbox would bring it in at the next start; a log that cannot be written is better known now.
    audit.admits(EventKind::System)?;
    Ok(store_key)
}
