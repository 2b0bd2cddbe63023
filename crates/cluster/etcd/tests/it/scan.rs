//! Scans of an etcd in memory.

use keystead_etcd::{ReadError, Scanner};
use keystead_model::ErrorClass;

use crate::fake_etcd::FakeEtcd;

#[tokio::test]
async fn scan_reads_each_key_of_the_prefix_once_at_one_revision() {
    let etcd = filled(1200, 1).await;
    etcd.put("/registry", "before");
    etcd.put("/registry0", "behind");
    // The very next key after the last one of the first page.
    let next = format!("{}\0", keys(500)[499]);
    etcd.put(&next, "x");
    let mut expected = keys(1200);
    expected.insert(500, next);

    let mut scanner = etcd.client().await.scan("/registry/");
    assert_eq!(drain(&mut scanner).await, expected);
    assert_eq!(scanner.revisions(), Some((1203, 1203)));
    assert_eq!(scanner.repins(), 0);

    let requests = etcd.state().requests.clone();
    let asked: Vec<_> = requests.iter().map(|r| (r.limit, r.revision, r.serializable)).collect();
    assert_eq!(asked, [(500, 0, false), (1000, 1203, true)], "the first read pins the revision");
}

#[tokio::test]
async fn empty_prefix_is_everything() {
    let etcd = filled(3, 1).await;
    etcd.put("compact_rev_key", "1");
    assert_eq!(drain(&mut etcd.client().await.scan("")).await.len(), 4);
    assert_eq!(drain(&mut etcd.client().await.scan("nothing")).await.len(), 0);
}

#[tokio::test]
async fn compaction_during_a_scan_is_survived_and_counted() {
    let etcd = filled(1200, 1).await;
    let mut scanner = etcd.client().await.scan("/registry/");
    let first = scanner.next_page().await.expect("page").expect("first");
    etcd.put("/registry/z", "new");
    etcd.state().compacted = 1201;
    let rest = drain(&mut scanner).await;
    assert_eq!(first.entries.len() + rest.len(), 1201);
    assert_eq!((scanner.revisions(), scanner.repins()), (Some((1200, 1201)), 1));
}

#[tokio::test]
async fn pages_shrink_where_values_are_large() {
    // 500 of them are more than one answer may hold.
    let etcd = filled(600, 64 << 10).await;
    assert_eq!(drain(&mut etcd.client().await.scan("/registry/")).await, keys(600));
    let limits: Vec<i64> = etcd.state().requests.iter().map(|request| request.limit).collect();
    assert_eq!(&limits[..2], [500, 250], "halved until it fits");
    assert!(limits[2..].iter().all(|limit| (120..=128).contains(limit)), "then 8 MiB each: {limits:?}");
}

#[tokio::test]
async fn value_too_large_for_any_page_is_an_error_and_not_an_endless_loop() {
    let etcd = filled(1, 25 << 20).await;
    let error = etcd.client().await.scan("/registry/").next_page().await.expect_err("too large");
    assert!(matches!(error, ReadError::Call(_)), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Invalid);
}

#[tokio::test]
async fn answer_out_of_order_is_an_error() {
    let etcd = filled(2, 1).await;
    etcd.state().disorder = true;
    let error = etcd.client().await.scan("/registry/").next_page().await.expect_err("out of order");
    assert!(matches!(error, ReadError::Disorder), "{error:?}");
}

#[tokio::test]
async fn page_without_keys_is_an_end_only_where_etcd_says_so() {
    let etcd = FakeEtcd::start().await;
    assert_eq!(drain(&mut etcd.client().await.scan("/registry/")).await.len(), 0);
    etcd.state().always_more = true;
    let error = etcd.client().await.scan("/registry/").next_page().await.expect_err("more of nothing");
    assert!(matches!(error, ReadError::Disorder), "{error:?}");
}

#[tokio::test]
async fn one_key_is_read_or_missing() {
    let etcd = filled(2, 3).await;
    etcd.client().await.put(b"/registry/a", b"value").await.expect("written");
    let entry = etcd.client().await.get(b"/registry/a").await.expect("answer").expect("there");
    assert_eq!(entry.value.as_slice(), b"value");
    assert_eq!(format!("{entry:?}"), r#"Entry { key: "/registry/a", value_bytes: 5, mod_revision: 7 }"#);
    assert_eq!(etcd.client().await.get(b"/registry/").await.expect("answer"), None);
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    use keystead_etcd::{Connection, Etcd, TlsFiles};
    let at = |endpoint: &str, tls| Connection { tls, ..Connection::plain(endpoint) };
    let class = async |connection| Etcd::connect(&connection).await.expect_err("no etcd").class();
    // Port 1 needs root to listen on, and no test does.
    assert_eq!(class(at("http://127.0.0.1:1", None)).await, ErrorClass::Unavailable);
    assert_eq!(class(at("not a url", None)).await, ErrorClass::Misconfigured);
    let files = TlsFiles { ca: "no/ca".into(), client: None };
    assert_eq!(class(at("https://127.0.0.1:1", Some(files))).await, ErrorClass::Misconfigured);
}

async fn filled(count: usize, bytes: usize) -> FakeEtcd {
    let etcd = FakeEtcd::start().await;
    for key in keys(count) {
        etcd.put(&key, vec![b'x'; bytes]);
    }
    etcd
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("/registry/secrets/default/{index:04}")).collect()
}

async fn drain(scanner: &mut Scanner) -> Vec<String> {
    let mut keys = Vec::new();
    while let Some(page) = scanner.next_page().await.expect("page") {
        keys.extend(page.entries.into_iter().map(|entry| String::from_utf8(entry.key).expect("UTF-8")));
    }
    keys
}
