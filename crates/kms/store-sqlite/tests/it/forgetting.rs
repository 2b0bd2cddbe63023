//! The list of changes does not grow for ever, and what it no longer knows it says.

use keystead_store::{Revision, Store};

use crate::testbed::{Testbed, put};

#[tokio::test]
async fn old_changes_are_forgotten_and_new_ones_known() {
    let mut testbed = Testbed::new();
    testbed.settings.changes_kept = 128;
    for _ in 0..2 {
        let store = testbed.open();
        for record in 0..300 {
            put(&store, &format!("r{record}"), b"").await;
        }
        let newest = store.commit_counter();
        let known = store.changes(Revision(newest.0 - 128)).await.unwrap();
        assert_eq!(known.up_to, newest);
        assert_eq!(known.names.unwrap().len(), 128, "as many as asked for");
        for since in [0, 1, newest.0 - 200] {
            let changes = store.changes(Revision(since)).await.unwrap();
            assert_eq!((changes.up_to, changes.names), (newest, None), "since {since}");
        }
    }
    let rows: i64 = rusqlite::Connection::open(testbed.path())
        .unwrap()
        .query_row("SELECT count(*) FROM change", [], |row| row.get(0))
        .unwrap();
    assert!(rows <= 130, "{rows} rows are kept");
}

#[tokio::test]
async fn revisions_go_on_after_a_start_and_when_every_record_is_gone() {
    let testbed = Testbed::new();
    for round in 0..3 {
        let store = testbed.open();
        assert_eq!(store.commit_counter(), Revision(2 * round));
        let created = put(&store, "a", b"1").await;
        assert_eq!(created, Revision(2 * round + 1));
        store.commit(keystead_store::Batch::default().delete("a", created)).await.unwrap();
        assert_eq!(store.commit_counter(), Revision(2 * round + 2));
    }
}
