use keystead_audit::SafeFields;
use keystead_crypto::SecretBytes;
use keystead_iam::Permission;
use keystead_model::{ErrorClass, Principal, to_microseconds};
use keystead_store::Batch;

use crate::identity::refusal;
use crate::records::session::StoredSessions;
use crate::records::{encode, record_name};
use crate::{
    Authorised, Credential, KeyService, KmsError, LastUse, Method, MethodKind, Operation, Origin, Presented,
    Resource, Session,
};

/// A session that has begun.
pub struct NewSession {
    /// What is known of it from now on.
    pub session: Session,
    /// Whose it is.
    pub principal: Principal,
    /// The cookie, as text. Nobody can ask for it again.
    pub cookie: SecretBytes,
}

impl KeyService {
    /// Begins a session of whoever has this token. `Unauthenticated`: it counts for nothing, or is no opaque token; the refusal is
    /// counted, not recorded.
    pub async fn begin_session(&self, token: &str, origin: Origin) -> Result<NewSession, KmsError> {
        let address = origin.address;
        let presented = Presented { bearer: Some(token), ..Presented::default() };
        let call = self.authenticate(presented, origin).await?;
        let Credential::Token(token_id) = call.caller().credential.clone() else {
            let error = refusal::unfit("a session begins with a token that starts with ks_");
            self.count_refusal(address, &error);
            return Err(error);
        };
        self.run(&call, BeginSession { principal: call.caller().principal.clone(), token_id }).await
    }
}

/// Gives a cookie to who has shown a token.
struct BeginSession {
    principal: Principal,
    token_id: String,
}

impl Operation for BeginSession {
    type Output = NewSession;

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "BeginSession", kind: MethodKind::AdminWrite }
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<NewSession, KmsError> {
        let (service, now) = (authorised.service(), authorised.now());
        let BeginSession { principal, token_id } = authorised.command();
        let (principal, token_id) = (principal.clone(), token_id.clone());
        let origin = authorised.call().origin().clone();
        let record = record_name::sessions(&principal);
        let stored = service.read::<StoredSessions>(&record).await?;
        let (mut sessions, revision) = match stored {
            Some(stored) => (stored.value, Some(stored.revision)),
            None => (StoredSessions::default(), None),
        };
        let time = to_microseconds(now);
        let session = |id| Session {
            id,
            token_id,
            create_time: time,
            last_use: LastUse { time, address: origin.address },
            user_agent: origin.user_agent,
        };
        let begun = sessions.begin(&principal, session, now, service.random.as_ref());
        let (session, cookie) =
            begun.map_err(|_| KmsError::new(ErrorClass::Bug, "a session cannot be made"))?;
        let encoded = encode(&sessions)?;
        let batch = match revision {
            Some(revision) => Batch::default().replace(record, revision, encoded),
            None => Batch::default().create(record, encoded),
        };
        let outcome = authorised.outcome();
        outcome.issued = true;
        outcome.response = SafeFields::new().with("id", session.id.as_str());
        match authorised.commit(batch).await {
            Ok(_) => Ok(NewSession { session, principal, cookie }),
            // Another login of the same principal wrote the record first.
            Err(error) if error.class() == ErrorClass::AlreadyExists => Err(authorised.start_over(error)),
            Err(error) => Err(error),
        }
    }
}
