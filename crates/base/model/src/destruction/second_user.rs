//! Destroying what is in use, where a policy wants two users for that.
//!
//! The first one's call is kept as a request. The same call of another one, in time and while the version has the same users, is the
//! consent. One of both has to be an approver, so that it is not enough that two may destroy. When the time of the version has come its
//! users are compared again: whoever came to need it since has not been agreed on.
//!
//! Service accounts do not count: a program acts for whoever can make a credential of it, which may be the other one of the two.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{User, in_words};
use crate::{CryptoKeyVersionName, ErrorClass, Principal};

/// The role of approvers. Where a policy above a key, or its own, binds it to anybody, the rule holds.
pub const APPROVER_ROLE: &str = "roles/keystead.destructionApprover";
/// How long a request waits for the second user. Long enough for somebody in another part of the world, and short enough that both look
/// at the same state of things.
pub const REQUEST_COUNTS: SignedDuration = SignedDuration::from_hours(24);
/// Users of a version that two people can still agree on, and that a record keeps: as many as a project can have clusters.
pub const MOST_USERS: usize = 500;

/// A version in use that somebody wants to destroy, and who has agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForcedDestruction {
    /// Who asked first.
    pub requested_by: Principal,
    /// Whether that one is an approver, so that the other one need not be.
    pub by_approver: bool,
    /// When.
    pub request_time: Timestamp,
    /// Who used the version then, by [`User::who`].
    pub users: BTreeSet<String>,
    /// Who agreed; none: it waits.
    pub approved_by: Option<Principal>,
}

/// What a call that would destroy a version in use comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consent {
    /// It is the first one, and is to be kept.
    Requested(ForcedDestruction),
    /// There is such a request, and the call adds nothing to it.
    Waits(ForcedDestruction),
    /// Two have asked for the same.
    Given(ForcedDestruction),
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asking<'a> {
    /// The caller.
    pub principal: &'a Principal,
    /// Whether the caller is an approver.
    pub is_approver: bool,
    /// Whether the caller can make credentials of other users, and so be any of them.
    pub can_be_others: bool,
}

impl ForcedDestruction {
    /// What the call of somebody comes to, after what was kept before.
    ///
    /// # Errors
    ///
    /// The caller is no user on its own, or the version has more than [`MOST_USERS`] users.
    pub fn ask(
        before: Option<&Self>,
        asking: Asking<'_>,
        users: &[User],
        now: Timestamp,
    ) -> Result<Consent, NoConsent> {
        if let Principal::ServiceAccount(email) = asking.principal {
            return Err(NoConsent::Program(email.clone()));
        }
        if asking.can_be_others {
            return Err(NoConsent::Anybody(asking.principal.clone()));
        }
        let users: BTreeSet<String> = users.iter().map(|it| it.who.clone()).collect();
        if users.len() > MOST_USERS {
            return Err(NoConsent::TooManyUsers(users.len()));
        }
        let request = before.filter(|it| it.is_open(now) && it.users == users);
        Ok(match request {
            None => Consent::Requested(Self {
                requested_by: asking.principal.clone(),
                by_approver: asking.is_approver,
                request_time: now,
                users,
                approved_by: None,
            }),
            Some(request)
                if request.requested_by != *asking.principal
                    && (request.by_approver || asking.is_approver) =>
            {
                Consent::Given(Self { approved_by: Some(asking.principal.clone()), ..request.clone() })
            }
            Some(request) => Consent::Waits(request.clone()),
        })
    }

    /// Whether somebody else can still agree. A clock that went back by more than that voids it too.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.approved_by.is_none() && now.duration_since(self.request_time).abs() < REQUEST_COUNTS
    }

    /// Whether two have agreed on destroying a version that these use, or some of these.
    pub fn covers(&self, users: &[User]) -> bool {
        self.approved_by.is_some() && users.iter().all(|user| self.users.contains(&user.who))
    }

    /// When it is too late to agree.
    pub fn expire_time(&self) -> Timestamp {
        self.request_time.checked_add(REQUEST_COUNTS).unwrap_or(Timestamp::MAX)
    }
}

/// Why a version whose time has come is kept: these use it, and two have not agreed on them.
pub fn not_agreed(users: &[User]) -> String {
    format!(
        "it is still in use: {}; and two users have not agreed on all of them, which a policy with {APPROVER_ROLE} wants. Restore it and have \
         both give the command, or see to it that nothing uses it",
        in_words(users)
    )
}

/// Why a caller is not one of the two.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoConsent {
    /// A service account.
    #[error(
        "Service account {0} does not count as one of the two users who destroy a version in use: whoever can make a credential of it acts \
         as it. Give the command as a user."
    )]
    Program(String),
    /// A user who can make credentials of others.
    #[error(
        "{0} can make credentials of other users (keystead.userCredentials.create), and so would prove nothing as one of the two who destroy \
         a version in use: somebody who cannot has to give the command."
    )]
    Anybody(Principal),
    /// More users than anybody reads.
    #[error(
        "The version has {0} users, and two people can agree on {MOST_USERS} at most: move clusters to another key first."
    )]
    TooManyUsers(usize),
}

impl NoConsent {
    /// `FailedPrecondition`: with the permission alone it is not done.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::FailedPrecondition
    }
}

/// A request waits for the second user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Waiting {
    /// The version.
    pub version: Box<CryptoKeyVersionName>,
    /// Who uses it.
    pub users: Vec<User>,
    /// The request.
    pub request: Box<ForcedDestruction>,
}

impl Waiting {
    /// `FailedPrecondition`: nothing has become of the version yet.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::FailedPrecondition
    }

    /// The type of the violation in `google.rpc.PreconditionFailure`.
    pub fn violation(&self) -> &'static str {
        "SECOND_USER_REQUIRED"
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, users, request } = self;
        let (key, ring) = (&version.key, &version.key.ring);
        let who = if request.by_approver { "another user" } else { "another user with that role" };
        write!(
            f,
            "{version} is still in use: {}. A policy binds {APPROVER_ROLE}, so that two users have to destroy it. The first one is {}, at {}; \
             nothing is destroyed until {who} gives the same command before {}, while the version has the same users: `gcloud kms keys \
             versions destroy {} --key={} --keyring={} --location={} --project={}`, or `keystead` with the same words.",
            in_words(users),
            request.requested_by,
            request.request_time,
            request.expire_time(),
            version.version,
            key.key,
            ring.ring,
            ring.location.location,
            ring.location.project,
        )
    }
}

#[cfg(test)]
mod tests;
