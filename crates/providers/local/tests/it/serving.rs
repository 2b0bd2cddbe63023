//! The provider: the contract, and what it does when the file changes under it.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use keystead_crypto::SystemRandom;
use keystead_model::{ErrorClass, KeyVersion};
use keystead_provider::{Provider, Wrapped, contract};
use keystead_provider_local::{KeyFile, LocalProvider, create, edit, load};
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::fmt::MakeWriter;

use crate::fixed::{NOW, Place, body, fresh, in_time, key, make_fifo, of_format_1, set_mode, with_digest};

#[tokio::test]
async fn fulfils_the_contract() {
    contract::check(&Place::with_key_file().provider()).await;
}

#[test]
fn description_is_the_files_id() {
    let place = Place::with_key_file();
    let id = load(&place.key_file()).expect("loaded").id();
    let provider = place.provider();
    assert_eq!(provider.describe().kind, "local");
    assert_eq!(provider.describe().key_name, id);
}

async fn wrap(provider: &LocalProvider) -> Wrapped {
    provider.wrap(&key()).await.expect("wrapped")
}

async fn unwrap_class(provider: &LocalProvider, version: &KeyVersion, wrapped: &[u8]) -> Option<ErrorClass> {
    provider.unwrap(version, wrapped).await.err().map(|error| error.class())
}

#[tokio::test]
async fn promotion_is_noticed_and_going_back_has_another_activation() {
    let place = Place::with_key_file();
    let provider = place.provider();
    let first = wrap(&provider).await;
    assert_eq!((first.version.as_str(), first.activation), ("1", Some(1)));

    edit(&place.key_file(), |file| file.add(NOW, &SystemRandom)).expect("added");
    let second = wrap(&provider).await;
    assert_eq!((second.version.as_str(), second.activation), ("1", Some(1)), "an added version only unwraps");

    edit(&place.key_file(), |file| file.promote(2)).expect("promoted");
    let third = wrap(&provider).await;
    assert_eq!((third.version.as_str(), third.activation), ("2", Some(2)));

    edit(&place.key_file(), |file| file.promote(1)).expect("promoted back");
    let fourth = wrap(&provider).await;
    assert_eq!((fourth.version.as_str(), fourth.activation), ("1", Some(3)));

    let reference = |wrapped: &Wrapped| {
        provider
            .describe()
            .reference(wrapped.version.clone(), wrapped.activation, wrapped.material)
            .expect("reference")
    };
    assert_ne!(reference(&first), reference(&fourth), "a key id is never used again");
    for wrapped in [&first, &second, &third, &fourth] {
        assert_eq!(unwrap_class(&provider, &wrapped.version, &wrapped.bytes).await, None);
    }
}

/// Two changes between two looks, as quick as they come: a stamp of inode and time must not fit both files.
#[tokio::test]
async fn promotion_there_and_back_is_noticed_however_quick() {
    for _ in 0..100 {
        let place = Place::with_key_file();
        edit(&place.key_file(), |file| file.add(NOW, &SystemRandom)).expect("added");
        let provider = place.provider();
        edit(&place.key_file(), |file| file.promote(2)).expect("promoted");
        edit(&place.key_file(), |file| file.promote(1)).expect("promoted back");
        assert_eq!(wrap(&provider).await.activation, Some(3));
    }
}

#[tokio::test]
async fn version_from_another_host_is_found_without_a_restart() {
    let place = Place::with_key_file();
    let provider = place.provider();
    let elsewhere = Place::new();
    std::fs::copy(place.key_file(), elsewhere.key_file()).expect("copied");
    edit(&elsewhere.key_file(), |file| file.add(NOW, &SystemRandom)).expect("added");
    edit(&elsewhere.key_file(), |file| file.promote(2)).expect("promoted");
    let wrapped = wrap(&elsewhere.provider()).await;

    let early = unwrap_class(&provider, &wrapped.version, &wrapped.bytes).await;
    assert_eq!(early, Some(ErrorClass::NotFound), "it is not here yet");
    keystead_provider_local::store(&place.key_file(), load(&elsewhere.key_file()).expect("loaded"))
        .expect("imported");
    assert_eq!(unwrap_class(&provider, &wrapped.version, &wrapped.bytes).await, None);
}

#[tokio::test]
async fn removed_version_unwraps_nothing_any_more() {
    let place = Place::with_key_file();
    let provider = place.provider();
    let wrapped = wrap(&provider).await;
    edit(&place.key_file(), |file| file.add(NOW, &SystemRandom)).expect("added");
    edit(&place.key_file(), |file| file.promote(2)).expect("promoted");
    assert_eq!(unwrap_class(&provider, &wrapped.version, &wrapped.bytes).await, None);
    edit(&place.key_file(), |file| file.remove(1)).expect("removed");
    let after = unwrap_class(&provider, &wrapped.version, &wrapped.bytes).await;
    assert_eq!(after, Some(ErrorClass::NotFound));
}

