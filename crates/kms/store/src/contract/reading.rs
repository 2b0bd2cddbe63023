use std::sync::Arc;

use crate::{Batch, MAX_NAME_LEN, Store};

use super::{commit, get, names, ok, value};

pub(super) async fn check<F: AsyncFn() -> Arc<dyn Store>>(fresh: &F) {
    an_empty_store_answers(&*fresh().await).await;
    names_are_exact(&*fresh().await).await;
    lists_are_bytewise(&*fresh().await).await;
    pages_join_up(&*fresh().await).await;
    prefixes_are_literal(&*fresh().await).await;
    values_are_any_bytes(&*fresh().await).await;
}

async fn an_empty_store_answers(store: &dyn Store) {
    for name in ["", "absent", &"n".repeat(MAX_NAME_LEN + 1)] {
        assert_eq!(get(store, name).await, None, "nothing is stored under {name:?}");
        assert!(names(store, name, "", 10).await.is_empty());
        assert_eq!(ok(store.count(name).await, "count"), 0);
    }
}

async fn names_are_exact(store: &dyn Store) {
    commit(store, Batch::default().create("key/a", b"1".to_vec())).await;
    for other in ["key/A", "key/a ", "key/", "key/a\0", "key/ab", "KEY/a", "key/á"] {
        assert_eq!(get(store, other).await, None, "{other:?} is not key/a");
    }
    assert_eq!(value(store, "key/a").await.as_deref(), Some(&b"1"[..]));
}

/// Names that a collation, a pattern or a signed comparison would put elsewhere.
const AWKWARD: [&str; 19] = [
    "\0",
    "%",
    "A",
    "B",
    "_",
    "a",
    "a\0",
    "a\0b",
    "a/",
    "a/b",
    "a0",
    "aa",
    "b",
    "\u{7f}",
    "\u{80}",
    "\u{7ff}",
    "\u{ffff}",
    "\u{10ffff}",
    "\u{10ffff}\u{10ffff}",
];

async fn store_awkward(store: &dyn Store) {
    // Not in order, and in several commits.
    for start in 0..3 {
        let batch = AWKWARD
            .iter()
            .rev()
            .skip(start)
            .step_by(3)
            .fold(Batch::default(), |batch, name| batch.create(*name, name.as_bytes().to_vec()));
        commit(store, batch).await;
    }
}

async fn lists_are_bytewise(store: &dyn Store) {
    store_awkward(store).await;
    let mut sorted = AWKWARD.map(str::to_owned);
    sorted.sort_unstable_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    assert_eq!(names(store, "", "", usize::MAX).await, sorted, "all names, in order of their bytes");
    for prefix in AWKWARD.into_iter().chain(["", "c", "a/b/", "\u{10fffe}"]) {
        for after in AWKWARD.into_iter().chain(["", "a/a", "\u{10fffe}", "zzz"]) {
            let expected: Vec<String> = sorted
                .iter()
                .filter(|name| name.starts_with(prefix) && name.as_bytes() > after.as_bytes())
                .cloned()
                .collect();
            assert_eq!(
                names(store, prefix, after, 100).await,
                expected,
                "prefix {prefix:?}, after {after:?}"
            );
        }
        let count = sorted.iter().filter(|name| name.starts_with(prefix)).count() as u64;
        assert_eq!(ok(store.count(prefix).await, "count"), count, "count of {prefix:?}");
    }
    for entry in ok(store.list("", "", 100).await, "list") {
        assert_eq!(entry.value, entry.name.as_bytes(), "a list has the values of its names");
        assert_eq!(get(store, &entry.name).await, Some(entry), "get and list agree");
    }
}

async fn pages_join_up(store: &dyn Store) {
    store_awkward(store).await;
    let whole = names(store, "", "", 100).await;
    for limit in [1, 2, 7, whole.len(), whole.len() + 1] {
        let mut pages: Vec<String> = Vec::new();
        loop {
            let page = names(store, "", pages.last().map_or("", String::as_str), limit).await;
            assert!(page.len() <= limit, "a page has at most {limit} records");
            if page.is_empty() {
                break;
            }
            pages.extend(page);
        }
        assert_eq!(pages, whole, "pages of {limit}");
    }
    assert!(names(store, "", "", 0).await.is_empty(), "a page of none is empty");
}

async fn prefixes_are_literal(store: &dyn Store) {
    let batch = ["a_b/1", "axb/1", "a%/1", "ab/1", "a*/1", "a?/1", "a[b]/1"]
        .into_iter()
        .fold(Batch::default(), |batch, name| batch.create(name, Vec::new()));
    commit(store, batch).await;
    for prefix in ["a_b/", "a%/", "a*/", "a?/", "a[b]/"] {
        assert_eq!(names(store, prefix, "", 10).await, [format!("{prefix}1")], "{prefix} is no pattern");
        assert_eq!(ok(store.count(prefix).await, "count"), 1, "{prefix} is no pattern");
    }
}

async fn values_are_any_bytes(store: &dyn Store) {
    let every_byte: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    for (name, bytes) in
        [("empty", vec![]), ("zero", vec![0]), ("text", b"12".to_vec()), ("long", every_byte)]
    {
        commit(store, Batch::default().create(name, bytes.clone())).await;
        assert!(value(store, name).await == Some(bytes), "the value of {name} comes back as it was");
    }
}
