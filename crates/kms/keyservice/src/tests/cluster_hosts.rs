//! Hosts join clusters, say what they do, and a cluster's task begins and ends with that. The agents are played.

mod reencryption;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use keystead_model::cluster_host::{HostGoal, HostReport, Instruction, Work, WorkState};
use keystead_model::{
    Binding, Cluster, ClusterHost, ClusterName, ClusterOperation, CryptoKeyName, CryptoKeyVersionName,
    ErrorClass, Policy, Principal,
};
use keystead_store::{Batch, Revision};

use crate::fresh_server::FreshServer;
use crate::operations::*;
use crate::records::{account_email, encode, record_name};
use crate::{Call, Caller, Clock, Credential, KmsError, Operation, Origin, ServiceApi, Settings};

mod telling;

const PROJECT: &str = "cluster-project";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A service with a cluster's project, and keys that its clusters may use.
struct Scene {
    server: FreshServer,
    admin: Call,
}

/// An agent on a host, as the service sees it.
struct Agent {
    host: ClusterHost,
    sequence: u64,
    nodes: Vec<String>,
}

fn cluster() -> ClusterName {
    format!("projects/{PROJECT}/locations/us-central1/clusters/prod-a").parse().unwrap()
}

fn key(id: &str) -> CryptoKeyName {
    format!("projects/{PROJECT}/locations/us-central1/keyRings/r/cryptoKeys/{id}").parse().unwrap()
}

fn sign() -> Box<Sign> {
    static SERIALS: AtomicU32 = AtomicU32::new(1);
    Box::new(|uri, now, ttl| {
        let serial = format!("{:08x}", SERIALS.fetch_add(1, Ordering::Relaxed));
        Ok(SignedCertificate { pem: uri.to_owned(), serial, not_after: now.checked_add(ttl).unwrap() })
    })
}

/// On the host `cp-1`.
fn join(public_key: &str) -> JoinCluster {
    JoinCluster { public_key: Ok(public_key.to_owned()), node: "cp-1".to_owned(), sign: sign() }
}

const A_MOMENT: Duration = Duration::from_secs(5);

fn refused<T>(answer: Result<T, KmsError>) -> KmsError {
    answer.err().expect("it is refused")
}

