//! SIGKILL at every step of what is done to a cluster: by whoever asks for it, and by the agent of its host.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use keystead_audit::Reader;
use keystead_crypto::sha256;
use keystead_testkit::kms_server::KmsServer;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::checks::Audit;
use crate::played_agent::{
    Agent, LOCATION, ask, cluster, create_key, encryption, key, prepare, signing_request,
};
use crate::server_process::{BINARY, Place};

/// When the server is killed, in parts of the time that such a call took the last time: before it can have committed, about then, and
/// when the answer is there.
const MOMENTS: [Option<f64>; 3] = [Some(0.3), Some(0.8), None];
const NODE: &str = "cp-1";
/// Values that the played etcd holds.
const VALUES: u64 = 3;
/// Of a host: calls that leave something behind are answered again after 5 s at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is killed in the first attempt of each call, and everything that it must not do twice.
struct Scene {
    server: KmsServer,
    moment: Option<f64>,
    usual: HashMap<&'static str, Duration>,
    operations: HashSet<String>,
    kills: usize,
    /// Calls whose answer was lost with the server.
    lost: usize,
    /// Operations that were there after such a call.
    lost_and_done: usize,
}

impl Scene {
    fn request(&self, method: Method, path: &str, body: &Value) -> RequestBuilder {
        let token = std::fs::read_to_string(self.server.token_file()).expect("a token");
        let request = self.server.http().request(method, format!("{}{path}", self.server.endpoint()));
        request.bearer_auth(token.trim()).json(body)
    }

    async fn get(&self, path: &str) -> Value {
        self.server.ok(Method::GET, path, None).await.expect(path)
    }

    /// One call during which the server is killed, and started again on the same files. None: its answer was lost.
    async fn cut(&mut self, kind: &'static str, request: RequestBuilder) -> Option<(u16, Value)> {
        let usual = self.usual.get(kind).copied().unwrap_or(Duration::from_millis(10));
        let life = self.moment.map_or(PATIENCE, |part| usual.mul_f64(part));
        let began = Instant::now();
        let mut call = std::pin::pin!(ask(request));
        let early = tokio::time::timeout(life, &mut call).await.ok();
        if early.is_some() {
            self.usual.insert(kind, began.elapsed());
        }
        self.server.kill_and_restart().await.expect("it starts on what was left");
        self.kills += 1;
        let answer = match early {
            Some(answer) => answer,
            None => call.await,
        };
        self.lost += usize::from(answer.is_none());
        answer
    }

    /// What the cluster's operations are that were not known before.
    async fn new_operations(&mut self) -> Vec<Value> {
        let listed = self.get(&format!("/v1/{LOCATION}/operations")).await;
        let listed = listed["operations"].as_array().cloned().unwrap_or_default();
        listed.into_iter().filter(|it| self.operations.insert(name(it))).collect()
    }

    /// Begins an operation, as somebody does who asks again where no answer came: there is one of it, whatever was cut.
    async fn begin(&mut self, kind: &'static str, method: Method, path: &str, body: &Value) -> String {
        let request = self.request(method.clone(), path, body);
        let answered = self.cut(kind, request).await;
        let mut begun = self.new_operations().await;
        if begun.is_empty() {
            assert!(answered.is_none(), "{kind} was answered and is not there: {answered:?}");
            let (status, answer) = ask(self.request(method, path, body)).await.expect("an answer");
            assert_eq!(status, 200, "{kind}: {answer}");
            begun = self.new_operations().await;
            assert_eq!(begun.iter().map(name).collect::<Vec<_>>(), [name(&answer)], "{kind}");
        } else if let Some((status, answer)) = answered {
            assert_eq!((status, name(&answer)), (200, name(&begun[0])), "{answer}");
        } else {
            self.lost_and_done += 1;
        }
        assert_eq!(begun.len(), 1, "{kind} is done twice: {begun:?}");
        // Whoever asks again finds it under way.
        if kind == "update" && begun[0]["status"] == "RUNNING" {
            let again = self.server.call(Method::PUT, path, Some(body)).await.expect("an answer");
            assert_eq!(
                (again.0, &again.1["error"]["status"]),
                (400, &json!("FAILED_PRECONDITION")),
                "{}",
                again.1
            );
        }
        name(&begun[0])
    }

