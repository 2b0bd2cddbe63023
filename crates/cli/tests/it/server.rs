//! What only `keystead` can, on a real server.

use std::process::Output;

use crate::scene::{LOCATION, Scene};
use crate::{keystead, stderr, stdout};

/// A command with another token.
fn with_token(scene: &Scene, file: &str, words: &str) -> Output {
    let mut command = scene.command(keystead(), "of-keystead");
    command.env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", scene.path().join(file));
    command.args(words.split_whitespace()).output().expect("runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_from_its_creation_to_its_revocation() {
    let scene = Scene::new().await;
    let list = format!("kms keyrings list --location {LOCATION}");
    scene.works(
        "iam tokens create --principal user:a@example.com --expires-in 1d --description why --output-file token",
    );
    let refused = with_token(&scene, "token", &list);
    assert_eq!(refused.status.code(), Some(5), "nothing is granted yet: {}", stderr(&refused));
    assert!(stderr(&refused).contains("cloudkms.keyRings.list is not granted"), "{}", stderr(&refused));
    scene.works(
        "projects add-iam-policy-binding of-keystead --member user:a@example.com --role roles/cloudkms.viewer",
    );
    let allowed = with_token(&scene, "token", &list);
    assert!(allowed.status.success(), "{}", stderr(&allowed));

    let columns = "value(principal,description,id)";
    let listed = scene.works(&format!("iam tokens list --principal user:a@example.com --format {columns}"));
    let id = listed.trim().strip_prefix("user:a@example.com\twhy\t").expect(&listed);
    let token = std::fs::read_to_string(scene.path().join("token")).expect("a token");
    assert!(token.starts_with(&format!("ks_{id}_")), "the id is the public part of the token");
    let secret = token.trim().rsplit('_').next().expect("a secret");
    assert!(!listed.contains(secret), "a secret is shown once");

    let whole = scene.keystead(&format!("iam tokens revoke {}", token.trim()));
    assert_eq!(whole.status.code(), Some(2), "{}", stderr(&whole));
    assert!(!stderr(&whole).contains(secret), "{}", stderr(&whole));
    scene.works(&format!("iam tokens revoke {id}"));
    let revoked = with_token(&scene, "token", &list);
    assert_eq!(revoked.status.code(), Some(5), "{}", stderr(&revoked));
    assert!(stderr(&revoked).contains("hint: the token in "), "{}", stderr(&revoked));
    assert_eq!(scene.works("iam tokens list --principal user:a@example.com --format value(id)"), "");
    assert!(scene.token_file().exists(), "the administrator's own goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hyphen_stands_for_all_locations_in_lists_and_is_refused_elsewhere() {
    let scene = Scene::with("locations: [{name: global}, {name: dc1}, {name: dc2}]\n").await;
    for (ring, location) in [("a", "dc1"), ("b", "dc2"), ("c", "dc2")] {
        scene.works(&format!("kms keyrings create {ring} --location {location}"));
    }
    let list = "kms keyrings list --format value(name.scope(locations)) --sort-by name --location";
    assert_eq!(scene.works(&format!("{list} -")), "dc1/keyRings/a\ndc2/keyRings/b\ndc2/keyRings/c\n");
    assert_eq!(scene.works(&format!("{list}=- --limit 2")), "dc1/keyRings/a\ndc2/keyRings/b\n");
    let full = "projects/of-keystead/locations/-";
    assert_eq!(scene.works(&format!("{list} {full} --filter name:dc1")), "dc1/keyRings/a\n");
    assert_eq!(scene.works("kms retired-resources list --location - --format value(name)"), "");
    for words in [
        "kms keyrings create d --location -",
        "kms keyrings describe a --location -",
        "kms keys list --keyring a --location -",
        "kms keys versions list --keyring a --key k --location -",
        "kms generate-random-bytes --length 8 --location -",
        "kms generate-random-bytes --length 8 --location projects/p/locations/-",
    ] {
        let refused = scene.keystead(words);
        assert_eq!(refused.status.code(), Some(2), "{words}: {}", stderr(&refused));
        assert!(stderr(&refused).contains("`-` stands for all locations"), "{words}: {}", stderr(&refused));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c10_rotation_leaves_old_ciphertexts_readable_until_their_version_is_disabled() {
    let scene = Scene::new().await;
    let of_key = format!("--location {LOCATION} --keyring ring --key key");
    let at = scene.path();
    scene.works(&format!("kms keyrings create ring --location {LOCATION}"));
    scene.works(&format!("kms keys create key --location {LOCATION} --keyring ring --purpose encryption"));
    std::fs::write(at.join("pt"), b"hello\xff\xfe??>>").expect("writes");
    scene.works(&format!("kms encrypt {of_key} --plaintext-file pt --ciphertext-file old"));
    let output = scene.keystead(&format!("kms keys versions create {of_key} --primary"));
    assert!(
        stderr(&output)
            .starts_with("Successfully created key version [2] and set it as the primary version.")
    );
    scene.works(&format!("kms encrypt {of_key} --plaintext-file pt --ciphertext-file new"));
    for file in ["old", "new"] {
        scene.works(&format!("kms decrypt {of_key} --ciphertext-file {file} --plaintext-file out"));
        assert_eq!(std::fs::read(at.join("out")).expect("written"), b"hello\xff\xfe??>>");
    }
    scene.works(&format!("kms keys versions disable 1 {of_key}"));
    let refused = scene.keystead(&format!("kms decrypt {of_key} --ciphertext-file old --plaintext-file out"));
    assert_eq!(refused.status.code(), Some(1));
    for part in [
        "FAILED_PRECONDITION",
        "cryptoKeyVersions/1 is not enabled, current state is: DISABLED",
        "KEY_DISABLED",
    ] {
        assert!(stderr(&refused).contains(part), "{part}: {}", stderr(&refused));
    }
    scene.works(&format!("kms decrypt {of_key} --ciphertext-file new --plaintext-file out"));
    std::fs::write(at.join("aad"), b"other").expect("writes");
    let words = format!("kms decrypt {of_key} --ciphertext-file new --plaintext-file out2");
    let wrong = scene.keystead(&format!("{words} --additional-authenticated-data-file aad"));
    assert_eq!(wrong.status.code(), Some(1), "{}", stderr(&wrong));
    assert!(!at.join("out2").exists(), "nothing is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_does_without_a_token() {
    let scene = Scene::new().await;
    let (certificate, key) = scene.client_certificate("user:c@example.com");
    let list = || {
        let mut command = scene.command(keystead(), "of-keystead");
        command.env_remove("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE");
        command.args(["kms", "keyrings", "list", "--location", LOCATION]);
        command
    };
    let nobody = list().output().expect("runs");
    assert_eq!(nobody.status.code(), Some(5), "{}", stderr(&nobody));
    assert!(stderr(&nobody).contains("hint: KEYSTEAD_TOKEN_FILE or --token-file"), "{}", stderr(&nobody));
    scene.works(
        "projects add-iam-policy-binding of-keystead --member user:c@example.com --role roles/cloudkms.viewer",
    );
    let mut command = list();
    command.arg("--client-certificate-file").arg(&certificate).arg("--client-key-file").arg(&key);
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let mut command = list();
    command.arg("--client-certificate-file").arg(&certificate).arg("--client-key-file").arg(&certificate);
    let output = command.output().expect("runs");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_come_as_many_as_asked_for() {
    let scene = Scene::new().await;
    for file in ["one", "other"] {
        scene.works(&format!(
            "kms generate-random-bytes --location {LOCATION} --length 64 --output-file {file}"
        ));
    }
    let read = |file: &str| std::fs::read(scene.path().join(file)).expect("written");
    assert_eq!(read("one").len(), 64);
    assert_ne!(read("one"), read("other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_has_versions_is_not_deleted() {
    let scene = Scene::new().await;
    scene.works(&format!("kms keyrings create ring --location {LOCATION}"));
    scene.works(&format!("kms keys create key --location {LOCATION} --keyring ring --purpose encryption"));
    let of_key = format!("--location {LOCATION} --keyring ring");
    let refused = scene.keystead(&format!("kms keys delete key {of_key} --quiet"));
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("FAILED_PRECONDITION"), "{}", stderr(&refused));
    let version = scene.keystead(&format!("kms keys versions delete 1 {of_key} --key key --quiet"));
    assert_eq!(version.status.code(), Some(1), "{}", stderr(&version));
    scene.works(&format!(
        "kms keys create empty {of_key} --purpose encryption --skip-initial-version-creation"
    ));
    scene.works(&format!("kms keys delete empty {of_key} --quiet"));
    let gone = scene.keystead(&format!("kms keys describe empty {of_key}"));
    assert!(stderr(&gone).contains("NOT_FOUND"), "{}", stderr(&gone));
    let retired =
        format!("kms retired-resources list --location {LOCATION} --format value(originalResource)");
    assert_eq!(
        scene.works(&retired),
        format!("projects/of-keystead/locations/{LOCATION}/keyRings/ring/cryptoKeys/empty\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_vouches_for_is_not_talked_to() {
    let scene = Scene::new().await;
    let mut command = scene.command(keystead(), "of-keystead");
    let output = command.env_remove("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE").args(["projects", "list"]).output();
    let output = output.expect("runs");
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(4), ""), "{}", stderr(&output));
    assert!(stderr(&output).contains("--ca-file"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_policy_is_read_and_changed() {
    let scene = Scene::new().await;
    let admins = "server get-iam-policy --format value(bindings.role)";
    assert!(scene.works(admins).contains("roles/keystead.admin"), "{}", scene.works(admins));
    let ann = "--member user:ann@example.com --role roles/keystead.admin";
    scene.works(&format!("server add-iam-policy-binding {ann}"));
    let owner = "--member user:admin@keystead.local --role roles/owner";
    scene.works(&format!("server remove-iam-policy-binding {owner}"));
    assert!(!scene.works(admins).contains("roles/owner"));
    scene.works(&format!("server remove-iam-policy-binding {ann}"));
    let last =
        "server remove-iam-policy-binding --member user:admin@keystead.local --role roles/keystead.admin";
    let mut command = scene.command(keystead(), "of-keystead");
    let refused = command.args(last.split_whitespace()).output().expect("runs");
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("nobody who can change the server's policy"), "{}", stderr(&refused));
}