impl Scene {
    async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        let server = FreshServer::with(settings).await;
        let project = server.project(PROJECT).await;
        let admin = server.admin().await;
        let enable =
            SwitchServices { project: project.clone(), apis: vec![ServiceApi::Container], enable: true };
        server.run_as(&admin, enable).await.unwrap();
        server.run_as(&admin, CreateKeyRing { name: key("a").ring }).await.unwrap();
        for id in ["a", "b"] {
            let create = CreateCryptoKey { name: key(id), ..crate::testbed::create_key() };
            server.run_as(&admin, create).await.unwrap();
        }
        let number = server.service.find_project(&project).await.unwrap().unwrap().number;
        let policy = Policy {
            bindings: vec![Binding {
                role: "roles/cloudkms.cryptoKeyEncrypterDecrypter".to_owned(),
                members: vec![format!("serviceAccount:{}", account_email::cluster(number))],
                condition: None,
            }],
            ..Policy::default()
        };
        let record = record_name::policy(&key("a").ring.to_string());
        let batch = Batch::default().put(record, encode(&policy).unwrap());
        server.service.ledger.commit(batch, None).await.unwrap().complete().unwrap();
        Self { server, admin }
    }

    async fn reopen(self) -> Self {
        let Self { server, .. } = self;
        let server = server.reopen().await;
        let admin = server.admin().await;
        Self { server, admin }
    }

    async fn run<O: Operation>(&self, command: O) -> Result<O::Output, KmsError> {
        self.server.run_as(&self.admin, command).await
    }

    async fn create(&self, key: Option<CryptoKeyName>) -> ClusterOperation {
        let create = CreateCluster {
            name: cluster(),
            key,
            labels: Default::default(),
            settings: String::new(),
            initial_version: String::new(),
        };
        self.run(create).await.unwrap()
    }

    async fn update(&self, key: Option<CryptoKeyName>) -> ClusterOperation {
        self.run(UpdateClusterEncryption { name: cluster(), key }).await.unwrap()
    }

    async fn cluster(&self) -> Cluster {
        self.run(GetCluster { name: cluster() }).await.unwrap().cluster
    }

    async fn operation(&self, begun: &ClusterOperation) -> ClusterOperation {
        self.run(GetClusterOperation { name: begun.name.clone() }).await.unwrap()
    }

    async fn invite(&self, node: &str) -> (ClusterHost, String) {
        let invite = InviteHost { cluster: cluster(), node: node.to_owned(), ttl: None };
        let invited = self.run(invite).await.unwrap();
        (invited.host, String::from_utf8(invited.token.secret.into_exposed()).unwrap())
    }

    /// A host of a control plane with these nodes.
    async fn joined(&self, node: &str, nodes: &[&str]) -> Agent {
        let (host, token) = self.invite(node).await;
        let call = self.server.bearer(&token).await.unwrap();
        let join = JoinCluster { node: node.to_owned(), ..join(node) };
        let joined = self.server.run_as(&call, join).await.unwrap();
        assert_eq!(joined.host.name, host.name);
        Agent { host, sequence: 0, nodes: nodes.iter().map(|it| (*it).to_owned()).collect() }
    }

    async fn issue_plugin_token(&self, agent: &Agent) -> Result<String, KmsError> {
        let issued = self.server.run_as(&self.call_of(&agent.host), IssuePluginToken).await?;
        Ok(String::from_utf8(issued.secret.into_exposed()).unwrap())
    }

    /// A call with a host's certificate.
    fn call_of(&self, host: &ClusterHost) -> Call {
        let principal = Principal::ServiceAccount(account_email::host(&host.name));
        let credential = Credential::Certificate("0b".to_owned());
        let caller = Caller { principal, groups: Vec::new(), credential };
        self.server.service.call(Arc::new(caller), Origin::default()).unwrap()
    }

    async fn report(&self, agent: &mut Agent, work: Option<Work>) -> Result<Option<Instruction>, KmsError> {
        agent.sequence += 1;
        let report = HostReport {
            sequence: agent.sequence,
            agent_version: VERSION.to_owned(),
            control_plane: agent.nodes.clone(),
            work,
            ..HostReport::default()
        };
        // What a host says anew within one second is written down with the next.
        self.server.clock.advance(Duration::from_secs(1));
        let answer = self.server.run_as(&self.call_of(&agent.host), ReportHost { report }).await?;
        Ok(answer.instruction)
    }

    /// With a cluster of one host, encrypted with key `a`.
    async fn encrypted() -> (Self, Agent) {
        Self::new().await.and_encrypted().await
    }

    async fn and_encrypted(self) -> (Self, Agent) {
        let scene = self;
        let create = scene.create(Some(key("a"))).await;
        let mut one = scene.joined("cp-1", &["cp-1"]).await;
        scene.report(&mut one, None).await.unwrap();
        scene.report(&mut one, work(&create, WorkState::Done, "")).await.unwrap();
        (scene, one)
    }

    async fn hosts(&self) -> Vec<ClusterHost> {
        self.run(ListHosts { cluster: cluster() }).await.unwrap()
    }
}

fn work(of: &ClusterOperation, state: WorkState, detail: &str) -> Option<Work> {
    Some(Work { operation: of.name.operation.clone(), state, detail: detail.to_owned() })
}

