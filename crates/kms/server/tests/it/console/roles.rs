//! Who sees what.

use super::{Browser, KEY, RING};
use crate::api::Server;

const ALICE: &str = "user:alice@example.com";
const BOB: &str = "user:bob@example.com";

#[tokio::test(flavor = "multi_thread")]
async fn p13_p15_a_page_shows_what_the_apis_would_tell_the_same_person() {
    let server = Server::with_key().await;
    let name = &KEY[9..];
    let project = "projects/key-project";
    for (role, place, sees_key, sees_members, may_rotate) in [
        ("roles/cloudkms.viewer", project, true, false, false),
        ("roles/cloudkms.admin", project, true, true, true),
        ("roles/owner", project, true, true, true),
        ("roles/viewer", project, true, false, false),
        ("roles/browser", project, false, false, false),
        ("roles/cloudkms.cryptoKeyEncrypterDecrypter", name, false, false, false),
        ("roles/cloudkms.viewer", name, true, false, false),
        ("roles/container.admin", project, false, false, false),
    ] {
        server.bind(project, &[]).await;
        let bob = ("roles/cloudkms.viewer", BOB);
        server.bind(name, &[bob]).await;
        let bindings = if place == name { vec![bob, (role, ALICE)] } else { vec![(role, ALICE)] };
        server.bind(place, &bindings).await;
        let token = server.token_of(ALICE).await;
        let api = server.call_as(&token, "GET", &format!("/v1/{name}"), "").await;
        let mut browser = Browser::of(&server, &token).await;
        let page = browser.get(KEY).await;
        assert_eq!(api.status == 200, sees_key, "{role} at {place}");
        assert_eq!(page.status, if sees_key { 200 } else { 403 }, "{role} at {place}: {}", page.html);
        let policy = server.call_as(&token, "GET", &format!("/v1/{name}:getIamPolicy"), "").await;
        assert_eq!(policy.status == 200, sees_members, "{role} at {place}");
        let shows_members = page.text().contains(BOB);
        assert_eq!(shows_members, sees_key && sees_members, "{role} at {place}: {}", page.html);
        let form = browser.get("/console/sessions").await.form_token();
        let rotated = browser.post(&format!("{KEY}/rotate"), &[("form-token", &form)]).await;
        assert_eq!(rotated.status == 303, may_rotate, "{role} at {place}: {}", rotated.html);
    }
}

#[tokio::test]
async fn what_exists_is_not_given_away() {
    let server = Server::with_key().await;
    let token = server.token_of(ALICE).await;
    let mut browser = Browser::of(&server, &token).await;
    let projects = browser.get("/console").await;
    assert!(!projects.html.contains("key-project"), "{}", projects.html);
    for (there, not_there) in [
        (KEY, KEY.replace("key-1", "key-0")),
        (RING, RING.replace("ring-1", "ring-0")),
        ("/console/projects/key-project", "/console/projects/not-project".to_owned()),
        ("/console/projects/key-project/keyRings", "/console/projects/not-project/keyRings".to_owned()),
        ("/console/projects/key-project/clusters", "/console/projects/not-project/clusters".to_owned()),
    ] {
        let [one, other] = [browser.get(there).await, browser.get(&not_there).await];
        assert_eq!((one.status, other.status), (403, 403), "{there}: {}", one.html);
        let neutral = |html: &str| {
            let html = html.replace("key-0", "key-1").replace("ring-0", "ring-1");
            html.replace("not-project", "key-project")
        };
        assert_eq!(neutral(&one.html), neutral(&other.html), "{there}");
    }
}
