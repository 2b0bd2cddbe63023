//! The real gcloud in a shell of `keystead env`, with commands of which the server knows nothing: the token stays here.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::scene::{Scene, split};
use crate::stderr;

/// What the server says to a client that wants to go elsewhere.
const REFUSED: &str = "403 keystead env lets gcloud in this shell call Keystead only";
/// A command of gcloud that speaks gRPC.
const GRPC: &str = "beta logging tail";

/// Runs in gcloud's own Python, with gcloud's own modules, as `SCRIPT SDK_ROOT SERVER_HOST SERVER_ADDRESS`. It sends the token to
/// each endpoint of each API that gcloud knows, over gcloud's own session, and prints those that are neither refused nor ours.
const SCRIPT: &str = r#"
import socket, sys
root, server, address = sys.argv[1:]
sys.path[:0] = [root + '/lib/third_party', root + '/lib']
from googlecloudsdk.api_lib.util import apis_internal
from googlecloudsdk.core import properties
from googlecloudsdk.core.credentials import requests as authenticated
from googlecloudsdk.generated_clients.apis import apis_map
from six.moves.urllib.parse import urlparse
import requests

looked_up = set()
resolve = socket.getaddrinfo
def recorded(host, *args, **kwargs):
    looked_up.add(host)
    return resolve(host, *args, **kwargs)
socket.getaddrinfo = recorded

urls = {'https://' + host for host in (
    'apigee.googleapis.com', 'sts.googleapis.com/v1/token', 'oauth2.googleapis.com/revoke', 'www.googleapis.com',
    'iamcredentials.mtls.googleapis.com', 'us-central1-run.googleapis.com', 'gcr.io', 'localhost.invalid')}
apis = 0
for api, versions in apis_map.MAP.items():
    apis += 1
    for version, definition in versions.items():
        urls.add(apis_internal._GetEffectiveApiEndpoint(api, version))
        urls.add(apis_internal._GetBaseUrlFromApi(api, version))
        urls.add(apis_internal._GetMtlsEndpoint(api, version) or 'https://none.invalid')
overridden = {p.name for p in properties.VALUES.api_endpoint_overrides}
print('apis', apis, 'without override', len(set(apis_map.MAP) - overridden))

session = authenticated.GetSession()
refused = ours = 0
for url in sorted(urls):
    try:
        answer = session.get(url)
        if urlparse(url).netloc != server:
            print('WRONG', url, answer.status_code)
        ours += 1
    except requests.exceptions.ProxyError as error:
        if 'REFUSED' not in str(error) or urlparse(url).netloc == server:
            print('WRONG', url, error)
        refused += 1
print('refused', refused, 'ours', ours)
for host in looked_up - {address}:
    print('WRONG', 'looked up', host)
"#;

/// A shell that has evaluated what `keystead env` prints, and has settings of gcloud that lead to Google.
fn in_the_shell(scene: &Scene, program: &str, args: &[impl AsRef<OsStr>]) -> Output {
    let gcloud = std::env::var_os("KEYSTEAD_GCLOUD").map(PathBuf::from);
    let folder = gcloud.as_deref().and_then(|it| it.parent()).map(|it| it.to_owned());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = folder.into_iter().chain(std::env::split_paths(&path));
    let script = "eval \"$(\"$0\" env --data-dir data)\"; exec \"$@\"";
    Command::new("bash")
        .args(["-euc", script, env!("CARGO_BIN_EXE_keystead"), program])
        .args(args)
        .env_clear()
        .env("PATH", std::env::join_paths(paths).expect("paths"))
        .env("HOME", scene.path())
        .env("CLOUDSDK_CONFIG", scene.path().join("gcloud"))
        .env("CLOUDSDK_CORE_PROJECT", "of-gcloud")
        .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
        // Somebody's own settings: an endpoint that is set, mTLS, a proxy, and authorities that win over gcloud's.
        .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", "https://compute-mine.p.googleapis.com/compute/v1/")
        .env("CLOUDSDK_CONTEXT_AWARE_ALWAYS_USE_MTLS_ENDPOINT", "true")
        .env("CLOUDSDK_PROXY_PASSWORD", "of another proxy")
        .env("HTTPS_PROXY", "http://proxy.invalid:3128")
        .env("NO_PROXY", "googleapis.com")
        .env("no_proxy", "googleapis.com")
        .current_dir(scene.path())
        .stdin(Stdio::null())
        .output()
        .expect("runs")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    crate::stdout(output).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs gcloud"]
async fn every_api_that_gcloud_knows_is_redirected_or_refused() {
    let scene = Scene::with("hostNames: [kms.keystead.invalid]\n").await;
    let info =
        |what: &str| printed(&in_the_shell(&scene, "gcloud", &["info", &format!("--format=value({what})")]));
    let (python, root) = (info("basic.python_location"), info("installation.sdk_root"));
    let (_, port) = scene.endpoint().rsplit_once(':').expect("a port");
    let script = SCRIPT.replace("REFUSED", REFUSED);
    let args = ["-c", &script, &root, &format!("localhost:{port}"), "127.0.0.1"];
    let said = printed(&in_the_shell(&scene, &python, &args));
    assert!(!said.contains("WRONG"), "{said}");
    // The list was there, some of it has no override, and both ends were seen.
    let counts: Vec<u32> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(counts.len() == 4 && counts[0] > 100 && !counts.contains(&0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs gcloud"]
async fn commands_for_google_are_refused_with_the_reason() {
    let scene = Scene::new().await;
    let list = in_the_shell(&scene, "gcloud", &split("projects list --format value(projectId)"));
    assert_eq!(printed(&list), "of-gcloud\nof-keystead");
    thread::scope(|scope| {
        let run = |words: &'static str| {
            let scene = &scene;
            scope.spawn(move || (words, in_the_shell(scene, "gcloud", &split(words))))
        };
        let running = [
            "kms inventory list-keys",
            "compute instances list",
            "storage ls",
            "run services list --region us-central1",
            "apigee apis list --organization o",
            GRPC,
        ]
        .map(run);
        for command in running {
            let (words, output) = command.join().expect("ended");
            // This one ends with 0 after any error, and gRPC prints the code alone.
            assert!(words == GRPC || !output.status.success(), "{words}");
            let reason = if words == GRPC { "HTTP proxy returned response code 403" } else { REFUSED };
            assert!(stderr(&output).contains(reason), "{words}: {}", stderr(&output));
        }
    });
}
