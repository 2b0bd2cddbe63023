//! A small KMS plugin that does everything right, or exactly one thing wrong. Its state is a folder, so that shell commands can
//! rotate its key (`printf x >> versions`) and cut off its backend (`touch down`), and other processes can share it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use keystead_proto::kms_v1::{self, key_management_service_server::KeyManagementService as V1Service};
use keystead_proto::kms_v2::{self, key_management_service_server::KeyManagementService as V2Service};
use tonic::{Request, Response, Status};

use crate::fault::Fault;

pub(crate) struct Model {
    dir: PathBuf,
    pub(crate) fault: Fault,
    /// What `fault` calls slow.
    slow: Duration,
    /// Differs between two models only where a fault wants it.
    secret: String,
    statuses: AtomicU64,
    dawdled: AtomicU64,
    /// The version at the last question whether it is fresh, and how many there were.
    asked: Mutex<(u8, u32)>,
    encrypting: AtomicUsize,
    decrypting: AtomicUsize,
    /// What went wrong once and stays so.
    spoiled: AtomicBool,
    /// The answer that two calls share by mistake.
    slot: Mutex<Vec<u8>>,
    /// Ciphertexts that were decrypted: what good plugins remember too.
    opened: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

type Annotations = HashMap<String, Vec<u8>>;

impl Model {
    pub(crate) fn new(dir: PathBuf, fault: Fault, timeout: Duration) -> Self {
        let process = std::process::id().to_string();
        let secret = match fault {
            Fault::PeerOtherKey => "other".to_owned(),
            Fault::StartForgets => process,
            _ => "secret".to_owned(),
        };
        Self {
            dir,
            fault,
            slow: timeout.mul_f64(0.5),
            secret,
            statuses: AtomicU64::new(0),
            dawdled: AtomicU64::new(0),
            asked: Mutex::default(),
            encrypting: AtomicUsize::new(0),
            decrypting: AtomicUsize::new(0),
            spoiled: AtomicBool::new(false),
            slot: Mutex::default(),
            opened: Mutex::default(),
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// The number of the primary version: 1 and the length of a file.
    fn current(&self) -> u8 {
        let file = std::fs::metadata(self.dir.join("versions"));
        if self.is(Fault::RotateUnseen) { 1 } else { 1 + file.map_or(0, |it| it.len() as u8) }
    }

    /// Whether this is one of the first `count` times that it is asked since the last rotation; false before any.
    fn is_fresh(&self, count: u32) -> bool {
        let version = self.current();
        let mut asked = self.asked.lock().unwrap();
        *asked = if asked.0 == version { (version, asked.1 + 1) } else { (version, 1) };
        version > 1 && asked.1 <= count
    }

    /// Waits for half of the timeout, the first two times.
    async fn dawdle(&self) {
        if self.dawdled.fetch_add(1, Ordering::Relaxed) < 2 {
            tokio::time::sleep(self.slow).await;
        }
    }

    fn is_down(&self) -> bool {
        let down = self.dir.join("down").exists();
        if down && self.is(Fault::OutageForever) {
            self.spoiled.store(true, Ordering::Relaxed);
        }
        down || (self.is(Fault::OutageForever) && self.spoiled.load(Ordering::Relaxed))
    }

    fn id(&self, version: u8) -> String {
        match self.fault {
            Fault::StatusKeyIdEmpty => String::new(),
            Fault::StatusKeyIdLong => "k".repeat(1025),
            Fault::StatusKeyIdDrifts => {
                format!("model-{version}-{}", self.statuses.load(Ordering::Relaxed) / 10)
            }
            Fault::RotateReusesKeyId => format!("model-{}", version % 2),
            Fault::StartNewKeyId => format!("model-{version}-{}", std::process::id()),
            Fault::PeerOtherKeyId => format!("model-peer-{version}"),
            _ => format!("model-{version}"),
        }
    }

    fn annotations(&self, plaintext: &[u8]) -> Annotations {
        let one = |key: &str, value: Vec<u8>| HashMap::from([(key.to_owned(), value)]);
        match self.fault {
            Fault::Annotated | Fault::DecryptIgnoresAnnotations | Fault::DecryptAnnotationsUnread => {
                HashMap::from([
                    ("a.model.example".into(), b"1".to_vec()),
                    ("b.model.example".into(), b"22".to_vec()),
                ])
            }
            Fault::EncryptHugeAnnotations => one("a.model.example", vec![0; 40_000]),
            Fault::EncryptBadAnnotation => one("a.model.example/Key", b"1".to_vec()),
            Fault::EncryptShowsPlaintext => one("a.model.example", hex(plaintext).into_bytes()),
            _ => Annotations::new(),
        }
    }

    fn key(&self, version: u8) -> LessSafeKey {
        let secret = format!("{} {version}", self.secret);
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, digest(&SHA256, secret.as_bytes()).as_ref()).unwrap())
    }

