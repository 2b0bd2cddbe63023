//! What `keystead` asks the server: the requests that the real gcloud made for the same words, `alt=json` and the body
//! fields that its masks leave out aside.

use serde_json::{Value, json};

use crate::recording::Recording;
use crate::{keystead, stderr, stdout};

const RING: &str = "projects/p/locations/l1/keyRings/r1";
const R: &str = "/v1/projects/p/locations/l1/keyRings/r1";
const K: &str = "/v1/projects/p/locations/l1/keyRings/r1/cryptoKeys/k1";
const V: &str = "/v1/projects/p/locations/l1/keyRings/r1/cryptoKeys/k1/cryptoKeyVersions";
const SA: &str = "sa1@p.iam.gserviceaccount.com";

/// A command line, what the server answers, and what must have been asked.
struct Row {
    words: String,
    answers: Vec<Value>,
    asked: Vec<(String, Value)>,
}

fn row(words: &str, answers: impl Into<Vec<Value>>, asked: &[(String, Value)]) -> Row {
    Row { words: words.to_owned(), answers: answers.into(), asked: asked.to_vec() }
}

fn get(path: String) -> (String, Value) {
    (format!("GET {path}"), Value::Null)
}

fn post(path: String, body: Value) -> (String, Value) {
    (format!("POST {path}"), body)
}

fn patch(path: String, body: Value) -> (String, Value) {
    (format!("PATCH {path}"), body)
}

fn policy() -> Value {
    json!({"version": 1, "etag": "BwX+Dro/ei4=", "bindings": [{"role": "roles/a", "members": ["user:a@example.com"]}]})
}

fn written(members: &[&str]) -> Value {
    json!({"policy": {"version": 3, "etag": "BwX+Dro/ei4=", "bindings": [{"role": "roles/a", "members": members}]}})
}

fn check(rows: &[Row]) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "ks_test_secret\n").expect("writes");
    for row in rows {
        let server = Recording::start(row.answers.iter().map(|it| (200, it.clone())).collect());
        let output = keystead()
            .args(row.words.split_whitespace())
            .args(["--project", "p", "--endpoint", &server.endpoint, "--token-file"])
            .arg(&token)
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}: {}", row.words, stderr(&output));
        let requests = server.requests();
        let asked: Vec<_> = requests.iter().map(|it| (it.line.clone(), it.body.clone())).collect();
        assert_eq!(asked, row.asked, "{}", row.words);
        for request in requests {
            assert_eq!(request.authorization.as_deref(), Some("Bearer ks_test_secret"), "{}", row.words);
        }
    }
}

#[test]
fn c2_keyrings() {
    let ring = json!({"name": RING});
    let in_ring = "r1 --location l1";
    let read = || get(format!("{R}:getIamPolicy?options.requestedPolicyVersion=3"));
    check(&[
        row(
            "kms keyrings create r1 --location l1",
            [ring.clone()],
            &[post("/v1/projects/p/locations/l1/keyRings?keyRingId=r1".to_owned(), json!({}))],
        ),
        row(
            "kms keyrings create projects/q/locations/l2/keyRings/r9",
            [ring.clone()],
            &[post("/v1/projects/q/locations/l2/keyRings?keyRingId=r9".to_owned(), json!({}))],
        ),
        row(
            "kms keyrings list --location l1",
            &[json!({"keyRings": [ring], "nextPageToken": "t 2"}), json!({})],
            &[
                get("/v1/projects/p/locations/l1/keyRings?pageSize=100".to_owned()),
                get("/v1/projects/p/locations/l1/keyRings?pageSize=100&pageToken=t+2".to_owned()),
            ],
        ),
        row(
            "kms keyrings list --location l1 --limit 1",
            &[json!({"keyRings": [ring], "nextPageToken": "t2"})],
            &[get("/v1/projects/p/locations/l1/keyRings?pageSize=1".to_owned())],
        ),
        row(&format!("kms keyrings describe {in_ring}"), &[ring], &[get(R.to_owned())]),
        row(&format!("kms keyrings get-iam-policy {in_ring}"), &[policy()], &[read()]),
        row(
            &format!(
                "kms keyrings add-iam-policy-binding {in_ring} --role roles/a --member user:b@example.com"
            ),
            &[policy()],
            &[
                read(),
                post(format!("{R}:setIamPolicy"), written(&["user:a@example.com", "user:b@example.com"])),
            ],
        ),
        row(
            &format!(
                "kms keyrings remove-iam-policy-binding {in_ring} --role roles/a --member user:a@example.com"
            ),
            &[policy()],
            &[
                read(),
                post(format!("{R}:setIamPolicy"), json!({"policy": {"version": 3, "etag": "BwX+Dro/ei4="}})),
            ],
        ),
    ]);
}

