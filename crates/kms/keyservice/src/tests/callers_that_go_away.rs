//! What a call leaves behind does not depend on its caller still being there. Each change is cut at each of its await points;
//! afterwards the running service answers everything as one does that starts on a copy of the same files.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use jiff::{SignedDuration, Timestamp};
use keystead_crypto::SecretBytes;
use keystead_model::cluster::{self, Target, Task};
use keystead_model::cluster_host::{HostReport, Joined};
use keystead_model::{
    Binding, Cluster, ClusterHost, ClusterHostName, ClusterName, ClusterOperation, ClusterOperationName,
    CryptoKeyName, CryptoKeyVersionName, Policy, Principal, ProjectId,
};
use keystead_store::Batch;

use crate::fresh_server::FreshServer;
use crate::operations::*;
use crate::records::{account_email, encode, record_name};
use crate::*;

const PROJECT: &str = "key-project";
const USER: &str = "user:alice@example.com";

/// A service with something of each kind, all of which it remembers.
struct Scene {
    server: FreshServer,
    key: CryptoKeyName,
    account: String,
    /// What somebody presents: a token of the user, a token of the account, what the account's key has signed, a host's join token.
    bearers: Vec<String>,
    ciphertexts: Vec<Vec<u8>>,
    /// It makes a cluster.
    operation: ClusterOperationName,
    /// It may join.
    host: ClusterHostName,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), KmsError>> + Send + 'a>>;

/// A change that a caller asks for.
struct Change {
    name: &'static str,
    /// By the agent of a host; otherwise by the administrator.
    by_agent: bool,
    begin: for<'a> fn(&'a Scene, &'a Call) -> Running<'a>,
}

/// Polls a future so many times at most; the answer is then `None`, and the caller drops it.
struct Cut<'a> {
    inner: Running<'a>,
    polls: usize,
}

impl Future for Cut<'_> {
    type Output = Option<Result<(), KmsError>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        match self.inner.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

macro_rules! change {
    ($name:literal, |$scene:ident| $command:expr) => {
        Change {
            name: $name,
            by_agent: false,
            begin: |$scene, call| {
                Box::pin(async move {
                    let command = $command;
                    $scene.server.service.run(call, command).await.map(drop)
                })
            },
        }
    };
}

