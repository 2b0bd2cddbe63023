//! The console as a browser without script uses it: pages, forms, cookies.

mod browser;
mod hostile;
mod roles;

use std::collections::BTreeMap;

use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use tonic::body::Body;

use crate::api::Server;

const RING: &str = "/console/projects/key-project/locations/us-central1/keyRings/ring-1";
const KEY: &str = "/console/projects/key-project/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1";

/// A browser that keeps cookies and runs nothing.
struct Browser<'a> {
    server: &'a Server,
    cookies: BTreeMap<String, String>,
    language: &'static str,
}

/// What a browser shows.
#[derive(Debug)]
struct Page {
    status: u16,
    headers: HeaderMap,
    html: String,
}

impl<'a> Browser<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, cookies: BTreeMap::new(), language: "en" }
    }

    /// One in which the owner of a token has logged in.
    async fn of(server: &'a Server, token: &str) -> Self {
        let mut browser = Self::new(server);
        let page = browser.post("/console/login", &[("token", token)]).await;
        assert_eq!((page.status, page.location()), (303, "/console"));
        browser
    }

    async fn get(&mut self, path: &str) -> Page {
        self.send(Request::get(path), String::new()).await
    }

    /// Sends exactly these fields.
    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin");
        self.send(request, form).await
    }

    /// Fills in the form of a page, with the token that the page has.
    async fn fill(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Page {
        let shown = self.get(page).await;
        assert_eq!(shown.status, 200, "{page}: {}", shown.html);
        assert!(shown.html.contains(&format!(r#"action="{action}""#)), "{page} has no form for {action}");
        let token = shown.form_token();
        self.post(action, &[&[("form-token", token.as_str())], fields].concat()).await
    }

    async fn send(&mut self, request: http::request::Builder, body: String) -> Page {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = request.header(COOKIE, cookies.join("; ")).header("accept-language", self.language);
        let request = request.header("host", "localhost:9443").header("user-agent", "a browser");
        let request = request.body(Body::new(Full::from(body))).expect("a request");
        let (head, body) = self.server.respond(request).await.into_parts();
        for cookie in head.headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str().expect("text").split(';').next().expect("a cookie");
            let (name, value) = cookie.split_once('=').expect("a cookie");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let html = body.collect().await.expect("a body").to_bytes();
        let html = String::from_utf8(html.to_vec()).expect("text");
        Page { status: head.status.as_u16(), headers: head.headers, html }
    }
}

impl Page {
    fn location(&self) -> &str {
        self.headers.get(LOCATION).map(|it| it.to_str().expect("text")).unwrap_or_default()
    }

    fn form_token(&self) -> String {
        let (_, rest) = self.html.split_once(r#"name="form-token" value=""#).expect("a form");
        rest.split('"').next().expect("a value").to_owned()
    }

    /// What a screen shows: without tags.
    fn text(&self) -> String {
        let mut text = String::new();
        for part in self.html.split('<') {
            text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
        }
        text
    }
}

#[tokio::test]
async fn u1_u2_u3_u4_from_nothing_to_a_key_that_a_cluster_may_use() {
    let server = Server::new().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    let start = browser.get("/console").await;
    assert!(start.text().contains("You see no project yet"), "{}", start.html);
    let new = [("id", "key-project"), ("name", "Keys")];
    let made = browser.fill("/console/projects/new", "/console/projects", &new).await;
    assert_eq!((made.status, made.location()), (303, "/console/projects/key-project"), "{}", made.html);

    // U1.
    let project = "/console/projects/key-project";
    for api in ["cloudkms.googleapis.com", "container.googleapis.com"] {
        let enabled =
            browser.fill(project, &format!("{project}/services"), &[("api", api), ("enable", "yes")]).await;
        assert_eq!(enabled.location(), project, "{}", enabled.html);
    }
    let services = server.get("/v1/projects/key-project/services?filter=state:ENABLED").await.ok();
    assert!(services.to_string().contains("container.googleapis.com"), "{services}");

    // U2.
    let rings = "/console/projects/key-project/keyRings";
    let ring = [("name", "ring-1"), ("location", "us-central1")];
    let made = browser.fill(&format!("{rings}/new"), rings, &ring).await;
    assert_eq!(made.location(), RING, "{}", made.html);
    assert!(browser.get(rings).await.html.contains(&format!(r#"<a href="{RING}">ring-1</a>"#)));

    // U3, with what the page proposes.
    let form = browser.get(&format!("{RING}/new")).await;
    assert!(form.text().contains("It re-encrypts nothing"), "{}", form.html);
    let value = |field: &str| {
        let (_, rest) = form.html.split_once(&format!(r#"name="{field}""#)).expect("a field");
        rest.split_once(r#"value=""#).expect("a value").1.split('"').next().expect("a value").to_owned()
    };
    let (days, start) = (value("days"), value("start"));
    let today = jiff::Timestamp::now().as_second() / 86_400;
    let first: jiff::Timestamp = format!("{start}T00:00:00Z").parse().expect("a date");
    assert_eq!((days.as_str(), first.as_second() / 86_400 - today), ("90", 90));
    let fields = [
        ("name", "key-1"),
        ("rotates", "yes"),
        ("days", &days),
        ("start", &start),
        ("labels", "team=a\nenv=b"),
    ];
    let made = browser.fill(&format!("{RING}/new"), &format!("{RING}/cryptoKeys"), &fields).await;
    assert_eq!(made.location(), KEY, "{}", made.html);
    let key = server.get(&format!("/v1{}", KEY.strip_prefix("/console").expect("a path"))).await.ok();
    assert_eq!(key["rotationPeriod"], "7776000s");
    assert_eq!(key["nextRotationTime"], format!("{start}T00:00:00Z"));
    assert_eq!(key["labels"], json!({ "team": "a", "env": "b" }));

    // U4: the account of the project's clusters is there to choose.
    let shown = browser.get(RING).await;
    let (_, rest) = shown.html.split_once(r#"<option value="service-"#).expect("an account");
    let account = format!("service-{}", rest.split('"').next().expect("a value"));
    let role = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
    let fields = [("key", "key-1"), ("member", account.as_str()), ("role", role)];
    let granted = browser.fill(RING, &format!("{RING}/members"), &fields).await;
    assert_eq!(granted.location(), format!("{RING}?saved=yes"), "{}", granted.html);
    let policy = server.get(&format!("/v1{}:getIamPolicy", &KEY[8..])).await.ok();
    assert_eq!(policy["bindings"][0]["members"][0], format!("serviceAccount:{account}"), "{policy}");
    let key = browser.get(KEY).await;
    assert!(key.text().contains(&format!("serviceAccount:{account}")));
    let fields = [("member", &*format!("serviceAccount:{account}")), ("role", role)];
    browser.fill(KEY, &format!("{KEY}/remove-member"), &fields).await;
    let policy = server.get(&format!("/v1{}:getIamPolicy", &KEY[8..])).await.ok();
    assert_eq!(policy.get("bindings"), None, "{policy}");
}

#[tokio::test]
async fn p18_a_key_is_rotated_and_its_old_version_is_disabled_destroyed_and_restored() {
    let server = Server::with_key().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    browser.fill(KEY, &format!("{KEY}/rotate"), &[]).await;
    let key = server.get(&format!("/v1{}", &KEY[8..])).await.ok();
    assert!(key["primary"]["name"].as_str().expect("a primary").ends_with("/cryptoKeyVersions/2"));
    let state = async || {
        let version = server.get(&format!("/v1{}/cryptoKeyVersions/1", &KEY[8..])).await.ok();
        version["state"].as_str().expect("a state").to_owned()
    };
    browser.fill(KEY, &format!("{KEY}/1/disable"), &[]).await;
    assert_eq!(state().await, "DISABLED");
    browser.fill(KEY, &format!("{KEY}/1/enable"), &[]).await;
    assert_eq!(state().await, "ENABLED");

    let destroy = format!("{KEY}/1/destroy");
    let bob = server.token_of("user:bob@example.com").await;
    for (name, token, what) in [
        ("key-2", server.admin(), "This is not the name of the key."),
        ("key-1", "", "This token is not valid"),
        ("key-1", bob.as_str(), "This token is not valid"),
    ] {
        let refused = browser.fill(&destroy, &destroy, &[("name", name), ("token", token)]).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(what), "{}", refused.html);
        assert_eq!(state().await, "ENABLED");
    }
    let sure = [("name", "key-1"), ("token", server.admin())];
    let done = browser.fill(&destroy, &destroy, &sure).await;
    assert_eq!(done.location(), KEY, "{}", done.html);
    assert_eq!(state().await, "DESTROY_SCHEDULED");
    browser.fill(KEY, &format!("{KEY}/1/restore"), &[]).await;
    assert_eq!(state().await, "DISABLED");

    // What is in use is not destroyed: the refusal of the key service stands on the page.
    let api = &KEY[8..];
    let plaintext = json!({ "plaintext": "c2VjcmV0" });
    server.post(&format!("/v1{api}:encrypt"), plaintext).await.ok();
    let refused_there = server.post(&format!("/v1{api}/cryptoKeyVersions/2:destroy"), json!({})).await;
    let said = refused_there.json["error"]["message"].as_str().expect("a refusal");
    let destroy = format!("{KEY}/2/destroy");
    let refused = browser.fill(&destroy, &destroy, &sure).await;
    assert_eq!(refused.status, 400, "{}", refused.html);
    assert!(refused.text().contains(&html_escaped(said)), "{said}: {}", refused.html);
}

#[tokio::test]
async fn k4_a_plugin_gets_a_token_whose_id_is_always_shown_and_its_secret_once() {
    let server = Server::with_key().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    let plugins = "/console/projects/key-project/plugins";
    let empty = browser.get(plugins).await;
    assert!(empty.text().contains("No token was issued"), "{}", empty.html);
    let key = &KEY[9..];
    let request = [("key", key), ("key-name", ""), ("account", "kms-plugin")];
    let issued = browser.fill(plugins, plugins, &request).await;
    assert_eq!(issued.status, 200, "{}", issued.html);
    let token = |page: &Page| {
        let (_, rest) = page.html.split_once("[&#34;").expect("a token");
        rest.split("&#34;").next().expect("a token").to_owned()
    };
    let first = token(&issued);
    let id = &first[3..19];
    assert!(first.starts_with("ks_") && first.len() == 63, "{first}");
    assert_eq!(issued.headers["cache-control"], "no-store");
    let text = issued.text();
    for part in [id, key, "value: ", "keystead plugin install --as static-pod", "KMS_USER_ID", "KMS_KEY_ID"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains(&format!("value: {id}")) && text.contains(&format!("value: {key}")));

    // It does what a plugin does, and nothing else.
    let plaintext = json!({ "plaintext": "c2VjcmV0" }).to_string();
    let encrypt = format!("/v1/{key}:encrypt");
    server.call_as(&first, "POST", &encrypt, &plaintext).await.ok();
    assert_eq!(server.call_as(&first, "GET", &format!("/v1/{key}"), "").await.status, 403);

    let another = browser.fill(plugins, plugins, &[("account", "kms-plugin"), ("key-name", key)]).await;
    let second = token(&another);
    let list = browser.get(plugins).await;
    for shown in [id, &second[3..19], key] {
        assert!(list.text().contains(shown), "{shown}: {}", list.html);
    }
    for hidden in [&first[20..], &second[20..]] {
        assert!(!list.html.contains(hidden), "a secret is shown again");
        assert!(!server.audit_text().contains(hidden), "a secret is in the audit log");
    }
    let policy = server.get(&format!("/v1/{key}:getIamPolicy")).await.ok();
    assert_eq!(policy["bindings"][0]["members"].as_array().map(Vec::len), Some(1), "{policy}");
    browser.fill(plugins, &format!("{plugins}/{id}/revoke"), &[]).await;
    assert_eq!(server.call_as(&first, "POST", &encrypt, &plaintext).await.status, 401);
    server.call_as(&second, "POST", &encrypt, &plaintext).await.ok();

    for (field, bad, says) in [
        ("account", "x", "Something in the request is not right."),
        ("key-name", "nonsense", "A key is named projects/PROJECT"),
    ] {
        let mut request = vec![("key", key), ("account", "kms-plugin")];
        request.retain(|(name, _)| *name != field);
        request.push((field, bad));
        let refused = browser.fill(plugins, plugins, &request).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(says), "{}", refused.html);
    }
}

#[tokio::test]
async fn nothing_is_left_out_of_a_list_in_silence() {
    let server = Server::with_key().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    assert!(!browser.get(KEY).await.text().contains("not shown here"));
    for _ in 0..101 {
        server.post(&format!("/v1{}/cryptoKeyVersions", &KEY[8..]), json!({})).await.ok();
    }
    let page = browser.get(KEY).await;
    assert!(page.text().contains("Older versions that are not shown here: 2."), "{}", page.html);
    assert!(
        page.html.contains(r#"<td class="number">102</td>"#)
            && !page.html.contains(r#"<td class="number">2</td>"#)
    );

    let plugins = "/console/projects/key-project/plugins";
    browser.fill(plugins, plugins, &[("key", &KEY[9..]), ("account", "kms-plugin")]).await;
    let principal = "serviceAccount:kms-plugin@key-project.iam.gserviceaccount.com";
    for _ in 0..50 {
        assert!(!browser.get(plugins).await.text().contains("more tokens"));
        server.token_of(principal).await;
    }
    assert!(browser.get(plugins).await.text().contains("There are more tokens than are shown here"));
}

/// As a page shows a text.
fn html_escaped(text: &str) -> String {
    let text = text.replace('&', "&#38;").replace('<', "&#60;").replace('>', "&#62;");
    text.replace('"', "&#34;").replace('\'', "&#39;")
}

#[tokio::test]
async fn a_refusal_stands_beside_its_field_in_the_pages_language_and_what_was_typed_stays() {
    let server = Server::with_key().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    let rings = "/console/projects/key-project/keyRings";
    for (language, bad, taken) in [
        ("en", "A name has 1 to 63 letters", "The name is taken."),
        ("ko", "이름은 영문자, 숫자, 밑줄, 하이픈 1~63자여야 합니다.", "이미 사용 중인 이름입니다."),
    ] {
        browser.language = language;
        for (name, says) in [("not a name", bad), ("ring-1", taken)] {
            let fields = [("name", name), ("location", "us-central1")];
            let refused = browser.fill(&format!("{rings}/new"), rings, &fields).await;
            assert_eq!(refused.status, 400);
            let (_, field) = refused.html.split_once(r#"<input id="name""#).expect("a field");
            let (input, after) = field.split_once('>').expect("an input");
            assert!(input.contains(r#"aria-invalid="true""#) && input.contains(name), "{input}");
            assert!(after.trim_start().starts_with(r#"<p class="wrong""#), "{after}");
            assert!(after.contains(says), "{after}");
            assert!(refused.html.contains(r#"<option selected>us-central1"#), "{}", refused.html);
            assert!(refused.html.contains(&format!(r#"<html lang="{language}">"#)));
        }
    }
}

#[tokio::test]
async fn a_language_is_switched_and_stays() {
    let server = Server::new().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    let page = browser.get("/console/sessions").await;
    let link = "/console/language/ko?back=%2Fconsole%2Fsessions";
    assert!(page.html.contains(&format!(r#"href="{link}""#)), "{}", page.html);
    let back = browser.get(link).await;
    assert_eq!((back.status, back.location()), (303, "/console/sessions"));
    assert!(browser.get("/console").await.html.contains(r#"<html lang="ko">"#));
    browser.get("/console/language/xx").await;
    assert!(browser.get("/console").await.html.contains(r#"<html lang="ko">"#));
}

#[tokio::test]
async fn a_session_that_ended_brings_its_owner_back_after_the_login() {
    let server = Server::with_key().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    let token = browser.get(KEY).await.form_token();
    let other = Browser::of(&server, server.admin()).await;
    let sessions = browser.get("/console/sessions").await;
    assert_eq!(sessions.html.matches("/end\"").count(), 2, "{}", sessions.html);
    let left = browser.post("/console/logout", &[("form-token", &token)]).await;
    assert_eq!(left.location(), "/console/login");
    let mut browser = Browser { cookies: other.cookies, ..browser };
    assert_eq!(browser.get(KEY).await.status, 200, "the other session goes on");

    browser.cookies.clear();
    let page = browser.get(&format!("{KEY}?x=1")).await;
    let (login, back) = page.location().split_once("?back=").expect("the way back");
    assert_eq!((page.status, login), (303, "/console/login"));
    let back =
        form_urlencoded::parse(format!("back={back}").as_bytes()).next().expect("a field").1.into_owned();
    assert_eq!(back, format!("{KEY}?x=1"));
    let refused = browser.post("/console/login", &[("token", "ks_no"), ("back", &back)]).await;
    assert_eq!(refused.status, 401);
    let login = browser.post("/console/login", &[("token", server.admin()), ("back", &back)]).await;
    assert_eq!(login.location(), back);
}

#[tokio::test]
async fn the_first_page_is_small_and_asks_for_nothing_elsewhere() {
    let server = Server::with_key().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    let page = browser.get("/console").await;
    let mut whole = page.html.len();
    let links = page.html.split(['"', '\'']).filter(|it| it.contains("/assets/"));
    let links: Vec<&str> = links.collect();
    assert_eq!(links.len(), 3, "{links:?}");
    for link in links {
        let asset = browser.get(link).await;
        assert_eq!(asset.status, 200, "{link}");
        assert_eq!(asset.headers["cache-control"], "public, max-age=31536000, immutable");
        whole += asset.html.len();
        for elsewhere in ["http://", "https://", "//", "@import", "url("] {
            let found = asset.html.lines().any(|line| {
                line.contains(elsewhere)
                    && !line.trim_start().starts_with("//")
                    && !line.contains("www.w3.org/2000/svg")
            });
            assert!(!found, "{link} has {elsewhere}");
        }
    }
    assert!(whole < 50 * 1024, "{whole} bytes");
    let old = browser.get("/console/assets/0000000000000000/console.css").await;
    assert_eq!(
        (old.status, &old.headers["cache-control"]),
        (200, &http::HeaderValue::from_static("no-store"))
    );
}
