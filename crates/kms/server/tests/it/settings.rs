//! Where a setting comes from, what a wrong one is told, and the checked-in schema.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use keystead_server::{DEFAULT_LISTEN, PartialSettings};

use crate::server_process::{Ended, Place};

fn assert_refused(what: &str, ended: &Ended, names: &[&str]) {
    assert_eq!(ended.code, Some(2), "{what}: {ended:?}");
    for name in names {
        assert!(ended.stderr.contains(name), "{what}: {name:?} is not in {}", ended.stderr);
    }
    assert!(ended.stdout.is_empty(), "{what}: {ended:?}");
}

#[test]
fn the_checked_in_schema_is_the_programs() {
    let printed = Place::new().run(&["--print-config-schema"]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/reference/server-config.schema.json");
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        printed.stdout, checked_in,
        "regenerate it in the repository's root: cargo run -p keystead-server -- --print-config-schema > \
         docs/reference/server-config.schema.json"
    );
}

#[test]
fn bad_files_are_refused_with_the_line_and_what_to_write() {
    for (text, names) in [
        ("dataDirr: a\n", &["line 1", "unknown field `dataDirr`", "did you mean `dataDir`?"][..]),
        ("dataDir: a\ntls: {cert: a}\n", &["line 2", "unknown field `cert`", "known are certificate, key"]),
        ("dataDir: a\ntls: {minVersion: \"1.1\"}\n", &["line 2", "1.1", "did you mean `1.2`?"]),
        ("dataDir: a\nlisten: [localhost]\n", &["line 2"]),
        ("dataDir: a\nlisten: []\n", &["`listen` is empty"]),
        (
            "dataDir: a\nplainHttp: [\"0.0.0.0:80\"]\n",
            &["line 2", "plain HTTP would show tokens", "`0.0.0.0:80` is not a loopback address"],
        ),
        ("dataDir: a\nplainHttp: [here]\n", &["line 2", "`here` is not an address such as"]),
        ("dataDir: a\nadmin: 0.0.0.0:80\n", &["line 2", "neither `off` nor a loopback address"]),
        ("dataDir: a\nhostNames: [\"kms.example.com:443\"]\n", &["line 2", "without a port"]),
        ("dataDir: a\nhostNames: [KMS]\n", &["line 2", "lower case"]),
        ("dataDir: a\ndrainDeadline: soon\n", &["line 2", "`soon` is not a time"]),
        ("dataDir: a\naudit: {segmentSize: 64MB}\n", &["line 2", "`64MB` is not a size such as 64MiB"]),
        ("dataDir: a\naudit: {segmentSize: 99999999999GiB}\n", &["line 2", "is not a size"]),
        ("dataDir: a\naudit: {segmentSize: 1KiB}\n", &["too small", "64KiB or more"]),
        ("dataDir: a\nlimits: {connections: 0}\n", &["0 connections"]),
        ("dataDir: a\nlimits: {connections: many}\n", &["line 2"]),
        ("dataDir: a\ntls: {certificate: a.pem}\n", &["certificate is given without its key", "--tls-key"]),
        ("dataDir: a\ntls: {key: a.pem}\n", &["key is given without its certificate"]),
        ("dataDir: a\nlocations: []\n", &["`locations` is empty"]),
        ("dataDir: a\nlocations: [{name: US Central}]\n", &["a location has a wrong name", "US Central"]),
        ("dataDir: a\nlocations: [{name: a}, {name: a}]\n", &["`a` is there twice"]),
        ("dataDir: a\nlocations: [{name: a}, {name: b, zones: [a]}]\n", &["`a` is there twice"]),
        ("dataDir: a\nlocations: [{name: a, zones: [Hall]}]\n", &["a location has a wrong name", "Hall"]),
        (
            "dataDir: a\nwebhooks: [{name: Ops, url: 'https://h/', secretFile: s}]\n",
            &["a webhook is called `Ops`", "1 to 32 lower-case letters"],
        ),
        (
            "dataDir: a\nwebhooks: [{name: a, url: 'http://hooks.example.com/?token=secret', secretFile: s}]\n",
            &["`a` has an address without TLS", "give https://"],
        ),
        (
            "dataDir: a\nwebhooks: [{name: a, url: 'https://user:secret@h/', secretFile: s}]\n",
            &["with a user or a password"],
        ),
        (
            "dataDir: a\nwebhooks: [{name: a, url: 'https://h/', secretFile: s, events: [destroyed]}]\n",
            &["unknown event `destroyed`", "known are key_version.destruction_scheduled, "],
        ),
        (
            "dataDir: a\nwebhooks: [{name: a, url: 'https://h/', secretFile: s, events: []}]\n",
            &["`a` is told of nothing"],
        ),
        (
            "dataDir: a\nwebhooks: [{name: a, url: 'https://h/', secretFile: s}, {name: a, url: 'https://h/', secretFile: s}]\n",
            &["two webhooks are called `a`"],
        ),
        ("dataDir: a\nwebhooks: [{name: a, url: 'https://h/'}]\n", &["line 2", "secretFile"]),
        ("dataDir: a\nlogLevel: loud\n", &["line 2", "loud", "known are"]),
        ("listen: [\"127.0.0.1:0\"]\n", &["no data directory is given", "--data-dir"]),
        ("- a\n", &["line 1"]),
    ] {
        let place = Place::new();
        place.write("server.yaml", text);
        for args in [&["--config", "server.yaml"][..], &["--config", "server.yaml", "--check-config"]] {
            assert_refused(text, &place.run(args), names);
        }
        assert!(!place.path("a").exists(), "{text}: nothing was made");
    }
}