fn changes() -> Vec<Change> {
    vec![
        change!("CreateKeyRing", |scene| CreateKeyRing {
            name: format!("projects/{PROJECT}/locations/global/keyRings/another").parse().unwrap()
        }),
        change!("CreateCryptoKey", |scene| CreateCryptoKey {
            name: format!("{}/cryptoKeys/another", scene.key.ring).parse().unwrap(),
            labels: Default::default(),
            rotation_period_s: None,
            next_rotation_time: None,
            destroy_scheduled_duration_s: None,
            skip_initial_version: false,
        }),
        change!("CreateCryptoKeyVersion", |scene| CreateCryptoKeyVersion { key: scene.key.clone() }),
        change!("UpdateCryptoKey", |scene| UpdateCryptoKey {
            name: scene.key.clone(),
            labels: Some([("a".to_owned(), "b".to_owned())].into()),
            rotation_period_s: None,
            next_rotation_time: None,
        }),
        change!("UpdateCryptoKeyPrimaryVersion", |scene| UpdateCryptoKeyPrimaryVersion {
            key: scene.key.clone(),
            version: crate::testbed::version(1),
        }),
        change!("UpdateCryptoKeyVersion", |scene| UpdateCryptoKeyVersion {
            name: scene.version(2),
            enabled: false
        }),
        change!("DestroyCryptoKeyVersion", |scene| DestroyCryptoKeyVersion { name: scene.version(2) }),
        change!("RestoreCryptoKeyVersion", |scene| RestoreCryptoKeyVersion { name: scene.version(3) }),
        change!("SetIamPolicy", |scene| SetIamPolicy {
            resource: Resource::CryptoKey(scene.key.clone()),
            policy: Policy::default(),
            etag: None,
            keep_bindings: false,
        }),
        change!("RevokeToken", |scene| RevokeToken::new(&scene.server.service, scene.token_id(0)).await?),
        change!("RevokeCertificate", |_scene| RevokeCertificate { serial: "0a1b".to_owned() }),
        change!("IssueCertificate", |scene| {
            let not_after = scene.server.clock.now() + SignedDuration::from_hours(24);
            let sign = Box::new(move |_: &str, _: Timestamp, _: SignedDuration| {
                Ok(SignedCertificate { pem: String::new(), serial: "0a1c".to_owned(), not_after })
            });
            IssueCertificate::new(&scene.server.service, USER.parse().unwrap(), None, sign).await?
        }),
        change!("CreateToken", |scene| {
            CreateToken::new(&scene.server.service, USER.parse().unwrap(), String::new(), None).await?
        }),
        change!("CreateProject", |scene| CreateProject {
            id: "another-project".parse().unwrap(),
            display_name: String::new(),
            labels: Default::default(),
        }),
        change!("DisableService", |scene| SwitchServices {
            project: PROJECT.parse().unwrap(),
            apis: vec![ServiceApi::CloudKms],
            enable: false,
        }),
        change!("CreateServiceAccount", |scene| CreateServiceAccount {
            project: PROJECT.parse().unwrap(),
            account_id: "another".to_owned(),
            display_name: String::new(),
            description: String::new(),
        }),
        change!("PatchServiceAccount", |scene| UpdateServiceAccount {
            name: scene.account().await?,
            display_name: Some("new".to_owned()),
            description: None,
            etag: None,
        }),
        change!("DisableServiceAccount", |scene| SwitchServiceAccount {
            name: scene.account().await?,
            enable: false
        }),
        change!("DeleteServiceAccount", |scene| DeleteServiceAccount { name: scene.account().await? }),
        change!("CreateServiceAccountKey", |scene| CreateServiceAccountKey::new(scene.account().await?)),
        change!("DeleteServiceAccountKey", |scene| DeleteServiceAccountKey {
            name: scene.account().await?,
            key_id: scene.key_id().await?,
        }),
        change!("RegisterInventory", |scene| RegisterInventory {
            key: scene.key.clone(),
            inventory: Inventory {
                source: "cluster-1".to_owned(),
                observe_time: scene.server.clock.now(),
                counts: [(crate::testbed::version(1), 7)].into(),
            },
        }),
        change!("DeleteInventory", |scene| DeleteInventory {
            key: scene.key.clone(),
            source: "cluster-0".to_owned()
        }),
        change!("CreateCluster", |_scene| new_cluster("another")),
        change!("UpdateCluster", |_scene| UpdateClusterEncryption { name: cluster("idle"), key: None }),
        change!("SetLabels", |_scene| SetClusterLabels {
            name: cluster("idle"),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            fingerprint: String::new(),
        }),
        change!("DeleteCluster", |_scene| DeleteCluster { name: cluster("idle") }),
        change!("CancelOperation", |scene| CancelClusterOperation { name: scene.operation.clone() }),
        change!("InviteHost", |_scene| invite("cp-2")),
        change!("InviteHost again", |_scene| invite("cp-1")),
        change!("RemoveHost", |scene| RemoveHost { name: scene.host.clone() }),
        by_agent(change!("JoinCluster", |_scene| JoinCluster {
            public_key: Ok("another".to_owned()),
            node: NODE.to_owned(),
            sign: Box::new(|_: &str, now: Timestamp, _: SignedDuration| {
                Ok(SignedCertificate { pem: String::new(), serial: "0a1d".to_owned(), not_after: now })
            }),
        })),
        // With it the task of its cluster begins.
        by_agent(change!("ReportHost", |_scene| ReportHost {
            report: HostReport {
                sequence: 1,
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                control_plane: vec![NODE.to_owned()],
                ..HostReport::default()
            },
        })),
        by_agent(change!("IssuePluginToken", |_scene| IssuePluginToken)),
        by_agent(change!("ReportInventory", |scene| ReportInventory {
            observe_time: Some(scene.server.clock.now()),
            under: Default::default(),
            unattributed: 0,
        })),
    ]
}

fn cluster(id: &str) -> ClusterName {
    format!("projects/{PROJECT}/locations/us-central1/clusters/{id}").parse().unwrap()
}

fn by_agent(change: Change) -> Change {
    Change { by_agent: true, ..change }
}

/// Where an agent is.
const NODE: &str = "cp-9";

/// Its host, of the cluster that is being made.
fn joined_host() -> ClusterHost {
    ClusterHost {
        name: format!("{}/hosts/host-0123456789abcdef", cluster("busy")).parse().unwrap(),
        node: NODE.to_owned(),
        create_time: crate::fresh_server::START.parse().unwrap(),
        join_token: None,
        joined: Some(Joined { time: crate::fresh_server::START.parse().unwrap(), public_key: String::new() }),
        plugin_tokens: Vec::new(),
        certificate_time: None,
        plugin_token_time: None,
        reported: None,
    }
}

