//! Any sequence of calls, days and restarts does to a key what the model below says: versions, primary, schedule, policy.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keystead_crypto::SecretBytes;
use keystead_model::{Binding, CryptoKeyVersion, ErrorClass, Policy, VersionState};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::operations::*;
use crate::testbed::{Testbed, key_name, version, version_name};
use crate::{KmsError, Resource};

const DAY_S: i64 = 86_400;
/// What a key has that says nothing else.
const DESTROY_AFTER_DAYS: i64 = 30;

#[derive(Clone, Debug)]
enum Step {
    CreateVersion,
    SetPrimary(u32),
    Switch {
        version: u32,
        enabled: bool,
    },
    Destroy(u32),
    Restore(u32),
    /// Days pass, and what is due is done.
    Pass(u8),
    Schedule {
        period_days: Option<i64>,
        in_days: i64,
    },
    Unschedule,
    SetPolicy {
        member: u8,
        etag: Etag,
    },
    Encrypt(Option<u32>),
    Decrypt(usize),
    /// A cluster says that it holds nothing under any version.
    Inventory,
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Etag {
    None,
    Current,
    First,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 1_u32..6;
    let etag = prop_oneof![Just(Etag::None), Just(Etag::Current), Just(Etag::First)];
    let step = prop_oneof![
        4 => Just(Step::CreateVersion),
        4 => number.clone().prop_map(Step::SetPrimary),
        6 => (number.clone(), any::<bool>()).prop_map(|(version, enabled)| Step::Switch { version, enabled }),
        4 => number.clone().prop_map(Step::Destroy),
        3 => number.clone().prop_map(Step::Restore),
        6 => (0_u8..40).prop_map(Step::Pass),
        3 => (proptest::option::of(0_i64..50), -1_i64..30)
            .prop_map(|(period_days, in_days)| Step::Schedule { period_days, in_days }),
        1 => Just(Step::Unschedule),
        4 => (0_u8..4, etag).prop_map(|(member, etag)| Step::SetPolicy { member, etag }),
        5 => proptest::option::of(number).prop_map(Step::Encrypt),
        4 => (0_usize..64).prop_map(Step::Decrypt),
        4 => Just(Step::Inventory),
        1 => Just(Step::Restart),
    ];
    vec(step, 1..50)
}

/// What the service must be like.
struct Model {
    now: Timestamp,
    versions: Vec<Version>,
    primary: u32,
    activations: u32,
    period_s: Option<i64>,
    next: Option<Timestamp>,
    member: Option<u8>,
    inventory: Option<Timestamp>,
    /// Each that the policy ever had; the last is the one it has.
    etags: Vec<Vec<u8>>,
    sealed: Vec<(u32, Vec<u8>)>,
}

struct Version {
    state: VersionState,
    destroy_time: Option<Timestamp>,
    destroy_event_time: Option<Timestamp>,
    last_use: Option<Timestamp>,
}

impl Version {
    const fn new() -> Self {
        Self { state: VersionState::Enabled, destroy_time: None, destroy_event_time: None, last_use: None }
    }

    fn is_used(&self, inventory: Option<Timestamp>) -> bool {
        self.last_use.is_some() && inventory <= self.last_use
    }
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_secs(days * DAY_S)
}

const REFUSED: ErrorClass = ErrorClass::FailedPrecondition;

impl Model {
    fn version(&mut self, number: u32) -> Result<&mut Version, ErrorClass> {
        self.versions.get_mut(number as usize - 1).ok_or(ErrorClass::NotFound)
    }

    fn set_primary(&mut self, number: u32) -> Result<(), ErrorClass> {
        self.version(number)?;
        if self.primary != number {
            self.primary = number;
            self.activations += 1;
        }
        Ok(())
    }

    fn switch(&mut self, number: u32, to: VersionState) -> Result<(), ErrorClass> {
        let version = self.version(number)?;
        if !matches!(version.state, VersionState::Enabled | VersionState::Disabled) {
            return Err(REFUSED);
        }
        version.state = to;
        Ok(())
    }

    fn destroy(&mut self, number: u32) -> Result<(), ErrorClass> {
        let (now, inventory) = (self.now, self.inventory);
        let version = self.version(number)?;
        if version.is_used(inventory) {
            // Whatever its state is.
            return Err(REFUSED);
        }
        if !matches!(version.state, VersionState::Enabled | VersionState::Disabled) {
            return Err(REFUSED);
        }
        version.state = VersionState::DestroyScheduled;
        version.destroy_time = Some(now + days(DESTROY_AFTER_DAYS));
        Ok(())
    }

    fn restore(&mut self, number: u32) -> Result<(), ErrorClass> {
        let version = self.version(number)?;
        if version.state != VersionState::DestroyScheduled {
            return Err(REFUSED);
        }
        (version.state, version.destroy_time) = (VersionState::Disabled, None);
        Ok(())
    }

