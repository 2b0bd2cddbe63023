//! What `/readyz`, `/metrics` and the service manager are told: one task looks at everything the server needs, and
//! publishes what it saw.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use keystead_audit::{AuditLog, EventKind, LogState};
use keystead_crypto::{Random, Secret32, SystemRandom};
use keystead_keyservice::{Figures, Protection};
use keystead_model::ErrorClass;
use keystead_provider::Provider;
use keystead_runtime::{Notify, Readiness, Report};
use keystead_store::{Pending, Store, StoreError};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::blocking_work::BlockingWork;
use crate::metrics::Metrics;

/// Probes come every few seconds; what they see is as new as that.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// The root key is needed at the next start, not now: losing it must be known long before.
const ROOT_KEY_INTERVAL: Duration = Duration::from_secs(60);
/// A store that takes longer is one that callers give up on.
const STORE_DEADLINE: Duration = Duration::from_secs(5);
/// A root key whose file or service takes longer does not answer.
const ROOT_KEY_DEADLINE: Duration = Duration::from_secs(10);
/// A name that no record has: a read that finds nothing is a read.
const PROBE: &str = "meta/probe";

/// Says why a file that is on the disk now is not the one in use, where that is so.
pub(crate) type Refused = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Asks how far key versions are on other machines too.
pub(crate) type AskProtection = Box<dyn Fn() -> Protection + Send + Sync>;

/// Asks for the numbers that are shown of records.
pub(crate) type AskFigures = Box<dyn Fn() -> Figures + Send + Sync>;

/// What the server looks at. Each file is read again while it runs, and the last good one stays in use when it turns bad.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) root_key: Arc<dyn Provider>,
    /// Of the root key's file, or of the credentials for it.
    pub(crate) refused_root_key: Refused,
    /// Of the other files, by what is read from them.
    pub(crate) refused: Vec<(&'static str, Refused)>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) protection: AskProtection,
    pub(crate) figures: AskFigures,
}

/// Knows what is wrong now.
pub(crate) struct Health {
    store: Arc<dyn Store>,
    audit: Arc<AuditLog>,
    root_key: Arc<RootKey>,
    refused: Vec<(&'static str, Refused)>,
    metrics: Arc<Metrics>,
    protection: AskProtection,
    figures: AskFigures,
    seen: ArcSwap<Seen>,
    looking: BlockingWork<Result<(), String>>,
}

/// The root key, as it is looked at.
struct RootKey {
    provider: Arc<dyn Provider>,
    refused: Refused,
    seen: Mutex<Option<(Instant, Result<(), String>)>>,
}

/// What the last look saw.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// One sentence for each thing that keeps calls from being answered.
    failures: Vec<String>,
    /// What somebody should put right, although calls are answered.
    warnings: Vec<String>,
    looked: bool,
}