    /// Format, version, nonce, sealed bytes; key id and annotations are authenticated.
    fn seal(&self, version: u8, bound: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = [0; 12];
        aws_lc_rs::rand::fill(&mut nonce).unwrap();
        if self.is(if bound == V1 { Fault::V1SameNonce } else { Fault::EncryptSameNonce }) {
            nonce = [0; 12];
        }
        let mut sealed = plaintext.to_vec();
        if self.is(Fault::DecryptNotAuthenticated) && bound != V1 {
            self.scramble(version, &nonce, &mut sealed);
        } else {
            let aad = Aad::from([&[FORMAT, version], bound].concat());
            let nonce = Nonce::assume_unique_for_key(nonce);
            self.key(version).seal_in_place_append_tag(nonce, aad, &mut sealed).unwrap();
        }
        [&[FORMAT, version], nonce.as_slice(), &sealed].concat()
    }

    fn open(&self, bound: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, Status> {
        let refused = || Status::invalid_argument("not a ciphertext of this key");
        let (head, sealed) = ciphertext.split_at_checked(14).ok_or_else(refused)?;
        let (format, version) = (head[0], head[1]);
        let loose = self.is(if bound == V1 { Fault::V1IgnoresOneBit } else { Fault::DecryptIgnoresOneBit });
        if (if loose { format & 0x7f } else { format }) != FORMAT {
            return Err(refused());
        }
        if self.is(Fault::RotateForgets) && version < self.current() {
            return Err(Status::not_found("that version is gone"));
        }
        let nonce: [u8; 12] = head[2..].try_into().unwrap();
        let mut plaintext = sealed.to_vec();
        if self.is(Fault::DecryptNotAuthenticated) && bound != V1 {
            self.scramble(version, &nonce, &mut plaintext);
            return Ok(plaintext);
        }
        let aad = Aad::from([&[FORMAT, version], bound].concat());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length =
            self.key(version).open_in_place(nonce, aad, &mut plaintext).map_err(|_| refused())?.len();
        plaintext.truncate(length);
        Ok(plaintext)
    }

    /// A stream cipher of sorts.
    fn scramble(&self, version: u8, nonce: &[u8], text: &mut [u8]) {
        for (place, byte) in text.iter_mut().enumerate() {
            let stream =
                digest(&SHA256, &[self.secret.as_bytes(), &[version], nonce, &place.to_be_bytes()].concat());
            *byte ^= stream.as_ref()[0];
        }
    }

    async fn encrypt(&self, request: kms_v2::EncryptRequest) -> Result<kms_v2::EncryptResponse, Status> {
        let plaintext = request.plaintext;
        match self.fault {
            Fault::EncryptFails => return Err(Status::internal("no")),
            Fault::EncryptOnly32 if plaintext.len() != 32 => {
                return Err(Status::invalid_argument("not 32 bytes"));
            }
            Fault::EncryptUidMatters if request.uid.len() != 36 => {
                return Err(Status::invalid_argument("not a uid"));
            }
            Fault::EncryptSlow => self.dawdle().await,
            Fault::EncryptFewAtOnce => busy(&self.encrypting).await?,
            Fault::RotateFails if self.is_fresh(5) => return Err(Status::unavailable("rotating")),
            Fault::OutageEncryptHangs if self.is_down() => std::future::pending().await,
            _ => {}
        }
        let mut version = self.current();
        if self.is(Fault::RotateStatusStaysBehind) {
            version = version.saturating_sub(1).max(1);
        }
        let (mut key_id, annotations) = (self.id(version), self.annotations(&plaintext));
        let long = self.is(Fault::EncryptLongCiphertext);
        let padded = if long { pad(&plaintext, 1100) } else { plaintext };
        let mut ciphertext = self.seal(version, &self.bound(&key_id, &annotations), &padded);
        match self.fault {
            Fault::EncryptEmptyCiphertext => ciphertext.clear(),
            Fault::RotateMislabels | Fault::RotateMislabelsUnread => {
                tokio::time::sleep(Duration::from_millis(3)).await;
                key_id = self.id(self.current());
            }
            Fault::OutageLosesData if self.is_down() => ciphertext.iter_mut().for_each(|it| *it ^= 1),
            _ => {}
        }
        Ok(kms_v2::EncryptResponse { ciphertext, key_id, annotations })
    }

    async fn decrypt(&self, request: kms_v2::DecryptRequest) -> Result<Vec<u8>, Status> {
        let ciphertext = &request.ciphertext;
        match self.fault {
            Fault::DecryptPanicsOnEmpty => assert!(!ciphertext.is_empty(), "empty ciphertext"),
            Fault::DecryptEmptyIsEmpty if ciphertext.is_empty() => return Ok(Vec::new()),
            Fault::DecryptHangsOnLarge if ciphertext.len() > 4096 => std::future::pending().await,
            Fault::DecryptSlow => self.dawdle().await,
            Fault::DecryptFewAtOnce => busy(&self.decrypting).await?,
            Fault::DecryptPassesUnknown
                if ciphertext.len() > 4 && ciphertext.is_ascii() && ciphertext[0] > b' ' =>
            {
                return Ok(ciphertext.clone());
            }
            Fault::DecryptGuessesLong if (600..=1024).contains(&ciphertext.len()) => return Ok(vec![0; 32]),
            Fault::DecryptFailsAfterError if self.spoiled.swap(false, Ordering::Relaxed) => {
                return Err(Status::internal("session is broken"));
            }
            _ => {}
        }
        if ciphertext.is_empty() || (ciphertext.len() > 1024 && !self.is(Fault::EncryptLongCiphertext)) {
            return Err(Status::invalid_argument("not a ciphertext"));
        }
        if let Some(plaintext) = self.remembered(&request) {
            return Ok(plaintext);
        }
        let known = self.opened.lock().unwrap().contains_key(ciphertext);
        if self.is_down() && (!known || self.is(Fault::OutageNoCache)) {
            return Err(Status::unavailable("the backend is down"));
        }
        let opened = self.open_v2(&request);
        self.spoiled.fetch_or(self.is(Fault::DecryptFailsAfterError) && opened.is_err(), Ordering::Relaxed);
        let mut plaintext = opened?;
        self.opened.lock().unwrap().insert(ciphertext.clone(), plaintext.clone());
        if self.is(Fault::DecryptWrongBytes) {
            plaintext.iter_mut().for_each(|it| *it ^= 1);
        }
        if self.is(Fault::DecryptMixesAnswers) {
            return Ok(self.mixed(plaintext).await);
        }
        Ok(plaintext)
    }

    fn open_v2(&self, request: &kms_v2::DecryptRequest) -> Result<Vec<u8>, Status> {
        let version = request.ciphertext.get(1).copied().unwrap_or_default();
        let known = (1..=self.current()).any(|it| self.id(it) == request.key_id);
        let key_id = match self.fault {
            Fault::DecryptIgnoresKeyId | Fault::RotateMislabelsUnread => self.id(version),
            Fault::DecryptEmptyKeyIdIsCurrent if request.key_id.is_empty() => self.id(version),
            Fault::RotateTriesAll if known => self.id(version),
            Fault::StatusKeyIdDrifts => request.key_id.clone(),
            _ if request.key_id != self.id(version) => {
                return Err(Status::invalid_argument("another key id"));
            }
            _ => request.key_id.clone(),
        };
        let unread = self.is(Fault::DecryptAnnotationsUnread);
        if unread && request.annotations.len() < 2 {
            return Err(Status::invalid_argument("annotations are missing"));
        }
        let annotations = if unread { self.annotations(&[]) } else { request.annotations.clone() };
        let plaintext = self.open(&self.bound(&key_id, &annotations), &request.ciphertext)?;
        Ok(if self.is(Fault::EncryptLongCiphertext) { unpad(&plaintext) } else { plaintext })
    }

    /// What a careless cache answers.
    fn remembered(&self, request: &kms_v2::DecryptRequest) -> Option<Vec<u8>> {
        let ciphertext = &request.ciphertext;
        let opened = self.opened.lock().unwrap();
        let right = request.key_id == self.id(self.current()) && request.annotations.is_empty();
        if !right && !self.is(Fault::DecryptCachesByCiphertext) {
            return None;
        }
        let same: fn(&[u8], &[u8]) -> bool = match self.fault {
            Fault::DecryptCachesByCiphertext => |known, given| known == given,
            Fault::DecryptCachesByHead => |known, given| known.get(..14) == given.get(..14),
            Fault::DecryptCachesCut => {
                |known, given| given.len() + 16 >= known.len() && known.starts_with(given)
            }
            Fault::DecryptIgnoresTail => |known, given| given.starts_with(known),
            _ => return None,
        };
        opened.iter().find(|(known, _)| same(known, ciphertext)).map(|(_, plaintext)| plaintext.clone())
    }

    async fn mixed(&self, plaintext: Vec<u8>) -> Vec<u8> {
        *self.slot.lock().unwrap() = plaintext;
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.slot.lock().unwrap().clone()
    }

    /// What is authenticated beside the ciphertext.
    fn bound(&self, key_id: &str, annotations: &Annotations) -> Vec<u8> {
        if self.is(Fault::DecryptIgnoresAnnotations) {
            return key_id.as_bytes().to_vec();
        }
        let sorted: BTreeMap<_, _> = annotations.iter().collect();
        format!("{key_id} {sorted:?}").into_bytes()
    }
}

#[tonic::async_trait]
impl V2Service for Model {
    async fn status(
        &self,
        _: Request<kms_v2::StatusRequest>,
    ) -> Result<Response<kms_v2::StatusResponse>, Status> {
        let count = self.statuses.fetch_add(1, Ordering::Relaxed);
        let down = self.is_down();
        match self.fault {
            Fault::StatusFails => return Err(Status::internal("no")),
            Fault::StatusHangs => std::future::pending().await,
            Fault::OutageStatusHangs if down => std::future::pending().await,
            Fault::StatusSlow => self.dawdle().await,
            Fault::OutageStatusSlow if down => self.dawdle().await,
            Fault::OutageForever if down => return Err(Status::unavailable("the backend is down")),
            _ => {}
        }
        let version = match self.fault {
            Fault::StatusVersion => "v3",
            Fault::StatusVersionAlternates if count % 2 == 1 => "v2beta1",
            Fault::RotateChangesVersion if self.current() > 1 => "v2beta1",
            Fault::StartNewVersion if std::fs::read(self.dir.join("starts")).unwrap().len() > 1 => "v2beta1",
            _ => "v2",
        };
        let healthz = match self.fault {
            Fault::StatusUnhealthy => "healthy",
            Fault::OutageText if down => "the backend is down",
            _ => "ok",
        };
        let current = self.current();
        let key_id = match self.fault {
            Fault::StatusKeyIdOther => "model-status".to_owned(),
            Fault::RotateStatusLags if self.is_fresh(9) => self.id(current - 1),
            // Forth, back and forth again.
            Fault::RotateFlips if self.is_fresh(9) && count.is_multiple_of(3) => self.id(current - 1),
            Fault::OutageKeyId if down => "model-unknown".to_owned(),
            _ => self.id(current),
        };
        Ok(Response::new(kms_v2::StatusResponse { version: version.into(), healthz: healthz.into(), key_id }))
    }

