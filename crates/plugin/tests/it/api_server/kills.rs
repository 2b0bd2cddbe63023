//! Plugins that die under load, behind a socket that stays open.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use keystead_crypto::{Random, SystemRandom};
use keystead_etcd::stored::{KmsV2, SealRandomness, SeedKind, WrappedSeed};
use keystead_proto::kms_v2;
use keystead_testkit::api::{Client, Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, Options};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::deadline::eventually;
use super::host::Host;
use super::stored::{Store, key, open_with_key_file};
use super::supervisor::{Death, Supervisor};
use super::v1::{KMS_V1_ON, v2_secrets_and_v1_config_maps};

const TIMES: usize = 200;
/// Writers at a time.
const SECRETS: usize = 2;
const CONFIG_MAPS: usize = 4;

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k1_k2_kills_fail_no_v2_call_and_only_v1_calls_in_flight_and_restarts_fail_none() -> Result<()> {
    let host = Host::new(&["admin: 'off'"])?;
    let mut supervisor = Supervisor::start(&host)?;
    let encryption = Some(v2_secrets_and_v1_config_maps(&host.v2("new"), &host.v1("old")));
    let args = vec![KMS_V1_ON.to_owned()];
    let control_plane = ControlPlane::start(Options { encryption, args, ..Options::default() }).await?;
    let client = control_plane.api_servers[0].client();
    let seeds = Seeds::new(&host, &control_plane).await?;

    let load = Load::start(client, "killed").await?;
    let mut kills = Vec::new();
    for index in 0..TIMES {
        load.catch_v1_calls_in_flight(&supervisor, index).await?;
        let death = supervisor.kill().await?;
        seeds.read_with_a_new_seed(client, index).await?;
        let works_again = load.v1_works_after(death).await?;
        kills.push((death, works_again));
    }
    let killed = load.stop().await;
    println!("{TIMES} kills: {killed}");
    assert_eq!(failed(&killed.secrets), Vec::<&Call>::new());
    let unexplained: Vec<_> = failed(&killed.config_maps)
        .into_iter()
        // The API server may still send on the old connection after the death, until it reads that it was reset.
        .filter(|call| {
            !kills.iter().any(|(death, again)| call.began <= *again && call.ended >= death.signalled)
        })
        .collect();
    assert!(unexplained.is_empty(), "failed without a kill: {unexplained:?}");
    assert!(
        failed(&killed.config_maps).len() >= TIMES / 2,
        "no kill hit a call, so restarts hit none either"
    );

    let load = Load::start(client, "restarted").await?;
    for index in 0..TIMES {
        load.catch_v1_calls_in_flight(&supervisor, index).await?;
        let death = supervisor.restart().await?;
        seeds.read_with_a_new_seed(client, TIMES + index).await?;
        load.v1_works_after(death).await?;
    }
    let restarted = load.stop().await;
    println!("{TIMES} restarts: {restarted}");
    assert_eq!(failed(&restarted.secrets), Vec::<&Call>::new());
    assert_eq!(failed(&restarted.config_maps), Vec::<&Call>::new());
    // A load that does nothing proves nothing.
    for calls in [killed.secrets, killed.config_maps, restarted.secrets, restarted.config_maps] {
        assert!(calls.len() > 5 * TIMES, "only {} calls", calls.len());
    }
    Ok(())
}

/// Secrets that no API server has seen, each under a seed of its own: reading one needs a Decrypt, and so a connection.
struct Seeds {
    host_client: kms_v2::key_management_service_client::KeyManagementServiceClient<tonic::transport::Channel>,
    store: Store,
    plaintext: Vec<u8>,
}

impl Seeds {
    async fn new(host: &Host, control_plane: &ControlPlane) -> Result<Self> {
        let store = Store::of(control_plane).await?;
        let client = control_plane.api_servers[0].client();
        client.create(&Object::new(Kind::Secret, "default", MODEL, "key", b"value")).await?;
        let model = store.v2(Kind::Secret, MODEL).await?;
        let seed = open_with_key_file(&host.key_file(), &model.seed.ciphertext).await?;
        let plaintext = model.open(seed.expose(), &key(Kind::Secret, MODEL))?.to_vec();
        Ok(Self { host_client: host.client(), store, plaintext })
    }

    /// Puts one into etcd and reads it. Afterwards no Decrypt is under way: the API server's watch cache has it too.
    async fn read_with_a_new_seed(&self, client: &Client, index: usize) -> Result<()> {
        let name = format!("sealed-{index:03}");
        let plaintext = renamed(&self.plaintext, name.as_bytes());
        let mut seed = [0; 32];
        let mut random = SealRandomness { info: [0; 32], nonce: [0; 12] };
        for bytes in [seed.as_mut_slice(), &mut random.info, &mut random.nonce] {
            SystemRandom.fill(bytes)?;
        }
        let request = kms_v2::EncryptRequest { plaintext: seed.to_vec(), uid: name.clone() };
        let answer = self.encrypt(request).await?;
        let wrapped = WrappedSeed {
            kind: SeedKind::HkdfSeed,
            key_id: answer.key_id,
            ciphertext: answer.ciphertext,
            annotations: answer.annotations.into_iter().collect(),
        };
        let key = key(Kind::Secret, &name);
        let value = KmsV2::seal("new", wrapped, &seed, &key, &plaintext, &random)?;
        self.store.etcd.put(&key, &value.encode()?).await?;
        let read = client.get(Kind::Secret, "default", &name).await.context("a Secret with a new seed")?;
        assert_eq!((read.metadata.name, read.data["key"].as_slice()), (name.clone(), b"value".as_slice()));
        let listed = client.list(Kind::Secret, "default", 0, "").await.context("the watch cache")?;
        assert!(listed.items.iter().any(|item| item.name == name));
        Ok(())
    }