impl Health {
    /// Has not looked yet, and so is not ready.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            store,
            audit,
            root_key: provider,
            refused_root_key,
            refused,
            metrics,
            protection,
            figures,
        } = parts;
        let root_key = Arc::new(RootKey { provider, refused: refused_root_key, seen: Mutex::default() });
        let (seen, looking) = (ArcSwap::default(), BlockingWork::default());
        Self { store, audit, root_key, refused, metrics, protection, figures, seen, looking }
    }

    /// Looks again and again until the process ends.
    pub(crate) async fn keep_looking(self: Arc<Self>, notify: Arc<Notify>, stopping: CancellationToken) {
        let mut last = String::new();
        loop {
            self.look().await;
            let Readiness { ready, text } = self.readiness();
            let text = text.trim_end().replace('\n', "; ");
            notify.status(&text);
            if text != last {
                if ready {
                    tracing::info!(state = text, "ready");
                } else {
                    tracing::warn!(state = text, "not ready");
                }
                last = text;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    /// Looks once.
    pub(crate) async fn look(&self) {
        let mut seen = Seen { looked: true, ..Seen::default() };
        let Self { audit, metrics, .. } = self;
        let store = self.store().await;
        metrics.database_writable(store.is_ok());
        let displaced = |error: &StoreError| error.class() == ErrorClass::FailedPrecondition;
        metrics.database_displaced(store.as_ref().is_err_and(displaced));
        seen.failures.extend(store.err().map(|error| format!("store: {error}")));
        match (audit.admits(EventKind::DataRead), audit.admits(EventKind::AdminWrite)) {
            (Err(error), _) => seen.failures.push(format!("audit: every call is refused: {error}")),
            (_, Err(error)) => seen.failures.push(format!("audit: changes are refused: {error}")),
            _ if audit.state() == LogState::Low => {
                seen.warnings.push("audit: the disk is full and the reserve nearly used up".to_owned());
            }
            _ => {}
        }
        let root_key = self.root_key().await;
        metrics.root_key_usable(root_key.is_ok());
        if let Err(error) = root_key {
            // The store key is in memory: calls go on, the next start would not.
            seen.warnings.push(format!("root key: {error}; a restart would fail"));
        }
        for (what, refused) in &self.refused {
            let refused = refused();
            metrics.file_refused(what, refused.is_some());
            seen.warnings.extend(refused.map(|reason| {
                format!("{what}: goes on with the last good ones, could not start again: {reason}")
            }));
        }
        let erasing = self.store.is_erasing();
        metrics.erasure_pending(erasing);
        if erasing {
            let text =
                "erasure pending: bytes of destroyed key material may still be in a file of the database";
            seen.warnings.push(text.to_owned());
        }
        metrics.figures(&(self.figures)());
        let protection = (self.protection)();
        metrics.protection(&protection);
        if protection.is_none() {
            let text = match protection.destinations {
                0 => "unprotected: no backup destination is configured",
                _ => "unprotected: no backup destination is certain to hold every key version",
            };
            seen.warnings.push(text.to_owned());
        }
        seen.warnings.extend(protection.incomplete.iter().map(|it| format!("backup destination: {it}")));
        metrics.ready(seen.failures.is_empty());
        self.seen.store(Arc::new(seen));
    }

    async fn store(&self) -> Result<(), StoreError> {
        in_time(self.store.get(PROBE)).await?;
        let changes =
            |error: StoreError| StoreError::new(error.class(), format!("changes are refused: {error}"));
        in_time(self.store.writable()).await.map_err(changes)
    }

    async fn root_key(&self) -> Result<(), String> {
        let root_key = Arc::clone(&self.root_key);
        // Its file may be on a file system that does not answer.
        let look = move || Handle::current().block_on(root_key.look());
        let looked = self.looking.ask(ROOT_KEY_DEADLINE, look).await;
        looked.unwrap_or_else(|| Err(format!("no answer within {} s", ROOT_KEY_DEADLINE.as_secs())))
    }
}

impl RootKey {
    async fn look(&self) -> Result<(), String> {
        let kept = |reason| format!("goes on with the last good one, could not start again: {reason}");
        // What is in memory wraps and unwraps whatever is on the disk.
        (self.refused)().map(kept).map_or(Ok(()), Err)?;
        let due = |(at, _): &(Instant, Result<(), String>)| at.elapsed() < ROOT_KEY_INTERVAL;
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, result)) = known.filter(due) {
            return result;
        }
        let result = self.wrap_and_unwrap().await;
        let seen = Some((Instant::now(), result.clone()));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        result
    }

    async fn wrap_and_unwrap(&self) -> Result<(), String> {
        let random: &dyn Random = &SystemRandom;
        let secret = Secret32::generate(random).map_err(|_| "no random bytes".to_owned())?;
        let wrapped = self.provider.wrap(&secret).await.map_err(|error| error.to_string())?;
        let unwrapped = self.provider.unwrap(&wrapped.version, &wrapped.bytes).await;
        let unwrapped = unwrapped.map_err(|error| error.to_string())?;
        if unwrapped.is_same(&secret) { Ok(()) } else { Err("it unwraps to something else".to_owned()) }
    }
}

/// What the store answers, or that it does not.
async fn in_time<T>(asked: Pending<'_, T>) -> Result<T, StoreError> {
    let late = |_| {
        let text = format!("no answer within {} s", STORE_DEADLINE.as_secs());
        StoreError::new(ErrorClass::Timeout, text)
    };
    tokio::time::timeout(STORE_DEADLINE, asked).await.map_err(late)?
}

impl Report for Health {
    fn readiness(&self) -> Readiness {
        let seen = self.seen.load();
        if !seen.looked {
            return Readiness { ready: false, text: "starting\n".to_owned() };
        }
        let ready = seen.failures.is_empty();
        let mut text = if ready { "ok\n".to_owned() } else { "not ready\n".to_owned() };
        for line in seen.failures.iter().chain(&seen.warnings) {
            text.push_str(line);
            text.push('\n');
        }
        Readiness { ready, text }
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use keystead_audit::AuditSettings;
    use keystead_provider::switchable::{Mode, Switchable};
    use keystead_provider_local::{KeyFile, LocalProvider, create};
    use keystead_store::{Batch, Changes, Entry, Revision};

    use super::*;

    /// Works or does not.
    #[derive(Default)]
    struct Broken(AtomicBool);

    impl Broken {
        fn answer<T: Send + 'static>(&self, value: T) -> Pending<'_, T> {
            let broken = self.0.load(Ordering::SeqCst);
            let error = StoreError::new(ErrorClass::Unavailable, "the disk is gone");
            Box::pin(async move { if broken { Err(error) } else { Ok(value) } })
        }
    }

    impl Store for Broken {
        fn get<'a>(&'a self, _: &'a str) -> Pending<'a, Option<Entry>> {
            self.answer(None)
        }

        fn list<'a>(&'a self, _: &'a str, _: &'a str, _: usize) -> Pending<'a, Vec<Entry>> {
            self.answer(Vec::new())
        }

