use keystead_model::VersionState::{self, DestroyScheduled, Destroyed, Disabled, Enabled};
use keystead_model::{CryptoKeyVersion, ErrorClass, WrongState};

use crate::samples::{at, version, version_name};

type Act = fn(&CryptoKeyVersion) -> Result<CryptoKeyVersion, WrongState>;

const DUE: &str = "2026-07-01T00:00:00Z";

/// Every state and every act, by hand: the state after it, or what is said.
#[test]
fn every_transition_is_as_the_table_says() {
    let acts: [(&str, Act); 5] = [
        ("enable", |it| it.enable()),
        ("disable", |it| it.disable()),
        ("destroy", |it| it.schedule_destruction(at("2026-06-01T00:00:00Z"), 86_400)),
        ("restore", |it| it.restore()),
        ("time passes", |it| it.destroyed(at(DUE))),
    ];
    let switch = "can be neither enabled nor disabled";
    let destroy = "cannot be scheduled for destruction";
    let restore = "is not scheduled for destruction";
    let time = "is not due for destruction";
    #[rustfmt::skip]
    let table: [(VersionState, [Result<VersionState, &str>; 5]); 4] = [
        (Enabled,          [Ok(Enabled), Ok(Disabled), Ok(DestroyScheduled), Err(restore), Err(time)]),
        (Disabled,         [Ok(Enabled), Ok(Disabled), Ok(DestroyScheduled), Err(restore), Err(time)]),
        (DestroyScheduled, [Err(switch), Err(switch), Err(destroy), Ok(Disabled), Ok(Destroyed)]),
        (Destroyed,        [Err(switch), Err(switch), Err(destroy), Err(restore), Err(time)]),
    ];
    for (from, row) in table {
        for ((name, act), expected) in acts.iter().zip(row) {
            let text = |said| format!("{} {said}, current state is: {}.", version_name(3), from.as_str());
            let result = act(&version(3, from)).map(|it| it.state).map_err(|error| error.to_string());
            assert_eq!(result, expected.map_err(text), "{name} from {}", from.as_str());
        }
    }
}

#[test]
fn a_version_that_is_not_enabled_says_so_in_googles_words() {
    let error = version(3, Disabled).check_enabled().expect_err("disabled");
    assert_eq!(
        error.to_string(),
        "projects/key-project/locations/us/keyRings/prod/cryptoKeys/k/cryptoKeyVersions/3 is not enabled, current \
         state is: DISABLED."
    );
    assert_eq!(error.class(), ErrorClass::FailedPrecondition);
    assert_eq!((error.violation(), error.subject()), ("KEY_DISABLED", &version_name(3)));
    assert_eq!(version(3, Destroyed).check_enabled().expect_err("gone").violation(), "KEY_DESTROYED");
    assert_eq!(
        version(3, DestroyScheduled).check_enabled().expect_err("scheduled").violation(),
        "KEY_DESTROY_SCHEDULED"
    );
    assert_eq!(version(3, Enabled).check_enabled(), Ok(()));
}

#[test]
fn times_are_set_and_cleared_with_the_state() {
    let made = CryptoKeyVersion::generated(version_name(1), at("2026-06-01T00:00:00.123456789Z"));
    assert_eq!((made.state, made.create_time), (Enabled, at("2026-06-01T00:00:00.123456Z")));

    let scheduled =
        made.schedule_destruction(at("2026-06-02T00:00:00.000000999Z"), 2_592_000).expect("enabled");
    assert_eq!(scheduled.destroy_time, Some(at("2026-07-02T00:00:00Z")));
    assert_eq!(scheduled.destroy_event_time, None);

    let restored = scheduled.restore().expect("scheduled");
    assert_eq!((restored.state, restored.destroy_time), (Disabled, None));

    assert!(scheduled.destroyed(at("2026-07-01T23:59:59.999999Z")).is_err(), "a microsecond early");
    let gone = scheduled.destroyed(at("2026-07-02T00:00:01Z")).expect("due");
    assert_eq!((gone.destroy_time, gone.destroy_event_time), (None, Some(at("2026-07-02T00:00:01Z"))));
    assert_eq!(gone.create_time, made.create_time);
}