#[tokio::test]
async fn c7_c8_hosts_join_and_a_cluster_goes_to_a_key_and_another_and_back() {
    let mut scene = Scene::new().await;
    let create = scene.create(None).await;
    let mut one = scene.joined("cp-1", &["cp-1", "cp-2"]).await;
    assert_eq!(scene.report(&mut one, None).await.unwrap(), None);
    let waits = scene.operation(&create).await;
    assert!(waits.detail.contains("cp-2 (runs a control plane, is not invited)"), "{}", waits.detail);
    let mut two = scene.joined("cp-2", &["cp-1", "cp-2"]).await;
    scene.report(&mut two, None).await.unwrap();
    let ended = scene.operation(&create).await.end.expect("its hosts are there");
    assert_eq!(ended.failure, None);
    assert_eq!(scene.cluster().await.needed_to_read(), []);

    for (target, goal) in [
        (Some("a"), HostGoal::Encrypt(key("a"))),
        (Some("a"), HostGoal::Reencrypt(key("a"))),
        (Some("b"), HostGoal::Encrypt(key("b"))),
        (None, HostGoal::Decrypt),
    ] {
        let operation = scene.update(target.map(key)).await;
        // Any server process goes on with what the store says.
        scene = scene.reopen().await;
        let told = scene.report(&mut one, None).await.unwrap().expect("an instruction");
        assert_eq!(told, Instruction { operation: operation.name.operation.clone(), goal });
        assert!(
            scene.cluster().await.running.expect("it runs").begun,
            "it is on record before a host is told"
        );
        assert_eq!(scene.report(&mut two, None).await.unwrap(), Some(told));
        let at_it = work(&operation, WorkState::Working, "writes everything anew");
        scene.report(&mut one, at_it).await.unwrap();
        scene = scene.reopen().await;
        assert_eq!(scene.operation(&operation).await.detail, "cp-1: writes everything anew");
        let done = || work(&operation, WorkState::Done, "");
        assert!(scene.report(&mut one, done()).await.unwrap().is_some(), "the other one is not done");
        scene = scene.reopen().await;
        assert_eq!(scene.operation(&operation).await.end, None);
        assert_eq!(scene.report(&mut two, done()).await.unwrap(), None);
        assert_eq!(scene.operation(&operation).await.end.expect("it ended").failure, None);
        let cluster = scene.cluster().await;
        assert_eq!(cluster.needed_to_read(), target.map(key).into_iter().collect::<Vec<_>>());
        assert_eq!(cluster.running, None);
    }
}

#[tokio::test]
async fn what_fails_on_a_host_ends_the_operation_and_every_key_stays_needed() {
    let scene = Scene::new().await;
    let create = scene.create(Some(key("a"))).await;
    let mut one = scene.joined("cp-1", &["cp-1"]).await;
    assert!(scene.report(&mut one, None).await.unwrap().is_some());
    assert_eq!(scene.report(&mut one, work(&create, WorkState::Failed, "no disk")).await.unwrap(), None);
    let failure = scene.operation(&create).await.end.and_then(|end| end.failure).expect("it failed");
    assert_eq!((failure.cancelled, failure.message.as_str()), (false, "host cp-1: no disk"));
    let left = scene.cluster().await;
    assert_eq!(left.needed_to_read(), [key("a")]);
    assert_eq!(left.encryption.failures[0].message, "host cp-1: no disk");
    // It can be gone on with; and an agent is told to stop what was cancelled.
    let again = scene.update(Some(key("a"))).await;
    assert!(scene.report(&mut one, None).await.unwrap().is_some());
    scene.run(CancelClusterOperation { name: again.name.clone() }).await.unwrap();
    let at_it = work(&again, WorkState::Working, "");
    assert_eq!(scene.report(&mut one, at_it).await.unwrap(), None);
    assert_eq!(scene.cluster().await.needed_to_read(), [key("a")]);
}