/// Its agent, with a certificate.
fn agent() -> Caller {
    let principal = Principal::ServiceAccount(account_email::host(&joined_host().name));
    Caller { principal, groups: Vec::new(), credential: Credential::Certificate("0b".to_owned()) }
}

fn invite(node: &str) -> InviteHost {
    InviteHost { cluster: cluster("idle"), node: node.to_owned(), ttl: None }
}

fn new_cluster(id: &str) -> CreateCluster {
    CreateCluster {
        name: cluster(id),
        key: None,
        labels: Default::default(),
        settings: String::new(),
        initial_version: String::new(),
    }
}

impl Scene {
    async fn new() -> Self {
        let server = FreshServer::new().await;
        let ring = server.ring(PROJECT).await;
        let admin = server.admin().await;
        let key: CryptoKeyName = format!("{ring}/cryptoKeys/key").parse().unwrap();
        let create = CreateCryptoKey {
            name: key.clone(),
            // Version 2 is in use, and may be destroyed all the same.
            labels: [("keystead-destroy".to_owned(), "2".to_owned())].into(),
            rotation_period_s: None,
            next_rotation_time: None,
            destroy_scheduled_duration_s: None,
            skip_initial_version: false,
        };
        server.run_as(&admin, create).await.unwrap();
        let version =
            |number| CryptoKeyVersionName { key: key.clone(), version: crate::testbed::version(number) };
        for _ in 0..2 {
            server.run_as(&admin, CreateCryptoKeyVersion { key: key.clone() }).await.unwrap();
        }
        let mut ciphertexts = Vec::new();
        for number in 1..=2 {
            let primary =
                UpdateCryptoKeyPrimaryVersion { key: key.clone(), version: version(number).version };
            server.run_as(&admin, primary).await.unwrap();
            let command = Encrypt {
                key: key.clone(),
                version: None,
                plaintext: SecretBytes::from(b"the secret".to_vec()),
                caller_data: Vec::new(),
            };
            ciphertexts.push(server.run_as(&admin, command).await.unwrap().ciphertext);
        }
        server.run_as(&admin, DestroyCryptoKeyVersion { name: version(3) }).await.unwrap();
        let inventory = Inventory {
            source: "cluster-0".to_owned(),
            observe_time: server.clock.now(),
            counts: Default::default(),
        };
        server.run_as(&admin, RegisterInventory { key: key.clone(), inventory }).await.unwrap();

        let account = CreateServiceAccount {
            project: PROJECT.parse().unwrap(),
            account_id: "account-1".to_owned(),
            display_name: String::new(),
            description: String::new(),
        };
        let account = server.run_as(&admin, account).await.unwrap().email;
        let name =
            server.service.account_name(&format!("projects/-/serviceAccounts/{account}")).await.unwrap();
        let made = server.run_as(&admin, CreateServiceAccountKey::new(name)).await.unwrap();
        let file: crate::fresh_server::KeyFile = serde_json::from_slice(made.file.expose()).unwrap();
        let now = server.clock.now().as_second();
        let signed = file.sign(&serde_json::json!({
            "iss": account, "sub": account, "aud": "https://kms.example:7443/", "iat": now, "exp": now + 3600,
        }));
        let members = vec![USER.to_owned(), format!("serviceAccount:{account}")];
        let role = "roles/cloudkms.cryptoKeyEncrypterDecrypter".to_owned();
        let policy = Policy { version: 1, bindings: vec![Binding { role, members, condition: None }] };
        let grant = SetIamPolicy {
            resource: Resource::CryptoKey(key.clone()),
            policy,
            etag: None,
            keep_bindings: false,
        };
        server.run_as(&admin, grant).await.unwrap();
        let bearers = vec![
            server.token(USER, None).await,
            server.token(&format!("serviceAccount:{account}"), None).await,
            signed,
        ];
        let enable = SwitchServices {
            project: PROJECT.parse().unwrap(),
            apis: vec![ServiceApi::Container],
            enable: true,
        };
        server.run_as(&admin, enable).await.unwrap();
        let operation = server.run_as(&admin, new_cluster("busy")).await.unwrap().name;
        let busy = server.run_as(&admin, GetCluster { name: cluster("busy") }).await.unwrap().cluster;
        // As if its hosts had come.
        let idle = Cluster { name: cluster("idle"), running: None, ..busy.clone() };
        // As if it had asked for the key, which is not where clusters are.
        let task = Task::Create(Target { key: Some(key.clone()) });
        let running = busy.running.clone().map(|running| cluster::Running { task, ..running });
        let busy = Cluster { running, ..busy };
        let records = [&busy, &idle].iter().fold(Batch::default(), |batch, cluster| {
            batch.put(record_name::cluster(&cluster.name), encode(cluster).unwrap())
        });
        let host = joined_host();
        let records = records.put(record_name::cluster_host(&host.name), encode(&host).unwrap());
        server.service.ledger.commit(records, None).await.unwrap().complete().unwrap();
        let invited = server.run_as(&admin, invite("cp-1")).await.unwrap();
        let mut bearers = bearers;
        bearers.push(String::from_utf8(invited.token.secret.into_exposed()).unwrap());
        Self { server, key, account, bearers, ciphertexts, operation, host: invited.host.name }
    }

