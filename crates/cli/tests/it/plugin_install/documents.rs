//! What is written is what the pages show.

use std::fs;
use std::path::Path;

use super::host::{Host, yaml};
use crate::scene::{LOCATION, Scene};

/// The pages, from the folder of this package.
const PAGES: [&str; 2] = ["../../docs/guides/static-pod.md", "../../docs/ko/static-pod.md"];
const USER: &str = "4f3a2b0c";

/// The whole pod of the first document, with a key in a service.
#[tokio::test(flavor = "multi_thread")]
async fn k4_k5_k6_the_manifest_is_that_of_the_guide_in_both_languages() {
    let scene = Scene::new().await;
    let host = Host::new();
    let (id, key) = with_credentials(&scene, &host);
    let credentials = host.path("etc/keystead/credentials.json").display().to_string();
    let ids = ["--kms-key", &key, "--kms-user", &id, "--credentials-file", &credentials];
    let told = host.succeeds(&[&["install", "--as", "static-pod", "--dry-run"][..], &ids].concat());
    let printed = host
        .as_on_a_host(&told.stdout)
        .replace(&id, USER)
        .replace("projects/of-keystead/", "projects/key-project/");
    let manifest = section(&printed, "/manifests/keystead-kms-plugin-pod.yaml");
    let pod = yaml(manifest);
    for (path, expected) in [
        // K5: one static pod of the host, before the API server, with nothing of the cluster's.
        ("/kind", "Pod"),
        ("/metadata/namespace", "kube-system"),
        ("/metadata/name", "keystead-kms-plugin"),
        ("/spec/priorityClassName", "system-node-critical"),
        ("/spec/dnsPolicy", "Default"),
        ("/spec/containers/0/imagePullPolicy", "Never"),
        ("/spec/volumes/0/name", "kms-plugin-socket"),
        ("/spec/containers/0/volumeMounts/0/name", "kms-plugin-socket"),
        // K6: a directory of its own below /tmp.
        ("/spec/volumes/0/hostPath/path", "/tmp/keystead"),
        ("/spec/volumes/0/hostPath/type", "DirectoryOrCreate"),
        ("/spec/containers/0/volumeMounts/0/mountPath", "/tmp/keystead"),
        ("/spec/containers/0/args/0", "--socket=/tmp/keystead/kms.sock"),
        // K4: two variables, with ids only.
        ("/spec/containers/0/env/0/name", "KMS_KEY_ID"),
        (
            "/spec/containers/0/env/0/value",
            "projects/key-project/locations/europe-west1/keyRings/clusters/cryptoKeys/secrets",
        ),
        ("/spec/containers/0/env/1/name", "KMS_USER_ID"),
        ("/spec/containers/0/env/1/value", USER),
        // Credentials are files of the host, which the pod cannot write.
        ("/spec/volumes/1/hostPath/path", "/etc/keystead"),
        // A restart would only lose what the plugin has in memory: not for an outage of the key service.
        ("/spec/containers/0/livenessProbe/httpGet/path", "/livez"),
        ("/spec/containers/0/startupProbe/httpGet/path", "/livez"),
        ("/spec/containers/0/livenessProbe/httpGet/host", "127.0.0.1"),
        ("/spec/containers/0/securityContext/capabilities/drop/0", "ALL"),
        ("/spec/securityContext/seccompProfile/type", "RuntimeDefault"),
        ("/spec/containers/0/resources/limits/memory", "512Mi"),
    ] {
        assert_eq!(pod.pointer(path).and_then(|it| it.as_str()), Some(expected), "{path}: {manifest}");
    }
    for (path, expected) in [
        ("/spec/hostNetwork", true),
        ("/spec/containers/0/volumeMounts/1/readOnly", true),
        ("/spec/containers/0/securityContext/readOnlyRootFilesystem", true),
        ("/spec/containers/0/securityContext/allowPrivilegeEscalation", false),
    ] {
        assert_eq!(pod.pointer(path).and_then(|it| it.as_bool()), Some(expected), "{path}: {manifest}");
    }
    assert_eq!(pod["spec"]["containers"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        pod["spec"]["containers"][0]["volumeMounts"][0].get("readOnly"),
        None,
        "the socket is made there"
    );
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 15);
    assert_eq!(pod["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"], 10277);
    for none in ["serviceAccountName", "imagePullSecrets"] {
        assert_eq!(pod["spec"].get(none), None, "a static pod cannot have it");
    }
    let token = fs::read_to_string(scene.token_file()).expect("a token");
    let secret = token.trim().rsplit('_').next().expect("a secret");
    assert!(!told.stdout.contains(secret) && !told.stderr.contains(secret), "no secret is written or told");

    for page in PAGES {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect(page);
        let blocks: Vec<&str> =
            blocks(&text, "yaml").filter(|it| it.contains("keystead-kms-plugin")).collect();
        assert_eq!(blocks, [manifest], "{page}");
        let boot = section(&printed, "/tmpfiles.d/keystead-plugin.conf").trim();
        assert!(text.contains(&format!("echo '{boot}' > /etc/tmpfiles.d/keystead-plugin.conf")), "{page}");
    }
}