#[tokio::test]
async fn a_host_that_went_silent_is_waited_for_by_name() {
    let scene = Scene::new().await;
    scene.create(None).await;
    let mut one = scene.joined("cp-1", &["cp-1", "cp-2"]).await;
    let mut two = scene.joined("cp-2", &["cp-2"]).await;
    scene.report(&mut one, None).await.unwrap();
    scene.report(&mut two, None).await.unwrap();
    scene.server.clock.advance(Duration::from_secs(240));
    let update = scene.update(Some(key("a"))).await;
    assert_eq!(scene.report(&mut one, None).await.unwrap(), None, "nothing begins");
    let detail = scene.operation(&update).await.detail;
    assert!(detail.contains("cp-2 (silent since 2026-11-25T12:0"), "{detail}");
    assert!(scene.report(&mut two, None).await.unwrap().is_some());
    let all =
        scene.run(ListClusterOperations { project: PROJECT.parse().unwrap(), location: None }).await.unwrap();
    assert_eq!(all.iter().filter(|it| it.end.is_none()).count(), 1);
}

#[tokio::test]
async fn a_join_token_counts_for_one_key_and_until_the_agent_was_heard() {
    let scene = Scene::new().await;
    scene.create(None).await;
    let (_, first) = scene.invite("cp-1").await;
    // Invited again, the first token counts no more.
    let (host, token) = scene.invite("cp-1").await;
    assert_eq!(scene.hosts().await.len(), 1);
    assert_eq!(refused(scene.server.bearer(&first).await).class(), ErrorClass::Unauthenticated);
    let call = scene.server.bearer(&token).await.unwrap();
    let report = HostReport { agent_version: VERSION.to_owned(), sequence: 1, ..HostReport::default() };
    let early = scene.server.run_as(&call, ReportHost { report: report.clone() }).await;
    assert_eq!(refused(early).class(), ErrorClass::Denied);
    assert_eq!(refused(scene.server.run_as(&call, IssuePluginToken).await).class(), ErrorClass::Denied);
    let joined = scene.server.run_as(&call, join("our key")).await.unwrap();
    assert_eq!(
        joined.certificate.pem,
        format!("keystead:serviceAccount:{}", account_email::host(&host.name))
    );
    // The answer was lost, and the agent asks again. Somebody else has a copy of the token.
    let at_once = refused(scene.server.run_as(&call, join("our key")).await);
    assert_eq!(at_once.class(), ErrorClass::Throttled, "{at_once}");
    scene.server.clock.advance(A_MOMENT);
    let elsewhere = JoinCluster { node: "cp-2\u{1b}[2J".to_owned(), ..join("our key") };
    let elsewhere = refused(scene.server.run_as(&call, elsewhere).await);
    assert!(
        elsewhere.to_string().contains("cp-1 was invited, and the agent is on cp-2\\u{1b}"),
        "{elsewhere}"
    );
    scene.server.run_as(&call, join("our key")).await.unwrap();
    let stolen = refused(scene.server.run_as(&call, join("their key")).await);
    assert_eq!(stolen.class(), ErrorClass::Denied, "{stolen}");
    let again = scene.run(InviteHost { cluster: cluster(), node: "cp-1".to_owned(), ttl: None }).await;
    assert_eq!(refused(again).class(), ErrorClass::FailedPrecondition);
    let with_token = scene.server.run_as(&call, ReportHost { report: report.clone() }).await;
    assert_eq!(refused(with_token).class(), ErrorClass::Denied, "a token is no certificate");
    scene.server.run_as(&scene.call_of(&host), ReportHost { report }).await.unwrap();
    assert_eq!(refused(scene.server.bearer(&token).await).class(), ErrorClass::Unauthenticated);
    // The certificate renews itself, with a new key too.
    scene.server.clock.advance(A_MOMENT);
    scene.server.run_as(&scene.call_of(&host), join("next key")).await.unwrap();

    let (_, late) = scene.invite("cp-2").await;
    scene.server.clock.advance(Duration::from_secs(3600));
    assert_eq!(refused(scene.server.bearer(&late).await).class(), ErrorClass::Unauthenticated);
    let for_ever = Some(SignedDuration::from_hours(25));
    let long = scene.run(InviteHost { cluster: cluster(), node: "cp-2".to_owned(), ttl: for_ever }).await;
    assert_eq!(refused(long).class(), ErrorClass::Invalid);
    let named = scene.run(InviteHost { cluster: cluster(), node: "CP 2".to_owned(), ttl: None }).await;
    assert_eq!(refused(named).class(), ErrorClass::Invalid);
}