#[test]
fn bad_flags_and_variables_are_refused_the_same_way() {
    let place = Place::new();
    for args in [
        &["--no-such-flag"][..],
        &["--data-dir"],
        &["--data-dir", "a", "--listen", "9443"],
        &["--data-dir", "a", "--plain-http", "192.0.2.1:80"],
        &["--data-dir", "a", "--tls-min-version", "1.0"],
        &["--data-dir", "a", "--host-name", "a_b"],
        &["--data-dir", "a", "--max-connections", "-1"],
        &["--data-dir", "a", "word"],
    ] {
        assert_refused(&format!("{args:?}"), &place.run(args), &[]);
    }
    let ended =
        place.run_in(&["--data-dir", "a"], &[("KEYSTEAD_SERVER_PLAIN_HTTP", "127.0.0.1:80,192.0.2.1:80")]);
    assert_refused("variable", &ended, &["192.0.2.1:80", "plain HTTP"]);
    let missing = place.run(&["--config", "missing.yaml"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr.contains("missing.yaml"), "{missing:?}");
}

#[test]
fn check_config_looks_at_files_and_makes_nothing() {
    let place = Place::new();
    let good = place.run(&["--data-dir", "a", "--check-config"]);
    assert_eq!((good.code, good.stdout.as_str()), (Some(0), "the settings are good\n"), "{good:?}");
    place.write("bad.pem", "nothing");
    for (args, name) in [
        (&["--tls-certificate", "bad.pem", "--tls-key", "bad.pem"][..], "bad.pem: there is no certificate"),
        (&["--tls-certificate", "no.pem", "--tls-key", "no.pem"], "no.pem does not exist"),
        (&["--tls-client-ca", "bad.pem"], "bad.pem: there is no certificate"),
    ] {
        let args = [&["--data-dir", "a", "--check-config"], args].concat();
        let ended = place.run(&args);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(name) && ended.stderr.contains("hint: "), "{ended:?}");
    }
    assert!(!place.path("a").exists());
}

#[test]
fn local_clusters_are_refused_where_they_could_not_run() {
    let place = Place::new();
    let programs = place.path("programs");
    fs::create_dir(&programs).expect("made");
    let local = |directory: &str| {
        place.run(&[
            "--data-dir",
            "a",
            "--local-clusters",
            directory,
            "--kubernetes-programs",
            "programs",
            "--check-config",
        ])
    };
    let alone = place.run(&["--data-dir", "a", "--local-clusters", "/tmp/c", "--check-config"]);
    assert_refused("alone", &alone, &["--kubernetes-programs"]);
    let alone = place.run(&["--data-dir", "a", "--kubernetes-programs", "programs", "--check-config"]);
    assert_refused("alone", &alone, &["--local-clusters"]);
    assert!(local("/tmp/c").stderr.contains("programs/etcd is not there"), "{:?}", local("/tmp/c"));
    for name in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        fs::write(programs.join(name), "").expect("written");
    }
    let long = local(&format!("/tmp/{}", "c".repeat(46)));
    assert!(long.stderr.contains("has 51 bytes") && long.stderr.contains("50 bytes at most"), "{long:?}");
    assert!(!local(&format!("/tmp/{}", "c".repeat(45))).stderr.contains("bytes"));
}

