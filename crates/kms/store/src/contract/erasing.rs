use std::sync::Arc;

use keystead_model::ErrorClass;

use crate::{Batch, Store};

use super::{commit, names, refused, value};

/// What is left in files only the implementation's own tests can see; here, that the flag changes nothing else.
pub(super) async fn check<F: AsyncFn() -> Arc<dyn Store>>(fresh: &F) {
    let store = &*fresh().await;
    let created = commit(store, Batch::default().create("a", vec![1; 64]).create("b", vec![2; 64])).await;
    refused(store, Batch::default().erasing(), ErrorClass::Invalid, "an empty batch that erases").await;
    let conflict = Batch::default().delete("a", created).create("b", vec![]).erasing();
    refused(store, conflict, ErrorClass::AlreadyExists, "a batch that erases and conflicts").await;
    let erasing = Batch::default().delete("a", created).replace("b", created, vec![3; 64]).erasing();
    commit(store, erasing).await;
    assert_eq!(names(store, "", "", 10).await, ["b"]);
    assert_eq!(value(store, "b").await, Some(vec![3; 64]));
    commit(store, Batch::default().put("c", vec![4]).erasing()).await;
    assert_eq!(names(store, "", "", 10).await, ["b", "c"], "nothing to erase is no error");
}
