//! Clients that use and change one key all at once: each history has an order in which every answer is right. With a flaw
//! put between the service and its database there is one that has none, so the checker would see a race.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keystead_crypto::SecretBytes;
use keystead_model::{Binding, CryptoKeyName, CryptoKeyVersionName, ErrorClass, Policy, VersionState};
use keystead_store::faulty::{FaultyStore, Flaw};
use keystead_store::linearizability::{Call, Model, Recorder, Verdict, check};
use keystead_store::{Batch, Changes, Entry, Pending, Revision, Store};
use tokio::task::JoinSet;

use crate::operations::*;
use crate::testbed::{Testbed, create_key, ring, version};
use crate::{KmsError, Resource};

const CLIENTS: u64 = 8;
const CALLS: usize = 16;
/// Versions that a key has when its history begins.
const VERSIONS: u32 = 8;
/// Within so many histories a flaw must show.
const UNTIL_FOUND: u64 = 20;

/// What is asked of a key.
#[derive(Clone, Debug)]
enum Ask {
    CreateVersion,
    SetPrimary(u32),
    Switch(u32, bool),
    /// With the primary.
    Encrypt,
    /// The states of all versions.
    List,
    GetPolicy,
    SetPolicy {
        member: u64,
        etag: Option<Vec<u8>>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Version(u32),
    Enabled(Vec<bool>),
    Policy(u64, Vec<u8>),
    Refused(ErrorClass),
}

/// A key, as far as the calls above can tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    enabled: Vec<bool>,
    primary: u32,
    member: u64,
    etag: Vec<u8>,
}

struct OneKey;

impl Model for OneKey {
    type State = Key;
    type Ask = Ask;
    type Answer = Answer;

    fn step(&self, key: &Key, ask: &Ask, answer: Option<&Answer>) -> Option<Key> {
        let mut next = key.clone();
        let place = |number: u32| number as usize - 1;
        let right = match ask {
            Ask::CreateVersion => {
                next.enabled.push(true);
                Answer::Version(next.enabled.len() as u32)
            }
            Ask::SetPrimary(number) | Ask::Switch(number, _) if place(*number) >= key.enabled.len() => {
                Answer::Refused(ErrorClass::NotFound)
            }
            Ask::SetPrimary(number) => {
                next.primary = *number;
                Answer::Done
            }
            Ask::Switch(number, enabled) => {
                next.enabled[place(*number)] = *enabled;
                Answer::Done
            }
            Ask::Encrypt if key.enabled[place(key.primary)] => Answer::Version(key.primary),
            Ask::Encrypt => Answer::Refused(ErrorClass::FailedPrecondition),
            Ask::List => Answer::Enabled(key.enabled.clone()),
            Ask::GetPolicy => Answer::Policy(key.member, key.etag.clone()),
            Ask::SetPolicy { etag: Some(etag), .. } if *etag != key.etag => {
                Answer::Refused(ErrorClass::Aborted)
            }
            Ask::SetPolicy { member, .. } => {
                // The service chooses the etag; that it is a new one shows when an old one is refused.
                let Some(Answer::Policy(_, etag)) = answer else { return None };
                next.member = *member;
                next.etag.clone_from(etag);
                Answer::Policy(*member, etag.clone())
            }
        };
        answer.is_none_or(|answer| *answer == right).then_some(next)
    }
}

/// xorshift64: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn version(&mut self) -> u32 {
        1 + self.below(u64::from(VERSIONS) + 2) as u32
    }
}

