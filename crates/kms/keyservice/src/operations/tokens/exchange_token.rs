use keystead_audit::SafeFields;
use keystead_crypto::SecretBytes;
use keystead_iam::Permission;
use keystead_model::{ErrorClass, Principal};
use serde_json::json;

use crate::identity::issued_tokens::LIFE_S;
use crate::identity::refusal;
use crate::identity::signed::Signed;
use crate::{
    Authorised, Caller, Credential, KeyService, KmsError, Method, MethodKind, Operation, Origin, Resource,
};

/// The only grant: RFC 7523.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Longest assertion that is looked at, in bytes.
const MAX_ASSERTION_LEN: usize = 8 * 1024;
/// Longest audience of an id token, in bytes.
const MAX_AUDIENCE_LEN: usize = 512;

/// What `POST /token` answers: RFC 6749, section 5.1.
pub struct TokenAnswer {
    /// The access token; none when an id token was asked for.
    pub access_token: Option<SecretBytes>,
    /// Seconds until it expires.
    pub expires_in: i64,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Says who the caller is to some audience. This server itself accepts none.
    pub id_token: Option<String>,
}

/// What `POST /token` answers otherwise: RFC 6749, section 5.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRefusal {
    /// Such as `invalid_grant`.
    pub error: &'static str,
    /// A text for people. Nothing depends on it.
    pub description: String,
    /// 400, or 503 when it may work later.
    pub http_status: u16,
}

impl KeyService {
    /// The logic of `POST /token`: `grant_type` and `assertion` as they stand in the form.
    pub async fn exchange_token(
        &self,
        grant_type: &str,
        assertion: &str,
        origin: Origin,
    ) -> Result<TokenAnswer, TokenRefusal> {
        if grant_type != GRANT {
            return Err(TokenRefusal {
                error: "unsupported_grant_type",
                description: format!("grant_type must be {GRANT}"),
                http_status: 400,
            });
        }
        let address = origin.address;
        let exchanged = self.exchange(assertion, origin).await;
        exchanged.map_err(|error| {
            if error.class() == ErrorClass::Unauthenticated {
                self.count_refusal(address, &error);
            }
            TokenRefusal::from(error)
        })
    }

    async fn exchange(&self, assertion: &str, origin: Origin) -> Result<TokenAnswer, KmsError> {
        if assertion.len() > MAX_ASSERTION_LEN {
            return Err(refusal::invalid());
        }
        let signed = self.signed(assertion).await?;
        self.check_signed(&signed, self.clock.now()).await?;
        self.check_grant(&signed.claims)?;
        let principal = Principal::ServiceAccount(signed.claims.iss.clone());
        let credential = Credential::ServiceAccountKey(signed.key_id.clone());
        let caller = Caller { principal, groups: Vec::new(), credential };
        let call = self.call(std::sync::Arc::new(caller), origin)?;
        self.run(&call, ExchangeToken { signed }).await
    }
}

/// Gives an access token or an id token to who has signed for it.
struct ExchangeToken {
    signed: Signed,
}

impl Operation for ExchangeToken {
    type Output = TokenAnswer;

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "ExchangeToken", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    fn describe(&self) -> SafeFields {
        let audience = self.signed.claims.target_audience.as_deref().filter(|it| is_audience(it));
        SafeFields::new().with_some("targetAudience", audience)
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<TokenAnswer, KmsError> {
        let (service, now) = (authorised.service(), authorised.now());
        let ExchangeToken { signed } = authorised.command();
        let failed = || KmsError::new(ErrorClass::Bug, "a token cannot be made");
        let Some(audience) = &signed.claims.target_audience else {
            if !signed.claims.has_scope() {
                return Err(KmsError::invalid(
                    "The signed token must ask for the scope https://www.googleapis.com/auth/cloud-platform.",
                ));
            }
            let issued = service.identity.access_tokens.issue(&signed.claims.iss, &signed.key_id, now);
            authorised.outcome().issued = true;
            return Ok(answer(Some(issued.ok_or_else(failed)?), None));
        };
        if !is_audience(audience) {
            return Err(KmsError::invalid(format!(
                "target_audience has 1 to {MAX_AUDIENCE_LEN} bytes, and no control characters."
            )));
        }
        let account = service.enabled_account(&signed.claims.iss).await?;
        let claims = json!({
            "iss": service.settings.token_uri,
            "aud": audience,
            "azp": account.email,
            "sub": account.unique_id,
            "email": account.email,
            "email_verified": true,
            "iat": now.as_second(),
            "exp": now.as_second() + LIFE_S,
        });
        let id_token = service.identity.id_tokens.sign(&claims).ok_or_else(failed)?;
        authorised.outcome().issued = true;
        Ok(answer(None, Some(id_token)))
    }
}

fn answer(access_token: Option<SecretBytes>, id_token: Option<String>) -> TokenAnswer {
    TokenAnswer { access_token, expires_in: LIFE_S, token_type: "Bearer", id_token }
}

impl From<KmsError> for TokenRefusal {
    fn from(error: KmsError) -> Self {
        let (code, http_status) = match error.class() {
            ErrorClass::Unauthenticated => ("invalid_grant", 400),
            ErrorClass::Invalid => ("invalid_scope", 400),
            _ => ("temporarily_unavailable", 503),
        };
        Self { error: code, description: error.message().to_owned(), http_status }
    }
}

/// Whether a text can be the audience of an id token: without control characters, at most as long as is allowed.
fn is_audience(text: &str) -> bool {
    (1..=MAX_AUDIENCE_LEN).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
