//! The providers of a rollout's resources, read from and written into EncryptionConfigurations.

use keystead_cluster::encryption_configuration::{ApiServer, EncryptionConfiguration, GroupResource};
use keystead_cluster::provider_order::{self, KmsPlugin};
use keystead_cluster::rollout::{Configuration, Order, Provider};
use proptest::prelude::*;

const SERVER: ApiServer = ApiServer { minor: 37, automatic_reload: true, kms_v1: Some(true) };
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn provider(text: &str) -> Provider {
    text.parse().expect("a provider")
}

fn order(names: &[&str]) -> Order {
    let mut names = names.iter().map(|it| provider(it));
    Order { writer: names.next().expect("a writer"), readers: names.collect() }
}

fn file(providers: &str) -> String {
    format!(
        "# Ours.\napiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n  - resources:\n      - secrets\n      - configmaps # both\n    providers:\n{providers}"
    )
}

fn several() -> String {
    file(&format!(
        "      # Of last year.\n      - aescbc:\n          keys:\n            - {{name: one, secret: {KEY}}}\n            - {{name: two, secret: {KEY}}}\n      - kms:\n          apiVersion: v2\n          name: old\n          endpoint: unix:///run/old.sock\n      - identity: {{}} # last\n"
    ))
}

fn secrets() -> Vec<GroupResource> {
    vec![GroupResource::parse("secrets")]
}

fn plugins() -> Vec<KmsPlugin> {
    [("kms:v2:new", "unix:///run/new.sock"), ("kms:v1:older", "unix:///run/older.sock")]
        .map(|(name, endpoint)| KmsPlugin {
            provider: provider(name),
            endpoint: endpoint.to_owned(),
            timeout: None,
        })
        .to_vec()
}

fn read(text: &str) -> EncryptionConfiguration {
    EncryptionConfiguration::read(text.as_bytes()).expect("a configuration")
}

fn written(text: &str, order: &Order) -> Result<String, String> {
    let new = provider_order::write(Some(&read(text)), &secrets(), order, &plugins(), &SERVER);
    new.map(|it| it.text().to_owned()).map_err(|error| error.to_string())
}

#[test]
fn an_order_is_read_with_each_key() {
    let found = provider_order::read(&read(&several()), &secrets()).expect("an order");
    let wanted = order(&["aescbc:one", "aescbc:two", "kms:v2:old", "identity"]);
    assert_eq!(found, Configuration::Providers(wanted));
    let bare = [GroupResource::parse("deployments.apps")];
    assert_eq!(provider_order::read(&read(&several()), &bare).expect("nothing"), Configuration::NoEncryption);
}

#[test]
fn resources_of_one_entry_go_together() {
    let found = provider_order::resources(Some(&read(&several())), &secrets());
    assert_eq!(found, ["configmaps", "secrets"]);
    assert_eq!(provider_order::resources(None, &secrets()), ["secrets"]);
    let both = [GroupResource::parse("secrets"), GroupResource::parse("deployments.apps")];
    let error = provider_order::read(&read(&several()), &both).expect_err("they differ");
    assert!(error.to_string().contains("secrets and deployments.apps"), "{error}");
}

#[test]
fn an_order_is_written_with_what_a_person_wrote_around_it() {
    let wanted = order(&["kms:v2:new", "aescbc:two", "identity"]);
    let text = written(&several(), &wanted).expect("written");
    for kept in ["# Ours.", "configmaps # both", "# last", "name: two"] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
    assert!(!text.contains("old.sock") && !text.contains("name: one"), "{text}");
    let again = written(&text, &wanted).expect("written");
    assert_eq!(again, text, "twice is once");
}

#[test]
fn what_is_not_covered_gets_an_entry() {
    let wanted = order(&["identity", "kms:v2:new"]);
    let bare = [GroupResource::parse("deployments.apps")];
    let new = provider_order::write(Some(&read(&several())), &bare, &wanted, &plugins(), &SERVER);
    let new = new.expect("an entry");
    assert_eq!(provider_order::read(&new, &bare).expect("an order"), Configuration::Providers(wanted));
    let fresh = provider_order::write(None, &secrets(), &order(&["identity"]), &plugins(), &SERVER);
    assert!(fresh.expect("a file").text().contains("secrets"));
}

#[test]
fn what_cannot_be_written_is_refused() {
    for (names, says) in [
        (&["aescbc:three", "identity"][..], "keys are not written by this program"),
        (&["kms:v2:nowhere", "identity"], "name its plugin's socket"),
        (&["aescbc:one", "identity", "aescbc:two"], "cannot be put into the order"),
    ] {
        let error = written(&several(), &order(names)).expect_err("refused");
        assert!(error.contains(says), "{error}");
        assert!(!error.contains(KEY), "{error}");
    }
}

proptest! {
    /// Every order that keeps the keys of one provider together.
    #[test]
    fn every_order_is_reached(
        names in Just(vec!["aescbc", "kms:v2:old", "identity", "kms:v2:new", "kms:v1:older"]).prop_shuffle(),
        count in 1_usize..=5,
        keys in Just(vec!["aescbc:one", "aescbc:two"]).prop_shuffle(),
        key_count in 1_usize..=2,
    ) {
        let keys = &keys[..key_count];
        let names: Vec<&str> =
            names.iter().take(count).flat_map(|it| if *it == "aescbc" { keys.to_vec() } else { vec![*it] }).collect();
        let wanted = order(&names);
        let text = written(&several(), &wanted).map_err(TestCaseError::fail)?;
        let found = provider_order::read(&read(&text), &secrets()).expect("an order");
        prop_assert_eq!(found, Configuration::Providers(wanted));
    }
}
