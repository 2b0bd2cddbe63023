//! A key service in memory: versions, a primary, and a count of activations. Like `keystead-server` it calls a ciphertext of
//! a version that it never had damaged.

use std::collections::BTreeMap;
use std::sync::Mutex;

use keystead_crypto::{Purpose, SystemRandom, open, seal};
use keystead_model::KeyVersion;
use keystead_provider::{Description, Pending};

use super::*;

#[derive(Clone)]
pub(super) struct KeyService {
    description: Description,
    keys: Arc<Mutex<Keys>>,
}

#[derive(Default)]
struct Keys {
    versions: BTreeMap<u32, Secret32>,
    primary: u32,
    activation: u32,
    /// Answers to come for what was not wrapped last.
    failures: Vec<ErrorClass>,
    last_wrapped: Vec<u8>,
}

impl KeyService {
    pub(super) fn new() -> Self {
        let service =
            Self { description: Description { kind: "memory", key_name: "k".into() }, keys: Arc::default() };
        service.rotate();
        service
    }

    pub(super) fn rotate(&self) {
        let mut keys = self.keys.lock().expect("not poisoned");
        let number = u32::try_from(keys.versions.len()).expect("few") + 1;
        keys.versions.insert(number, Secret32::generate(&SystemRandom).expect("random bytes"));
        keys.activate(number);
    }

    /// Makes an earlier version the primary again.
    pub(super) fn go_back(&self, draw: u32) {
        let mut keys = self.keys.lock().expect("not poisoned");
        let number = 1 + draw % u32::try_from(keys.versions.len()).expect("few");
        if number != keys.primary {
            keys.activate(number);
        }
    }

    pub(super) fn backup(&self) -> Backup {
        Backup(self.keys.lock().expect("not poisoned").copy())
    }

    /// Puts back what was backed up, and gives what was there instead.
    pub(super) fn restore(&self, backup: Backup) -> Backup {
        Backup(std::mem::replace(&mut *self.keys.lock().expect("not poisoned"), backup.0))
    }

    /// The next calls of unwrap for anything but what was wrapped last fail so, in this order.
    pub(super) fn fails_to_look_back(&self, classes: Vec<ErrorClass>) {
        self.keys.lock().expect("not poisoned").failures = classes;
    }

    pub(super) fn key_id(&self) -> String {
        let keys = self.keys.lock().expect("not poisoned");
        let reference =
            self.description.reference(KeyVersion::from(keys.primary), Some(keys.activation), None);
        reference.expect("a good version").to_string()
    }
}

pub(super) struct Backup(Keys);

impl Keys {
    fn copy(&self) -> Self {
        let of = |key: &Secret32| Secret32::from_slice(key.expose()).expect("32 bytes");
        let versions = self.versions.iter().map(|(number, key)| (*number, of(key))).collect();
        let (primary, activation) = (self.primary, self.activation);
        Self { versions, primary, activation, ..Self::default() }
    }

    fn activate(&mut self, number: u32) {
        self.primary = number;
        self.activation += 1;
    }
}

impl Provider for KeyService {
    fn describe(&self) -> &Description {
        &self.description
    }

    fn wrap<'a>(&'a self, key: &'a Secret32) -> Pending<'a, Wrapped> {
        let mut keys = self.keys.lock().expect("not poisoned");
        let (version, activation) = (KeyVersion::from(keys.primary), Some(keys.activation));
        let mut bytes = Vec::new();
        let kek = &keys.versions[&keys.primary];
        seal(kek, Purpose::KeyFileWrap, b"", key.expose(), &SystemRandom, &mut bytes).expect("sealed");
        keys.last_wrapped.clone_from(&bytes);
        Box::pin(async move { Ok(Wrapped { version, activation, material: None, bytes }) })
    }

    fn unwrap<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        let mut keys = self.keys.lock().expect("not poisoned");
        if wrapped != keys.last_wrapped && !keys.failures.is_empty() {
            let class = keys.failures.remove(0);
            return Box::pin(async move { Err(ProviderError::new(class, "told to fail")) });
        }
        let number: u32 = version.as_str().parse().expect("a number");
        let kek = keys.versions.get(&number);
        let opened = kek.and_then(|kek| open(kek, Purpose::KeyFileWrap, b"", wrapped).ok());
        let key = opened.and_then(|key| Secret32::from_slice(key.expose()));
        let corrupt = || ProviderError::new(ErrorClass::Corrupt, "changed");
        Box::pin(async move { key.ok_or_else(corrupt) })
    }
}
