//! Runs the checks one after another against one plugin.

use std::time::Instant;

use keystead_proto::kms_v2::{DecryptRequest, EncryptRequest, EncryptResponse, StatusResponse};
use tokio::sync::OnceCell;

use crate::check::{Check, Judged, Stop, checks};
use crate::checks::{Outage, Restart, Rotation};
use crate::options::{Kms, Options};
use crate::plugin::{Plugin, Refusal};
use crate::report::{Finding, Outcome, Report};

/// What the caller hears while the suite runs.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// This check begins.
    Started(&'a Check),
    /// This came of it.
    Finished(&'a Finding),
}

/// Runs the checks that `options` select.
///
/// Every call has a deadline, so that the run ends whatever the plugin does: in a few seconds against a healthy one, in
/// some minutes against one that hangs or rotates slowly.
pub async fn run(options: &Options, mut progress: impl FnMut(Progress<'_>)) -> Report {
    let suite = Suite::new(options).await;
    let mut findings = Vec::new();
    for check in checks().filter(|it| suite.wants(it)) {
        progress(Progress::Started(check));
        let start = Instant::now();
        let judged = match suite.blocked(check) {
            Some(reason) => Ok(Outcome::skip(reason)),
            None => (check.judge)(&suite).await,
        };
        let milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let finding = judged.unwrap_or_else(Outcome::from).of(check, milliseconds);
        progress(Progress::Finished(&finding));
        findings.push(finding);
    }
    let serves = [("v1", suite.serves(Kms::V1)), ("v2", suite.serves(Kms::V2))];
    let serves = serves.into_iter().filter(|(_, served)| *served).map(|(name, _)| name).collect();
    Report::new(options.socket.to_string(), serves, findings)
}

/// What every check is given.
pub(crate) struct Suite {
    pub(crate) options: Options,
    /// The connection that most checks share.
    pub(crate) plugin: Plugin,
    pub(crate) v1_served: Served,
    pub(crate) v2_served: Served,
    /// Scenes that several checks judge, played once.
    pub(crate) rotation: OnceCell<Result<Rotation, Stop>>,
    pub(crate) outage: OnceCell<Result<Outage, Stop>>,
    pub(crate) restart: OnceCell<Result<Restart, Stop>>,
}

/// What the first call of a version brought.
#[derive(Clone, Debug)]
pub(crate) enum Served {
    Yes,
    /// UNIMPLEMENTED: the plugin does not know this version.
    No,
    /// An error, garbage or nothing; the checks of this version say more.
    Broken(Refusal),
}

impl Served {
    fn of<T>(answer: Result<T, Refusal>) -> Self {
        match answer {
            Ok(_) => Self::Yes,
            Err(refusal) if refusal.is_unimplemented() => Self::No,
            Err(refusal) => Self::Broken(refusal),
        }
    }

    /// Whether not even an error came.
    fn is_silent(&self) -> bool {
        matches!(self, Self::Broken(refusal) if !refusal.is_clean())
    }
}

impl Suite {
    async fn new(options: &Options) -> Self {
        let plugin = Plugin::new(&options.socket, options.timeout);
        Self {
            options: options.clone(),
            v1_served: Served::of(plugin.v1_version().await),
            v2_served: Served::of(plugin.status().await),
            plugin,
            rotation: OnceCell::new(),
            outage: OnceCell::new(),
            restart: OnceCell::new(),
        }
    }

    /// A connection of its own to the same plugin.
    pub(crate) fn connect(&self) -> Plugin {
        Plugin::new(&self.options.socket, self.options.timeout)
    }

    /// Whether the user asks for this check.
    fn wants(&self, check: &Check) -> bool {
        let asked = self.options.kms.unwrap_or(Kms::Both);
        let named = self.options.only.is_empty() || self.options.only.iter().any(|it| it.id == check.id);
        named && (check.kms == Kms::Both || asked.includes(check.kms))
    }

    /// Why a check is skipped when nothing answers, or its version is not served. Some checks judge just that.
    fn blocked(&self, check: &Check) -> Option<String> {
        let judges_that = check.id.starts_with("socket-") || check.id.ends_with("-served");
        if judges_that {
            return None;
        }
        if self.v1_served.is_silent() && self.v2_served.is_silent() {
            return Some("the plugin does not answer: see socket-answers".to_owned());
        }
        let (name, served) = match check.kms {
            Kms::V1 => ("v1", &self.v1_served),
            Kms::V2 => ("v2", &self.v2_served),
            Kms::Both => return None,
        };
        matches!(served, Served::No).then(|| format!("the plugin does not serve KMS {name}"))
    }

    pub(crate) fn serves(&self, kms: Kms) -> bool {
        let v1 = matches!(self.v1_served, Served::Yes);
        let v2 = matches!(self.v2_served, Served::Yes);
        match kms {
            Kms::V1 => v1,
            Kms::V2 => v2,
            Kms::Both => v1 && v2,
        }
    }

    /// Status, for checks of what is in it. Whether it comes at all is for `v2-served` and `v2-status-time` to judge.
    pub(crate) async fn status(&self) -> Result<StatusResponse, Stop> {
        let status = self.plugin.status().await;
        status.map_err(|refusal| Stop::Skip(format!("needs Status to be answered: {refusal}")))
    }

    /// A fresh seed that the plugin has wrapped, for checks of what that gives.
    pub(crate) async fn sealed(&self) -> Result<Sample, Stop> {
        Sample::new(&self.plugin, seed()?).await.map_err(|refusal| needs(&refusal))
    }

    /// A fresh seed that the plugin has wrapped and unwrapped again, so that whatever it caches is in its cache.
    /// Checks that build on it are skipped when that does not work, because other checks report it.
    pub(crate) async fn sample(&self) -> Result<Sample, Stop> {
        let sample = self.sealed().await?;
        match self.plugin.decrypt(sample.request()).await {
            Ok(plaintext) if plaintext == sample.seed => Ok(sample),
            Ok(_) => Err(Stop::Skip(
                "Decrypt does not return what was encrypted: see v2-encrypt-roundtrip".to_owned(),
            )),
            Err(refusal) => Err(needs(&refusal)),
        }
    }

    /// The same for KMS v1.
    pub(crate) async fn v1_sample(&self) -> Result<V1Sample, Stop> {
        let seed = seed()?;
        let cipher = self.plugin.v1_encrypt(seed.clone()).await.map_err(|refusal| needs(&refusal))?;
        match self.plugin.v1_decrypt(cipher.clone()).await {
            Ok(plain) if plain == seed => Ok(V1Sample { seed, cipher }),
            Ok(_) => Err(Stop::Skip(
                "Decrypt does not return what was encrypted: see v1-encrypt-roundtrip".to_owned(),
            )),
            Err(refusal) => Err(needs(&refusal)),
        }
    }

    /// Whether the plugin still opens what it opened before: the end of every check that sends it something bad.
    pub(crate) async fn still_opens(&self, sample: &Sample) -> Result<(), Stop> {
        self.plugin.decrypt(sample.request()).await.map(|_| ()).map_err(Stop::Refused)
    }

    /// The same for KMS v1.
    pub(crate) async fn v1_still_opens(&self, sample: &V1Sample) -> Result<(), Stop> {
        self.plugin.v1_decrypt(sample.cipher.clone()).await.map(|_| ()).map_err(Stop::Refused)
    }
}

/// One answer of Encrypt with its plaintext.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) seed: Vec<u8>,
    pub(crate) sealed: EncryptResponse,
}

impl Sample {
    pub(crate) async fn new(plugin: &Plugin, seed: Vec<u8>) -> Result<Self, Refusal> {
        let request = EncryptRequest { plaintext: seed.clone(), uid: uid() };
        Ok(Self { seed, sealed: plugin.encrypt(request).await? })
    }

    /// The Decrypt request that kube-apiserver makes of it.
    pub(crate) fn request(&self) -> DecryptRequest {
        DecryptRequest {
            ciphertext: self.sealed.ciphertext.clone(),
            uid: uid(),
            key_id: self.sealed.key_id.clone(),
            annotations: self.sealed.annotations.clone(),
        }
    }

    /// The same with another ciphertext.
    pub(crate) fn request_with(&self, ciphertext: Vec<u8>) -> DecryptRequest {
        DecryptRequest { ciphertext, ..self.request() }
    }
}

/// One answer of Encrypt in KMS v1 with its plaintext.
#[derive(Clone, Debug)]
pub(crate) struct V1Sample {
    pub(crate) seed: Vec<u8>,
    pub(crate) cipher: Vec<u8>,
}

/// 32 random bytes: what kube-apiserver asks a plugin to encrypt.
pub(crate) fn seed() -> Result<Vec<u8>, Stop> {
    random(32)
}

pub(crate) fn random(length: usize) -> Result<Vec<u8>, Stop> {
    let mut bytes = vec![0; length];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Stop::Skip("this machine has no random numbers".to_owned())),
    }
}

/// A UUID such as kube-apiserver makes for each call.
pub(crate) fn uid() -> String {
    let mut bytes = [0; 16];
    // A uid need not be random, only shaped like one.
    let digits = match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u128::from_be_bytes(bytes),
        Err(_) => 0,
    };
    let text = format!("{digits:032x}");
    [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)]
        .map(|(from, to)| text.get(from..to).unwrap_or_default())
        .join("-")
}

fn needs(refusal: &Refusal) -> Stop {
    Stop::Skip(format!("needs Encrypt and Decrypt of 32 bytes to work: {refusal}"))
}

/// Shorthand for a check that is skipped.
pub(crate) fn skip(reason: &str) -> Judged {
    Ok(Outcome::skip(reason))
}