    /// Invites the host and has it join.
    async fn join(&mut self, cluster: &str) -> Agent {
        let path = format!("/keystead/v1/{cluster}/hosts:invite");
        let invite = |scene: &Self| scene.request(Method::POST, &path, &json!({ "node": NODE }));
        let request = invite(self);
        let invited = match self.cut("invite", request).await {
            Some((200, invited)) => invited,
            // The token was in the answer alone, and the next one takes its place.
            _ => ask(invite(self)).await.expect("an answer").1,
        };
        let token = invited["joinToken"].as_str().unwrap_or_else(|| panic!("no token: {invited}")).to_owned();
        let (signing_request, private_key) = signing_request().expect("a request");
        let body = json!({ "signingRequestPem": signing_request, "node": NODE });
        let attempt = |scene: &Self| {
            let url = format!("{}/keystead/v1/agent:join", scene.server.endpoint());
            scene.server.http().post(url).bearer_auth(&token).json(&body)
        };
        let request = attempt(self);
        let mut joined = self.cut("join", request).await;
        let began = Instant::now();
        // The agent asks again with the key that it made; a host gets one certificate in 5 s.
        while !matches!(joined, Some((200, _))) {
            assert!(began.elapsed() < PATIENCE, "{joined:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            joined = ask(attempt(self)).await;
        }
        let (_, joined) = joined.expect("it joined");
        Agent::joined(&self.server, NODE, &joined, private_key).expect("an agent")
    }

    /// The agent reports until the operation has ended, and each of its reports is cut once.
    async fn work(&mut self, agent: &mut Agent, operation: &str) {
        let path = format!("/v1/{LOCATION}/operations/{operation}");
        let began = Instant::now();
        let mut is_cut = true;
        loop {
            assert!(began.elapsed() < PATIENCE, "{operation} does not end");
            let report = agent.report();
            let request = agent.request(self.server.endpoint(), "agent:report", &report);
            let answered = if is_cut { self.cut("report", request).await } else { ask(request).await };
            // One that was cut is made again until it is heard, and the next one is cut.
            is_cut = matches!(answered, Some((200, _)));
            match answered {
                Some((200, answer)) => agent.follow(&answer),
                // What decides about a task is taken every 250 ms.
                Some((429, _)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Some(other) => panic!("a report got {other:?}"),
                None => {}
            }
            let shown = self.get(&path).await;
            if shown["status"] == "DONE" {
                assert!(shown.get("error").is_none(), "{shown}");
                assert_eq!(agent.host.begun.iter().filter(|it| *it == operation).count(), 1, "begun once");
                break;
            }
        }
        // It hears that nothing is to be done any more, and says so.
        while agent.turn(self.server.endpoint()).await != Some(200) {
            assert!(began.elapsed() < PATIENCE, "the agent is not heard");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the server says of the cluster is what its host has.
    async fn agrees(&self, cluster: &str, agent: &Agent) {
        let shown = self.get(&format!("/v1/{cluster}")).await;
        assert_eq!(shown["databaseEncryption"], encryption(agent.host.stored_under.as_deref()), "{shown}");
        assert_eq!(shown["status"], "RUNNING");
    }

    /// Counts what the etcd holds, and the server knows it afterwards.
    async fn count(&mut self, agent: &Agent, key: &str) {
        let under = match &agent.host.stored_under {
            Some(key) => json!({ (key_id(key)): VALUES.to_string() }),
            None => json!({}),
        };
        let body = || json!({ "observeTime": jiff::Timestamp::now().to_string(), "under": under });
        let request = agent.request(self.server.endpoint(), "agent:reportInventory", &body());
        let mut answered = self.cut("inventory", request).await;
        let began = Instant::now();
        while !matches!(answered, Some((200, _))) {
            assert!(began.elapsed() < PATIENCE, "{answered:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            answered = ask(agent.request(self.server.endpoint(), "agent:reportInventory", &body())).await;
        }
        let known = self.get(&format!("/keystead/v1/{key}/inventories")).await;
        match &agent.host.stored_under {
            Some(_) => assert!(known.to_string().contains(&format!("\"{VALUES}\"")), "{known}"),
            None => assert_eq!(known, json!({})),
        }
    }

    /// A cluster from its beginning to its end, with keys of its own.
    async fn one_life(&mut self, round: usize) {
        let keys = ["a", "b"].map(|letter| format!("{letter}-{round}"));
        for id in &keys {
            create_key(&self.server, id).await.expect("a key");
        }
        let [first, second] = keys.each_ref().map(|id| key(id));
        let cluster = cluster("prod-a");
        let made = json!({ "cluster": {
            "name": "prod-a", "initialNodeCount": 1, "databaseEncryption": encryption(Some(&first)),
        } });
        let mut begun =
            vec![self.begin("create", Method::POST, &format!("/v1/{LOCATION}/clusters"), &made).await];
        let mut agent = self.join(&cluster).await;
        self.work(&mut agent, &begun[0]).await;
        self.agrees(&cluster, &agent).await;
        // To another key; everything anew under the same; off.
        for target in [Some(&second), Some(&second), None] {
            let body =
                json!({ "update": { "desiredDatabaseEncryption": encryption(target.map(String::as_str)) } });
            let operation = self.begin("update", Method::PUT, &format!("/v1/{cluster}"), &body).await;
            self.work(&mut agent, &operation).await;
            self.agrees(&cluster, &agent).await;
            assert_eq!(agent.host.stored_under.as_ref(), target);
            self.count(&agent, &second).await;
            begun.push(operation);
        }
        assert_eq!(agent.host.begun, begun, "each was done once, in their order");
        begun.push(self.begin("delete", Method::DELETE, &format!("/v1/{cluster}"), &json!({})).await);
        self.left_nothing(&cluster, &mut agent, &keys).await;
        self.recorded_once(&begun);
    }

    async fn left_nothing(&self, cluster: &str, agent: &mut Agent, keys: &[String]) {
        let gone = self.server.call(Method::GET, &format!("/v1/{cluster}"), None).await.expect("an answer");
        assert_eq!(gone.0, 404, "{}", gone.1);
        let status = agent.turn(self.server.endpoint()).await.expect("an answer");
        assert_eq!(status, 401, "the host is nobody any more");
        let tokens = self.get("/keystead/v1/tokens").await;
        for token in tokens["tokens"].as_array().into_iter().flatten() {
            let is_of_a_host =
                token["principal"].as_str().is_some_and(|it| it.starts_with("serviceAccount:"));
            assert!(!is_of_a_host || token.get("revokeTime").is_some(), "{token}");
        }
        // Nobody needs its keys: a version can be destroyed.
        for id in keys {
            let path = format!("/v1/{}/cryptoKeyVersions/1:destroy", key(id));
            let destroyed = self.server.ok(Method::POST, &path, Some(&json!({}))).await.expect("free");
            assert_eq!(destroyed["state"], "DESTROY_SCHEDULED");
        }
    }

    /// Who began an operation and, where a host did it, who ended it, has one record in the audit log.
    fn recorded_once(&self, begun: &[String]) {
        let mut reader = Reader::after(&self.server.data_dir().join("audit"), 0);
        let mut texts = Vec::new();
        while let Some(line) = reader.next_record().expect("a record") {
            texts.push(line.text);
        }
        for (place, operation) in begun.iter().enumerate() {
            let is_deletion = place + 1 == begun.len();
            let ended =
                texts.iter().filter(|it| it.contains(operation) && it.contains("\"ReportHost\"")).count();
            assert_eq!(ended, usize::from(!is_deletion), "records of the end of {operation}");
        }
    }
}

/// The key id under which a plugin of ours has values stored with a key's first version.
fn key_id(key: &str) -> String {
    let digest = sha256(format!("cloudkms\0{key}").as_bytes());
    format!("cloudkms-v1-a1-{}", hex::encode(&digest[..8]))
}

fn name(operation: &Value) -> String {
    operation["name"].as_str().unwrap_or_else(|| panic!("no operation: {operation}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_a_cluster_survive_kill_9_at_every_step() {
    let place = Place::new();
    let data = place.path("data");
    let server = KmsServer::start(std::path::Path::new(BINARY), &data).await.expect("started");
    prepare(&server).await.expect("a project");
    let mut audit = Audit::new(data.join("audit"));
    let (usual, operations) = (HashMap::new(), HashSet::new());
    let mut scene = Scene { server, moment: None, usual, operations, kills: 0, lost: 0, lost_and_done: 0 };
    for (round, moment) in MOMENTS.into_iter().rev().enumerate() {
        scene.moment = moment;
        scene.one_life(round).await;
        audit.check(&[]);
    }
    println!(
        "{} kills; {} answers were lost, and {} of these calls had begun an operation",
        scene.kills, scene.lost, scene.lost_and_done
    );
    assert!(scene.lost > 0, "every call was answered before the server was killed");
    assert_eq!(scene.server.stop().await.expect("ended"), 0);
}
