use std::sync::Arc;

use keystead_model::ErrorClass::{Aborted, AlreadyExists, Invalid};

use crate::{Batch, Expect, MAX_NAME_LEN, MAX_VALUE_LEN, Revision, Store, Write};

use super::{commit, get, names, newest, refused, value};

pub(super) async fn check<F: AsyncFn() -> Arc<dyn Store>>(fresh: &F) {
    revisions_grow_by_one(&*fresh().await).await;
    expectations_hold(&*fresh().await).await;
    a_conflict_leaves_nothing(&*fresh().await).await;
    a_deleted_record_is_absent(&*fresh().await).await;
    malformed_batches_are_refused(&*fresh().await).await;
    limits_are_inclusive(&*fresh().await).await;
}

async fn revisions_grow_by_one(store: &dyn Store) {
    let mut last = newest(store).await;
    for round in 0..20_u8 {
        let batch = Batch::default().put("a", vec![round]).put(format!("b{round}"), vec![round]);
        let revision = commit(store, batch).await;
        assert_eq!(revision, Revision(last.0 + 1), "each commit's number is one more than the last");
        for name in ["a", &format!("b{round}")] {
            assert_eq!(
                get(store, name).await.map(|entry| entry.revision),
                Some(revision),
                "the record has it"
            );
        }
        last = revision;
    }
    assert_eq!(newest(store).await, last);
}

async fn expectations_hold(store: &dyn Store) {
    let first = commit(store, Batch::default().create("a", b"1".to_vec())).await;
    refused(store, Batch::default().create("a", b"x".to_vec()), AlreadyExists, "creating it twice").await;
    let second = commit(store, Batch::default().replace("a", first, b"2".to_vec())).await;
    for stale in [first, Revision(0), Revision(second.0 + 1), Revision(u64::MAX)] {
        refused(store, Batch::default().replace("a", stale, b"x".to_vec()), Aborted, "a stale replace").await;
        refused(store, Batch::default().delete("a", stale), Aborted, "a stale delete").await;
        refused(store, Batch::default().replace("none", stale, b"x".to_vec()), Aborted, "replacing nothing")
            .await;
        refused(store, Batch::default().delete("none", stale), Aborted, "deleting nothing").await;
    }
    assert_eq!(value(store, "a").await.as_deref(), Some(&b"2"[..]));
    commit(store, Batch::default().put("a", b"3".to_vec()).put("b", b"3".to_vec())).await;
    for name in ["a", "b"] {
        assert_eq!(value(store, name).await.as_deref(), Some(&b"3"[..]), "put writes whatever was there");
    }
    let delete = |name: &str| Write { name: name.to_owned(), expect: Expect::Any, value: None };
    commit(store, Batch { writes: vec![delete("a"), delete("absent")], erase: false }).await;
    assert_eq!(value(store, "a").await, None, "a delete of whatever is there");
}

async fn a_conflict_leaves_nothing(store: &dyn Store) {
    let first =
        commit(store, Batch::default().create("kept", b"1".to_vec()).create("old", b"1".to_vec())).await;
    let second = commit(store, Batch::default().put("kept", b"2".to_vec())).await;
    let good = || Batch::default().create("new", b"x".to_vec()).put("old", b"x".to_vec());
    let bad_last = good().replace("kept", first, b"x".to_vec());
    let bad_first = Batch { writes: bad_last.writes.iter().rev().cloned().collect(), erase: false };
    let mut bad_in_the_middle = good().create("kept", b"x".to_vec());
    bad_in_the_middle.writes.extend(Batch::default().put("newer", b"x".to_vec()).delete("old", first).writes);
    bad_in_the_middle.writes.retain({
        let mut seen = std::collections::HashSet::new();
        move |write| seen.insert(write.name.clone())
    });
    refused(store, bad_last, Aborted, "a batch whose last write conflicts").await;
    refused(store, bad_first, Aborted, "a batch whose first write conflicts").await;
    refused(store, bad_in_the_middle, AlreadyExists, "a batch with a conflict in the middle").await;
    assert_eq!(names(store, "", "", 10).await, ["kept", "old"]);
    assert_eq!(value(store, "old").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(get(store, "kept").await.map(|entry| entry.revision), Some(second));
    let third = commit(store, good()).await;
    assert_eq!(third, Revision(second.0 + 1), "what was refused used no revision");
}

async fn a_deleted_record_is_absent(store: &dyn Store) {
    let mut last = Revision(0);
    for round in 0..3_u8 {
        let created = commit(store, Batch::default().create("a", vec![round])).await;
        assert!(created > last, "a revision is never used again");
        last = commit(store, Batch::default().delete("a", created)).await;
        assert_eq!(get(store, "a").await, None);
        assert!(names(store, "", "", 10).await.is_empty());
        refused(store, Batch::default().replace("a", created, vec![]), Aborted, "replacing what is gone")
            .await;
    }
}

async fn malformed_batches_are_refused(store: &dyn Store) {
    let fine = || Batch::default().put("fine", vec![1]);
    refused(store, Batch::default(), Invalid, "an empty batch").await;
    refused(store, fine().put("a", vec![1]).put("a", vec![2]), Invalid, "one name twice").await;
    refused(store, fine().create("a", vec![1]).delete("a", Revision(1)), Invalid, "created and deleted")
        .await;
    refused(store, fine().put("", vec![1]), Invalid, "no name").await;
    refused(store, fine().put("n".repeat(MAX_NAME_LEN + 1), vec![]), Invalid, "a long name").await;
    refused(store, fine().put("a", vec![0; MAX_VALUE_LEN + 1]), Invalid, "a long value").await;
    assert!(names(store, "", "", 10).await.is_empty(), "nothing of them was written");
}

async fn limits_are_inclusive(store: &dyn Store) {
    let name = "n".repeat(MAX_NAME_LEN);
    commit(store, Batch::default().create(name.as_str(), vec![7; MAX_VALUE_LEN])).await;
    assert!(
        value(store, &name).await == Some(vec![7; MAX_VALUE_LEN]),
        "the longest value under the longest name"
    );
    assert_eq!(names(store, &name, "", 10).await, [name]);
}
