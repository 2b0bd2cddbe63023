//! Clusters that the server runs itself: which they are, who is let in, what is left of them. What runs them is played.

use std::collections::BTreeMap;
use std::sync::Arc;

use keystead_model::{Binding, ClusterName, ErrorClass, Policy, Principal};
use keystead_store::Batch;
use zeroize::Zeroizing;

use crate::fresh_server::FreshServer;
use crate::operations::*;
use crate::records::{account_email, encode, record_name};
use crate::{Call, Caller, Credential, KmsError, LocalCluster, Operation, Origin, ServiceApi, Settings};

const PROJECT: &str = "cluster-project";

struct Scene {
    server: FreshServer,
    admin: Call,
}

fn cluster(id: &str) -> ClusterName {
    format!("projects/{PROJECT}/locations/us-central1/clusters/{id}").parse().unwrap()
}

fn refused<T>(answer: Result<T, KmsError>) -> KmsError {
    answer.err().expect("it is refused")
}

impl Scene {
    async fn new(local_clusters: bool) -> Self {
        let settings = Settings { local_clusters, ..Settings::default() };
        let server = FreshServer::with(settings).await;
        let project = server.project(PROJECT).await;
        let admin = server.admin().await;
        let enable = SwitchServices { project, apis: vec![ServiceApi::Container], enable: true };
        server.run_as(&admin, enable).await.unwrap();
        Self { server, admin }
    }

    async fn run<O: Operation>(&self, command: O) -> Result<O::Output, KmsError> {
        self.server.run_as(&self.admin, command).await
    }

    async fn create(&self, id: &str, label: Option<&str>) -> Result<(), KmsError> {
        let labels: BTreeMap<_, _> =
            label.map(|it| ("keystead-local".to_owned(), it.to_owned())).into_iter().collect();
        let create = CreateCluster {
            name: cluster(id),
            key: None,
            labels,
            settings: String::new(),
            initial_version: String::new(),
        };
        self.run(create).await.map(drop)
    }

    async fn local(&self) -> Vec<LocalCluster> {
        self.server.service.local_clusters().await.unwrap()
    }

    /// A host joins, and this is a call of its agent.
    async fn joined(&self, id: &str, node: &str, token: &str) -> Call {
        let call = self.server.bearer(token).await.unwrap();
        let serial = hex::encode(node);
        let join = JoinCluster {
            public_key: Ok(node.to_owned()),
            node: node.to_owned(),
            sign: Box::new(move |_, now, _| {
                Ok(SignedCertificate { pem: String::new(), serial: serial.clone(), not_after: now })
            }),
        };
        let host = self.server.run_as(&call, join).await.unwrap().host;
        assert_eq!(host.name.cluster, cluster(id));
        let principal = Principal::ServiceAccount(account_email::host(&host.name));
        let credential = Credential::Certificate("0c".to_owned());
        let caller = Caller { principal, groups: Vec::new(), credential };
        self.server.service.call(Arc::new(caller), Origin::default()).unwrap()
    }

    /// Ends the one operation that runs.
    async fn cancel(&self) {
        let list = ListClusterOperations { project: PROJECT.parse().unwrap(), location: None };
        let running = self.run(list).await.unwrap().into_iter().find(|it| it.end.is_none());
        self.run(CancelClusterOperation { name: running.expect("one").name }).await.unwrap();
    }

    async fn invite_local(&self, id: &str, node: &str) -> String {
        let token = self.server.service.invite_local_host(&cluster(id), node).await.unwrap();
        String::from_utf8(token.secret.into_exposed()).unwrap()
    }
}

#[tokio::test]
async fn the_label_of_a_new_cluster_says_whose_hosts_it_has() {
    let scene = Scene::new(true).await;
    for (id, label, api_servers) in [
        ("unsaid", None, Some(1)),
        ("one", Some("1"), Some(1)),
        ("three", Some("3"), Some(3)),
        ("own", Some("no"), None),
    ] {
        scene.create(id, label).await.unwrap();
        assert_eq!(
            scene.run(GetCluster { name: cluster(id) }).await.unwrap().cluster.local_api_servers,
            api_servers
        );
    }
    for wrong in ["2", "", "yes", "03"] {
        let error = refused(scene.create("x", Some(wrong)).await);
        assert_eq!(error.class(), ErrorClass::Invalid, "{error}");
        assert!(error.to_string().contains("1 or 3"), "{error}");
    }
    let nodes: Vec<_> =
        scene.local().await.into_iter().map(|it| (it.name.cluster.to_string(), it.absent)).collect();
    let nodes_of = |count| (0..count).map(|it| format!("host-{it}")).collect::<Vec<_>>();
    assert_eq!(
        nodes,
        [("one", 1), ("three", 3), ("unsaid", 1)].map(|(id, count)| (id.to_owned(), nodes_of(count)))
    );

    let without = Scene::new(false).await;
    let error = refused(without.create("x", Some("1")).await);
    assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{error}");
    assert!(error.to_string().contains("--local-clusters"), "{error}");
    without.create("unsaid", None).await.unwrap();
    without.create("own", Some("no")).await.unwrap();
    assert_eq!(without.local().await, []);
}