    fn version(&self, number: u32) -> CryptoKeyVersionName {
        CryptoKeyVersionName { key: self.key.clone(), version: crate::testbed::version(number) }
    }

    fn token_id(&self, bearer: usize) -> &str {
        self.bearers[bearer].split('_').nth(1).unwrap()
    }

    async fn account(&self) -> Result<AccountName, KmsError> {
        self.server.service.account_name(&format!("projects/-/serviceAccounts/{}", self.account)).await
    }

    async fn key_id(&self) -> Result<String, KmsError> {
        let name = self.account().await?;
        let keys = self.server.run_as(&self.server.admin().await, ListServiceAccountKeys { name }).await?;
        Ok(keys.first().map(|key| key.id.clone()).unwrap_or_default())
    }

    /// Everything that callers can find out, in words.
    async fn answers(&self) -> Vec<String> {
        let server = &self.server;
        let admin = server.admin().await;
        let mut answers = Vec::new();
        macro_rules! ask {
            ($who:expr, $command:expr, $shown:expr) => {
                let answer = server.run_as($who, $command).await;
                answers.push(match &answer {
                    Ok(answer) => format!("{}: {:?}", stringify!($command), ($shown)(answer)),
                    Err(error) => format!("{}: {:?} {error}", stringify!($command), error.class()),
                });
            };
        }
        ask!(&admin, GetCryptoKey { name: self.key.clone() }, |it: &KeyAndPrimary| format!("{:?}", it.key));
        for number in 1..=4 {
            ask!(&admin, GetCryptoKeyVersion { name: self.version(number) }, |it: &_| format!("{it:?}"));
        }
        for number in 1..=3 {
            ask!(&admin, GetVersionUsage { name: self.version(number) }, |it: &VersionUsage| it
                .clusters
                .clone());
        }
        ask!(&admin, ListInventories { key: self.key.clone() }, |it: &Vec<Inventory>| it.len());
        for id in ["busy", "idle", "another"] {
            ask!(&admin, GetCluster { name: cluster(id) }, |it: &ClusterView| format!("{it:?}"));
            ask!(&admin, ListHosts { cluster: cluster(id) }, |it: &Vec<ClusterHost>| format!("{it:?}"));
        }
        let project: ProjectId = PROJECT.parse().unwrap();
        let list = ListClusterOperations { project, location: None };
        ask!(&admin, list, |it: &Vec<ClusterOperation>| format!("{it:?}"));
        ask!(&admin, GetProject { id: "another-project".parse().unwrap() }, |it: &Project| it.number);
        let resource = Resource::CryptoKey(self.key.clone());
        ask!(&admin, GetIamPolicy { resource, requested_version: 3 }, |it: &PolicyAndEtag| it.clone());
        let account = self.account().await;
        answers
            .push(format!("{:?}", account.as_ref().map(AccountName::resource).map_err(ToString::to_string)));
        if let Ok(name) = account {
            ask!(&admin, GetServiceAccount { name: name.clone() }, |it: &ServiceAccount| it.clone());
            ask!(&admin, ListServiceAccountKeys { name }, |it: &Vec<ServiceAccountKey>| it.len());
        }
        let mut callers = vec![admin];
        for bearer in &self.bearers {
            match server.bearer(bearer).await {
                Ok(call) => {
                    answers.push(call.caller().principal.to_string());
                    callers.push(call);
                }
                // Not its text: one that has checked a signature before can say that its key is deleted, and one that never
                // saw the key only that it is unknown.
                Err(error) => answers.push(format!("{:?}", error.class())),
            }
        }
        for caller in &callers {
            let encrypt = || Encrypt {
                key: self.key.clone(),
                version: None,
                plaintext: SecretBytes::from(b"x".to_vec()),
                caller_data: Vec::new(),
            };
            ask!(caller, encrypt(), |it: &Encrypted| (it.version.clone(), it.activation));
            for ciphertext in &self.ciphertexts {
                let decrypt = || Decrypt {
                    key: self.key.clone(),
                    ciphertext: ciphertext.clone(),
                    caller_data: Vec::new(),
                    recheck: false,
                };
                ask!(caller, decrypt(), |it: &Decrypted| it.plaintext.expose().len());
            }
        }
        answers
    }