/// gcloud also sends a pool of nodes, and asks first whether the API is on.
#[test]
fn c6_c8_c9_clusters() {
    const L: &str = "/v1/projects/p/locations/l1";
    const C: &str = "/v1/projects/p/locations/l1/clusters/c1";
    let key = "projects/k/locations/l1/keyRings/r1/cryptoKeys/k1";
    let name = "projects/p/locations/l1/clusters/c1";
    let cluster =
        json!({"name": "c1", "location": "l1", "resourceLabels": {"a": "b"}, "labelFingerprint": "01"});
    let running = json!({"name": "operation-1", "status": "RUNNING", "detail": "waiting for h1"});
    let done = json!({"name": "operation-1", "status": "DONE"});
    let host = json!({"name": format!("{name}/hosts/host-1"), "node": "cp-1"});
    let with_key = json!({"keyName": key, "state": "ENCRYPTED"});
    let look = || get(format!("{L}/operations/operation-1"));
    let put = |encryption: &Value| {
        let body = json!({"name": name, "update": {"desiredDatabaseEncryption": encryption}});
        (format!("PUT {C}"), body)
    };
    check(&[
        row(
            &format!(
                "container clusters create c1 --cluster-version=latest --region l1 --database-encryption-key {key}"
            ),
            [running.clone(), done.clone(), cluster.clone()],
            &[
                post(
                    format!("{L}/clusters"),
                    json!({
                        "parent": "projects/p/locations/l1",
                        "cluster": {"name": "c1", "initialClusterVersion": "latest", "databaseEncryption": with_key},
                    }),
                ),
                look(),
                get(C.to_owned()),
            ],
        ),
        row(
            "container clusters create c1 --async --zone l1 --labels a=b",
            [running.clone(), cluster.clone()],
            &[
                post(
                    format!("{L}/clusters"),
                    json!({
                        "parent": "projects/p/locations/l1",
                        "cluster": {"name": "c1", "resourceLabels": {"a": "b"}},
                    }),
                ),
                get(C.to_owned()),
            ],
        ),
        row(
            &format!("container clusters update c1 --region l1 --database-encryption-key {key}"),
            [done.clone(), cluster.clone()],
            &[put(&with_key), get(C.to_owned())],
        ),
        row(
            "container clusters update c1 --location l1 --disable-database-encryption --async",
            [running.clone(), cluster.clone()],
            &[put(&json!({"state": "DECRYPTED"})), get(C.to_owned())],
        ),
        row(
            "container clusters update c1 --location l1 --update-labels c=d --remove-labels a",
            [cluster.clone(), done.clone(), cluster.clone()],
            &[
                get(C.to_owned()),
                post(
                    format!("{C}:setResourceLabels"),
                    json!({"name": name, "resourceLabels": {"c": "d"}, "labelFingerprint": "01"}),
                ),
                get(C.to_owned()),
            ],
        ),
        row("container clusters describe c1 --region l1", [cluster.clone()], &[get(C.to_owned())]),
        row(
            "container clusters list",
            [json!({"clusters": [cluster]})],
            &[get("/v1/projects/p/locations/-/clusters".to_owned())],
        ),
        row(
            "container clusters delete c1 --region l1 --quiet",
            [running.clone(), done.clone()],
            &[(format!("DELETE {C}"), Value::Null), look()],
        ),
        row(
            "container operations cancel operation-1 --region l1 --quiet",
            [json!({}), done],
            &[post(format!("{L}/operations/operation-1:cancel"), json!({})), look()],
        ),
        row("container operations list --region l1", [json!({})], &[get(format!("{L}/operations"))]),
        row(
            "container clusters hosts invite cp-1 --cluster c1 --location l1 --expires-in 2h",
            [json!({"joinToken": "ks_test_join", "expireTime": "2026-01-01T00:00:00Z"})],
            &[post(format!("/keystead{C}/hosts:invite"), json!({"node": "cp-1", "ttl": "7200s"}))],
        ),
        row(
            "container clusters hosts list --cluster c1 --location l1",
            [json!({"hosts": [host]})],
            &[get(format!("/keystead{C}/hosts"))],
        ),
        row(
            "container clusters hosts remove cp-1 --cluster c1 --location l1 --quiet",
            [json!({"hosts": [host]}), json!({})],
            &[get(format!("/keystead{C}/hosts")), (format!("DELETE /keystead{C}/hosts/host-1"), Value::Null)],
        ),
        row("container get-server-config --region l1", [json!({})], &[get(format!("{L}/serverConfig"))]),
    ]);
}

