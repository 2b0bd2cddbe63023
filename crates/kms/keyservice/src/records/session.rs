//! Sessions of browsers. One record holds all of a principal, so that they are listed without a search, and are never many.
//!
//! A cookie is `kss_PRINCIPAL_ID_SECRET`, where the principal is in base64url: it says which record to read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jiff::{SignedDuration, Timestamp};
use keystead_crypto::{CryptoFailed, Random, SecretBytes};
use keystead_model::Principal;
use serde::{Deserialize, Serialize};

use super::opaque::{self, Digest, Drawn, Opaque};
use super::usage::LastUse;

const PREFIX: &str = "kss_";
/// Longest cookie that is looked at, in bytes: an address of 254 characters in base64, and the rest.
const MAX_COOKIE_LEN: usize = 512;
/// Sessions that a principal can have at a time; one more ends the one that was not used for the longest time.
const MAX_SESSIONS: usize = 16;
/// How long a session counts, however much it is used: a working day.
const LIFE: SignedDuration = SignedDuration::from_hours(12);
/// How long it counts without a use.
const IDLE: SignedDuration = SignedDuration::from_mins(60);
/// A use is written when the stored one is older: a session may end by so much too early.
const NOTED_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// What its owner sees of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Public: what audit records name.
    pub id: String,
    /// The token that it began with. It ends with that.
    pub token_id: String,
    /// When it began.
    pub create_time: Timestamp,
    /// To the minute.
    pub last_use: LastUse,
    /// The browser as it calls itself, at most 512 characters.
    pub user_agent: Option<String>,
}

/// A session as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredSession {
    pub(crate) session: Session,
    digest: Digest,
}

/// The sessions of one principal, those that ended perhaps among them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct StoredSessions(Vec<StoredSession>);

/// A cookie that was presented. Hostile until its secret is compared.
pub(crate) struct Cookie<'a> {
    pub(crate) principal: Principal,
    opaque: Opaque<'a>,
}

impl Session {
    /// When it ends, unless it is used before.
    pub fn expire_time(&self) -> Timestamp {
        let after = |time: Timestamp, life| time.checked_add(life).unwrap_or(Timestamp::MAX);
        after(self.create_time, LIFE).min(after(self.last_use.time, IDLE))
    }

    /// Whether the store has to be told of a use at this time.
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        now.duration_since(self.last_use.time) >= NOTED_EVERY
    }
}

impl<'a> Cookie<'a> {
    /// Reads `kss_PRINCIPAL_ID_SECRET`.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX_COOKIE_LEN {
            return None;
        }
        let text = text.strip_prefix(PREFIX)?;
        let (principal, opaque) = text.split_at_checked(text.len().checked_sub(opaque::TEXT_LEN)?)?;
        let principal = BASE64URL.decode(principal.strip_suffix('_')?).ok()?;
        let principal = String::from_utf8(principal).ok()?.parse().ok()?;
        Some(Self { principal, opaque: Opaque::parse("", opaque)? })
    }
}

impl StoredSessions {
    /// The session of a cookie, whether or not its time is over; none: the cookie is nobody's.
    pub(crate) fn of_cookie(&self, cookie: &Cookie<'_>) -> Option<&Session> {
        let stored = self.0.iter().find(|stored| stored.session.id == cookie.opaque.id)?;
        stored.digest.is_of(&cookie.opaque.secret).then_some(&stored.session)
    }

    /// Those that count at this time.
    pub(crate) fn current(&self, now: Timestamp) -> Vec<Session> {
        let current = |session: &&Session| now < session.expire_time();
        self.0.iter().map(|stored| &stored.session).filter(current).cloned().collect()
    }

    /// Begins one, and forgets those that ended. The text is the cookie.
    pub(crate) fn begin(
        &mut self,
        principal: &Principal,
        session: impl FnOnce(String) -> Session,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<(Session, SecretBytes), CryptoFailed> {
        self.0.retain(|stored| now < stored.session.expire_time());
        while self.0.len() >= MAX_SESSIONS {
            let oldest = self.0.iter().enumerate().min_by_key(|(_, stored)| stored.session.last_use.time);
            let Some((oldest, _)) = oldest else { break };
            self.0.remove(oldest);
        }
        let prefix = format!("{PREFIX}{}_", BASE64URL.encode(principal.to_string()));
        let Drawn { id, digest, text } = opaque::draw(&prefix, random)?;
        let session = session(id);
        self.0.push(StoredSession { session: session.clone(), digest });
        Ok((session, text))
    }

    /// Ends one; whether it was there.
    pub(crate) fn end(&mut self, id: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|stored| stored.session.id != id);
        self.0.len() < before
    }

    /// Notes a use; whether there is anything to write.
    pub(crate) fn used(&mut self, id: &str, now: LastUse) -> bool {
        let session = self.0.iter_mut().map(|stored| &mut stored.session).find(|session| session.id == id);
        match session.filter(|session| session.is_stale(now.time)) {
            Some(session) => {
                session.last_use = now;
                true
            }
            None => false,
        }
    }

    /// When the last of them ends; none: there is none.
    pub(crate) fn last_end(&self) -> Option<Timestamp> {
        self.0.iter().map(|stored| stored.session.expire_time()).max()
    }
}
