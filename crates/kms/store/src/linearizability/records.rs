//! A [`Store`] as a model, and clients that use one all at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use keystead_model::ErrorClass;
use tokio::task::JoinSet;

use super::{Call, Model, Recorder};
use crate::{Batch, Entry, Expect, Revision, Store, Write};

/// Records by name.
#[derive(Clone, Copy, Debug)]
pub struct Records;

/// A call to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// [`Store::get`].
    Get(String),
    /// [`Store::list`] of everything that starts so.
    List(String),
    /// The newest commit, from [`Store::changes`].
    Newest,
    /// [`Store::commit`].
    Commit(Batch),
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of a get, at most one; of a list, all.
    Entries(Vec<Entry>),
    /// Of a commit or of changes.
    Revision(Revision),
    /// Of a commit that was refused.
    Refused(ErrorClass),
}

impl Model for Records {
    type State = (Revision, BTreeMap<String, (Revision, Vec<u8>)>);
    type Ask = Ask;
    type Answer = Answer;

    fn step(&self, state: &Self::State, ask: &Ask, answer: Option<&Answer>) -> Option<Self::State> {
        let (newest, records) = state;
        let select = |chosen: &dyn Fn(&str) -> bool| {
            let chosen = records.iter().filter(|(name, _)| chosen(name));
            let entry = |(name, (revision, value)): (&String, &(Revision, Vec<u8>))| Entry {
                name: name.clone(),
                revision: *revision,
                value: value.clone(),
            };
            Answer::Entries(chosen.map(entry).collect())
        };
        let (right, next) = match ask {
            Ask::Get(name) => (select(&|found| found == name), None),
            Ask::List(prefix) => (select(&|found| found.starts_with(prefix.as_str())), None),
            Ask::Newest => (Answer::Revision(*newest), None),
            Ask::Commit(batch) => match conflict(records, batch) {
                Some(class) => (Answer::Refused(class), None),
                None => {
                    let next = apply(state, batch);
                    (Answer::Revision(next.0), Some(next))
                }
            },
        };
        answer.is_none_or(|answer| *answer == right).then(|| next.unwrap_or_else(|| state.clone()))
    }
}

fn conflict(records: &BTreeMap<String, (Revision, Vec<u8>)>, batch: &Batch) -> Option<ErrorClass> {
    batch.writes.iter().find_map(|write| match (write.expect, records.get(&write.name)) {
        (Expect::Absent, Some(_)) => Some(ErrorClass::AlreadyExists),
        (Expect::At(at), found) if found.is_none_or(|(revision, _)| *revision != at) => {
            Some(ErrorClass::Aborted)
        }
        _ => None,
    })
}

fn apply(state: &<Records as Model>::State, batch: &Batch) -> <Records as Model>::State {
    let (mut newest, mut records) = state.clone();
    newest.0 += 1;
    for Write { name, value, .. } in &batch.writes {
        match value {
            Some(value) => drop(records.insert(name.clone(), (newest, value.clone()))),
            None => drop(records.remove(name)),
        }
    }
    (newest, records)
}

/// Names on which clients meet.
const NAMES: [&str; 3] = ["r/a", "r/b", "r/c"];

/// One history of `clients` clients with `calls` calls each, on a store without records. The seed decides what each asks;
/// how they meet is up to the machine. Every tenth commit is given up right after it was asked for.
pub async fn history(store: Arc<dyn Store>, seed: u64, clients: u64, calls: usize) -> Vec<Call<Ask, Answer>> {
    let recorder = Arc::new(Recorder::default());
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (store, recorder) = (store.clone(), recorder.clone());
        let numbers = Numbers((seed * clients + client).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        tasks.spawn(run(store, recorder, client, calls, numbers));
    }
    tasks.join_all().await;
    Arc::into_inner(recorder).map(Recorder::finish).unwrap_or_default()
}

async fn run(
    store: Arc<dyn Store>,
    recorder: Arc<Recorder<Ask, Answer>>,
    client: u64,
    calls: usize,
    mut numbers: Numbers,
) {
    let mut seen: BTreeMap<&'static str, Option<Revision>> = BTreeMap::new();
    for call in 0..calls {
        let ask = match numbers.below(10) {
            0..3 => Ask::Get(numbers.name().to_owned()),
            3 => Ask::List("r/".to_owned()),
            4 => Ask::Newest,
            _ => Ask::Commit(batch(&mut numbers, &seen, format!("{client}/{call}").as_bytes())),
        };
        let given_up = matches!(ask, Ask::Commit(_)) && numbers.below(10) == 0;
        let ticket = recorder.begin(ask.clone());
        let mut asking = Box::pin(answer(&*store, &ask));
        if given_up {
            // Polled once, so that the store has it; then the caller is gone.
            std::future::poll_fn(|context| std::task::Poll::Ready(asking.as_mut().poll(context).is_ready()))
                .await;
            continue;
        }
        // Without an answer, as after a timeout, nobody knows.
        let Some(answer) = asking.await else { continue };
        recorder.end(ticket, answer.clone());
        if let (Answer::Entries(entries), Ask::Get(_) | Ask::List(_)) = (&answer, &ask) {
            for name in NAMES {
                let found = entries.iter().find(|entry| entry.name == name);
                if found.is_some() || matches!(ask, Ask::List(_)) {
                    seen.insert(name, found.map(|entry| entry.revision));
                }
            }
        }
        if let (Answer::Revision(revision), Ask::Commit(batch)) = (&answer, &ask) {
            for name in NAMES {
                if let Some(write) = batch.writes.iter().find(|write| write.name == name) {
                    seen.insert(name, write.value.as_ref().map(|_| *revision));
                }
            }
        }
    }
}

/// One to three records, mostly as this client last saw them.
fn batch(numbers: &mut Numbers, seen: &BTreeMap<&'static str, Option<Revision>>, value: &[u8]) -> Batch {
    let first = numbers.below(NAMES.len());
    let count = 1 + numbers.below(NAMES.len());
    let writes = NAMES.into_iter().cycle().skip(first).take(count).map(|name| {
        let expect = match (numbers.below(6), seen.get(name).copied().flatten()) {
            (0, _) => Expect::Any,
            (_, Some(revision)) => Expect::At(revision),
            (_, None) => Expect::Absent,
        };
        let value = (numbers.below(5) > 0).then(|| value.to_vec());
        Write { name: name.to_owned(), expect, value }
    });
    Batch { writes: writes.collect(), erase: false }
}

async fn answer(store: &dyn Store, ask: &Ask) -> Option<Answer> {
    match ask {
        Ask::Get(name) => Some(Answer::Entries(store.get(name).await.ok()?.into_iter().collect())),
        Ask::List(prefix) => Some(Answer::Entries(store.list(prefix, "", usize::MAX).await.ok()?)),
        Ask::Newest => Some(Answer::Revision(store.changes(Revision(0)).await.ok()?.up_to)),
        Ask::Commit(batch) => match store.commit(batch.clone()).await {
            Ok(revision) => Some(Answer::Revision(revision)),
            Err(error) => match error.class() {
                class @ (ErrorClass::Aborted | ErrorClass::AlreadyExists) => Some(Answer::Refused(class)),
                _ => None,
            },
        },
    }
}

/// xorshift64: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % end.max(1) as u64).unwrap_or_default()
    }

    fn name(&mut self) -> &'static str {
        NAMES.get(self.below(NAMES.len())).copied().unwrap_or_default()
    }
}