#[test]
fn c3_keys() {
    let key = json!({"name": K, "purpose": "ENCRYPT_DECRYPT", "labels": {"team": "infra", "env": "prod"}});
    let template = json!({"algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "protectionLevel": "SOFTWARE"});
    let it = "k1 --location l1 --keyring r1";
    let schedule = "rotationPeriod%2CnextRotationTime";
    check(&[
        row(
            &format!("kms keys create {it} --purpose encryption"),
            [key.clone()],
            &[post(
                format!("{R}/cryptoKeys?cryptoKeyId=k1"),
                json!({"purpose": "ENCRYPT_DECRYPT", "versionTemplate": template}),
            )],
        ),
        row(
            &format!(
                "kms keys create {it} --purpose encryption --rotation-period 90d --next-rotation-time \
                 2026-12-01T00:00:00Z --labels a=b,c=d --destroy-scheduled-duration 25h --skip-initial-version-creation"
            ),
            [key.clone()],
            &[post(
                format!("{R}/cryptoKeys?cryptoKeyId=k1&skipInitialVersionCreation=true"),
                json!({"purpose": "ENCRYPT_DECRYPT", "versionTemplate": template, "rotationPeriod": "7776000s",
                    "nextRotationTime": "2026-12-01T00:00:00.000Z", "labels": {"a": "b", "c": "d"},
                    "destroyScheduledDuration": "90000s"}),
            )],
        ),
        row(
            &format!("kms keys create {it} --purpose encryption --protection-level hsm"),
            [key.clone()],
            &[post(
                format!("{R}/cryptoKeys?cryptoKeyId=k1"),
                json!({"purpose": "ENCRYPT_DECRYPT",
                    "versionTemplate": {"algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "protectionLevel": "HSM"}}),
            )],
        ),
        row(
            "kms keys list --location l1 --keyring r1",
            &[json!({"cryptoKeys": [key]})],
            &[get(format!("{R}/cryptoKeys?pageSize=100"))],
        ),
        row(&format!("kms keys describe {it}"), [key.clone()], &[get(K.to_owned())]),
        row(
            &format!("kms keys update {it} --rotation-period 30d --next-rotation-time 2026-12-01T00:00:00Z"),
            [key.clone()],
            &[
                get(K.to_owned()),
                patch(
                    format!("{K}?updateMask={schedule}"),
                    json!({"rotationPeriod": "2592000s", "nextRotationTime": "2026-12-01T00:00:00.000Z"}),
                ),
            ],
        ),
        row(
            &format!("kms keys update {it} --update-labels x=y,team=z --remove-labels env"),
            [key.clone()],
            &[
                get(K.to_owned()),
                patch(format!("{K}?updateMask=labels"), json!({"labels": {"team": "z", "x": "y"}})),
            ],
        ),
        row(
            &format!("kms keys update {it} --clear-labels"),
            [key.clone()],
            &[get(K.to_owned()), patch(format!("{K}?updateMask=labels"), json!({"labels": {}}))],
        ),
        row(
            &format!("kms keys update {it} --remove-rotation-schedule"),
            [key.clone()],
            &[get(K.to_owned()), patch(format!("{K}?updateMask={schedule}"), json!({}))],
        ),
        row(
            &format!("kms keys update {it} --default-algorithm google-symmetric-encryption"),
            [key.clone()],
            &[
                get(K.to_owned()),
                patch(
                    format!("{K}?updateMask=versionTemplate.algorithm"),
                    json!({"versionTemplate": {"algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION"}}),
                ),
            ],
        ),
        row(
            &format!("kms keys set-rotation-schedule {it} --rotation-period 30d"),
            [key.clone()],
            &[patch(format!("{K}?updateMask=rotationPeriod"), json!({"rotationPeriod": "2592000s"}))],
        ),
        row(
            &format!("kms keys remove-rotation-schedule {it}"),
            &[key],
            &[patch(format!("{K}?updateMask={schedule}"), json!({}))],
        ),
        row(
            &format!("kms keys delete {it} --quiet"),
            &[json!({"name": "projects/p/locations/l1/operations/1", "done": true})],
            &[(format!("DELETE {K}"), Value::Null)],
        ),
        row(
            "kms retired-resources list --location l1",
            &[json!({})],
            &[get("/v1/projects/p/locations/l1/retiredResources?pageSize=100".to_owned())],
        ),
        row(
            "kms locations list",
            &[json!({"locations": [{"locationId": "l1"}]})],
            &[get("/v1/projects/p/locations?pageSize=100".to_owned())],
        ),
    ]);
}

#[test]
fn p12_inventory() {
    let it = "--keyname k1 --location l1 --keyring r1";
    let search = "kms inventory search-protected-resources";
    let path = |scope: &str, more: &str| {
        let key = K.trim_start_matches("/v1/").replace('/', "%2F");
        format!("/v1/{scope}/protectedResources:search?cryptoKey={key}{more}")
    };
    let found = |token: &str| json!({"protectedResources": [{"name": "//c"}], "nextPageToken": token});
    check(&[
        row(
            "kms inventory list-keys",
            [json!({"cryptoKeys": [{"name": "k1"}], "nextPageToken": "t"}), json!({})],
            &[
                get("/v1/projects/p/cryptoKeys?pageSize=100".to_owned()),
                get("/v1/projects/p/cryptoKeys?pageSize=100&pageToken=t".to_owned()),
            ],
        ),
        row(
            &format!("{search} --scope 1234 {it}"),
            [found("t"), found("")],
            &[
                get(path("organizations/1234", "&pageSize=500")),
                get(path("organizations/1234", "&pageSize=500&pageToken=t")),
            ],
        ),
        row(
            &format!("{search} --scope projects/p2 {it} --resource-types a,b --page-size 3"),
            [found("")],
            &[get(path("projects/p2", "&resourceTypes=a&resourceTypes=b&pageSize=3"))],
        ),
        row(
            &format!("kms inventory get-protected-resources-summary {it}"),
            [json!({"resourceCount": "1"})],
            &[get(format!("{K}/protectedResourcesSummary"))],
        ),
    ]);
}

#[test]
fn c4_projects_and_services() {
    let project = json!({"projectId": "p1-project", "projectNumber": "123456789012", "name": "P"});
    let done = json!({"name": "operations/1", "done": true, "response": project});
    let read =
        || post("/v1/projects/p1:getIamPolicy".to_owned(), json!({"options": {"requestedPolicyVersion": 3}}));
    check(&[
        row(
            "projects create p1-project --name P --labels a=b",
            &[json!({"name": "operations/1"}), done.clone()],
            &[
                post(
                    "/v1/projects".to_owned(),
                    json!({"projectId": "p1-project", "name": "P", "labels": {"a": "b"}}),
                ),
                get("/v1/operations/1".to_owned()),
            ],
        ),
        row(
            "projects list",
            &[json!({"projects": [project]})],
            &[get("/v1/projects?filter=lifecycleState%3AACTIVE&pageSize=500".to_owned())],
        ),
        row("projects describe p1", &[project], &[get("/v1/projects/p1".to_owned())]),
        row("projects get-iam-policy p1", &[policy()], &[read()]),
        row(
            "projects add-iam-policy-binding p1 --role roles/a --member user:b@example.com",
            &[policy()],
            &[
                read(),
                post(
                    "/v1/projects/p1:setIamPolicy".to_owned(),
                    written(&["user:a@example.com", "user:b@example.com"]),
                ),
            ],
        ),
        row(
            "services enable cloudkms.googleapis.com",
            [done.clone()],
            &[post("/v1/projects/p/services/cloudkms.googleapis.com:enable".to_owned(), json!({}))],
        ),
        row(
            "services enable cloudkms.googleapis.com container.googleapis.com",
            [done.clone()],
            &[post(
                "/v1/projects/p/services:batchEnable".to_owned(),
                json!({"serviceIds": ["cloudkms.googleapis.com", "container.googleapis.com"]}),
            )],
        ),
        row(
            "services disable cloudkms.googleapis.com --force",
            &[done],
            &[post(
                "/v1/projects/p/services/cloudkms.googleapis.com:disable".to_owned(),
                json!({"checkIfServiceHasUsage": "SKIP", "disableDependentServices": true}),
            )],
        ),
        row(
            "services list",
            &[json!({"services": [{"config": {"name": "cloudkms.googleapis.com"}}]})],
            &[get("/v1/projects/p/services?filter=state%3AENABLED&pageSize=200".to_owned())],
        ),
        row(
            "services list --available",
            &[json!({})],
            &[get("/v1/projects/p/services?pageSize=200".to_owned())],
        ),
    ]);
}

#[test]
fn c5_grants() {
    let it = "k1 --location l1 --keyring r1";
    let read = || get(format!("{K}:getIamPolicy?options.requestedPolicyVersion=3"));
    let member = "serviceAccount:service-1@container-engine-robot.iam.gserviceaccount.com";
    let role = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
    let mut granted = written(&["user:a@example.com"]);
    granted["policy"]["bindings"]
        .as_array_mut()
        .expect("list")
        .push(json!({"role": role, "members": [member]}));
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("policy.yaml");
    std::fs::write(
        &file,
        "bindings:\n- members:\n  - user:a@example.com\n  role: roles/a\netag: BwX-Dro_ei4=\n",
    )
    .expect("writes");
    let file = file.display();
    let mut replaced = written(&["user:a@example.com"]);
    replaced["policy"]["etag"] = "BwX-Dro_ei4=".into();
    let masked = |mask: &str| {
        let mut body = replaced.clone();
        body["updateMask"] = mask.into();
        body
    };
    check(&[
        row(&format!("kms keys get-iam-policy {it}"), &[policy()], &[read()]),
        row(
            &format!("kms keys add-iam-policy-binding {it} --member {member} --role {role}"),
            &[policy()],
            &[read(), post(format!("{K}:setIamPolicy"), granted)],
        ),
        row(
            &format!("kms keys set-iam-policy {it} {file}"),
            &[policy()],
            &[post(format!("{K}:setIamPolicy"), masked("bindings,etag,version"))],
        ),
        row(
            &format!("projects set-iam-policy p1 {file}"),
            &[policy()],
            &[post("/v1/projects/p1:setIamPolicy".to_owned(), masked("bindings,etag"))],
        ),
        row(
            &format!("iam service-accounts set-iam-policy {SA} {file}"),
            &[policy()],
            &[post(format!("/v1/projects/-/serviceAccounts/{SA}:setIamPolicy"), replaced.clone())],
        ),
    ]);
}

#[test]
fn c10_versions() {
    let made = json!({"name": format!("{}/3", &V[4..]), "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION"});
    let of_key = "--location l1 --keyring r1 --key k1";
    let set = |state: &str| patch(format!("{V}/1?updateMask=state"), json!({"state": state}));
    let primary = || post(format!("{K}:updatePrimaryVersion"), json!({"cryptoKeyVersionId": "3"}));
    check(&[
        row(&format!("kms keys versions create {of_key}"), [made.clone()], &[post(V.to_owned(), json!({}))]),
        row(
            &format!("kms keys versions create {of_key} --primary"),
            [made.clone()],
            &[post(V.to_owned(), json!({})), primary()],
        ),
        row(
            "kms keys set-primary-version k1 --location l1 --keyring r1 --version 3",
            [made.clone()],
            &[primary()],
        ),
        row(
            "kms keys update k1 --location l1 --keyring r1 --primary-version 3",
            [made.clone()],
            &[get(K.to_owned()), primary()],
        ),
        row(
            &format!("kms keys versions list {of_key}"),
            &[json!({"cryptoKeyVersions": [made]})],
            &[get(format!("{V}?pageSize=100"))],
        ),
        row(&format!("kms keys versions describe 1 {of_key}"), [made.clone()], &[get(format!("{V}/1"))]),
        row(&format!("kms keys versions enable 1 {of_key}"), [made.clone()], &[set("ENABLED")]),
        row(&format!("kms keys versions disable 1 {of_key}"), [made.clone()], &[set("DISABLED")]),
        row(
            &format!("kms keys versions update 1 {of_key} --state disabled"),
            [made.clone()],
            &[set("DISABLED")],
        ),
        row(
            &format!("kms keys versions destroy 1 {of_key}"),
            [made.clone()],
            &[post(format!("{V}/1:destroy"), json!({}))],
        ),
        row(
            &format!("kms keys versions restore 1 {of_key}"),
            &[made],
            &[post(format!("{V}/1:restore"), json!({}))],
        ),
        row(
            &format!("kms keys versions delete 1 {of_key} --quiet"),
            &[json!({"name": "projects/p/locations/l1/operations/1", "done": true})],
            &[(format!("DELETE {V}/1"), Value::Null)],
        ),
    ]);
}

#[test]
fn service_accounts_and_tokens() {
    let account = json!({"email": SA, "name": format!("projects/p/serviceAccounts/{SA}")});
    let one = format!("/v1/projects/-/serviceAccounts/{SA}");
    let here = format!("/v1/projects/p/serviceAccounts/{SA}");
    check(&[
        row(
            "iam service-accounts create sa1 --display-name Mine",
            [account.clone()],
            &[post(
                "/v1/projects/p/serviceAccounts".to_owned(),
                json!({"accountId": "sa1", "serviceAccount": {"displayName": "Mine"}}),
            )],
        ),
        row(
            "iam service-accounts list",
            &[json!({"accounts": [account]})],
            &[get("/v1/projects/p/serviceAccounts?pageSize=100".to_owned())],
        ),
        row(&format!("iam service-accounts describe {SA}"), &[account], &[get(one.clone())]),
        row(
            &format!("iam service-accounts delete {SA} --quiet"),
            &[json!({})],
            &[(format!("DELETE {one}"), Value::Null)],
        ),
        row(
            &format!("iam service-accounts disable {SA}"),
            &[json!({})],
            &[post(format!("{here}:disable"), json!({}))],
        ),
        row(
            &format!("iam service-accounts enable {SA}"),
            &[json!({})],
            &[post(format!("{here}:enable"), json!({}))],
        ),
        row(
            &format!("iam service-accounts keys list --iam-account {SA} --managed-by user"),
            &[json!({})],
            &[get(format!("{one}/keys?keyTypes=USER_MANAGED"))],
        ),
        row(
            &format!("iam service-accounts keys delete abc --iam-account {SA} --quiet"),
            &[json!({})],
            &[(format!("DELETE {one}/keys/abc"), Value::Null)],
        ),
        row(
            &format!(
                "iam service-accounts add-iam-policy-binding {SA} --role roles/a --member user:b@example.com"
            ),
            &[policy()],
            &[
                post(format!("{here}:getIamPolicy?options.requestedPolicyVersion=3"), Value::Null),
                post(format!("{here}:setIamPolicy"), written(&["user:a@example.com", "user:b@example.com"])),
            ],
        ),
        row(
            "iam tokens create --principal user:a@example.com --description why --expires-in 90d",
            &[json!({"token": {"id": "abc"}, "secret": "ks_abc_x"})],
            &[post(
                "/keystead/v1/tokens".to_owned(),
                json!({"principal": "user:a@example.com", "description": "why", "ttl": "7776000s"}),
            )],
        ),
        row(
            "iam tokens list --principal user:a@example.com",
            &[json!({"tokens": [{"id": "abc"}]})],
            &[get("/keystead/v1/tokens?principal=user%3Aa%40example.com&pageSize=100".to_owned())],
        ),
        row(
            "iam certificates list --principal user:a@example.com",
            &[json!({"certificates": [{"serialNumber": "0a1b"}]})],
            &[get("/keystead/v1/certificates?principal=user%3Aa%40example.com&pageSize=100".to_owned())],
        ),
        row(
            "iam tokens revoke abc",
            &[json!({})],
            &[("DELETE /keystead/v1/tokens/abc".to_owned(), Value::Null)],
        ),
    ]);
}

#[test]
fn odd_names_stay_one_part_of_the_path() {
    let server = Recording::start(vec![(404, json!({"error": {"status": "NOT_FOUND", "message": "no"}}))]);
    let output = keystead()
        .args(["kms", "keyrings", "describe", "a?b#c%2Fd e", "--location", "l1", "--project", "p"])
        .args(["--endpoint", &server.endpoint])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(server.requests()[0].line, "GET /v1/projects/p/locations/l1/keyRings/a%3Fb%23c%252Fd%20e");
}
