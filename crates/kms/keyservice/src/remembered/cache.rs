use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// What was read from the store, by record name. A value that was read before a write is never kept after it.
///
/// Bounded: a full cache is emptied, because what is asked for often is soon there again.
pub(crate) struct Cache<V> {
    /// In units of `weigh`.
    capacity: usize,
    weigh: fn(&V) -> usize,
    inner: RwLock<Inner<V>>,
}

struct Inner<V> {
    /// Grows with each write; who reads from the store notes it before reading.
    epoch: u64,
    /// Nobody knows what was written, so nothing is kept.
    suspended: bool,
    values: HashMap<String, Arc<V>>,
    /// Of all values.
    weight: usize,
}

impl<V> Inner<V> {
    fn remove(&mut self, record: &str, weigh: fn(&V) -> usize) {
        if let Some(value) = self.values.remove(record) {
            self.weight -= weigh(&value);
        }
    }

    fn clear(&mut self) {
        self.values.clear();
        self.weight = 0;
    }
}

/// The moment before a read from the store.
#[derive(Clone, Copy)]
pub(crate) struct Epoch(u64);

/// What the feed of changes does to a cache, whatever is in it.
pub(super) trait Forgets {
    /// Drops what is cached under any of these records, and keeps again if it was suspended.
    fn forget(&self, records: &[String]);
    /// Drops everything, and keeps nothing until the next [`forget`](Self::forget).
    fn suspend(&self);
}

impl<V> Cache<V> {
    /// For at most so many values, which all have about the same size.
    pub(crate) fn new(capacity: usize) -> Self {
        Self::weighed(capacity, |_| 1)
    }

    /// For values of very different sizes: at most so many bytes, where `size` says about how many one takes, always the same.
    pub(crate) fn of_bytes(bytes: usize, size: fn(&V) -> usize) -> Self {
        Self::weighed(bytes, size)
    }

    fn weighed(capacity: usize, weigh: fn(&V) -> usize) -> Self {
        let inner = Inner { epoch: 0, suspended: false, values: HashMap::new(), weight: 0 };
        Self { capacity, weigh, inner: RwLock::new(inner) }
    }

    pub(crate) fn get(&self, record: &str) -> Option<Arc<V>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).values.get(record).map(Arc::clone)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).values.len()
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.inner.read().unwrap_or_else(PoisonError::into_inner).epoch)
    }

    /// Keeps what was read after `read_after`, unless something was written since, or it is larger than the whole cache.
    pub(crate) fn keep(&self, record: &str, value: &Arc<V>, read_after: Epoch) {
        let weight = (self.weigh)(value);
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.suspended || inner.epoch != read_after.0 || weight > self.capacity {
            return;
        }
        inner.remove(record, self.weigh);
        if inner.weight + weight > self.capacity {
            inner.clear();
        }
        inner.weight += weight;
        inner.values.insert(record.to_owned(), Arc::clone(value));
    }
}

impl<V> Forgets for Cache<V> {
    fn forget(&self, records: &[String]) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.epoch += 1;
        inner.suspended = false;
        for record in records {
            inner.remove(record, self.weigh);
        }
    }

    fn suspend(&self) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.epoch += 1;
        inner.suspended = true;
        inner.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(records: &[&str]) -> Vec<String> {
        records.iter().map(|record| (*record).to_owned()).collect()
    }

    #[test]
    fn what_was_read_before_a_write_is_not_kept() {
        let cache = Cache::new(8);
        let before = cache.epoch();
        cache.forget(&named(&["other"]));
        cache.keep("record", &Arc::new(1), before);
        assert!(cache.get("record").is_none());
        cache.keep("record", &Arc::new(2), cache.epoch());
        assert_eq!(cache.get("record").as_deref(), Some(&2));
        cache.forget(&named(&["record"]));
        assert!(cache.get("record").is_none());
    }

    #[test]
    fn a_full_cache_is_emptied() {
        let cache = Cache::new(2);
        for record in ["a", "b", "c"] {
            cache.keep(record, &Arc::new(()), cache.epoch());
        }
        assert!(cache.get("a").is_none() && cache.get("c").is_some());
    }

    #[test]
    fn a_cache_of_bytes_is_emptied_by_what_its_values_take() {
        let cache = Cache::of_bytes(100, |value: &usize| *value);
        let keep = |record: &str, bytes| cache.keep(record, &Arc::new(bytes), cache.epoch());
        keep("a", 60);
        keep("b", 40);
        assert_eq!(cache.len(), 2);
        // What is kept again, or was forgotten, counts once or not at all.
        keep("b", 40);
        assert_eq!(cache.len(), 2);
        cache.forget(&named(&["b", "none"]));
        keep("c", 40);
        assert_eq!(cache.len(), 2);
        keep("d", 1);
        assert_eq!((cache.len(), cache.get("d").as_deref()), (1, Some(&1)));
        // One that is too large takes nobody's place.
        keep("e", 101);
        assert_eq!((cache.len(), cache.get("e")), (1, None));
    }

    #[test]
    fn a_suspended_cache_keeps_nothing_until_changes_are_known_again() {
        let cache = Cache::new(8);
        cache.keep("record", &Arc::new(1), cache.epoch());
        cache.suspend();
        assert!(cache.get("record").is_none());
        cache.keep("record", &Arc::new(1), cache.epoch());
        assert!(cache.get("record").is_none());
        cache.forget(&[]);
        cache.keep("record", &Arc::new(1), cache.epoch());
        assert!(cache.get("record").is_some());
    }
}
