//! Where a setting comes from, what `--check-config` says, and the checked-in schema.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keystead_plugin::transport::DEFAULT_SOCKET;
use keystead_plugin::{PartialSettings, StatusVersion};
use keystead_proto::kms_v2::StatusRequest;
use keystead_runtime::{LogFormat, LogLevel};

use crate::plugin_process::{Place, Plugin, get, v2};

#[test]
fn check_config_looks_at_everything_and_makes_nothing() {
    let place = Place::new();
    let socket = place.path("new/kms.sock");
    place.write("plugin.yaml", format!("keyFile: key\nsocket: {}\n", socket.display()), 0o644);
    let before = names(&place.path(""));
    let checked = place.run(["--config", "plugin.yaml", "--check-config"]);
    assert_eq!((checked.code, checked.stdout.as_str()), (0, "the settings are good\n"), "{checked:?}");
    assert_eq!(names(&place.path("")), before);

    // Also beside a plugin that serves with the same settings.
    let running = place.start();
    let args = ["--key-file", "key", "--socket", place.socket().to_str().expect("UTF-8"), "--check-config"]
        .map(str::to_owned);
    let checked = place.run(args.iter().map(String::as_str));
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(place.socket().exists());
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn check_provider_has_the_key_wrap_and_unwrap() {
    let place = Place::new();
    let socket = place.path("new/kms.sock").display().to_string();
    let checked = place.run(["--key-file", "key", "--socket", &socket, "--check-provider"]);
    let good = "the settings are good, and the provider wraps and unwraps\n";
    assert_eq!((checked.code, checked.stdout.as_str()), (0, good), "{checked:?}");
    assert!(!place.path("new").exists());

    // Settings that are good say nothing about a service that does not answer.
    let content = r#"{"endpoint": "http://127.0.0.1:1", "tokens": ["ks_4f3a2b0c_canarycanarycanarycanarycanarycanarycanaryA"]}"#;
    place.write("credentials.json", content, 0o600);
    let key = "projects/my-project/locations/global/keyRings/ring/cryptoKeys/key";
    let args = ["--kms-key", key, "--credentials-file", "credentials.json", "--socket", &socket];
    let settings = place.run([&args[..], &["--check-config"]].concat());
    assert_eq!(settings.code, 0, "{settings:?}");
    let asked = place.run([&args[..], &["--check-provider"]].concat());
    assert_eq!(asked.code, 4, "{asked:?}");
    assert!(asked.stderr.contains("the provider cannot be used"), "{asked:?}");
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn the_checked_in_schema_is_the_programs() {
    let printed = Place::empty().run(["--print-config-schema"]);
    assert_eq!(printed.code, 0, "{printed:?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/plugin-config.schema.json");
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        printed.stdout, checked_in,
        "regenerate it in the repository's root: cargo run -p keystead-plugin -- --print-config-schema > \
         docs/reference/plugin-config.schema.json"
    );
}

/// Every field of the file, each with a value that shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_field_of_the_file_works() {
    let place = Place::new();
    let socket = place.path("sub/from-file.sock");
    let file = format!(
        "socket: unix://{}\nsocketMode: \"0660\"\nallowUids: [0, 4711]\nallowAbstractSocket: true\n\
         statusVersion: v2beta1\nprovider: local\nkeyFile: {}\nadmin: 127.0.0.1:0\nprobeInterval: 1s 500ms\n\
         outageBound: 0s\nlogLevel: debug\nlogFormat: json\n\
         # Of the other provider; `cloud_kms` shows that they work.\n\
         kmsKey: k\nkmsUser: u\nkmsEndpoint: e\nkmsCaFile: c\ncredentialsFile: f\ngoogle: false\n\
         allowTokenInEnv: false\n",
        socket.display(),
        place.key().display()
    );
    let schema = place.run(["--print-config-schema"]).stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    for field in schema["properties"].as_object().expect("fields").keys() {
        assert!(file.contains(&format!("{field}: ")), "{field} is not in this test");
    }
    place.write("plugin.yaml", &file, 0o644);
    let mut plugin = Plugin::start(place.command(["--config", "plugin.yaml"]));
    assert_eq!(fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o660);
    plugin.says("encrypting");
    let status = v2(&socket).await.status(StatusRequest {}).await.expect("ready").into_inner();
    assert_eq!(status.version, "v2beta1");
    // A call is logged at debug level, in JSON.
    let line = plugin.says("V2Status");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).expect("JSON")["level"], "DEBUG");
    assert_eq!(get(plugin.admin(), "/livez").0, 200);
    assert_eq!(plugin.terminate().code, 0);
}

