//! Clients that use and change a few keys until nobody answers any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keystead_testkit::kms_server::KmsServer;
use reqwest::Method;
use serde_json::{Value, json};

use super::known::{Key, Known, Sealed, Told};
use super::{KEYS, Numbers, RING};

/// Calls a server and notes what it answers.
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: String,
    token: String,
    pub(super) known: Arc<Known>,
}

/// The path of a key.
pub(super) fn key(number: usize) -> String {
    format!("{RING}/cryptoKeys/key-{number}")
}

impl Client {
    pub(super) fn new(server: &KmsServer, known: &Arc<Known>) -> Self {
        let token = std::fs::read_to_string(server.token_file()).expect("a token");
        Self {
            http: server.http().clone(),
            endpoint: server.endpoint().to_owned(),
            token: token.trim().to_owned(),
            known: Arc::clone(known),
        }
    }

    /// Status and answer; none when the server is gone before the whole answer is here.
    pub(super) async fn ask(
        &self,
        name: &'static str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Option<(u16, Value)> {
        let mut request =
            self.http.request(method, format!("{}{path}", self.endpoint)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.known.begin();
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let id = response.headers().get("x-keystead-request-id").cloned();
        let answer: Value = serde_json::from_slice(&response.bytes().await.ok()?).expect("JSON");
        let id = id.unwrap_or_else(|| panic!("{path} answered {status} without an id: {answer}"));
        self.known.end(id.to_str().expect("an id").to_owned(), name);
        // A version that is not enabled, and somebody who was faster.
        let kind = answer["error"]["status"].as_str();
        let refused = matches!(kind, Some("FAILED_PRECONDITION" | "ABORTED"));
        assert!(status == 200 || refused, "{path} answered {status}: {answer}");
        Some((status, answer))
    }

    /// The same, where the server is there and the call must succeed.
    pub(super) async fn ok(
        &self,
        name: &'static str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Value {
        let (status, answer) = self.ask(name, method, path, body).await.expect("an answer");
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// From a key that nobody changes.
    pub(super) async fn first_good_answer(&self) {
        let path = format!("{}:encrypt", key(KEYS));
        self.ok("Encrypt", Method::POST, &path, Some(json!({ "plaintext": "Zmlyc3Q=" }))).await;
    }

    /// Changes a value that this client alone changes.
    async fn change<T: PartialEq + std::fmt::Debug>(
        &self,
        own: usize,
        told: impl Fn(&mut Key) -> &mut Told<T>,
        value: T,
        call: (&'static str, Method, String, Value),
    ) -> Option<()> {
        told(&mut self.known.get().keys[own]).ask(value);
        let (name, method, path, body) = call;
        let (status, _) = self.ask(name, method, &path, Some(body)).await?;
        let mut known = self.known.get();
        let told = told(&mut known.keys[own]);
        if status == 200 {
            told.acknowledge()
        } else {
            told.withdraw()
        }
        Some(())
    }

    async fn create_version(&self, number: usize) -> Option<()> {
        let path = format!("{}/cryptoKeyVersions", key(number));
        let (status, answer) =
            self.ask("CreateCryptoKeyVersion", Method::POST, &path, Some(json!({}))).await?;
        if status == 200 {
            let version = version_of(&answer["name"]);
            let key = &mut self.known.get().keys[number];
            assert!(key.versions.insert(version), "version {version} of key {number} was given out twice");
            key.enabled.insert(version, Told { acknowledged: true, asked: None });
        }
        Some(())
    }

    async fn encrypt(&self, number: usize, plaintext: String) -> Option<()> {
        let path = format!("{}:encrypt", key(number));
        let body = json!({ "plaintext": plaintext });
        let (status, answer) = self.ask("Encrypt", Method::POST, &path, Some(body)).await?;
        if status == 200 {
            let version = version_of(&answer["name"]);
            let ciphertext = answer["ciphertext"].as_str().expect("a ciphertext").to_owned();
            self.known.get().keys[number].sealed.push(Sealed { version, ciphertext, plaintext });
        }
        Some(())
    }

    /// Status of the answer, which is right if it has a plaintext.
    pub(super) async fn decrypt(&self, number: usize, sealed: &Sealed) -> Option<u16> {
        let path = format!("{}:decrypt", key(number));
        let body = json!({ "ciphertext": sealed.ciphertext });
        let (status, answer) = self.ask("Decrypt", Method::POST, &path, Some(body)).await?;
        if status == 200 {
            assert_eq!(answer["plaintext"], sealed.plaintext, "version {} of key {number}", sealed.version);
        } else {
            assert_eq!(answer["error"]["status"], "FAILED_PRECONDITION", "{answer}");
        }
        Some(status)
    }
}

/// The last part of a version's name.
pub(super) fn version_of(name: &Value) -> u64 {
    let number = name.as_str().and_then(|name| name.rsplit('/').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name} is no version"))
}

/// Until the server is gone.
pub(super) async fn run(client: Client, own: usize, mut numbers: Numbers, killed: Arc<AtomicBool>) {
    while !killed.load(Ordering::SeqCst) {
        if one_call(&client, own, &mut numbers).await.is_none() {
            return;
        }
    }
}

async fn one_call(client: &Client, own: usize, numbers: &mut Numbers) -> Option<()> {
    let any = numbers.index(KEYS);
    let (version, enabled) = {
        let known = client.known.get();
        let versions = &known.keys[own].enabled;
        let (version, told) = versions.iter().nth(numbers.index(versions.len())).expect("a version");
        (*version, told.acknowledged)
    };
    match numbers.below(10) {
        0 => client.create_version(any).await,
        1 => {
            let path = format!("{}:updatePrimaryVersion", key(own));
            let body = json!({ "cryptoKeyVersionId": version.to_string() });
            let call = ("UpdateCryptoKeyPrimaryVersion", Method::POST, path, body);
            client.change(own, |key| &mut key.primary, version, call).await
        }
        2 => {
            let path = format!("{}/cryptoKeyVersions/{version}?updateMask=state", key(own));
            let body = json!({ "state": if enabled { "DISABLED" } else { "ENABLED" } });
            let call = ("UpdateCryptoKeyVersion", Method::PATCH, path, body);
            client.change(own, |key| key.enabled.entry(version).or_default(), !enabled, call).await
        }
        3 => {
            let member = format!("user:u{}@example.com", numbers.below(1_000_000));
            let bindings = json!([{ "role": "roles/cloudkms.viewer", "members": [member] }]);
            let call = (
                "SetIamPolicy",
                Method::POST,
                format!("{}:setIamPolicy", key(own)),
                json!({ "policy": { "bindings": bindings } }),
            );
            client.change(own, |key| &mut key.policy, member, call).await
        }
        4..7 => {
            // Base64 as it is: 12 characters are 9 bytes.
            let plaintext = format!("{:012}", numbers.below(1_000_000_000_000));
            client.encrypt(any, plaintext).await
        }
        _ => {
            let sealed = {
                let known = client.known.get();
                let all = &known.keys[any].sealed;
                all.get(numbers.index(all.len())).cloned()
            };
            match sealed {
                Some(sealed) => client.decrypt(any, &sealed).await.map(|_| ()),
                None => Some(()),
            }
        }
    }
}