    async fn encrypt(
        &self,
        request: Request<kms_v2::EncryptRequest>,
    ) -> Result<Response<kms_v2::EncryptResponse>, Status> {
        Model::encrypt(self, request.into_inner()).await.map(Response::new)
    }

    async fn decrypt(
        &self,
        request: Request<kms_v2::DecryptRequest>,
    ) -> Result<Response<kms_v2::DecryptResponse>, Status> {
        let plaintext = Model::decrypt(self, request.into_inner()).await?;
        Ok(Response::new(kms_v2::DecryptResponse { plaintext }))
    }
}

#[tonic::async_trait]
impl V1Service for Model {
    async fn version(
        &self,
        _: Request<kms_v1::VersionRequest>,
    ) -> Result<Response<kms_v1::VersionResponse>, Status> {
        let version = if self.is(Fault::V1Version) { "v1" } else { "v1beta1" };
        let name = if self.is(Fault::V1NoRuntime) { "" } else { "model" };
        Ok(Response::new(kms_v1::VersionResponse {
            version: version.into(),
            runtime_name: name.into(),
            runtime_version: name.into(),
        }))
    }

    async fn encrypt(
        &self,
        request: Request<kms_v1::EncryptRequest>,
    ) -> Result<Response<kms_v1::EncryptResponse>, Status> {
        let plain = request.into_inner().plain;
        match self.fault {
            Fault::V1Fails => return Err(Status::internal("no")),
            Fault::V1Only32 if plain.len() != 32 => return Err(Status::invalid_argument("not 32 bytes")),
            Fault::V1Slow => self.dawdle().await,
            _ => {}
        }
        let padded = if self.is(Fault::V1LongCipher) { pad(&plain, 70_000) } else { plain.clone() };
        let mut cipher = self.seal(self.current(), V1, &padded);
        if self.is(Fault::V1ShowsPlaintext) {
            cipher.extend(&plain);
        }
        Ok(Response::new(kms_v1::EncryptResponse { cipher }))
    }