/// The socket's name shows which of flag, environment, file and default won.
#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let place = Place::new();
    let name = |name: &str| place.path(name).to_str().expect("UTF-8").to_owned();
    let file = format!("socket: {}\nkeyFile: key\nadmin: off\nlogFormat: text\n", name("of-file"));
    place.write("plugin.yaml", file, 0o644);
    for (flag, environment, winner) in [
        (true, true, "of-flag"),
        (true, false, "of-flag"),
        (false, true, "of-env"),
        (false, false, "of-file"),
    ] {
        let mut command = place.command([]);
        // The file's own name comes from the environment here.
        command.env("KEYSTEAD_CONFIG", "plugin.yaml");
        if environment {
            command.env("KEYSTEAD_SOCKET", name("of-env"));
        }
        if flag {
            command.args(["--socket", &name("of-flag")]);
        }
        let plugin = Plugin::start(command);
        for candidate in ["of-flag", "of-env", "of-file"] {
            assert_eq!(place.path(candidate).exists(), candidate == winner, "{candidate}, {winner} expected");
        }
        assert_eq!(plugin.terminate().code, 0);
    }
}

/// Through the library: two processes with the default socket or admin port would be in each other's way.
#[test]
fn what_is_not_given_has_its_default() {
    let place = Place::empty();
    let file = place.write("plugin.yaml", "keyFile: key\n", 0o644);
    let settings = PartialSettings::read(&file).expect("good").complete().expect("complete");
    assert_eq!((settings.socket.endpoint, settings.socket.mode), (None, 0o600));
    assert_eq!(DEFAULT_SOCKET, "/run/keystead/kms.sock");
    assert!(!settings.socket.allow_abstract_socket && settings.socket.allow_uids.is_empty());
    assert_eq!(settings.status_version, StatusVersion::V2);
    assert_eq!(settings.admin, Some("127.0.0.1:10277".parse().expect("an address")));
    assert_eq!((settings.probe_interval.as_secs(), settings.outage_bound.as_secs()), (10, 3600));
    assert_eq!((settings.log_level, settings.log_format), (LogLevel::Info, LogFormat::Auto));
}

#[test]
fn every_setting_has_a_flag_a_variable_and_a_field() {
    let place = Place::empty();
    let help = place.run(["--help"]).stdout;
    let schema: serde_json::Value =
        serde_json::from_str(&place.run(["--print-config-schema"]).stdout).expect("JSON");
    for field in schema["properties"].as_object().expect("fields").keys() {
        let kebab: String = field
            .chars()
            .flat_map(|c| if c.is_uppercase() { vec!['-', c.to_ascii_lowercase()] } else { vec![c] })
            .collect();
        let variable = format!("KEYSTEAD_{}", kebab.replace('-', "_").to_uppercase());
        let flag = format!("--{}", kebab.trim_end_matches('s'));
        assert!(help.contains(&flag), "{flag}:\n{help}");
        assert!(help.contains(&variable), "{variable}:\n{help}");
    }
}

/// Variables whose values have a form of their own.
#[test]
fn variables_take_the_same_words_as_the_file() {
    let place = Place::new();
    for (name, value, code) in [
        ("KEYSTEAD_ALLOW_UIDS", "0,4711", 0),
        ("KEYSTEAD_ALLOW_UIDS", "0;1", 2),
        ("KEYSTEAD_ALLOW_ABSTRACT_SOCKET", "true", 0),
        ("KEYSTEAD_ALLOW_ABSTRACT_SOCKET", "false", 2),
        ("KEYSTEAD_ALLOW_ABSTRACT_SOCKET", "maybe", 2),
        ("KEYSTEAD_ADMIN", "off", 0),
        ("KEYSTEAD_ADMIN", "[::1]:10277", 0),
        ("KEYSTEAD_ADMIN", "10277", 2),
        ("KEYSTEAD_OUTAGE_BOUND", "0s", 0),
        ("KEYSTEAD_OUTAGE_BOUND", "-1s", 2),
        ("KEYSTEAD_STATUS_VERSION", "v2beta1", 0),
        ("KEYSTEAD_STATUS_VERSION", "v3", 2),
        ("KEYSTEAD_SOCKET_MODE", "0660", 0),
        ("KEYSTEAD_SOCKET_MODE", "0400", 2),
    ] {
        let mut command = place.command(["--key-file", "key", "--check-config"]);
        if name == "KEYSTEAD_ALLOW_ABSTRACT_SOCKET" {
            command.args(["--socket", "@keystead-settings-test"]);
        }
        command.env(name, value);
        let ended = Plugin::spawn(command).ended();
        assert_eq!(ended.code, code, "{name}={value}: {ended:?}");
    }
}
