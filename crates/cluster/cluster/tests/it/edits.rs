//! Edits whose result a person can compare with the eye.

use keystead_cluster::encryption_configuration::{
    ApiServer, ChangeError, EncryptionConfiguration, GroupResource, KmsVersion, NewKms, NewProvider, Place,
    Problem, Provider,
};

const SERVER: ApiServer = ApiServer { minor: 37, automatic_reload: true, kms_v1: None };
const BY_HAND: &str = include_str!("inputs/good-by-hand.yaml");

fn secrets() -> GroupResource {
    GroupResource::parse("secrets")
}

fn kms(name: &str) -> NewKms {
    NewKms {
        api_version: KmsVersion::V2,
        name: name.to_owned(),
        endpoint: "unix:///run/keystead/kms.sock".to_owned(),
        timeout: Some("3s".to_owned()),
    }
}

#[test]
fn a_kms_entry_is_written_in_the_style_of_the_file() {
    let old = EncryptionConfiguration::read(BY_HAND.as_bytes()).expect("good");
    let new = old.add_kms(&secrets(), &kms("keystead"), Place::First, &SERVER).expect("added");
    let lines = "      - kms:
          apiVersion: v2
          name: keystead
          endpoint: unix:///run/keystead/kms.sock
          timeout: 3s
";
    assert_eq!(new.text(), BY_HAND.replace("      # new values\n", &format!("{lines}      # new values\n")));
    let effective = new.effective(&secrets()).expect("covered");
    assert!(matches!(effective.writer(), Some(Provider::Kms(kms)) if kms.name == "keystead"));
    assert_eq!(new.known_names(), ["key1", "keystead"]);

    // The whole way of a rollout: read, write, drop.
    let read = old.add_kms(&secrets(), &kms("keystead"), Place::Last, &SERVER).expect("added");
    let at = read.effective(&secrets()).and_then(|it| it.kms("keystead")).expect("there");
    let write = read.move_provider(&secrets(), at, Place::First, &SERVER).expect("moved");
    assert_eq!(write.text(), new.text());
    let at = write.effective(&secrets()).and_then(|it| it.identity()).expect("there");
    let dropped = write.remove_provider(&secrets(), at, &SERVER).expect("removed");
    assert_eq!(dropped.text(), new.text().replace("      - identity: {}\n", ""));
}

#[test]
fn a_new_file_says_everything_explicitly() {
    let providers = [NewProvider::Kms(kms("keystead")), NewProvider::Identity];
    let fresh =
        EncryptionConfiguration::fresh(&[secrets(), GroupResource::parse("*.apps")], &providers, &SERVER);
    assert_eq!(
        fresh.expect("good").text(),
        "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources:
      - secrets
      - \"*.apps\"
    providers:
      - kms:
          apiVersion: v2
          name: keystead
          endpoint: unix:///run/keystead/kms.sock
          timeout: 3s
      - identity: {}
"
    );
    let mut bad = kms("a:b");
    bad.endpoint = "unix://run/kms.sock".to_owned();
    let fresh = EncryptionConfiguration::fresh(
        &[secrets()],
        &[NewProvider::Kms(bad), NewProvider::Identity],
        &SERVER,
    );
    assert!(
        matches!(fresh.err(), Some(ChangeError::After(finding)) if finding.problem == Problem::NameColon)
    );
    let blind = EncryptionConfiguration::fresh(&[secrets()], &[NewProvider::Kms(kms("keystead"))], &SERVER);
    assert!(matches!(blind.err(), Some(ChangeError::PlainUnreadable(resource)) if resource == secrets()));
}

#[test]
fn comments_go_with_what_they_are_about() {
    let fields = "        # cachesize: 10\n        # no more\n";
    let text = BY_HAND.replace("      # what was there", &format!("{fields}      # what was there"));
    let old = EncryptionConfiguration::read(text.as_bytes()).expect("good");
    let at = old.effective(&secrets()).expect("covered").providers[0].0;
    let new = old.add_kms(&secrets(), &kms("keystead"), Place::After(at), &SERVER).expect("added");
    assert!(new.text().contains(&format!("{fields}      - kms:")), "{}", new.text());
    let moved = old.move_provider(&secrets(), at, Place::Last, &SERVER).expect("moved");
    assert!(moved.text().ends_with(fields), "{}", moved.text());
    assert!(moved.text().contains(
        "    providers:\n      # what was there before\n      - identity: {}\n      # new values\n"
    ));
}

#[test]
fn json_stays_json() {
    let old = EncryptionConfiguration::read(include_bytes!("inputs/good-json.yaml")).expect("good");
    let new = old.add_kms(&secrets(), &kms("b"), Place::Last, &SERVER).expect("added");
    let value: serde_json::Value = serde_json::from_str(new.text()).expect("JSON");
    assert_eq!(value["resources"][0]["providers"][2]["kms"]["name"], "b");
    assert_eq!(new.text().lines().count(), old.text().lines().count());
}

#[test]
fn what_is_not_edited_is_said_with_its_place() {
    let change = |text: &str| {
        let old = EncryptionConfiguration::read(text.as_bytes()).expect("good");
        let error = old.add_kms(&secrets(), &kms("b"), Place::First, &SERVER).err().expect("refused");
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        cause.unwrap_or_else(|| error.to_string())
    };
    let windows = include_str!("inputs/good-windows.yaml");
    assert!(change(windows).starts_with("line 1, column 39: edited are only files with UNIX line ends"));
    assert!(change(include_str!("inputs/good-byte-order-mark.yaml")).contains("line 1, column 1:"));
    // What an alias repeats would change with it.
    let aliases = include_str!("inputs/good-aliases.yaml");
    assert!(
        change(aliases).starts_with("line 6, column 5: this part cannot be edited"),
        "{}",
        change(aliases)
    );
    let v1 = aliases.replace("identity: {}", "kms: {name: a, endpoint: 'unix:///a'}");
    assert!(
        change(&v1).starts_with("the file has an error and is not edited: line 6, column 5: KMS v1, which")
    );
    let name_taken =
        aliases.replace("&p", "").replace("*p", "[kms: {apiVersion: v2, name: b, endpoint: 'unix:///b'}]");
    assert!(change(&name_taken).contains("another KMS entry has the name \"b\""), "{}", change(&name_taken));
    assert!(
        change(&name_taken.replace("secrets", "events")).contains("nothing in the file encrypts secrets")
    );
}

/// kube-apiserver starts with it; that its path is not what one reads is no reason to refuse another edit.
#[test]
fn a_file_that_works_is_edited_and_what_we_write_is_not_odd() {
    let odd = |name: &str| NewKms { endpoint: "unix://run/kms.sock".to_owned(), ..kms(name) };
    let text = BY_HAND.replace(
        "      # new values\n",
        "      - kms: {apiVersion: v2, name: a, endpoint: 'unix://run/kms.sock'}\n",
    );
    let old = EncryptionConfiguration::read(text.as_bytes()).expect("good");
    assert_eq!(old.check(&SERVER).len(), 1);
    let new = old.add_kms(&secrets(), &kms("keystead"), Place::First, &SERVER).expect("added");
    let at = new.effective(&secrets()).and_then(|it| it.kms("a")).expect("there");
    new.move_provider(&secrets(), at, Place::Last, &SERVER).expect("moved");
    let removed = new.remove_provider(&secrets(), at, &SERVER).expect("removed");
    for file in [&old, &new, &removed] {
        let error = file.add_kms(&secrets(), &odd("b"), Place::First, &SERVER).err().expect("refused");
        assert!(matches!(&error, ChangeError::After(finding) if !finding.problem.is_refused()), "{error}");
    }
}