#[tokio::test]
async fn a_host_that_is_removed_and_its_plugins_are_nobody_any_more() {
    let scene = Scene::new().await;
    let create = scene.create(Some(key("a"))).await;
    let mut one = scene.joined("cp-1", &["cp-1"]).await;
    scene.report(&mut one, None).await.unwrap();
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(scene.issue_plugin_token(&one).await.unwrap());
        assert_eq!(refused(scene.issue_plugin_token(&one).await).class(), ErrorClass::Throttled);
        scene.server.clock.advance(A_MOMENT);
    }
    assert_eq!(refused(scene.server.bearer(&tokens[0]).await).class(), ErrorClass::Unauthenticated);
    let plugin = scene.server.bearer(&tokens[1]).await.unwrap();
    let encrypt = || Encrypt {
        key: key("a"),
        version: None,
        plaintext: b"seed".to_vec().into(),
        caller_data: Vec::new(),
    };
    scene.server.run_as(&plugin, encrypt()).await.unwrap();
    let elsewhere = scene.server.run_as(&plugin, ListHosts { cluster: cluster() }).await;
    assert_eq!(refused(elsewhere).class(), ErrorClass::Denied);

    scene.run(RemoveHost { name: one.host.name.clone() }).await.unwrap();
    for token in &tokens {
        assert_eq!(refused(scene.server.bearer(token).await).class(), ErrorClass::Unauthenticated);
    }
    let email = account_email::host(&one.host.name);
    assert!(scene.server.service.find_account(&email).await.unwrap().is_none());
    assert_eq!(scene.hosts().await, []);
    // What was being done waits for a host that comes.
    assert!(scene.operation(&create).await.detail.contains("to join it"));
    // With the cluster go its hosts.
    let two = scene.joined("cp-2", &["cp-2"]).await;
    scene.run(CancelClusterOperation { name: create.name }).await.unwrap();
    let off = scene.update(None).await;
    let mut two = two;
    assert_eq!(scene.report(&mut two, None).await.unwrap().map(|it| it.goal), Some(HostGoal::Decrypt));
    scene.report(&mut two, work(&off, WorkState::Done, "")).await.unwrap();
    scene.run(DeleteCluster { name: cluster() }).await.unwrap();
    let email = account_email::host(&two.host.name);
    assert!(scene.server.service.find_account(&email).await.unwrap().is_none());
}