/// The database may be elsewhere than the data directory: its directory is judged as a start judges it, and so is its owner.
#[test]
fn check_config_says_who_else_may_use_the_database() {
    let place = Place::new();
    let folder = place.path("volume");
    fs::create_dir(&folder).expect("made");
    let database = place.write("volume/keystead.db", "what is in it is not read");
    let check = |mode: u32, of_the_folder: u32| {
        fs::set_permissions(&database, fs::Permissions::from_mode(mode)).expect("set");
        fs::set_permissions(&folder, fs::Permissions::from_mode(of_the_folder)).expect("set");
        place.run(&["--data-dir", "a", "--database", "volume/keystead.db", "--check-config"])
    };
    let good = check(0o600, 0o700);
    assert!(!good.stderr.contains("has mode"), "{good:?}");
    for (mode, of_the_folder, fault) in [
        (0o644, 0o700, "volume/keystead.db has mode 0644; others may not see it: chmod 0600"),
        (0o600, 0o755, "volume has mode 0755; others may not see it: chmod 0700"),
    ] {
        let bad = check(mode, of_the_folder);
        assert!(bad.code == Some(1) && bad.stderr.contains(fault), "{bad:?}");
    }
}

/// Each fault of a file that is named, and nothing made; also beside a server that runs, with files that are good.
#[tokio::test]
async fn check_config_reads_what_a_start_would_read_and_says_each_fault() {
    let place = Place::new();
    for name in ["bad.pem", "groups.yaml", "file", "credentials"] {
        place.write(name, "nothing of the kind");
    }
    let open_root = place.path("root");
    fs::create_dir(&open_root).expect("made");
    fs::set_permissions(&open_root, fs::Permissions::from_mode(0o755)).expect("set");
    fs::create_dir_all(place.path("volume/folder")).expect("made");
    fs::set_permissions(place.path("volume"), fs::Permissions::from_mode(0o700)).expect("set");
    let config = "
dataDir: file/data
rootDir: root
database: volume/folder
groupsFile: groups.yaml
backupDestinations: [backups, file]
rootKey: {name: projects/p-one-two/locations/global/keyRings/r/cryptoKeys/k, credentialsFile: credentials}
tls: {certificate: no.pem, key: no.pem, clientCa: bad.pem}
audit:
  exports:
    - {name: copy, file: not-mounted/copy.jsonl}
    - {name: local, syslog: \"unix:///no/socket\"}
    - {name: one, otlp: {endpoint: \"https://c:1\", caFile: bad.pem}}
    - {name: two, otlp: {endpoint: \"https://c:1\", tokenFile: no-token}}
";
    let config = place.write("server.yaml", config);
    let before = place.names();
    let ended = place.run(&["--config", config.to_str().expect("UTF-8"), "--check-config"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    for fault in [
        "the data directory file is not a directory",
        "no.pem does not exist",
        "bad.pem: there is no certificate",
        "root has mode 0755",
        "credentials",
        "volume/folder is not a file",
        "groups.yaml: ",
        "backups: No such file",
        "file: not a directory",
        "not-mounted: No such file",
        "cannot read /no/socket: ",
        "export `one`",
        "cannot read no-token: ",
    ] {
        assert!(ended.stderr.contains(fault), "{fault:?} is not in\n{}", ended.stderr);
    }
    assert_eq!(
        ended.stderr.lines().filter(|line| line.starts_with("error: ")).count(),
        13,
        "{}",
        ended.stderr
    );
    assert_eq!(place.names(), before, "nothing was made");

    place.write("groups.yaml", "ops@example.com: [user:alice@example.com]\n");
    fs::create_dir(place.path("backups")).expect("made");
    let groups = place.path("groups.yaml");
    let backups = place.path("backups");
    let named = [
        "--groups-file",
        groups.to_str().expect("UTF-8"),
        "--backup-destination",
        backups.to_str().expect("UTF-8"),
    ];
    let server = place.start(&named).await;
    let data = server.data.to_str().expect("UTF-8").to_owned();
    let check = |place: &Place| place.run(&[&["--data-dir", &data, "--check-config"], &named[..]].concat());
    let good = check(&place);
    assert_eq!((good.code, good.stdout.as_str()), (Some(0), "the settings are good\n"), "{good:?}");
    for (name, fault) in [("tls/authority.pem", "authority.pem: there is no"), ("root/root-key", "root-key")]
    {
        let path = server.data.join(name);
        let kept = fs::read(&path).expect("read");
        fs::write(&path, "nothing of the kind").expect("written");
        let bad = check(&place);
        assert!(bad.code == Some(1) && bad.stderr.contains(fault), "{bad:?}");
        fs::write(&path, kept).expect("written");
    }
    for (name, mode, good) in
        [("keystead.db", 0o640, 0o600), ("keystead.db", 0o604, 0o600), ("", 0o750, 0o700)]
    {
        let path = server.data.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        let bad = check(&place);
        assert!(bad.code == Some(1) && bad.stderr.contains(&format!("has mode {mode:04o}")), "{bad:?}");
        fs::set_permissions(&path, fs::Permissions::from_mode(good)).expect("set");
    }
    assert_eq!(check(&place).code, Some(0));
    assert_eq!(server.stop().await, 0);
}

#[test]
fn what_is_not_given_has_its_default() {
    let place = Place::new();
    let file = place.write("server.yaml", "dataDir: /d\n");
    let settings = PartialSettings::read(&file).expect("good").complete().expect("complete");
    assert_eq!(settings.listen, [DEFAULT_LISTEN]);
    assert_eq!(settings.root_dir, Path::new("/d/root"));
    assert_eq!(settings.database, Path::new("/d/keystead.db"));
    assert!(settings.plain_http.is_empty() && settings.admin.is_none() && !settings.tls.allow_tls12);
    let limits = settings.limits;
    assert_eq!((limits.total, limits.per_source, limits.unknown_per_source), (10_000, 2_000, 500));
    let ids: Vec<&str> = settings.locations.iter().map(|location| location.id.as_str()).collect();
    assert_eq!(ids.len(), 46);
    for id in ["global", "us-central1", "europe-west3"] {
        assert!(ids.contains(&id), "{id}");
    }
}

/// What is one value has a flag and a variable; lists of objects are for the file.
#[test]
fn every_setting_has_a_flag_and_a_variable() {
    let place = Place::new();
    let help = place.run(&["--help"]).stdout;
    let schema: serde_json::Value =
        serde_json::from_str(&place.run(&["--print-config-schema"]).stdout).expect("JSON");
    let kebab = |name: &str| -> String {
        let words = name
            .chars()
            .flat_map(|c| if c.is_uppercase() { vec!['-', c.to_ascii_lowercase()] } else { vec![c] });
        words.collect()
    };
    for field in schema["properties"].as_object().expect("fields").keys() {
        let names: Vec<String> = match field.as_str() {
            // Lists of objects.
            "locations" | "webhooks" => continue,
            "limits" => vec![
                "max-connections".into(),
                "max-connections-per-source".into(),
                "max-unknown-connections-per-source".into(),
            ],
            "tls" | "audit" => {
                let name = format!("Partial{}{}", field[..1].to_uppercase(), &field[1..]);
                let section = schema["$defs"][&name]["properties"].as_object().expect("a section");
                let one = section.keys().filter(|name| *name != "exports");
                one.map(|name| format!("{field}-{}", kebab(name))).collect()
            }
            name => vec![kebab(name)],
        };
        for name in names {
            let variable = format!("KEYSTEAD_SERVER_{}", name.replace('-', "_").to_uppercase());
            assert!(help.contains(&format!("--{}", name.trim_end_matches('s'))), "--{name}:\n{help}");
            assert!(help.contains(variable.trim_end_matches('S')), "{variable}:\n{help}");
        }
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let place = Place::new();
    place.write("server.yaml", "dataDir: a\ndrainDeadline: of-file\n");
    let file = ["--config", "server.yaml"];
    let refused = place.run_in(&file, &[]);
    assert!(refused.stderr.contains("of-file"), "{refused:?}");
    place.write("server.yaml", "dataDir: a\ntls: {certificate: of-file, key: of-file}\n");
    let check = |args: &[&str], environment: &[(&str, &str)]| {
        place.run_in(&[&["--config", "server.yaml", "--check-config"], args].concat(), environment).stderr
    };
    let environment = [("KEYSTEAD_SERVER_TLS_CERTIFICATE", "of-env"), ("KEYSTEAD_SERVER_TLS_KEY", "of-env")];
    assert!(check(&[], &[]).contains("of-file does not exist"));
    assert!(check(&[], &environment).contains("of-env does not exist"));
    let flags = ["--tls-certificate", "of-flag", "--tls-key", "of-flag"];
    assert!(check(&flags, &environment).contains("of-flag does not exist"));
}

#[test]
fn the_guides_sample_is_accepted_and_has_every_setting() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/guides/key-management-service.md");
    let guide = fs::read_to_string(guide).expect("the guide");
    let sample = guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a sample");
    let place = Place::new();
    let file = place.write("server.yaml", sample);
    PartialSettings::read(&file).and_then(PartialSettings::complete).expect("good settings");
    let schema: serde_json::Value = serde_json::from_str(&keystead_server::schema()).expect("JSON");
    let properties = schema["properties"].as_object().expect("an object");
    for name in properties.keys() {
        assert!(sample.contains(&format!("{name}:")), "{name} is not in the sample");
    }
}
