//! What clusters and their operations grow to, and where they may be.

use std::time::Duration;

use futures_util::future::join_all;
use keystead_model::{ClusterName, ClusterOperation, ErrorClass, ProjectId};
use keystead_store::Batch;

use crate::fresh_server::FreshServer;
use crate::operations::{
    CancelClusterOperation, CreateCluster, GetClusterOperation, ListClusterOperations, ListClusters,
    SwitchServices,
};
use crate::records::{encode, record_name};
use crate::{KmsError, Location, ServiceApi, Settings};

const PROJECT: &str = "cluster-project";
const A_DAY: Duration = Duration::from_secs(86_400);

async fn server(settings: Settings) -> FreshServer {
    let server = FreshServer::with(settings).await;
    let project = server.project(PROJECT).await;
    let enable = SwitchServices { project, apis: vec![ServiceApi::Container], enable: true };
    server.run_as(&server.admin().await, enable).await.expect("it is on");
    server
}

fn new_cluster(location: &str, id: &str) -> CreateCluster {
    let name: ClusterName = format!("projects/{PROJECT}/locations/{location}/clusters/{id}").parse().unwrap();
    CreateCluster {
        name,
        key: None,
        labels: Default::default(),
        settings: String::new(),
        initial_version: String::new(),
    }
}

async fn created(server: &FreshServer, location: &str, id: &str) -> Result<ClusterOperation, KmsError> {
    server.run_as(&server.admin().await, new_cluster(location, id)).await
}

async fn listed(server: &FreshServer) -> Vec<ClusterOperation> {
    let project: ProjectId = PROJECT.parse().unwrap();
    let list = ListClusterOperations { project, location: None };
    server.run_as(&server.admin().await, list).await.expect("a list")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_has_500_clusters_however_many_ask_at_once() {
    let server = server(Settings::default()).await;
    let admin = server.admin().await;
    // Most of them are put there, because only the last ones matter.
    let first = created(&server, "us-central1", "first").await.expect("the first");
    let record = record_name::cluster(&new_cluster("us-central1", "first").name);
    let stored = server.service.store.get(&record).await.unwrap().unwrap().value;
    let mut batch = Batch::default();
    for number in 0..480 {
        let name = new_cluster("us-central1", &format!("put-{number}")).name;
        batch = batch.put(record_name::cluster(&name), stored.clone());
    }
    server.service.ledger.commit(batch, None).await.unwrap().complete().unwrap();
    let asked =
        (0..60).map(|number| server.run_as(&admin, new_cluster("us-central1", &format!("asked-{number}"))));
    let answers = join_all(asked).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (19, 41));
    for error in refused.into_iter().filter_map(Result::err) {
        assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{error}");
        assert!(error.to_string().contains("has 500 clusters"), "{error}");
    }
    // One that goes makes room for one.
    server.run_as(&admin, CancelClusterOperation { name: first.name }).await.expect("it is cancelled");
    created(&server, "us-central1", "another").await.expect("there is room");
    let project: ProjectId = PROJECT.parse().unwrap();
    let all = server.run_as(&admin, ListClusters { project, location: None }).await.expect("a list");
    assert_eq!(all.len(), 500);
}

#[tokio::test]
async fn operations_that_ended_go_after_two_weeks_and_those_that_run_stay() {
    let server = server(Settings::default()).await;
    let ended = created(&server, "us-central1", "ended").await.expect("it begins").name;
    let runs = created(&server, "us-central1", "runs").await.expect("it begins").name;
    server.clock.advance(A_DAY);
    let cancel = CancelClusterOperation { name: ended.clone() };
    server.run_as(&server.admin().await, cancel).await.expect("it ends");
    server.clock.advance(14 * A_DAY);
    server.service.tick().await;
    assert_eq!(listed(&server).await.len(), 2, "it ended two weeks ago to the second");
    server.clock.advance(A_DAY);
    server.service.tick().await;
    let left: Vec<_> = listed(&server).await.into_iter().map(|it| it.name).collect();
    assert_eq!(left, [runs]);
    let gone = server.run_as(&server.admin().await, GetClusterOperation { name: ended }).await;
    assert_eq!(gone.expect_err("it is gone").class(), ErrorClass::NotFound);
}

#[tokio::test]
async fn a_list_has_the_newest_thousand_operations() {
    let server = server(Settings::default()).await;
    let first = created(&server, "us-central1", "first").await.expect("it begins");
    let mut batch = Batch::default();
    for number in 1..=1_100 {
        let mut operation = first.clone();
        operation.start_time += jiff::SignedDuration::from_secs(number);
        // Names are not in the order of time in a project with several locations.
        let location = if number % 2 == 0 { "us-central1" } else { "us-central1-a" };
        let name = format!("projects/{PROJECT}/locations/{location}/operations/operation-{number}");
        operation.name = name.parse().unwrap();
        batch = batch.put(record_name::cluster_operation(&operation.name), encode(&operation).unwrap());
    }
    server.service.ledger.commit(batch, None).await.unwrap().complete().unwrap();
    let listed = listed(&server).await;
    let numbers: Vec<i64> =
        listed.iter().map(|it| (it.start_time - first.start_time).get_seconds()).collect();
    assert_eq!(numbers, (101..=1_100).collect::<Vec<_>>());
}

#[tokio::test]
async fn p3_zones_have_the_keys_of_their_location() {
    let settings = Settings {
        locations: vec![Location {
            id: "dc1".parse().unwrap(),
            display_name: "Data centre".to_owned(),
            zones: vec!["hall-east".parse().unwrap()],
        }],
        ..Settings::default()
    };
    let server = server(settings).await;
    for place in ["dc1", "hall-east", "dc1-b"] {
        created(&server, place, "prod-a").await.expect(place);
    }
    for nowhere in ["hall-west", "dc1-bb", "hall-east-a", "global"] {
        let refused = created(&server, nowhere, "prod-a").await.expect_err(nowhere);
        assert_eq!(refused.class(), ErrorClass::Invalid, "{refused}");
    }
    let key = |location: &str| {
        format!("projects/key-project/locations/{location}/keyRings/r/cryptoKeys/k").parse().ok()
    };
    for (key, class) in
        [(key("hall-east"), ErrorClass::Invalid), (key("dc1"), ErrorClass::FailedPrecondition)]
    {
        let command = CreateCluster { key, ..new_cluster("hall-east", "prod-b") };
        // The second is refused for its grant only.
        let refused =
            server.run_as(&server.admin().await, command).await.map(drop).expect_err("it is refused");
        assert_eq!(refused.class(), class, "{refused}");
    }
}
