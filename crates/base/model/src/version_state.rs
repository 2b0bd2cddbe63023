//! What may become of a key version, and what callers are told when it may not.
//!
//! | from \ act       | enable  | disable  | destroy          | restore  | time passes |
//! |------------------|---------|----------|------------------|----------|-------------|
//! | ENABLED          | same    | DISABLED | DESTROY_SCHEDULED| refused  | -           |
//! | DISABLED         | ENABLED | same     | DESTROY_SCHEDULED| refused  | -           |
//! | DESTROY_SCHEDULED| refused | refused  | refused          | DISABLED | DESTROYED   |
//! | DESTROYED        | refused | refused  | refused          | refused  | -           |

use jiff::{SignedDuration, Timestamp};

use crate::{CryptoKeyVersion, CryptoKeyVersionName, ErrorClass, VersionState};

impl CryptoKeyVersion {
    /// A version whose material was made now, usable at once.
    pub fn generated(name: CryptoKeyVersionName, now: Timestamp) -> Self {
        Self {
            name,
            state: VersionState::Enabled,
            create_time: to_microseconds(now),
            destroy_time: None,
            destroy_event_time: None,
        }
    }

    /// Refuses every version that is not ENABLED: what Encrypt and Decrypt ask before they touch material.
    pub fn check_enabled(&self) -> Result<(), WrongState> {
        match self.state {
            VersionState::Enabled => Ok(()),
            _ => Err(self.refuse(Wanted::Enabled)),
        }
    }

    /// `UpdateCryptoKeyVersion` with `state: ENABLED`. Enabling what is enabled changes nothing.
    pub fn enable(&self) -> Result<Self, WrongState> {
        self.switch(VersionState::Enabled)
    }

    /// `UpdateCryptoKeyVersion` with `state: DISABLED`. Disabling what is disabled changes nothing.
    pub fn disable(&self) -> Result<Self, WrongState> {
        self.switch(VersionState::Disabled)
    }

    /// `DestroyCryptoKeyVersion`: unusable from now on, the material goes after the key's duration. Whether something
    /// still uses the version is asked in [`crate::destruction`].
    pub fn schedule_destruction(&self, now: Timestamp, after_s: i64) -> Result<Self, WrongState> {
        match self.state {
            VersionState::Enabled | VersionState::Disabled => {
                // Saturation is past the year 9999, where it never comes due.
                let when = now.saturating_add(SignedDuration::from_secs(after_s)).unwrap_or(Timestamp::MAX);
                Ok(Self {
                    state: VersionState::DestroyScheduled,
                    destroy_time: Some(to_microseconds(when)),
                    ..self.clone()
                })
            }
            _ => Err(self.refuse(Wanted::Destroyable)),
        }
    }

    /// `RestoreCryptoKeyVersion`. It works as long as the material is there, so also in the moment between
    /// `destroy_time` and the destruction itself: keeping is the harmless side.
    pub fn restore(&self) -> Result<Self, WrongState> {
        match self.state {
            VersionState::DestroyScheduled => {
                Ok(Self { state: VersionState::Disabled, destroy_time: None, ..self.clone() })
            }
            _ => Err(self.refuse(Wanted::Scheduled)),
        }
    }

    /// The record after its material went. Refused while the time has not come, whoever asks.
    pub fn destroyed(&self, now: Timestamp) -> Result<Self, WrongState> {
        match (self.state, self.destroy_time) {
            (VersionState::DestroyScheduled, Some(when)) if when <= now => Ok(Self {
                state: VersionState::Destroyed,
                destroy_time: None,
                destroy_event_time: Some(to_microseconds(now)),
                ..self.clone()
            }),
            _ => Err(self.refuse(Wanted::Due)),
        }
    }

    fn switch(&self, to: VersionState) -> Result<Self, WrongState> {
        match self.state {
            VersionState::Enabled | VersionState::Disabled => Ok(Self { state: to, ..self.clone() }),
            _ => Err(self.refuse(Wanted::Switchable)),
        }
    }

    fn refuse(&self, wanted: Wanted) -> WrongState {
        WrongState { name: self.name.clone(), state: self.state, wanted }
    }
}

/// The state of a version does not allow what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {wanted}, current state is: {}.", state.as_str())]
pub struct WrongState {
    name: CryptoKeyVersionName,
    state: VersionState,
    wanted: Wanted,
}

impl WrongState {
    /// `FailedPrecondition`.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::FailedPrecondition
    }

    /// The subject of the `PreconditionFailure`: the version.
    pub fn subject(&self) -> &CryptoKeyVersionName {
        &self.name
    }

    /// The state that it is in.
    pub fn state(&self) -> VersionState {
        self.state
    }

    /// The type of the violation in `google.rpc.PreconditionFailure`. `KEY_DISABLED` is what Google answers; the others
    /// follow its pattern.
    pub fn violation(&self) -> &'static str {
        match self.state {
            VersionState::Enabled => "KEY_ENABLED",
            VersionState::Disabled => "KEY_DISABLED",
            VersionState::DestroyScheduled => "KEY_DESTROY_SCHEDULED",
            VersionState::Destroyed => "KEY_DESTROYED",
        }
    }
}

/// What the state should have allowed, as the middle of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Enabled,
    Switchable,
    Destroyable,
    Scheduled,
    Due,
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Enabled => "is not enabled",
            Self::Switchable => "can be neither enabled nor disabled",
            Self::Destroyable => "cannot be scheduled for destruction",
            Self::Scheduled => "is not scheduled for destruction",
            Self::Due => "is not due for destruction",
        })
    }
}

/// Times of records are kept to the microsecond, as Cloud KMS does.
pub fn to_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}