    /// One rotation however many were missed, at the hour that was chosen; then what is due for destruction.
    fn pass(&mut self, by: SignedDuration) {
        self.now += by;
        let now = self.now;
        if let Some(due) = self.next.filter(|due| *due <= now) {
            self.versions.push(Version::new());
            (self.primary, self.activations) = (self.versions.len() as u32, self.activations + 1);
            self.next = self.period_s.map(|period_s| {
                let mut next = due;
                while next <= now {
                    next += SignedDuration::from_secs(period_s);
                }
                next
            });
        }
        for version in &mut self.versions {
            if version.destroy_time.is_some_and(|due| due <= now) && !version.is_used(self.inventory) {
                version.state = VersionState::Destroyed;
                (version.destroy_time, version.destroy_event_time) = (None, Some(now));
            }
        }
    }

    fn schedule(&mut self, period_days: Option<i64>, in_days: i64) -> Result<(), ErrorClass> {
        if in_days <= 0 || period_days == Some(0) {
            return Err(ErrorClass::Invalid);
        }
        self.period_s = period_days.map(|days| days * DAY_S);
        self.next = Some(self.now + days(in_days));
        Ok(())
    }
}

async fn run(steps: &[Step]) {
    let mut bed = Testbed::new().await;
    bed.key().await;
    let first = policy_of(&bed).await;
    let mut model = Model {
        now: "2026-01-01T00:00:00Z".parse().unwrap(),
        versions: vec![Version::new()],
        primary: 1,
        activations: 1,
        period_s: None,
        next: None,
        member: None,
        inventory: None,
        etags: vec![first.etag],
        sealed: Vec::new(),
    };
    for (place, step) in steps.iter().enumerate() {
        if matches!(step, Step::Restart) {
            // As at the end of the process: uses are written.
            bed.service.write_all_usage().await.unwrap();
            bed = bed.reopen().await;
        } else {
            let (right, found) = do_one(&bed, &mut model, step).await;
            assert_eq!(found, right, "step {place}, {step:?}, of {steps:?}");
        }
        compare(&bed, &model, &format!("after step {place}, {step:?}, of {steps:?}")).await;
    }
}

/// What the model says, and what the service answers.
async fn do_one(
    bed: &Testbed,
    model: &mut Model,
    step: &Step,
) -> (Result<(), ErrorClass>, Result<(), ErrorClass>) {
    match *step {
        Step::CreateVersion => {
            let made = bed.run(CreateCryptoKeyVersion { key: key_name() }).await;
            model.versions.push(Version::new());
            assert_eq!(made.as_ref().unwrap().name, version_name(model.versions.len() as u32));
            (Ok(()), class(made))
        }
        Step::SetPrimary(number) => {
            let command = UpdateCryptoKeyPrimaryVersion { key: key_name(), version: version(number) };
            (model.set_primary(number), class(bed.run(command).await))
        }
        Step::Switch { version, enabled } => {
            let command = UpdateCryptoKeyVersion { name: version_name(version), enabled };
            let to = if enabled { VersionState::Enabled } else { VersionState::Disabled };
            (model.switch(version, to), class(bed.run(command).await))
        }
        Step::Destroy(number) => {
            let command = DestroyCryptoKeyVersion { name: version_name(number) };
            (model.destroy(number), class(bed.run(command).await))
        }
        Step::Restore(number) => {
            let command = RestoreCryptoKeyVersion { name: version_name(number) };
            (model.restore(number), class(bed.run(command).await))
        }
        Step::Pass(passed) => {
            bed.clock.advance(Duration::from_secs(u64::from(passed) * 86_400));
            assert_eq!(bed.service.tick().await.failed, 0);
            model.pass(days(i64::from(passed)));
            (Ok(()), Ok(()))
        }
        Step::Schedule { period_days, in_days } => {
            let command = UpdateCryptoKey {
                name: key_name(),
                labels: None,
                rotation_period_s: Some(period_days.map(|days| days * DAY_S)),
                next_rotation_time: Some(Some(model.now + days(in_days))),
            };
            (model.schedule(period_days, in_days), class(bed.run(command).await))
        }
        Step::Unschedule => {
            let command = UpdateCryptoKey {
                name: key_name(),
                labels: None,
                rotation_period_s: Some(None),
                next_rotation_time: Some(None),
            };
            (model.period_s, model.next) = (None, None);
            (Ok(()), class(bed.run(command).await))
        }
        Step::SetPolicy { member, etag } => set_policy(bed, model, member, etag).await,
        Step::Encrypt(number) => encrypt(bed, model, number).await,
        Step::Decrypt(place) => decrypt(bed, model, place).await,
        Step::Inventory => {
            let inventory = Inventory {
                source: "cluster".to_owned(),
                observe_time: model.now,
                counts: Default::default(),
            };
            model.inventory = Some(model.now);
            let command = RegisterInventory { key: key_name(), inventory };
            (Ok(()), class(bed.run(command).await))
        }
        Step::Restart => unreachable!("the caller has the testbed"),
    }
}

async fn set_policy(
    bed: &Testbed,
    model: &mut Model,
    member: u8,
    etag: Etag,
) -> (Result<(), ErrorClass>, Result<(), ErrorClass>) {
    let etag = match etag {
        Etag::None => None,
        Etag::Current => model.etags.last().cloned(),
        Etag::First => model.etags.first().cloned(),
    };
    let stale = etag.is_some() && etag.as_ref() != model.etags.last();
    let command = SetIamPolicy {
        resource: Resource::CryptoKey(key_name()),
        policy: policy(member),
        etag,
        keep_bindings: false,
    };
    let answer = bed.run(command).await;
    if stale {
        return (Err(ErrorClass::Aborted), class(answer));
    }
    model.member = Some(member);
    let given = answer.as_ref().unwrap().etag.clone();
    assert!(!model.etags.contains(&given), "an etag came back");
    model.etags.push(given);
    (Ok(()), class(answer))
}

async fn encrypt(
    bed: &Testbed,
    model: &mut Model,
    number: Option<u32>,
) -> (Result<(), ErrorClass>, Result<(), ErrorClass>) {
    let used = number.unwrap_or(model.primary);
    let right = match model.version(used) {
        Ok(found) if found.state == VersionState::Enabled => Ok(()),
        Ok(_) => Err(REFUSED),
        Err(missing) => Err(missing),
    };
    let plaintext = SecretBytes::from(used.to_be_bytes().to_vec());
    let command =
        Encrypt { key: key_name(), version: number.map(version), plaintext, caller_data: Vec::new() };
    let answer = bed.run(command).await;
    if let Ok(sealed) = &answer {
        let now = model.now;
        model.version(used).unwrap().last_use = Some(now);
        assert_eq!((&sealed.version, sealed.activation), (&version_name(used), model.activations));
        model.sealed.push((used, sealed.ciphertext.clone()));
    }
    (right, class(answer))
}

async fn decrypt(
    bed: &Testbed,
    model: &mut Model,
    place: usize,
) -> (Result<(), ErrorClass>, Result<(), ErrorClass>) {
    let Some((number, ciphertext)) = model.sealed.get(place % model.sealed.len().max(1)).cloned() else {
        return (Ok(()), Ok(()));
    };
    let answer =
        bed.run(Decrypt { key: key_name(), ciphertext, caller_data: Vec::new(), recheck: false }).await;
    if let Ok(opened) = &answer {
        assert_eq!(opened.plaintext.expose(), number.to_be_bytes());
        assert_eq!(opened.used_primary, model.primary == number);
    }
    let now = model.now;
    let sealed_by = model.version(number).unwrap();
    if sealed_by.state != VersionState::Enabled {
        return (Err(REFUSED), class(answer));
    }
    sealed_by.last_use = Some(now);
    (Ok(()), class(answer))
}

/// What is stored, and what a policy reader is told.
async fn compare(bed: &Testbed, model: &Model, when: &str) {
    let key = bed.service.read_key(&key_name()).await.unwrap().value;
    let found =
        (key.primary, key.activations, key.next_version, key.rotation_period_s, key.next_rotation_time);
    let next_version = version(model.versions.len() as u32 + 1);
    let right = (Some(version(model.primary)), model.activations, next_version, model.period_s, model.next);
    assert_eq!(found, right, "{when}");
    for (place, right) in model.versions.iter().enumerate() {
        let number = version(place as u32 + 1);
        let found: CryptoKeyVersion = bed.service.read_version(&key_name(), number).await.unwrap().value;
        assert_eq!(
            (found.state, found.destroy_time, found.destroy_event_time),
            (right.state, right.destroy_time, right.destroy_event_time),
            "version {number} {when}"
        );
        // The material goes with the destruction, and not before.
        let name = crate::records::record_name::material(&found.name);
        let material = bed.service.store.get(&name).await.unwrap();
        assert_eq!(material.is_none(), right.state == VersionState::Destroyed, "version {number} {when}");
    }
    let found = policy_of(bed).await;
    let bindings = model.member.map(policy).unwrap_or_default().bindings;
    assert_eq!((&found.policy.bindings, Some(&found.etag)), (&bindings, model.etags.last()), "{when}");
}

fn policy(member: u8) -> Policy {
    let members = vec![format!("user:u{member}@example.com")];
    Policy {
        version: 1,
        bindings: vec![Binding { role: "roles/cloudkms.viewer".to_owned(), members, condition: None }],
    }
}

async fn policy_of(bed: &Testbed) -> PolicyAndEtag {
    let resource = Resource::CryptoKey(key_name());
    bed.run(GetIamPolicy { resource, requested_version: 3 }).await.unwrap()
}

fn class<T>(answer: Result<T, KmsError>) -> Result<(), ErrorClass> {
    answer.map(|_| ()).map_err(|error| error.class())
}

proptest! {
    // Each step is a few durable writes.
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p8_any_sequence_does_what_the_model_says(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(run(&steps));
    }
}