#[tokio::test]
async fn an_agent_that_lies_floods_or_is_of_another_version_is_bounded() {
    let scene = Scene::new().await;
    scene.create(None).await;
    let mut one = scene.joined("cp-1", &["cp-1"]).await;
    scene.report(&mut one, None).await.unwrap();
    let record = record_name::cluster_host(&one.host.name);
    let revision = async || scene.server.service.store.get(&record).await.unwrap().map(|it| it.revision);
    let audited = || scene.server.audit_text().matches("ReportHost").count();
    let (before, records): (Option<Revision>, usize) = (revision().await, audited());
    let call = scene.call_of(&one.host);
    let report = |sequence, writes: &str| HostReport {
        sequence,
        agent_version: VERSION.to_owned(),
        writes: writes.to_owned(),
        control_plane: vec!["cp-1".to_owned()],
        ..HostReport::default()
    };
    for sequence in 10..500 {
        let report = report(sequence, &format!("kms:v2:{sequence}"));
        scene.server.run_as(&call, ReportHost { report }).await.unwrap();
    }
    assert_eq!(revision().await, before, "once in a second is enough");
    scene.server.clock.advance(Duration::from_secs(1));
    scene.server.run_as(&call, ReportHost { report: report(500, "identity") }).await.unwrap();
    assert_ne!(revision().await, before);
    assert_eq!(audited(), records, "what a host says of itself is nobody's change");

    let again = refused(scene.server.run_as(&call, ReportHost { report: report(500, "x") }).await);
    assert!(again.to_string().contains("500 was taken already"), "{again}");
    let ahead = refused(scene.server.run_as(&call, ReportHost { report: report(u64::MAX, "x") }).await);
    assert!(ahead.to_string().contains("set the clock of the host"), "{ahead}");
    let long =
        refused(scene.server.run_as(&call, ReportHost { report: report(501, &"x".repeat(3000)) }).await);
    assert!(long.to_string().contains("The report's writes has 3000 bytes"), "{long}");
    // What decides about a task is written down each time, and so it is refused where it comes too often.
    let deciding =
        |sequence, node: &str| HostReport { control_plane: vec![node.to_owned()], ..report(sequence, "x") };
    scene.server.clock.advance(Duration::from_secs(1));
    scene.server.run_as(&call, ReportHost { report: deciding(501, "cp-9") }).await.unwrap();
    assert_eq!(scene.hosts().await[0].reported.as_ref().map(|it| it.report.sequence), Some(501));
    let flood = refused(scene.server.run_as(&call, ReportHost { report: deciding(502, "cp-8") }).await);
    assert_eq!(flood.class(), ErrorClass::Throttled, "{flood}");
    for (version, class) in [
        ("0.99.0", ErrorClass::FailedPrecondition),
        ("9.1.0", ErrorClass::FailedPrecondition),
        ("", ErrorClass::FailedPrecondition),
        ("\u{1b}[31m", ErrorClass::Invalid),
    ] {
        let report = HostReport { agent_version: version.to_owned(), ..report(502, "x") };
        let other = refused(scene.server.run_as(&call, ReportHost { report }).await);
        assert_eq!(other.class(), class, "{other}");
        assert!(!other.to_string().contains('\u{1b}'), "{other}");
    }
    // Nobody else may say anything, and a host may nothing else.
    let somebody = refused(scene.run(ReportHost { report: report(1, "x") }).await);
    assert_eq!(somebody.class(), ErrorClass::Denied);
    let denied = refused(scene.server.run_as(&call, GetCluster { name: cluster() }).await);
    assert_eq!(denied.class(), ErrorClass::Denied);
    let none = refused(scene.issue_plugin_token(&one).await);
    assert_eq!(none.class(), ErrorClass::FailedPrecondition, "the cluster has no key");
}

#[tokio::test]
async fn what_was_said_before_a_task_began_does_not_end_it() {
    let scene = Scene::new().await;
    let create = scene.create(Some(key("a"))).await;
    let mut one = scene.joined("cp-1", &["cp-1", "cp-2"]).await;
    let mut two = scene.joined("cp-2", &["cp-1", "cp-2"]).await;
    // Forged, or of somebody who knew the name of the operation.
    scene.report(&mut one, work(&create, WorkState::Done, "")).await.unwrap();
    assert!(scene.report(&mut two, work(&create, WorkState::Failed, "no")).await.unwrap().is_some());
    assert_eq!(scene.operation(&create).await.end, None, "it has just begun");
    scene.report(&mut two, work(&create, WorkState::Done, "")).await.unwrap();
    assert_eq!(scene.operation(&create).await.end, None, "cp-1 has not said so since");
}

#[tokio::test]
async fn a_cluster_whose_hosts_are_gone_is_forgotten_by_its_name() {
    let scene = Scene::new().await;
    let create = scene.create(Some(key("a"))).await;
    let mut one = scene.joined("cp-1", &["cp-1"]).await;
    scene.report(&mut one, None).await.unwrap();
    scene.report(&mut one, work(&create, WorkState::Failed, "no disk")).await.unwrap();
    let delete = || DeleteCluster { name: cluster() };
    let kept = refused(scene.run(delete()).await);
    assert!(kept.to_string().contains("--update-labels keystead-detach=prod-a"), "{kept}");
    for (label, gone) in [("another", false), ("prod-a", true)] {
        let labels = [("keystead-detach".to_owned(), label.to_owned())].into();
        let set = SetClusterLabels { name: cluster(), labels, fingerprint: String::new() };
        scene.run(set).await.unwrap();
        assert_eq!(scene.run(delete()).await.is_ok(), gone, "{label}");
    }
    assert!(scene.server.audit_text().contains("detachedFrom"));
}