#[tokio::test]
async fn version_is_a_number_in_its_one_form_and_no_other() {
    let place = Place::with_key_file();
    let provider = place.provider();
    let wrapped = wrap(&provider).await;
    for version in ["01", "1.0", "1_", "0", "2", "4294967297", "one"] {
        let version = KeyVersion::new(version).expect("a version");
        let class = unwrap_class(&provider, &version, &wrapped.bytes).await;
        assert_eq!(class, Some(ErrorClass::NotFound), "{version}");
    }
}

#[tokio::test]
async fn wrapped_by_one_version_is_corrupt_for_another() {
    let place = Place::with_key_file();
    edit(&place.key_file(), |file| file.add(NOW, &SystemRandom)).expect("added");
    let provider = place.provider();
    let wrapped = wrap(&provider).await;
    let class = unwrap_class(&provider, &KeyVersion::from(2), &wrapped.bytes).await;
    assert_eq!(class, Some(ErrorClass::Corrupt));
}

/// A second one that tracing knows. With one alone, a thread that has none and reaches a place in the code first switches that place off for
/// all (`Dispatchers::rebuilder` of tracing-core).
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));

/// What was logged by this thread while it lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture() -> (Self, DefaultGuard) {
        LazyLock::force(&SECOND);
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).expect("text")
    }

    fn errors(&self) -> usize {
        self.text().matches("ERROR").count()
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

type Break = fn(&Place);

/// Everything that can befall a key file, and a word of the report.
const BREAKS: [(&str, Break); 7] = [
    ("does not exist", |place| std::fs::remove_file(place.key_file()).expect("removed")),
    ("its last line does not fit", |place| {
        let text = std::fs::read_to_string(place.key_file()).expect("read");
        std::fs::write(place.key_file(), text.replace("activation 1", "activation 9")).expect("written");
    }),
    ("truncated", |place| {
        let text = std::fs::read(place.key_file()).expect("read");
        std::fs::write(place.key_file(), &text[..text.len() - 1]).expect("written");
    }),
    ("not a key file", |place| std::fs::write(place.key_file(), b"").expect("written")),
    ("has mode 0644", |place| set_mode(&place.key_file(), 0o644)),
    ("another key", |place| {
        std::fs::write(place.key_file(), fresh().print().as_bytes()).expect("written");
    }),
    ("is not a regular file", |place| {
        std::fs::remove_file(place.key_file()).expect("removed");
        std::fs::create_dir(place.key_file()).expect("made");
        set_mode(&place.key_file(), 0o700);
    }),
];

#[tokio::test]
async fn last_good_file_stays_in_use_and_the_fault_is_reported_once() {
    for (report, damage) in BREAKS {
        let (log, _guard) = Log::capture();
        let place = Place::with_key_file();
        let secret = std::fs::read_to_string(place.key_file()).expect("read");
        let provider = place.provider();
        let before = wrap(&provider).await;

        damage(&place);
        for _ in 0..3 {
            assert_eq!(wrap(&provider).await.activation, Some(1), "{report}");
            assert_eq!(unwrap_class(&provider, &before.version, &before.bytes).await, None, "{report}");
        }
        assert_eq!(log.errors(), 1, "{report}: {}", log.text());
        assert!(log.text().contains(report), "{report}: {}", log.text());
        let key = secret.split(' ').find(|word| word.contains('=')).expect("base64").lines().next();
        assert!(!log.text().contains(key.expect("one line")), "no key in the log");
    }
}

/// Two hosts that rotated apart, and an old copy that is put back: what was sealed here must still open.
#[tokio::test]
async fn file_that_changes_a_versions_key_or_falls_back_is_not_taken_up() {
    for rotates_elsewhere in [true, false] {
        let (log, _guard) = Log::capture();
        let place = Place::with_key_file();
        let elsewhere = Place::new();
        std::fs::copy(place.key_file(), elsewhere.key_file()).expect("copied");
        let rotated = if rotates_elsewhere { vec![&place, &elsewhere] } else { vec![&place] };
        for host in rotated {
            edit(&host.key_file(), |file| file.add(NOW, &SystemRandom)).expect("added");
            edit(&host.key_file(), |file| file.promote(2)).expect("promoted");
        }
        let provider = place.provider();
        let before = wrap(&provider).await;
        std::fs::copy(elsewhere.key_file(), place.key_file()).expect("copied over");
        assert_eq!(wrap(&provider).await.activation, Some(2));
        assert_eq!(unwrap_class(&provider, &before.version, &before.bytes).await, None);
        assert_eq!(log.errors(), 1, "{}", log.text());
    }
}

/// The key id says which material it is: two hosts that rotated apart do not share one.
#[tokio::test]
async fn same_number_with_other_material_is_another_key_id() {
    let (place, elsewhere) = (Place::with_key_file(), Place::new());
    std::fs::copy(place.key_file(), elsewhere.key_file()).expect("copied");
    let mut key_ids = Vec::new();
    for host in [&place, &elsewhere] {
        let first = key_id(&host.provider()).await;
        edit(&host.key_file(), |file| file.add(NOW, &SystemRandom)).expect("added");
        edit(&host.key_file(), |file| file.promote(2)).expect("promoted");
        key_ids.push((first, key_id(&host.provider()).await));
        let fingerprint = load(&host.key_file()).expect("loaded").versions()[1].fingerprint[..8].to_owned();
        assert!(key_ids.last().expect("one").1.starts_with(&format!("local-v2-a2-m{fingerprint}-")));
    }
    let [(first, second), (first_there, second_there)] = &key_ids[..] else { panic!("two hosts") };
    assert_eq!(first, first_there, "the same file");
    assert_ne!(second, second_there);
}

/// Secrets that were written before an update are not stale after it.
#[tokio::test]
async fn version_of_before_fingerprints_keeps_its_key_id_until_the_next_rotation() {
    let place = Place::new();
    create(&place.key_file(), &of_format_1(&fresh())).expect("created");
    let provider = place.provider();
    let old = key_id(&provider).await;
    assert!(!old.contains("-m"), "{old}");
    edit(&place.key_file(), |file| file.add(NOW, &SystemRandom)).expect("added");
    assert_eq!(key_id(&provider).await, old, "the new version only unwraps");
    edit(&place.key_file(), |file| file.promote(2)).expect("promoted");
    assert!(key_id(&provider).await.starts_with("local-v2-a2-m"));
    edit(&place.key_file(), |file| file.promote(1)).expect("promoted back");
    assert_eq!(key_id(&provider).await, old.replace("-a1-", "-a3-"));
}

/// While it runs the provider remembers every key that it has seen, also where the file does not.
#[tokio::test]
async fn another_key_in_place_of_a_removed_one_is_not_taken_up() {
    let place = Place::with_key_file();
    edit(&place.key_file(), |file| file.add(NOW, &SystemRandom)).expect("added");
    let provider = place.provider();
    // Files of format 1 say nothing of removed versions.
    let (with, mut other) =
        (load(&place.key_file()).expect("loaded"), load(&place.key_file()).expect("loaded"));
    let mut without = load(&place.key_file()).expect("loaded");
    without.remove(2).expect("removed");
    put(&place, &of_format_1(&without));
    assert_eq!(provider.refused(), None);

    other.remove(2).expect("removed");
    let renumbered = body(&of_format_1(&other)).replace("next 3", "next 2");
    let mut other = KeyFile::parse(with_digest(&renumbered).as_bytes()).expect("parsed");
    assert_eq!(other.add(NOW, &SystemRandom), Ok(2));
    put(&place, &other);
    let refused = provider.refused().expect("refused");
    assert!(refused.contains("version 2 was another key before"), "{refused}");

    put(&place, &of_format_1(&with));
    assert_eq!(provider.refused(), None, "the same key may come back");
}

fn put(place: &Place, file: &KeyFile) {
    std::fs::write(place.key_file(), file.print().as_bytes()).expect("written");
}

async fn key_id(provider: &LocalProvider) -> String {
    let Wrapped { version, activation, material, .. } = wrap(provider).await;
    provider.describe().reference(version, activation, material).expect("reference").to_string()
}

#[test]
fn fifo_in_place_of_the_file_keeps_no_request_waiting() {
    let place = Place::with_key_file();
    let provider = place.provider();
    std::fs::remove_file(place.key_file()).expect("removed");
    make_fifo(&place.key_file());
    let wrapped = in_time(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(wrap(&provider))
    });
    assert_eq!(wrapped.activation, Some(1));
}

#[tokio::test]
async fn repaired_file_is_used_again_and_the_next_fault_is_reported_again() {
    let (log, _guard) = Log::capture();
    let place = Place::with_key_file();
    let good = std::fs::read(place.key_file()).expect("read");
    let provider = place.provider();

    for faults in 1..=3 {
        std::fs::write(place.key_file(), format!("broken for the {faults}. time")).expect("written");
        wrap(&provider).await;
        wrap(&provider).await;
        assert_eq!(log.errors(), faults, "{}", log.text());

        std::fs::write(place.key_file(), &good).expect("repaired");
        wrap(&provider).await;
        assert_eq!(log.text().matches("key file read again").count(), faults);
    }
    edit(&place.key_file(), |file| file.add(NOW, &SystemRandom)).expect("added");
    edit(&place.key_file(), |file| file.promote(2)).expect("promoted");
    assert_eq!(wrap(&provider).await.activation, Some(2));
}

#[test]
fn bad_file_at_start_is_an_error() {
    let place = Place::with_key_file();
    std::fs::write(place.key_file(), b"broken").expect("written");
    assert!(LocalProvider::open(&place.key_file(), Arc::new(SystemRandom)).is_err());
}
