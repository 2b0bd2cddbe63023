//! A set of keys in a fixed amount of memory.

use std::hash::{BuildHasher, RandomState};

/// Fingerprints of keys, 24 MiB for up to 1.25 million of them, however long they are.
pub(super) struct SeenKeys {
    random: RandomState,
    /// Open addressing with linear probing; 0 is a free place.
    places: Vec<u128>,
    used: usize,
}

/// A number of 127 bits that tells a key from any other. The hash has a random key, so that nobody can write keys to etcd that
/// are taken for one another or that all want the same place.
#[derive(Clone, Copy)]
pub(super) struct Fingerprint(u128);

impl SeenKeys {
    /// How many keys there is place for.
    pub(super) const MAX: u64 = (PLACES / 5 * 4) as u64;

    /// With place for so many keys, or for [`Self::MAX`] if these are fewer.
    pub(super) fn new(keys: u64) -> Self {
        let places = usize::try_from(keys.min(Self::MAX) / 4 * 5).unwrap_or(PLACES) + 5;
        Self { random: RandomState::new(), places: vec![0; places], used: 0 }
    }

    pub(super) fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        let halves = [0_u8, 1].map(|half| u128::from(self.random.hash_one((half, key))));
        let [high, low] = halves;
        Fingerprint((high << 64 | low) | 1)
    }

    /// Whether it is new.
    pub(super) fn insert(&mut self, fingerprint: Fingerprint) -> Inserted {
        let Fingerprint(wanted) = fingerprint;
        // The upper half as a fraction of all places.
        let start = usize::try_from(((wanted >> 64) * self.places.len() as u128) >> 64).unwrap_or_default();
        let full = self.places.len() / 5 * 4;
        let (before, from) = self.places.split_at_mut_checked(start).unwrap_or_default();
        for place in from.iter_mut().chain(before) {
            if *place == wanted {
                return Inserted::Known;
            }
            if *place == 0 {
                if self.used >= full {
                    return Inserted::Full;
                }
                *place = wanted;
                self.used += 1;
                return Inserted::New;
            }
        }
        Inserted::Full
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.places.fill(0);
        self.used = 0;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    New,
    Known,
    /// No place is left.
    Full,
}

impl Fingerprint {
    /// Whether the key belongs to this part of `parts`, which are about equal.
    pub(super) fn is_in(self, part: u64, parts: u64) -> bool {
        (self.0 >> 1) as u64 % parts.max(1) == part
    }
}

/// At most: 24 MiB. At four fifths, where it is called full, a key that is not there is known after some 13 places.
const PLACES: usize = 3 << 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_again_until_it_is_full() {
        let mut seen = SeenKeys::new(1000);
        let insert = |seen: &mut SeenKeys, key: u32| {
            let fingerprint = seen.fingerprint(&key.to_be_bytes());
            seen.insert(fingerprint)
        };
        for key in 0..1000 {
            assert_eq!(insert(&mut seen, key), Inserted::New, "{key}");
        }
        for key in 0..1000 {
            assert_eq!(insert(&mut seen, key), Inserted::Known, "{key}");
        }
        let full = (1000..2000).map(|key| insert(&mut seen, key)).filter(|it| *it == Inserted::Full);
        assert!(full.count() > 990, "and no endless search");
        seen.clear();
        assert_eq!(insert(&mut seen, 0), Inserted::New);
    }

    #[test]
    fn each_key_is_in_one_part() {
        let seen = SeenKeys::new(0);
        let mut sizes = [0; 3];
        for key in 0..3000_u32 {
            let fingerprint = seen.fingerprint(&key.to_be_bytes());
            let parts: Vec<u64> = (0..3).filter(|part| fingerprint.is_in(*part, 3)).collect();
            assert_eq!(parts.len(), 1);
            sizes[parts[0] as usize] += 1;
        }
        // 26 is the standard deviation.
        assert!(sizes.iter().all(|size| (800..1200).contains(size)), "{sizes:?}");
    }
}
