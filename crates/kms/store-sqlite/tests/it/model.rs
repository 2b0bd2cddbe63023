//! Any sequence of calls does what a sorted map would do, across restarts.

use std::collections::{BTreeMap, BTreeSet};

use keystead_model::ErrorClass;
use keystead_store::{Batch, Expect, Revision, Store, Write};
use keystead_store_sqlite::SqliteStore;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::testbed::Testbed;

const NAMES: [&str; 6] = ["a", "a/b", "a/b/c", "a_", "b", "é"];

#[derive(Clone, Debug)]
enum Call {
    Commit { writes: Vec<(usize, Expected, Option<u8>)>, erase: bool },
    List { prefix: usize, after: usize, limit: usize },
    Changes { back: u64 },
    Checkpoint,
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    Right,
    Absent,
    Any,
    Stale,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let expected = prop_oneof![
        6 => Just(Expected::Right), 1 => Just(Expected::Absent), 2 => Just(Expected::Any), 1 => Just(Expected::Stale)
    ];
    let write = (0..NAMES.len(), expected, proptest::option::weighted(0.7, any::<u8>()));
    let commit = (vec(write, 0..4), proptest::bool::weighted(0.1));
    let call = prop_oneof![
        20 => commit.prop_map(|(writes, erase)| Call::Commit { writes, erase }),
        6 => (0..NAMES.len(), 0..NAMES.len(), 0_usize..5)
            .prop_map(|(prefix, after, limit)| Call::List { prefix, after, limit }),
        4 => (0_u64..12).prop_map(|back| Call::Changes { back }),
        1 => Just(Call::Checkpoint),
        1 => Just(Call::Restart),
    ];
    vec(call, 1..40)
}

#[derive(Default)]
struct Model {
    records: BTreeMap<&'static str, (Revision, Vec<u8>)>,
    log: Vec<BTreeSet<&'static str>>,
}

impl Model {
    fn newest(&self) -> Revision {
        Revision(self.log.len() as u64)
    }

    fn batch(&self, writes: &[(usize, Expected, Option<u8>)], erase: bool) -> Batch {
        let writes = writes.iter().map(|(name, expected, value)| {
            let name = NAMES[*name];
            let now = self.records.get(name).map(|(revision, _)| *revision);
            let expect = match expected {
                Expected::Right => now.map_or(Expect::Absent, Expect::At),
                Expected::Absent => Expect::Absent,
                Expected::Any => Expect::Any,
                Expected::Stale => Expect::At(Revision(now.map_or(1, |now| now.0 - 1))),
            };
            Write { name: name.to_owned(), expect, value: value.map(|byte| vec![byte; byte as usize]) }
        });
        Batch { writes: writes.collect(), erase }
    }

    fn commit(&mut self, batch: &Batch) -> Result<Revision, ErrorClass> {
        let names: BTreeSet<&'static str> =
            NAMES.into_iter().filter(|name| batch.writes.iter().any(|write| write.name == *name)).collect();
        if batch.writes.is_empty() || names.len() < batch.writes.len() {
            return Err(ErrorClass::Invalid);
        }
        for write in &batch.writes {
            let now = self.records.get(write.name.as_str()).map(|(revision, _)| *revision);
            match (write.expect, now) {
                (Expect::Absent, Some(_)) => return Err(ErrorClass::AlreadyExists),
                (Expect::At(at), now) if now != Some(at) => return Err(ErrorClass::Aborted),
                _ => {}
            }
        }
        self.log.push(names.clone());
        let revision = self.newest();
        for name in names {
            let write = batch.writes.iter().find(|write| write.name == name).unwrap();
            match &write.value {
                Some(value) => drop(self.records.insert(name, (revision, value.clone()))),
                None => drop(self.records.remove(name)),
            }
        }
        Ok(revision)
    }
}

async fn run(calls: Vec<Call>) {
    let testbed = Testbed::new();
    let mut model = Model::default();
    let mut store: SqliteStore = testbed.open();
    for call in calls {
        match call {
            Call::Commit { writes, erase } => {
                let batch = model.batch(&writes, erase);
                let result = store.commit(batch.clone()).await.map_err(|error| error.class());
                assert_eq!(result, model.commit(&batch), "{batch:?}");
            }
            Call::List { prefix, after, limit } => {
                let (prefix, after) = (NAMES[prefix], NAMES[after]);
                let found = store.list(prefix, after, limit).await.unwrap();
                let expected =
                    model.records.iter().filter(|(name, _)| name.starts_with(prefix) && **name > after);
                let found: Vec<_> = found
                    .iter()
                    .map(|entry| (entry.name.as_str(), (entry.revision, entry.value.clone())))
                    .collect();
                let expected: Vec<_> =
                    expected.take(limit).map(|(name, record)| (*name, record.clone())).collect();
                assert_eq!(found, expected);
                let count = model.records.keys().filter(|name| name.starts_with(prefix)).count();
                assert_eq!(store.count(prefix).await.unwrap(), count as u64);
            }
            Call::Changes { back } => {
                let since = Revision(model.newest().0.saturating_sub(back));
                let changes = store.changes(since).await.unwrap();
                let written = model.log.iter().skip(usize::try_from(since.0).unwrap()).flatten();
                let expected: BTreeSet<String> = written.map(|name| (*name).to_owned()).collect();
                assert_eq!(changes.up_to, model.newest());
                assert_eq!(changes.names.unwrap().into_iter().collect::<BTreeSet<_>>(), expected);
            }
            Call::Checkpoint => store.checkpoint().await.unwrap(),
            Call::Restart => {
                drop(store);
                store = testbed.open();
            }
        }
        assert_eq!(store.commit_counter(), model.newest());
        // Whole folders, whose counts are kept; a restart compares all of them with the records.
        for folder in ["", "a/", "a/b/", "b/"] {
            let count = model.records.keys().filter(|name| name.starts_with(folder)).count();
            assert_eq!(store.count(folder).await.unwrap(), count as u64, "in {folder:?}");
        }
        for name in NAMES {
            let found = store.get(name).await.unwrap().map(|entry| (entry.revision, entry.value));
            assert_eq!(found.as_ref(), model.records.get(name), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_does_what_a_map_would(calls in calls()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(calls));
    }
}