    async fn decrypt(
        &self,
        request: Request<kms_v1::DecryptRequest>,
    ) -> Result<Response<kms_v1::DecryptResponse>, Status> {
        let cipher = request.into_inner().cipher;
        assert!(!(self.is(Fault::V1PanicsOnEmpty) && cipher.is_empty()), "empty cipher");
        if self.is(Fault::V1Cut) && cipher.len() > 40 {
            let opened = self.opened.lock().unwrap();
            if let Some((_, plain)) = opened.iter().find(|(known, _)| known.starts_with(&cipher)) {
                return Ok(Response::new(kms_v1::DecryptResponse { plain: plain.clone() }));
            }
        }
        let shown = if self.is(Fault::V1ShowsPlaintext) { cipher.len().saturating_sub(30) / 2 } else { 0 };
        let (sealed, tail) = cipher.split_at(cipher.len() - shown);
        let mut plain = self.open(V1, sealed)?;
        if self.is(Fault::V1LongCipher) {
            plain = unpad(&plain);
        }
        if shown > 0 && tail != plain {
            return Err(Status::invalid_argument("the plaintext beside it differs"));
        }
        self.opened.lock().unwrap().insert(cipher, plain.clone());
        if self.is(Fault::V1MixesAnswers) {
            plain = self.mixed(plain).await;
        }
        Ok(Response::new(kms_v1::DecryptResponse { plain }))
    }
}

/// A queue that is too short: more than 16 calls at once are refused.
async fn busy(count: &AtomicUsize) -> Result<(), Status> {
    let before = count.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(3)).await;
    count.fetch_sub(1, Ordering::Relaxed);
    if before < 16 { Ok(()) } else { Err(Status::resource_exhausted("too many calls")) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

/// Room for a length and `text`, filled up with zeros.
fn pad(text: &[u8], length: usize) -> Vec<u8> {
    let mut padded = [&(text.len() as u16).to_be_bytes(), text].concat();
    padded.resize(length, 0);
    padded
}

fn unpad(padded: &[u8]) -> Vec<u8> {
    padded[2..2 + usize::from(u16::from_be_bytes([padded[0], padded[1]]))].to_vec()
}

const FORMAT: u8 = 1;
/// What is authenticated in KMS v1.
const V1: &[u8] = b"v1";
