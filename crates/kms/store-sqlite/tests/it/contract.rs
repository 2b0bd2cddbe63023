use std::cell::Cell;
use std::sync::Arc;

use keystead_store::Store;
use keystead_store_sqlite::{SqliteSettings, SqliteStore};

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let number = Cell::new(0);
    keystead_store::contract::check(async || {
        number.set(number.get() + 1);
        let path = folder.path().join("data").join(format!("{}.db", number.get()));
        Arc::new(SqliteStore::open(&path, SqliteSettings::default()).unwrap()) as Arc<dyn Store>
    })
    .await;
}