    /// This client does not wait for a restart by itself, as kube-apiserver's does.
    async fn encrypt(&self, request: kms_v2::EncryptRequest) -> Result<kms_v2::EncryptResponse> {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            match self.host_client.clone().encrypt(request.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if Instant::now() > end => return Err(status.into()),
                // Restarting, or not ready for some milliseconds yet.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

/// Of one length with all other names, so that the rest of the message stays as it is.
const MODEL: &str = "sealed-mod";

fn renamed(plaintext: &[u8], name: &[u8]) -> Vec<u8> {
    let mut renamed = plaintext.to_vec();
    for start in 0..plaintext.len() - name.len() {
        if plaintext[start..].starts_with(MODEL.as_bytes()) {
            renamed[start..start + name.len()].copy_from_slice(name);
        }
    }
    renamed
}

/// Writers and readers of Secrets (v2) and writers of ConfigMaps (v1), until told to stop.
struct Load {
    tasks: JoinSet<Option<()>>,
    stop: CancellationToken,
    secrets: Calls,
    config_maps: Calls,
    /// When the newest good v1 call began.
    v1_worked: watch::Receiver<Instant>,
}

#[derive(Clone, Debug, PartialEq)]
struct Call {
    began: Instant,
    ended: Instant,
    error: Option<String>,
}

impl Load {
    /// `name` starts the names of what it writes.
    async fn start(client: &Client, name: &str) -> Result<Self> {
        let (v1_works, v1_worked) = watch::channel(Instant::now());
        let (secrets, config_maps) = (Calls::default(), Calls::default());
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        for index in 0..SECRETS {
            let object = Object::new(Kind::Secret, "default", &format!("{name}-{index}"), "key", b"value");
            client.create(&object).await?;
            tasks.spawn(stop.clone().run_until_cancelled_owned(write_and_read(
                client.clone(),
                object,
                secrets.clone(),
            )));
        }
        for index in 0..CONFIG_MAPS {
            let object = Object::new(Kind::ConfigMap, "default", &format!("{name}-{index}"), "key", b"value");
            client.create(&object).await?;
            tasks.spawn(stop.clone().run_until_cancelled_owned(write(
                client.clone(),
                object,
                config_maps.clone(),
                v1_works.clone(),
            )));
        }
        Ok(Self { tasks, stop, secrets, config_maps, v1_worked })
    }

    /// A call spends so little time in the plugin that a signal hardly ever meets one. Every second time the plugin is
    /// frozen first, until all writers wait for it.
    async fn catch_v1_calls_in_flight(&self, supervisor: &Supervisor, index: usize) -> Result<()> {
        if !index.is_multiple_of(2) {
            return Ok(());
        }
        supervisor.freeze()?;
        let mut before = None;
        eventually("all writers wait for the plugin", Duration::from_secs(30), async || {
            let calls = Some(self.config_maps.len());
            Ok(std::mem::replace(&mut before, calls) == calls)
        })
        .await
    }

    /// Waits until a v1 call has worked that began after the death; a time after its end.
    async fn v1_works_after(&self, death: Death) -> Result<Instant> {
        let mut worked = self.v1_worked.clone();
        let works = worked.wait_for(|began| *began > death.gone);
        let worked = tokio::time::timeout(Duration::from_secs(30), works).await;
        worked.context("v1 does not work again")?.context("the load has ended")?;
        Ok(Instant::now())
    }

    async fn stop(self) -> Outcome {
        self.stop.cancel();
        self.tasks.join_all().await;
        Outcome { secrets: self.secrets.take(), config_maps: self.config_maps.take() }
    }
}

/// Needs no plugin for long: the seed is in the API server's memory.
async fn write_and_read(client: Client, mut object: Object, calls: Calls) {
    for round in 0_u64.. {
        change(&mut object, round);
        let began = Instant::now();
        calls.record(began, client.update(&object).await.map(drop));
        let began = Instant::now();
        let name = &object.metadata.name;
        calls.record(began, client.get(object.kind, "default", name).await.map(drop));
    }
}

/// Each needs an Encrypt of the plugin.
async fn write(client: Client, mut object: Object, calls: Calls, works: watch::Sender<Instant>) {
    for round in 0_u64.. {
        change(&mut object, round);
        let began = Instant::now();
        let done = client.update(&object).await.map(drop);
        if done.is_ok() {
            works.send_replace(began);
        }
        calls.record(began, done);
    }
}

/// An update that changes nothing is not written, and so not encrypted.
fn change(object: &mut Object, round: u64) {
    object.data.insert("round".to_owned(), round.to_string().into_bytes());
}

#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    fn record(&self, began: Instant, result: Result<(), keystead_testkit::api::Error>) {
        let error = result.err().map(|error| error.to_string());
        let call = Call { began, ended: Instant::now(), error };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Outcome {
    secrets: Vec<Call>,
    config_maps: Vec<Call>,
}

fn failed(calls: &[Call]) -> Vec<&Call> {
    calls.iter().filter(|call| call.error.is_some()).collect()
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, calls) in [("v2", &self.secrets), ("v1", &self.config_maps)] {
            let slowest = calls.iter().map(|call| call.ended - call.began).max().unwrap_or_default();
            let (all, failed) = (calls.len(), failed(calls).len());
            write!(formatter, "{name}: {all} calls, {failed} failed, the slowest took {slowest:?}; ")?;
        }
        Ok(())
    }
}