#[tokio::test]
async fn a_cluster_has_sixteen_hosts() {
    let scene = Scene::new().await;
    scene.create(None).await;
    for number in 0..16 {
        scene.invite(&format!("cp-{number}")).await;
    }
    let full = scene.run(InviteHost { cluster: cluster(), node: "cp-16".to_owned(), ttl: None }).await;
    assert_eq!(refused(full).class(), ErrorClass::FailedPrecondition);
    scene.invite("cp-15").await;
    let nowhere: ClusterName = format!("{}b", cluster()).parse().unwrap();
    let gone = scene.run(InviteHost { cluster: nowhere, node: "cp-1".to_owned(), ttl: None }).await;
    assert_eq!(refused(gone).class(), ErrorClass::NotFound);
}

/// Of key `a`: the first 8 bytes of SHA-256 over `cloudkms`, a zero byte and its name.
const DIGEST: &str = "ef51c3a60e08e5d9";

#[tokio::test]
async fn p12_what_a_host_counts_says_which_versions_its_cluster_can_do_without() {
    let (scene, one) = Scene::encrypted().await;
    let encrypt = |text: &str| Encrypt {
        key: key("a"),
        version: None,
        plaintext: keystead_crypto::SecretBytes::from(text.as_bytes().to_vec()),
        caller_data: Vec::new(),
    };
    scene.run(encrypt("under version 1")).await.unwrap();
    let version = |number| CryptoKeyVersionName { key: key("a"), version: crate::testbed::version(number) };
    scene.run(CreateCryptoKeyVersion { key: key("a") }).await.unwrap();
    let primary = UpdateCryptoKeyPrimaryVersion { key: key("a"), version: version(2).version };
    scene.run(primary).await.unwrap();
    let destroy = || DestroyCryptoKeyVersion { name: version(1) };
    let unknown = refused(scene.run(destroy()).await);
    assert!(unknown.to_string().contains("clusters/prod-a"), "{unknown}");

    let call = scene.call_of(&one.host);
    let count = |under: &[(&str, u64)], unattributed| {
        scene.server.clock.advance(A_MOMENT);
        let under = under.iter().map(|(id, objects)| (id.replace("DIGEST", DIGEST), *objects)).collect();
        ReportInventory { observe_time: Some(scene.server.clock.now()), under, unattributed }
    };
    let old = [("cloudkms-v1-a1-DIGEST", 40), ("cloudkms-v1-a3-DIGEST", 1), ("cloudkms-v2-a2-DIGEST", 7)];
    scene.server.run_as(&call, count(&old, 0)).await.unwrap();
    let used = refused(scene.run(destroy()).await);
    assert!(used.to_string().contains("41 objects"), "{used}");
    // What does not say its version could be under it.
    let doubtful = refused(scene.server.run_as(&call, count(&[("cloudkms-v2-a2-DIGEST", 47)], 1)).await);
    assert_eq!(doubtful.class(), ErrorClass::FailedPrecondition);
    // Nobody counts for a cluster but its hosts, not at any time, and not ahead of it.
    let somebody = refused(scene.run(count(&[], 0)).await);
    assert_eq!(somebody.class(), ErrorClass::Denied);
    let timeless = ReportInventory { observe_time: None, ..count(&[], 0) };
    assert_eq!(refused(scene.server.run_as(&call, timeless).await).class(), ErrorClass::Invalid);
    let mut ahead = count(&[], 0);
    ahead.observe_time = ahead.observe_time.map(|it| it + SignedDuration::from_hours(1));
    assert_eq!(refused(scene.server.run_as(&call, ahead).await).class(), ErrorClass::Invalid);
    let strange = [("cloudkms-vlatest-DIGEST", 1)];
    assert_eq!(refused(scene.server.run_as(&call, count(&strange, 0)).await).class(), ErrorClass::Invalid);
    let many = ReportInventory { under: (0..1001).map(|it| (it.to_string(), 1)).collect(), ..count(&[], 0) };
    let long = ReportInventory { under: [("x".repeat(1025), 1)].into(), ..count(&[], 0) };
    for endless in [many, long] {
        assert_eq!(refused(scene.server.run_as(&call, endless).await).class(), ErrorClass::Invalid);
    }
    assert!(refused(scene.run(destroy()).await).to_string().contains("41 objects"));

    // Keys of others are other keys. Then nothing is left under it.
    let anew =
        [("cloudkms-v1-a1-0123456789abcdef", 9), ("local-v1-DIGEST", 9), ("cloudkms-v2-a2-DIGEST", 48)];
    scene.server.run_as(&call, count(&anew, 0)).await.unwrap();
    let at_once =
        ReportInventory { observe_time: Some(scene.server.clock.now()), under: [].into(), unattributed: 0 };
    assert_eq!(refused(scene.server.run_as(&call, at_once).await).class(), ErrorClass::Throttled);
    scene.run(destroy()).await.unwrap();
    let audit = scene.server.audit_text();
    assert!(
        audit.contains("ReportInventory") && audit.contains("cryptoKeys/a: 48 objects under 1 versions"),
        "{audit}"
    );
    // The one that the cluster writes under is needed whatever was counted.
    scene.server.run_as(&call, count(&[], 0)).await.unwrap();
    refused(scene.run(DestroyCryptoKeyVersion { name: version(2) }).await);
}

