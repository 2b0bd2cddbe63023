//! The plugins that unwrap, and what they unwrapped.

use std::collections::{BTreeMap, HashMap};

use keystead_crypto::sha256;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::encryption_configuration::KmsVersion;
use crate::kms_socket::{KmsSocket, PluginProblem, Wrapped};

/// Plugins at their sockets, by the name of the KMS entry. Each wrapped seed of KMS v2 is asked for once.
pub struct Plugins {
    runtime: Handle,
    /// For entries that none below is named for.
    any: Option<[KmsSocket; 2]>,
    named: BTreeMap<String, [KmsSocket; 2]>,
    seeds: HashMap<[u8; 32], Result<Zeroizing<Vec<u8>>, String>>,
}

/// Why there is no seed.
pub(super) enum NoSeed {
    /// No socket is known for this entry.
    NoPlugin,
    /// The plugin does not unwrap it.
    Refused(String),
    /// There is nobody to ask.
    Unreachable(String),
}

/// A cluster has one for each start of an API server. At most some 300 bytes each.
const SEEDS_MAX: usize = 10_000;

impl Plugins {
    /// None yet. `runtime` is entered by each call, which must not come from one of its threads.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, any: None, named: BTreeMap::new(), seeds: HashMap::new() }
    }

    /// Adds a plugin, for the KMS entry with this name or for all that have no other. It may speak KMS v1, v2 or both.
    pub fn add(&mut self, name: Option<&str>, socket: &str) {
        let _channels_need_it = self.runtime.enter();
        let sockets = [KmsVersion::V1, KmsVersion::V2].map(|version| KmsSocket::new(socket, version));
        match name {
            Some(name) => drop(self.named.insert(name.to_owned(), sockets)),
            None => self.any = Some(sockets),
        }
    }

    /// Whether there is one.
    pub fn is_empty(&self) -> bool {
        self.any.is_none() && self.named.is_empty()
    }

    /// The key of one value of KMS v1: no other value has the same, so nothing is kept.
    pub(super) fn unwrap_v1(&self, entry: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, NoSeed> {
        let [v1, _] = self.of(entry).ok_or(NoSeed::NoPlugin)?;
        let (key_id, annotations) = (String::new(), BTreeMap::new());
        let wrapped = Wrapped { key_id, ciphertext: wrapped.to_vec(), annotations, digest: None };
        self.ask(v1, &wrapped)
    }

    /// The seed of a value of KMS v2, by the fingerprint of the wrapped one.
    pub(super) fn unwrap_v2(
        &mut self,
        entry: &str,
        fingerprint: [u8; 16],
        wrapped: impl FnOnce() -> Wrapped,
    ) -> Result<&[u8], NoSeed> {
        let place = sha256(&[&fingerprint[..], entry.as_bytes()].concat());
        if !self.seeds.contains_key(&place) {
            let [_, v2] = self.of(entry).ok_or(NoSeed::NoPlugin)?;
            let answer = match self.ask(v2, &wrapped()) {
                Ok(seed) => Ok(seed),
                Err(NoSeed::Refused(words)) => Err(words),
                Err(other) => return Err(other),
            };
            if self.seeds.len() >= SEEDS_MAX {
                self.seeds.clear();
            }
            self.seeds.insert(place, answer);
        }
        match self.seeds.get(&place) {
            Some(Ok(seed)) => Ok(seed),
            Some(Err(words)) => Err(NoSeed::Refused(words.clone())),
            None => Err(NoSeed::NoPlugin),
        }
    }

    fn of(&self, entry: &str) -> Option<&[KmsSocket; 2]> {
        self.named.get(entry).or(self.any.as_ref())
    }

    fn ask(&self, socket: &KmsSocket, wrapped: &Wrapped) -> Result<Zeroizing<Vec<u8>>, NoSeed> {
        self.runtime.block_on(socket.decrypt(wrapped)).map_err(|problem| match problem {
            PluginProblem::Unreachable { .. } | PluginProblem::Late { .. } => {
                NoSeed::Unreachable(problem.to_string())
            }
            other => NoSeed::Refused(other.to_string()),
        })
    }
}