        fn count<'a>(&'a self, _: &'a str) -> Pending<'a, u64> {
            self.answer(0)
        }

        fn commit(&self, _: Batch) -> Pending<'_, Revision> {
            self.answer(Revision::default())
        }

        fn changes(&self, since: Revision) -> Pending<'_, Changes> {
            self.answer(Changes { up_to: since, names: None })
        }

        fn writable(&self) -> Pending<'_, ()> {
            self.answer(())
        }

        fn is_erasing(&self) -> bool {
            false
        }
    }

    fn root_key(dir: &Path) -> Switchable {
        let path = dir.join("key");
        let file = KeyFile::generate("2026-01-01T00:00:00Z", &SystemRandom).expect("a key");
        create(&path, &file).expect("written");
        Switchable::new(LocalProvider::open(&path, Arc::new(SystemRandom)).expect("opened"))
    }

    fn health(dir: &Path, store: &Arc<Broken>, root_key: Switchable, refused: Refused) -> Health {
        let settings = AuditSettings { reserve_bytes: 0, ..AuditSettings::default() };
        Health::new(Parts {
            store: Arc::clone(store) as _,
            audit: Arc::new(AuditLog::open(&dir.join("audit"), settings).expect("opened")),
            root_key: Arc::new(root_key),
            refused_root_key: refused,
            refused: Vec::new(),
            metrics: Arc::new(Metrics::default()),
            protection: Box::new(Protection::default),
            figures: Box::new(Figures::default),
        })
    }

    #[tokio::test]
    async fn readiness_says_what_fails_and_what_will() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, root_key) = (Arc::new(Broken::default()), root_key(dir.path()));
        let health = health(dir.path(), &store, root_key.clone(), Box::new(|| None));

        let Readiness { ready, text } = health.readiness();
        assert!(!ready && text == "starting\n", "not before the first look: {text}");
        health.look().await;
        let Readiness { ready, text } = health.readiness();
        assert!(ready && text == "ok\nunprotected: no backup destination is configured\n", "{text}");
        assert!(health.metrics().contains("keystead_server_ready 1\n"));

        store.0.store(true, Ordering::SeqCst);
        health.look().await;
        let Readiness { ready, text } = health.readiness();
        assert!(!ready && text.starts_with("not ready\nstore: the disk is gone\n"), "{text}");
        assert!(health.metrics().contains("keystead_server_ready 0\n"));

        // Calls go on without the root key; the next start would not.
        store.0.store(false, Ordering::SeqCst);
        for (mode, said) in [
            (Mode::Fails(ErrorClass::Denied), "root key: "),
            (Mode::Lies, "root key: it unwraps to something else; a restart would fail\n"),
        ] {
            root_key.set(mode);
            *health.root_key.seen.lock().expect("free") = None;
            health.look().await;
            let Readiness { ready, text } = health.readiness();
            assert!(ready && text.contains(said), "{text}");
            assert!(health.metrics().contains("keystead_server_root_key_usable 0\n"));
        }
        // Looked at once a minute, and not with each probe.
        let wraps = root_key.wraps();
        health.look().await;
        assert_eq!(root_key.wraps(), wraps);
    }

    /// A mount that does not answer.
    #[tokio::test(start_paused = true)]
    async fn a_root_key_that_hangs_is_told_and_holds_nothing_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let (answer, hangs) = std::sync::mpsc::channel::<()>();
        let hangs = Mutex::new(hangs);
        let refused = Box::new(move || hangs.lock().expect("free").recv().ok().map(|()| String::new()));
        let health = health(dir.path(), &Arc::default(), root_key(dir.path()), refused);
        for _ in 0..2 {
            let looked = health.look();
            let mut looked = std::pin::pin!(looked);
            // Time stands still while a thread works.
            while futures_util::poll!(looked.as_mut()).is_pending() {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            let Readiness { ready, text } = health.readiness();
            assert!(
                ready && text.contains("root key: no answer within 10 s; a restart would fail"),
                "{text}"
            );
        }
        drop(answer);
        health.look().await;
        let Readiness { text, .. } = health.readiness();
        assert!(!text.contains("root key"), "{text}");
    }
}