    /// The same scene on a copy of its files, freshly started.
    async fn started_on_a_copy(&self) -> Self {
        let files = self.server.files.copy();
        let (service, first) = files.open(&self.server.clock).await.expect("a copy opens");
        assert_eq!(first, None);
        let server = FreshServer {
            clock: Arc::clone(&self.server.clock),
            service,
            admin_token: self.server.admin_token.clone(),
            files,
        };
        Self {
            server,
            key: self.key.clone(),
            account: self.account.clone(),
            bearers: self.bearers.clone(),
            ciphertexts: self.ciphertexts.clone(),
            operation: self.operation.clone(),
            host: self.host.clone(),
        }
    }

    /// Until nothing runs any more that a caller has left behind.
    async fn settle(&self) {
        while Arc::strong_count(&self.server.service.ledger) > 1 {
            tokio::task::yield_now().await;
        }
    }
}

/// A caller goes away in the middle of a change: after so many polls. Whether it went away before the answer.
async fn cut(scene: &Scene, change: &Change, polls: usize) -> bool {
    // All that it has is in memory, and would be answered from there.
    let before = scene.answers().await;
    let caller = match change.by_agent {
        true => Arc::new(agent()),
        false => Arc::clone(&scene.server.admin().await.caller),
    };
    let call = scene.server.service.call(caller, Origin::default()).unwrap();
    let cut = Cut { inner: (change.begin)(scene, &call), polls };
    let answered = cut.await;
    if let Some(result) = &answered {
        assert!(result.is_ok(), "{}: {result:?}", change.name);
    }
    scene.settle().await;

    let now = scene.answers().await;
    let fresh = scene.started_on_a_copy().await;
    let name = change.name;
    let answers = fresh.answers().await;
    assert_eq!(now.len(), answers.len(), "{name} cut after {polls} polls");
    for (now, fresh) in now.iter().zip(&answers) {
        assert_eq!(now, fresh, "{name} cut after {polls} polls");
    }
    let records = |text: &str| text.lines().filter(|line| line.contains(&call.id)).count();
    let recorded = (records(&scene.server.audit_text()), records(&fresh.server.audit_text()));
    assert!(recorded == (0, 0) || recorded == (1, 1), "{name} cut after {polls} polls: {recorded:?}");
    if now != before || answered.is_some() {
        assert_eq!(recorded, (1, 1), "{name} has happened, so it is recorded");
    }
    answered.is_none()
}

async fn cut_everywhere(changes: impl Iterator<Item = Change>) {
    for change in changes {
        for polls in 1.. {
            let scene = Scene::new().await;
            if !cut(&scene, &change, polls).await {
                assert!(polls > 1, "{} never waits, so nothing was cut", change.name);
                break;
            }
        }
    }
}

/// Every fourth, so that the cores share the work.
fn quarter(first: usize) -> impl Iterator<Item = Change> {
    changes().into_iter().skip(first).step_by(4)
}

#[tokio::test]
async fn p8_a_change_does_not_depend_on_its_caller_1() {
    cut_everywhere(quarter(0)).await;
}

#[tokio::test]
async fn p8_a_change_does_not_depend_on_its_caller_2() {
    cut_everywhere(quarter(1)).await;
}

#[tokio::test]
async fn p8_a_change_does_not_depend_on_its_caller_3() {
    cut_everywhere(quarter(2)).await;
}

#[tokio::test]
async fn p8_a_change_does_not_depend_on_its_caller_4() {
    cut_everywhere(quarter(3)).await;
}