/// The pod that the console shows with a new token.
#[test]
fn k4_the_manifest_of_the_console_is_that_of_the_guide() {
    let read = |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect(file);
    let shown = read("../kms/console/templates/plugin_pod.yaml")
        .replace("{{ version }}", "VERSION")
        .replace("{{ user_id }}", USER)
        .replace(
            "{{ key }}",
            "projects/key-project/locations/europe-west1/keyRings/clusters/cryptoKeys/secrets",
        );
    let guide = read(PAGES[0]);
    let pod = blocks(&guide, "yaml").find(|it| it.contains("keystead-kms-plugin")).expect("a pod");
    assert_eq!(shown, pod);
}

/// The steps, their commands and their YAML are the same in both languages.
#[test]
fn both_languages_have_the_same_commands() {
    let read =
        |page: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect("a page");
    let code = |text: &str| {
        let kinds = ["yaml", "json", "", "diff"];
        kinds.map(|kind| blocks(text, kind).map(str::to_owned).collect::<Vec<_>>())
    };
    let pages = PAGES.map(|page| code(&read(page)));
    assert_eq!(pages[0], pages[1]);
    assert!(pages[0].iter().map(Vec::len).sum::<usize>() > 8, "blocks were found");
}

/// The flags of each `keystead` command that the guide names exist.
#[test]
fn the_guide_names_only_what_there_is() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGES[0])).expect("a page");
    let joined = text.replace("\\\n", " ");
    let mut seen = 0;
    for line in joined.lines().filter_map(|it| it.trim().strip_prefix("keystead ")) {
        let words: Vec<&str> = line.split_whitespace().take_while(|it| *it != "#").collect();
        let command = words.iter().take_while(|it| !it.starts_with('-')).take(2).copied().collect::<Vec<_>>();
        let help = crate::keystead().args(&command).arg("--help").output().expect("runs");
        let help = crate::stdout(&help);
        for flag in words.iter().filter(|it| it.starts_with("--")) {
            let flag = flag.split('=').next().expect("a flag");
            assert!(help.contains(flag), "{command:?} has no {flag}");
            seen += 1;
        }
    }
    assert!(seen > 4, "flags were found");
}

#[test]
fn k5_a_key_file_needs_no_variable() {
    let host = Host::new();
    let told = host.succeeds(&["install", "--as", "static-pod", "--dry-run"]);
    let printed = host.as_on_a_host(&told.stdout);
    assert_eq!(section(&printed, "/manifests/keystead-kms-plugin-pod.yaml"), include_str!("key-file.yaml"));
}

/// What `--dry-run` prints of one file.
fn section<'t>(printed: &'t str, path: &str) -> &'t str {
    let start = printed.find(&format!("# {path}\n")).expect(path);
    let text = &printed[start + path.len() + 3..];
    let end = text.find("\n# /").map_or(text.len(), |end| end + 1);
    text[..end].trim_end_matches('\n').len().checked_add(1).map_or(text, |end| &text[..end])
}

/// Blocks of one language of a page.
fn blocks<'t>(text: &'t str, language: &'static str) -> impl Iterator<Item = &'t str> {
    let mut parts = text.split("```");
    // Outside, inside, outside...
    parts.next();
    parts.step_by(2).filter_map(move |block| {
        let (first, rest) = block.split_once('\n')?;
        (first == language).then_some(rest)
    })
}

/// A key in the scene's server and credentials for it on the host; the id of the token and the name of the key.
fn with_credentials(scene: &Scene, host: &Host) -> (String, String) {
    scene.works(&format!("kms keyrings create clusters --location {LOCATION}"));
    scene.works(&format!(
        "kms keys create secrets --location {LOCATION} --keyring clusters --purpose encryption"
    ));
    let token = fs::read_to_string(scene.token_file()).expect("a token");
    let id = token.trim().split('_').nth(1).expect("an id").to_owned();
    let key = format!("projects/of-keystead/locations/{LOCATION}/keyRings/clusters/cryptoKeys/secrets");
    fs::write(host.path("etc/keystead/ca.pem"), scene.authority()).expect("writes");
    let content =
        serde_json::json!({ "endpoint": scene.endpoint(), "caFile": "ca.pem", "tokens": [token.trim()] });
    host.private("etc/keystead/credentials.json", &content.to_string());
    (id, key)
}
