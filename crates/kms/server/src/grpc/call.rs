//! What every method begins with: who calls, by which id the call is found again, and what is recorded when the request is malformed.

use std::sync::{Arc, OnceLock};

use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use keystead_keyservice::{Call, KeyService, KmsError, Method, Operation, Origin, Presented};
use tonic::{Extensions, Request, Status};

use super::Adapter;
use super::status::status;
use crate::listener::Peer;

/// Longest `User-Agent` that is recorded, in characters; gcloud's has 300.
const MAX_USER_AGENT: usize = 512;
/// The header of what a method answers to a caller who is known. The audit log has it as `insertId`.
const HEADER: HeaderName = HeaderName::from_static("x-keystead-request-id");

/// A call of one method, by a caller who is known. What it asks for is not read yet.
pub(super) struct IdentifiedCall<'a> {
    keyservice: &'a KeyService,
    call: Call,
    method: Method,
}

impl Adapter {
    /// Finds out who calls, before anything of the message is looked at.
    pub(super) async fn identify<T>(
        &self,
        request: Request<T>,
        method: Method,
    ) -> Result<(IdentifiedCall<'_>, T), Status> {
        let (metadata, extensions, message) = request.into_parts();
        let call = self.identify_head(&metadata.into_headers(), &extensions, method).await?;
        Ok((call, message))
    }

    pub(super) async fn identify_head(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
        method: Method,
    ) -> Result<IdentifiedCall<'_>, Status> {
        let credentials = Credentials::of(headers, extensions);
        let call = self.authenticate(&credentials, headers.get(USER_AGENT)).await;
        if let Some(id) = extensions.get::<CallId>() {
            id.set(call.as_ref().ok().map(Call::id));
        }
        Ok(IdentifiedCall { keyservice: &self.keyservice, call: call?, method })
    }

    /// Counts a request of a known caller that nobody could read, so that nothing was asked of the key service.
    pub(crate) async fn count_unread(&self, credentials: &Credentials) {
        // A caller that is not known is counted on the way.
        if let Ok(call) = self.authenticate(credentials, None).await {
            self.keyservice.count_malformed(&call);
        }
    }

    async fn authenticate(
        &self,
        credentials: &Credentials,
        user_agent: Option<&HeaderValue>,
    ) -> Result<Call, Status> {
        let certificate = credentials.peer.as_ref().and_then(|peer| peer.certificate.as_ref());
        // One that names nobody is no credential. Whoever has no other is told so.
        let certificate = certificate.map(|it| &it.identity);
        let presented = Presented {
            bearer: credentials.bearer()?,
            session: None,
            certificate: certificate.and_then(|identity| identity.as_ref().ok()),
        };
        let origin = credentials.origin(user_agent);
        let call = self.keyservice.authenticate(presented, origin).await.map_err(|error| status(&error))?;
        credentials.peer.iter().for_each(|peer| peer.identified());
        Ok(call)
    }
}

impl IdentifiedCall<'_> {
    /// For commands that have to look something up before they can be made.
    pub(super) fn keyservice(&self) -> &KeyService {
        self.keyservice
    }

    /// Has a command done; or records why there is none. `resource` is the name in the request.
    pub(super) async fn run<C: Operation>(
        &self,
        resource: &str,
        command: Result<C, KmsError>,
    ) -> Result<C::Output, Status> {
        let command = match command {
            Ok(command) => command,
            Err(error) => return Err(self.refuse(resource, &error).await),
        };
        self.keyservice.run_named(&self.call, resource, command).await.map_err(|error| status(&error))
    }

    /// Records a refusal and makes it an answer.
    pub(super) async fn refuse(&self, resource: &str, error: &KmsError) -> Status {
        let recorded = self.keyservice.record_refused(&self.call, self.method, resource, error).await;
        status(recorded.as_ref().err().unwrap_or(error))
    }
}

/// What says who calls. Cheap to take: whoever reads a request consumes it, and may fail before anybody asked.
pub(crate) struct Credentials {
    /// What the transport knows of the other end.
    peer: Option<Arc<Peer>>,
    authorization: Authorization,
}

enum Authorization {
    Absent,
    One(HeaderValue),
    Several,
}

impl Credentials {
    pub(crate) fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let mut all = headers.get_all(AUTHORIZATION).into_iter();
        let authorization = match (all.next(), all.next()) {
            (None, _) => Authorization::Absent,
            (Some(one), None) => Authorization::One(one.clone()),
            (Some(_), Some(_)) => Authorization::Several,
        };
        Self { peer: extensions.get::<Arc<Peer>>().cloned(), authorization }
    }

    /// Where they come from, for the audit log.
    pub(crate) fn origin(&self, user_agent: Option<&HeaderValue>) -> Origin {
        let user_agent = user_agent.and_then(|agent| agent.to_str().ok());
        Origin {
            address: self.peer.as_ref().map(|peer| peer.address.ip()),
            user_agent: user_agent.map(|agent| agent.chars().take(MAX_USER_AGENT).collect()),
        }
    }

    /// What stands after `Bearer`. A header of another kind is a credential too, a bad one.
    fn bearer(&self) -> Result<Option<&str>, Status> {
        let header = match &self.authorization {
            Authorization::Absent => return Ok(None),
            Authorization::One(header) => header,
            Authorization::Several => {
                return Err(Status::unauthenticated("There is more than one Authorization header."));
            }
        };
        let text = header.to_str().unwrap_or_default();
        let token = match text.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim_start_matches(' '),
            _ => text,
        };
        Ok(Some(token))
    }
}

/// The id of a call on its way into the answer: what a caller reports is found in the audit log by it. An extension of the request; it
/// is empty until it was asked who calls.
#[derive(Clone, Default)]
pub(crate) struct CallId(Arc<OnceLock<Option<String>>>);

impl CallId {
    /// Once for each request; none: nobody who is known.
    fn set(&self, id: Option<&str>) {
        self.0.get_or_init(|| id.map(str::to_owned));
    }

    /// Whether it was asked who calls: the request was read that far.
    pub(crate) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    /// Names the call in its answer.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        let known = self.0.get().and_then(Option::as_ref);
        if let Some(mut id) = known.and_then(|id| HeaderValue::from_str(id).ok()) {
            // HTTP/2 then keeps it out of the connection's table of headers, where each new id would push out what comes again.
            id.set_sensitive(true);
            headers.insert(HEADER, id);
        }
    }
}