/// One history on a key of its own. The seed decides what is asked; how calls meet is up to the machine.
async fn history(
    bed: &Arc<Testbed>,
    name: &CryptoKeyName,
    seed: u64,
    flawed: &AtomicBool,
) -> (Key, Vec<Call<Ask, Answer>>) {
    bed.run(CreateCryptoKey { name: name.clone(), ..create_key() }).await.unwrap();
    for _ in 1..VERSIONS {
        bed.run(CreateCryptoKeyVersion { key: name.clone() }).await.unwrap();
    }
    let Ok(Answer::Policy(_, etag)) = answer(bed, name, &Ask::SetPolicy { member: 0, etag: None }).await
    else {
        panic!("no policy");
    };
    let first = Key { enabled: vec![true; VERSIONS as usize], primary: 1, member: 0, etag: etag.clone() };
    flawed.store(true, Ordering::SeqCst);
    let recorder = Arc::new(Recorder::default());
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (bed, name, recorder, mut etag) = (bed.clone(), name.clone(), recorder.clone(), etag.clone());
        let mut numbers = Numbers((seed * CLIENTS + client + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        clients.spawn(async move {
            for call in 0..CALLS {
                let member = 1 + client * CALLS as u64 + call as u64;
                let ask = ask(&mut numbers, member, &etag);
                let ticket = recorder.begin(ask.clone());
                let answer = answer(&bed, &name, &ask).await;
                let answer = answer.unwrap_or_else(|error| Answer::Refused(error.class()));
                if let Answer::Policy(_, seen) = &answer {
                    etag.clone_from(seen);
                }
                recorder.end(ticket, answer);
            }
        });
    }
    clients.join_all().await;
    flawed.store(false, Ordering::SeqCst);
    (first, Arc::into_inner(recorder).unwrap().finish())
}

fn ask(numbers: &mut Numbers, member: u64, etag: &[u8]) -> Ask {
    match numbers.below(13) {
        0 => Ask::CreateVersion,
        1 | 2 => Ask::SetPrimary(numbers.version()),
        3 | 4 => Ask::Switch(numbers.version(), false),
        5 => Ask::Switch(numbers.version(), true),
        6 | 7 => Ask::Encrypt,
        8 | 9 => Ask::List,
        10 => Ask::GetPolicy,
        // Mostly as it was read, as a careful writer does.
        _ if numbers.below(4) == 0 => Ask::SetPolicy { member, etag: None },
        _ => Ask::SetPolicy { member, etag: Some(etag.to_vec()) },
    }
}

async fn answer(bed: &Testbed, name: &CryptoKeyName, ask: &Ask) -> Result<Answer, KmsError> {
    let key = name.clone();
    let resource = Resource::CryptoKey(name.clone());
    match ask {
        Ask::CreateVersion => {
            let made = bed.run(CreateCryptoKeyVersion { key }).await?;
            Ok(Answer::Version(made.name.version.get()))
        }
        Ask::SetPrimary(number) => {
            bed.run(UpdateCryptoKeyPrimaryVersion { key, version: version(*number) }).await?;
            Ok(Answer::Done)
        }
        Ask::Switch(number, enabled) => {
            let name = CryptoKeyVersionName { key, version: version(*number) };
            bed.run(UpdateCryptoKeyVersion { name, enabled: *enabled }).await?;
            Ok(Answer::Done)
        }
        Ask::Encrypt => {
            let plaintext = SecretBytes::from(vec![7; 32]);
            let sealed = bed.run(Encrypt { key, version: None, plaintext, caller_data: Vec::new() }).await?;
            Ok(Answer::Version(sealed.version.version.get()))
        }
        Ask::List => {
            let options = ListOptions { page_size: 1000, ..ListOptions::default() };
            let page = bed.run(ListCryptoKeyVersions { parent: key, options }).await?;
            Ok(Answer::Enabled(page.items.iter().map(|it| it.state == VersionState::Enabled).collect()))
        }
        Ask::GetPolicy => Ok(policy(bed.run(GetIamPolicy { resource, requested_version: 3 }).await?)),
        Ask::SetPolicy { member, etag } => {
            let members = vec![format!("user:u{member}@example.com")];
            let binding = Binding { role: "roles/cloudkms.viewer".to_owned(), members, condition: None };
            let policy_of = Policy { version: 1, bindings: vec![binding] };
            let command =
                SetIamPolicy { resource, policy: policy_of, etag: etag.clone(), keep_bindings: false };
            Ok(policy(bed.run(command).await?))
        }
    }
}

fn policy(answered: PolicyAndEtag) -> Answer {
    let member = answered.policy.bindings.first().and_then(|binding| binding.members.first());
    let number = member.and_then(|member| member.strip_prefix("user:u")?.split('@').next()?.parse().ok());
    Answer::Policy(number.unwrap_or_default(), answered.etag)
}

async fn verdict(bed: &Arc<Testbed>, seed: u64, flawed: &AtomicBool) -> Verdict {
    let name: CryptoKeyName = format!("{}/cryptoKeys/h{seed}", ring()).parse().unwrap();
    let (first, history) = history(bed, &name, seed, flawed).await;
    let verdict = check(&OneKey, first, &history);
    if let Verdict::Illegal { unexplained, .. } = &verdict {
        println!("history {seed}: {:?} fits nowhere", history[*unexplained]);
    }
    verdict
}

/// A hundred in CI; a thousand is for a release.
fn histories() -> u64 {
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let given = std::env::var("KEYSTEAD_HISTORIES").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(if in_ci { 100 } else { 20 })
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_histories_of_a_key_have_a_legal_order() {
    let slow = Arc::new(AtomicBool::new(false));
    let bed = Testbed::new().await;
    let bed = Arc::new(bed.reopen_on(|inner| Arc::new(Slow { inner, on: slow.clone() })).await);
    bed.run(CreateKeyRing { name: ring() }).await.unwrap();
    for seed in 0..histories() {
        // Every other one on a slow disk.
        let on = if seed % 2 == 0 { &slow } else { &AtomicBool::new(false) };
        assert_eq!(verdict(&bed, seed, on).await, Verdict::Legal, "history {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_every_flaw_under_the_service_is_found() {
    for flaw in Flaw::ALL {
        let mut found = None;
        for seed in 0..UNTIL_FOUND {
            let flawed = Arc::new(AtomicBool::new(false));
            let on = flawed.clone();
            let bed = Testbed::new().await;
            let bed = bed
                .reopen_on(|good| {
                    let slow = Arc::new(Slow { inner: good.clone(), on: on.clone() });
                    Arc::new(Switched { bad: FaultyStore::new(slow, flaw), good, flawed: on })
                })
                .await;
            let bed = Arc::new(bed);
            bed.run(CreateKeyRing { name: ring() }).await.unwrap();
            // A number that is halved for half of a history would show by itself.
            flawed.store(flaw == Flaw::RevisionReuse, Ordering::SeqCst);
            if matches!(verdict(&bed, seed, &flawed).await, Verdict::Illegal { .. }) {
                found = Some(seed + 1);
                break;
            }
        }
        println!("{flaw:?}: found in history {}", found.unwrap_or_default());
        assert!(found.is_some(), "{flaw:?} is not found in {UNTIL_FOUND} histories");
    }
}

/// Takes its time for a read, so that more happens between two of them.
struct Slow {
    inner: Arc<dyn Store>,
    on: Arc<AtomicBool>,
}

impl Slow {
    async fn wait(&self) {
        if self.on.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Store for Slow {
    fn get<'a>(&'a self, name: &'a str) -> Pending<'a, Option<Entry>> {
        Box::pin(async move {
            self.wait().await;
            self.inner.get(name).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> Pending<'a, Vec<Entry>> {
        Box::pin(async move {
            self.wait().await;
            self.inner.list(prefix, after, limit).await
        })
    }

    fn count<'a>(&'a self, prefix: &'a str) -> Pending<'a, u64> {
        self.inner.count(prefix)
    }

    fn commit(&self, batch: Batch) -> Pending<'_, Revision> {
        self.inner.commit(batch)
    }

    fn changes(&self, since: Revision) -> Pending<'_, Changes> {
        self.inner.changes(since)
    }

    fn writable(&self) -> Pending<'_, ()> {
        self.inner.writable()
    }

    fn is_erasing(&self) -> bool {
        self.inner.is_erasing()
    }
}

/// Good while a key is made, and bad while its history is.
struct Switched {
    good: Arc<dyn Store>,
    bad: FaultyStore,
    flawed: Arc<AtomicBool>,
}

impl Switched {
    fn store(&self) -> &dyn Store {
        if self.flawed.load(Ordering::SeqCst) { &self.bad } else { &*self.good }
    }
}

impl Store for Switched {
    fn get<'a>(&'a self, name: &'a str) -> Pending<'a, Option<Entry>> {
        self.store().get(name)
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> Pending<'a, Vec<Entry>> {
        self.store().list(prefix, after, limit)
    }

    fn count<'a>(&'a self, prefix: &'a str) -> Pending<'a, u64> {
        self.store().count(prefix)
    }

    fn commit(&self, batch: Batch) -> Pending<'_, Revision> {
        self.store().commit(batch)
    }

    fn changes(&self, since: Revision) -> Pending<'_, Changes> {
        self.store().changes(since)
    }

    fn writable(&self) -> Pending<'_, ()> {
        self.store().writable()
    }

    fn is_erasing(&self) -> bool {
        self.store().is_erasing()
    }
}
