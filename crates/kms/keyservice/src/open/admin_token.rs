use jiff::SignedDuration;
use keystead_audit::{Event, EventKind, Record, SafeFields};
use keystead_model::{Binding, ErrorClass, Policy, Principal};
use keystead_store::Batch;

use super::{KeepToken, OpenError};
use crate::records::token::{TokenFor, mint};
use crate::records::{self, encode, record_name};
use crate::{KeyService, KmsError};

/// Who administers a new server, until it has others.
pub(super) const ADMINISTRATOR: &str = "admin@keystead.local";
/// Gives every right, and its owner takes back what is too much.
const ROLE: &str = "roles/keystead.admin";
/// It is there to make others with.
const LIFE: SignedDuration = SignedDuration::from_hours(24);

impl KeyService {
    /// Makes another token of the first administrator, who administers the server again if he does not: for the day when nobody has
    /// a token that works. Whoever starts a server has its root key, and so needs no right.
    pub(super) async fn make_admin_token(&self, keep: &KeepToken) -> Result<(), OpenError> {
        let no_random = |_| KmsError::new(ErrorClass::Bug, "no random bytes can be had");
        let principal = Principal::User(ADMINISTRATOR.to_owned());
        let now = self.clock.now();
        let made_for = TokenFor {
            principal: principal.clone(),
            description: "made by a start with --new-admin-token".to_owned(),
            account: None,
            create_time: now,
            expire_time: now.checked_add(LIFE).ok(),
        };
        let (token, secret) = mint(made_for, self.random.as_ref()).map_err(no_random)?;
        let mut batch = Batch::default().create(record_name::token(&token.token.id), encode(&token)?);

        let record = record_name::policy("");
        let stored = records::read::<Policy>(self.store.as_ref(), &record).await?;
        let read_at = stored.as_ref().map(|it| it.revision);
        let mut policy = stored.map(|it| it.value).unwrap_or_default();
        let member = principal.to_string();
        let held = |it: &Binding| it.role == ROLE && it.condition.is_none() && it.members.contains(&member);
        let granted = !policy.bindings.iter().any(held);
        if granted {
            policy.bindings.push(Binding {
                role: ROLE.to_owned(),
                members: vec![member.clone()],
                condition: None,
            });
            batch = match read_at {
                Some(read_at) => batch.replace(record, read_at, encode(&policy)?),
                None => batch.create(record, encode(&policy)?),
            };
        }

        let mut id = [0; 16];
        self.random.fill(&mut id).map_err(no_random)?;
        let id = hex::encode(id);
        let mut event =
            Event::new(id.as_str(), now, "keystead.io", "NewAdminToken", "server", EventKind::System);
        event.response = SafeFields::new()
            .with("administrator", member)
            .with("tokenId", token.token.id.as_str())
            .with("roleGranted", granted);
        keep(&secret).map_err(OpenError::AdminToken)?;
        let committed = self.ledger.commit(batch, Some((&id, Record::of(&event)))).await;
        committed.map_err(|it| it.error)?.complete()?;
        Ok(())
    }
}