#[tokio::test]
async fn p12_a_key_that_a_cluster_has_left_is_free_once_it_was_counted_again() {
    for is_deleted in [false, true] {
        let (scene, mut one) = Scene::encrypted().await;
        let call = scene.call_of(&one.host);
        let count = |under: &[(&str, u64)]| {
            scene.server.clock.advance(A_MOMENT);
            let under = under.iter().map(|(id, objects)| (id.replace("DIGEST", DIGEST), *objects)).collect();
            ReportInventory { observe_time: Some(scene.server.clock.now()), under, unattributed: 0 }
        };
        let version =
            |number| CryptoKeyVersionName { key: key("a"), version: crate::testbed::version(number) };
        scene.run(CreateCryptoKeyVersion { key: key("a") }).await.unwrap();
        scene.server.run_as(&call, count(&[("cloudkms-v2-a2-DIGEST", 40)])).await.unwrap();
        let update = scene.update(None).await;
        scene.report(&mut one, None).await.unwrap();
        scene.report(&mut one, work(&update, WorkState::Done, "")).await.unwrap();
        assert_eq!(scene.cluster().await.needed_to_read(), []);
        let destroy = || DestroyCryptoKeyVersion { name: version(2) };
        let still = refused(scene.run(destroy()).await);
        assert!(still.to_string().contains("40 objects"), "{still}");
        // A value that was left behind, and then none; or nobody is there to count.
        if is_deleted {
            scene.run(DeleteCluster { name: cluster() }).await.unwrap();
        } else {
            scene.server.run_as(&call, count(&[("cloudkms-v2-a2-DIGEST", 1)])).await.unwrap();
            refused(scene.run(destroy()).await);
            scene.server.run_as(&call, count(&[])).await.unwrap();
            assert_eq!(scene.cluster().await.counted_keys, []);
        }
        let inventories = scene.run(ListInventories { key: key("a") }).await.unwrap();
        assert_eq!(inventories, []);
        scene.run(destroy()).await.unwrap();
    }
}
