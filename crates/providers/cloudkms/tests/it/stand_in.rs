//! A stand-in for a key service: Encrypt and Decrypt of one key with several versions, honestly done, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response};
use keystead_crypto::{KmsBinding, KmsCiphertext, Secret32, SystemRandom};
use keystead_proto::cloud_kms::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse};
use prost::Message;
use tonic::Code;

use crate::server::{Answer, Body, ok, refuse};

pub(crate) const KEY: &str = "projects/key-project/locations/us-central1/keyRings/ring/cryptoKeys/key";

const UID: [u8; 16] = [7; 16];

/// Clones are the same service.
#[derive(Clone)]
pub(crate) struct StandIn(Arc<Mutex<State>>);

struct State {
    versions: BTreeMap<u32, Version>,
    primary: u32,
    /// Sent where it is set, as our server does.
    activation: Option<u32>,
    /// Values of `authorization` that are known; `None` takes everything.
    known: Option<BTreeSet<String>>,
    granted: bool,
    /// What the last request said in `authorization`.
    authorization: Option<String>,
    rechecks: usize,
}

struct Version {
    key: Secret32,
    enabled: bool,
}

impl StandIn {
    /// With one version.
    pub(crate) fn new() -> Self {
        let state = State {
            versions: BTreeMap::new(),
            primary: 1,
            activation: None,
            known: None,
            granted: true,
            authorization: None,
            rechecks: 0,
        };
        let stand_in = Self(Arc::new(Mutex::new(state)));
        stand_in.rotate();
        stand_in
    }

    /// Makes a version and makes it the primary.
    pub(crate) fn rotate(&self) -> u32 {
        let mut state = self.state();
        let number = u32::try_from(state.versions.len()).expect("few") + 1;
        let key = Secret32::generate(&SystemRandom).expect("random bytes");
        state.versions.insert(number, Version { key, enabled: true });
        state.primary = number;
        state.activation = state.activation.map(|count| count + 1);
        number
    }

    pub(crate) fn count_activations(&self, from: u32) {
        self.state().activation = Some(from);
    }

    pub(crate) fn enable(&self, version: u32, enabled: bool) {
        self.state().versions.get_mut(&version).expect("a version").enabled = enabled;
    }

    pub(crate) fn grant(&self, granted: bool) {
        self.state().granted = granted;
    }

    /// Knows these values of `authorization` from now on, and no others.
    pub(crate) fn know(&self, values: &[String]) {
        self.state().known = Some(values.iter().cloned().collect());
    }

    /// How many calls of Decrypt said that they only ask again.
    pub(crate) fn rechecks(&self) -> usize {
        self.state().rechecks
    }

    pub(crate) fn last_authorization(&self) -> Option<String> {
        self.state().authorization.clone()
    }

    /// For a server.
    pub(crate) fn answers(&self) -> impl Fn(Parts, Bytes) -> Answer + Send + Sync + 'static {
        let stand_in = self.clone();
        move |parts, body| {
            let answer = stand_in.answer(&parts, &body);
            Box::pin(async move { answer })
        }
    }

    pub(crate) fn answer(&self, parts: &Parts, body: &[u8]) -> Response<Body> {
        let mut state = self.state();
        let authorization =
            parts.headers.get("authorization").map(|value| value.to_str().expect("ASCII").to_owned());
        state.authorization.clone_from(&authorization);
        if let Some(known) = &state.known
            && !authorization.is_some_and(|value| known.contains(&value))
        {
            return refuse(Code::Unauthenticated, "canary");
        }
        if !state.granted {
            return refuse(Code::PermissionDenied, "canary");
        }
        assert_eq!(parts.headers["x-goog-request-params"], format!("name={KEY}"));
        let message = body.get(5..).expect("one message");
        match parts.uri.path() {
            "/google.cloud.kms.v1.KeyManagementService/Encrypt" => {
                state.encrypt(&EncryptRequest::decode(message).expect("a request"))
            }
            "/google.cloud.kms.v1.KeyManagementService/Decrypt" => {
                state.rechecks += usize::from(parts.headers.contains_key("keystead-recheck"));
                state.decrypt(&DecryptRequest::decode(message).expect("a request"))
            }
            other => panic!("{other} needs more than the role of P15 gives"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic")
    }
}

impl State {
    fn encrypt(&self, request: &EncryptRequest) -> Response<Body> {
        assert_eq!(request.name, KEY);
        assert_eq!(request.plaintext_crc32c, Some(i64::from(crc32c::crc32c(&request.plaintext))));
        let number = self.primary;
        let version = &self.versions[&number];
        if !version.enabled {
            return disabled(number);
        }
        let name = format!("{KEY}/cryptoKeyVersions/{number}");
        let ciphertext =
            KmsCiphertext::seal(&version.key, &binding(number, &name), &request.plaintext, &SystemRandom)
                .expect("sealed");
        let mut response = ok(&EncryptResponse {
            name,
            ciphertext_crc32c: Some(i64::from(crc32c::crc32c(&ciphertext))),
            ciphertext,
            verified_plaintext_crc32c: true,
            ..EncryptResponse::default()
        });
        if let Some(count) = self.activation {
            response.headers_mut().insert("keystead-activation", HeaderValue::from(count));
        }
        response
    }

    fn decrypt(&self, request: &DecryptRequest) -> Response<Body> {
        assert_eq!(request.name, KEY);
        assert_eq!(request.ciphertext_crc32c, Some(i64::from(crc32c::crc32c(&request.ciphertext))));
        let invalid = || refuse(Code::InvalidArgument, "Decryption failed: the ciphertext is invalid.");
        let Some(ciphertext) = KmsCiphertext::parse(&request.ciphertext) else { return invalid() };
        if ciphertext.uid != UID {
            return invalid();
        }
        let number = ciphertext.version;
        let Some(version) = self.versions.get(&number) else { return invalid() };
        if !version.enabled {
            return disabled(number);
        }
        let name = format!("{KEY}/cryptoKeyVersions/{number}");
        let Ok(plaintext) = ciphertext.open(&version.key, &binding(number, &name)) else { return invalid() };
        let plaintext = plaintext.into_exposed();
        ok(&DecryptResponse {
            plaintext_crc32c: Some(i64::from(crc32c::crc32c(&plaintext))),
            plaintext,
            ..DecryptResponse::default()
        })
    }
}

fn binding(version: u32, version_name: &str) -> KmsBinding<'_> {
    KmsBinding { uid: UID, version, version_name, caller_data: &[] }
}

fn disabled(version: u32) -> Response<Body> {
    let text = format!("{KEY}/cryptoKeyVersions/{version} is not enabled, current state is: DISABLED.");
    refuse(Code::FailedPrecondition, &text)
}