#[tokio::test]
async fn hosts_of_a_local_cluster_are_the_servers_and_what_is_left_of_it_is_removed_by_name() {
    let scene = Scene::new(true).await;
    scene.create("c", None).await.unwrap();
    let by_somebody = InviteHost { cluster: cluster("c"), node: "host-1".to_owned(), ttl: None };
    let error = refused(scene.run(by_somebody).await);
    assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{error}");
    let token = scene.invite_local("c", "host-0").await;
    scene.joined("c", "host-0", &token).await;
    assert_eq!(scene.local().await[0].absent, Vec::<String>::new());
    let host = scene.run(ListHosts { cluster: cluster("c") }).await.unwrap().remove(0);
    let error = refused(scene.run(RemoveHost { name: host.name }).await);
    assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{error}");
    let audit = scene.server.audit_text();
    assert!(audit.contains("InviteHost") && !audit.contains(&token), "{audit}");

    // One that was never made, and one that is.
    let id = scene.local().await[0].id.clone();
    let service = &scene.server.service;
    assert_eq!(service.deleted_local_clusters().await.unwrap(), Vec::<String>::new());
    scene.cancel().await;
    assert_eq!(service.deleted_local_clusters().await.unwrap(), std::slice::from_ref(&id));
    scene.create("own", Some("no")).await.unwrap();
    scene.cancel().await;
    assert_eq!(service.deleted_local_clusters().await.unwrap().len(), 1, "its hosts are nobody's here");
    service.forget_local_cluster(&id).await.unwrap();
    service.forget_local_cluster(&id).await.unwrap();
    assert_eq!(service.deleted_local_clusters().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn an_api_server_of_a_local_cluster_is_told_who_somebody_is() {
    let scene = Scene::new(true).await;
    scene.create("c", None).await.unwrap();
    scene.create("own", Some("no")).await.unwrap();
    let members = [
        ("roles/container.admin", "admin@example.com", Some("keystead:admins")),
        ("roles/owner", "owner@example.com", Some("keystead:admins")),
        ("roles/editor", "editor@example.com", Some("keystead:editors")),
        ("roles/container.developer", "developer@example.com", Some("keystead:editors")),
        ("roles/container.viewer", "viewer@example.com", Some("keystead:viewers")),
        // They change clusters and see nothing of what is in them.
        ("roles/container.clusterAdmin", "cluster@example.com", None),
        ("roles/cloudkms.admin", "keys@example.com", None),
    ];
    let bindings = members.map(|(role, email, _)| Binding {
        role: role.to_owned(),
        members: vec![format!("user:{email}")],
        condition: None,
    });
    let policy = Policy { bindings: bindings.into(), ..Policy::default() };
    let administrators = Binding {
        role: "roles/keystead.admin".to_owned(),
        members: ["admin@keystead.local", "server@example.com"].map(|it| format!("user:{it}")).into(),
        condition: None,
    };
    let of_server = Policy { bindings: vec![administrators], ..Policy::default() };
    let batch = Batch::default()
        .put(record_name::policy(&format!("projects/{PROJECT}")), encode(&policy).unwrap())
        .put(record_name::policy(""), encode(&of_server).unwrap());
    scene.server.service.ledger.commit(batch, None).await.unwrap().complete().unwrap();

    let token = scene.invite_local("c", "host-0").await;
    let joining = scene.server.bearer(&token).await.unwrap();
    let review = |token: &str| ReviewToken { token: Zeroizing::new(token.to_owned()) };
    let early = refused(scene.server.run_as(&joining, review(&token)).await);
    assert_eq!(early.class(), ErrorClass::Denied, "it has not joined");
    let agent = scene.joined("c", "host-0", &token).await;
    for (role, email, group) in members {
        let token = scene.server.token(&format!("user:{email}"), None).await;
        let reviewed = scene.server.run_as(&agent, review(&token)).await.unwrap().expect("it counts");
        assert_eq!((reviewed.user.as_str(), reviewed.group), (email, group), "{role}");
        assert!(!scene.server.audit_text().contains(&token));
    }
    for token in ["", "ks_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &"x".repeat(100_000)]
    {
        let records = || scene.server.audit_text().matches("ReviewToken").count();
        let before = records();
        assert!(scene.server.run_as(&agent, review(token)).await.unwrap().is_none());
        assert_eq!(records(), before, "there is no end to what somebody may send");
    }
    // Who only looks after the server is nobody in clusters.
    let admins = scene.server.token("user:server@example.com", None).await;
    assert_eq!(scene.server.run_as(&agent, review(&admins)).await.unwrap().unwrap().group, None);

    // The host of somebody else's cluster gets to know nothing.
    let invite = InviteHost { cluster: cluster("own"), node: "cp-1".to_owned(), ttl: None };
    let invited = scene.run(invite).await.unwrap().token.secret.into_exposed();
    let theirs = scene.joined("own", "cp-1", &String::from_utf8(invited).unwrap()).await;
    let error = refused(scene.server.run_as(&theirs, review(&admins)).await);
    assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{error}");
    let error = refused(scene.run(review(&admins)).await);
    assert_eq!(error.class(), ErrorClass::Denied, "{error}");
}
