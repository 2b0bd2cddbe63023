//! EncryptionConfigurations, and what kube-apiserver says to each.

use keystead_cluster::encryption_configuration::{
    ApiServer, EncryptionConfiguration, GroupResource, KmsVersion, NewKms, NewProvider, Place,
};

/// What is expected of one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// kube-apiserver takes it, and so do we.
    Good,
    /// Both refuse it.
    Bad,
    /// kube-apiserver takes it and we refuse it, for a reason that the case says.
    Stricter,
    /// kube-apiserver takes it, and we say that it does not do what it seems to.
    Warned,
}

/// One configuration.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) automatic_reload: bool,
    pub(crate) kms_v1: Option<bool>,
    /// By the minor version of Kubernetes.
    pub(crate) verdict: fn(u32) -> Verdict,
}

fn good(_: u32) -> Verdict {
    Verdict::Good
}
fn bad(_: u32) -> Verdict {
    Verdict::Bad
}
fn stricter(_: u32) -> Verdict {
    Verdict::Stricter
}
fn warned(_: u32) -> Verdict {
    Verdict::Warned
}
/// Kubernetes decodes strictly from 1.31; before, it ignores what it does not know.
fn bad_from_1_31(minor: u32) -> Verdict {
    if minor < 31 { Verdict::Stricter } else { Verdict::Bad }
}
/// The gate is on by default up to 1.28.
fn good_up_to_1_28(minor: u32) -> Verdict {
    if minor < 29 { Verdict::Good } else { Verdict::Bad }
}

const KEY_16: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const KEY_24: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
const KEY_32: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The part of every key that no error may repeat.
pub(crate) const CANARY: &str = "MDEyMzQ1";

fn header(rest: &str) -> String {
    format!("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n{rest}")
}

/// One entry for secrets with these providers, each in braces.
fn providers(providers: &[&str]) -> String {
    let lines: String = providers.iter().map(|it| format!("  - {it}\n")).collect();
    header(&format!("resources:\n- resources: [secrets]\n  providers:\n{lines}"))
}

/// Entries for these lists of resources, stored as they are.
fn resources(lists: &[&str]) -> String {
    let entries: String =
        lists.iter().map(|it| format!("- resources: {it}\n  providers:\n  - identity: {{}}\n")).collect();
    header(&format!("resources:\n{entries}"))
}

/// A KMS entry with these fields beside a timeout that makes a test short.
fn kms(fields: &str) -> String {
    format!("kms: {{timeout: 10ms, {fields}}}")
}

const SOCKET: &str = "endpoint: 'unix:///nobody/listens.sock'";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name, text: String, verdict| {
        cases.push(Case { name, text, automatic_reload: false, kms_v1: None, verdict });
    };
    let v2 = |name: &str| kms(&format!("apiVersion: v2, name: {name}, {SOCKET}"));
    let v1 = |name: &str| kms(&format!("apiVersion: v1, name: {name}, {SOCKET}"));
    let one = |provider: String| providers(&[&provider]);
    let aes = |kind: &str, key: &str| one(format!("{kind}: {{keys: [{{name: k, secret: {key}}}]}}"));

    // The file.
    add("minimal", providers(&["identity: {}"]), good);
    add(
        "legacy kind",
        providers(&["identity: {}"])
            .replace("apiserver.config.k8s.io/v1", "v1")
            .replace("EncryptionConfiguration", "EncryptionConfig"),
        good,
    );
    add(
        "legacy kind in the new group",
        providers(&["identity: {}"]).replace("EncryptionConfiguration", "EncryptionConfig"),
        bad,
    );
    add(
        "new kind in the legacy group",
        providers(&["identity: {}"]).replace("apiserver.config.k8s.io/v1", "v1"),
        bad,
    );
    add("another version", providers(&["identity: {}"]).replace("io/v1", "io/v1beta1"), bad);
    add("no kind", providers(&["identity: {}"]).replace("kind: EncryptionConfiguration\n", ""), bad);
    add(
        "no version",
        providers(&["identity: {}"]).replace("apiVersion: apiserver.config.k8s.io/v1\n", ""),
        bad,
    );
    add(
        "another kind",
        providers(&["identity: {}"]).replace("EncryptionConfiguration", "TracingConfiguration"),
        bad,
    );
    add("a list", "- a\n".to_owned(), bad);
    add("a word", "word\n".to_owned(), bad);
    add("nothing", String::new(), bad);
    add("only a comment", "# nothing\n".to_owned(), bad);
    add("JSON", r#"{"apiVersion":"apiserver.config.k8s.io/v1","kind":"EncryptionConfiguration","resources":[{"resources":["secrets"],"providers":[{"identity":{}}]}]}"#.to_owned(), good);
    add("braces that are no JSON", "{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [{resources: [secrets], providers: [{identity: {}}]}]}".to_owned(), bad);
    add("JSON with a comma too many", r#"{"apiVersion":"apiserver.config.k8s.io/v1","kind":"EncryptionConfiguration","resources":[{"resources":["secrets"],"providers":[{"identity":{}},]}]}"#.to_owned(), bad);
    add(
        "unknown field at the top",
        header("metadata: {}\nresources:\n- resources: [secrets]\n  providers:\n  - identity: {}\n"),
        bad_from_1_31,
    );
    add(
        "unknown field of an entry",
        header("resources:\n- resources: [secrets]\n  provider: []\n  providers:\n  - identity: {}\n"),
        bad_from_1_31,
    );
    add(
        "unknown field of a KMS entry",
        one(kms(&format!("apiVersion: v2, name: a, cacheSize: 5, {SOCKET}"))),
        bad_from_1_31,
    );
    add("unknown field of identity", providers(&["identity: {a: b}"]), bad_from_1_31);
    add("unknown provider", providers(&["vault: {}"]), bad);
    add("unknown provider beside another", providers(&["{identity: {}, vault: {}}"]), bad_from_1_31);
    add("provider with a capital", providers(&["Identity: {}"]), bad);
    add(
        "a field twice",
        format!("{}kind: EncryptionConfiguration\n", providers(&["identity: {}"])),
        bad_from_1_31,
    );
    add("a field twice in a key", aes("aescbc", &format!("{KEY_16}, name: k")), bad_from_1_31);
    add("comments", format!("# a\n{}# b\n", providers(&["identity: {} # c"])), good);
    add("document start", format!("---\n{}", providers(&["identity: {}"])), good);
    add("document end", format!("{}...\n", providers(&["identity: {}"])), good);
    // A person would believe that the second one counts.
    add("two documents", format!("{0}---\n{0}", providers(&["identity: {}"])), stricter);
    add("an empty second document", format!("{}---\n", providers(&["identity: {}"])), stricter);
    add("line ends of Windows", providers(&["identity: {}"]).replace('\n', "\r\n"), good);
    add("byte order mark", format!("\u{feff}{}", providers(&["identity: {}"])), good);
    add(
        "tab before a key",
        header("resources:\n- resources: [secrets]\n\tproviders:\n  - identity: {}\n"),
        bad,
    );
    add("a bracket that stays open", providers(&["identity: {}"]).replace("[secrets]", "[secrets"), bad);
    add(
        "indented too little",
        header("resources:\n- resources: [secrets]\n providers:\n  - identity: {}\n"),
        bad,
    );
    add("a control character", providers(&["identity: {}"]).replace("secrets", "'sec\u{1}rets'"), bad);
    // Go takes it for the end of a line, and YAML 1.2 does not.
    add("line separator in a comment", format!("# a\u{2028}#b\n{}", providers(&["identity: {}"])), stricter);
    add(
        "anchor and alias",
        header(
            "resources:\n- resources: [secrets]\n  providers: &p\n  - identity: {}\n- resources: [configmaps]\n  providers: *p\n",
        ),
        good,
    );
    add("unknown alias", header("resources:\n- resources: [secrets]\n  providers: *p\n"), bad);
    add("alias in itself", header("resources: &r\n- resources: [secrets]\n  providers: *r\n"), bad);
    // Rare and hard to read: whoever edits such a file should write it out.
    add(
        "merge key that repeats nothing",
        one(format!("aescbc: {{keys: [&k {{name: k, secret: {KEY_16}}}, {{<<: *k}}]}}")),
        stricter,
    );
    add(
        "merge key",
        header(
            "resources:\n- &e\n  resources: [secrets]\n  providers:\n  - identity: {}\n- <<: *e\n  resources: [configmaps]\n",
        ),
        bad_from_1_31,
    );
    add("tag", providers(&["identity: {}"]).replace("[secrets]", "[!!str secrets]"), stricter);
    add("directive", format!("%YAML 1.1\n---\n{}", providers(&["identity: {}"])), stricter);

    // Entries and resources.
    add("no resources", header(""), bad);
    add("null resources", header("resources:\n"), bad);
    add("empty resources", header("resources: []\n"), bad);
    add("resources are a mapping", header("resources: {}\n"), bad);
    add("null entry", header("resources:\n-\n"), bad);
    add("entry without names", resources(&["[]"]), bad);
    add("entry without providers", header("resources:\n- resources: [secrets]\n"), bad);
    add("entry with empty providers", header("resources:\n- resources: [secrets]\n  providers: []\n"), bad);
    add("several resources", resources(&["[secrets, configmaps, pandas.awesome.bears.example]"]), good);
    add("a number as name", resources(&["[1]"]), bad);
    add("yes as name", resources(&["[yes]"]), bad);
    add("yes in quotes", resources(&["['yes']"]), good);
    add("a date as name", resources(&["[2001-12-14]"]), good);
    add("an empty name", resources(&["['']"]), good);
    add("a null name", resources(&["[null]"]), good);
    add("capitals", resources(&["[Secrets]"]), bad);
    add("star", resources(&["['*']"]), bad);
    add("core group", resources(&["['*.']"]), good);
    add("everything", resources(&["['*.*']"]), good);
    add("a group", resources(&["['*.apps']"]), good);
    add("one resource of all groups", resources(&["['secrets.*']"]), bad);
    add("events of the new group", resources(&["[events.events.k8s.io]"]), bad);
    add("all events of the new group", resources(&["['*.events.k8s.io']"]), bad);
    add("events", resources(&["[events]"]), good);
    add("extensions", resources(&["[ingresses.extensions]"]), bad);
    add("no REST API", resources(&["[serviceipallocations]"]), bad);
    add("no REST API, ports", resources(&["[servicenodeportallocations]"]), bad);
    add("no REST API, addresses", resources(&["[apiserveripinfo]"]), bad);
    add("twice in an entry", resources(&["[secrets, secrets]"]), bad);
    add("twice in two writings", resources(&["[secrets, secrets.]"]), bad);
    add("overlap with the core group", resources(&["[secrets, '*.']"]), bad);
    add("overlap with everything", resources(&["['*.*', secrets]"]), bad);
    add("two groups", resources(&["['*.apps', '*.batch', secrets]"]), good);
    add("in two entries", resources(&["[secrets]", "[secrets]"]), good);
    add("exact before wildcard", resources(&["[secrets]", "['*.*']"]), good);
    add("masked by everything", resources(&["['*.*']", "[secrets]"]), bad);
    add("masked by its group", resources(&["['*.apps']", "[deployments.apps]"]), bad);
    add("another group than the wildcard's", resources(&["['*.apps']", "[jobs.batch]"]), good);
    add("a group behind everything", resources(&["['*.*']", "['*.apps']"]), bad);
    add("a group before everything", resources(&["['*.apps']", "['*.*']"]), good);
    add("the same wildcard twice", resources(&["['*.apps']", "['*.apps']"]), bad);
    add("masked by the core group", resources(&["['*.']", "[secrets]"]), bad);

    // Providers.
    add("identity without braces", providers(&["identity:"]), bad);
    add("null provider", providers(&["null"]), bad);
    add("empty provider", providers(&["{}"]), bad);
    add("two in one", one(format!("{{identity: {{}}, {}}}", v2("a"))), bad);
    add("one and a null one", providers(&["{identity: {}, kms: null}"]), good);
    add("identity is a list", providers(&["identity: []"]), bad);
    add("aescbc with 16 bytes", aes("aescbc", KEY_16), good);
    add("aescbc with 24 bytes", aes("aescbc", KEY_24), good);
    add("aescbc with 32 bytes", aes("aescbc", KEY_32), good);
    add("aesgcm with 32 bytes", aes("aesgcm", KEY_32), good);
    add("aesgcm with 12 bytes", aes("aesgcm", "MDEyMzQ1Njc4OWFi"), bad);
    add("secretbox with 32 bytes", aes("secretbox", KEY_32), good);
    add("secretbox with 16 bytes", aes("secretbox", KEY_16), bad);
    add("a key that is no base64", aes("aescbc", "'MDEyMzQ1Njc4OWFiY2RlZg='"), bad);
    add("a key with loose bits", aes("aescbc", "MDEyMzQ1Njc4OWFiY2RlZh=="), good);
    add("a key on two lines", aes("aescbc", "\"MDEyMzQ1Njc4\\nOWFiY2RlZg==\""), good);
    add("a key with a space", aes("aescbc", "'MDEyMzQ1Njc4 OWFiY2RlZg=='"), bad);
    add("a key of another alphabet", aes("aescbc", "MDEyMzQ1Njc4OWFiY2Rl_w=="), bad);
    add("an empty key", aes("aescbc", "''"), bad);
    add("no keys", providers(&["aescbc: {keys: []}"]), bad);
    add("keys are missing", providers(&["aescbc: {}"]), bad);
    add("a key without name", one(format!("aescbc: {{keys: [{{secret: {KEY_16}}}]}}")), bad);
    add(
        "a key with a number as name",
        one(format!("aescbc: {{keys: [{{name: 1, secret: {KEY_16}}}]}}")),
        bad,
    );
    add(
        "a key with a colon in its name",
        one(format!("aescbc: {{keys: [{{name: 'a:b', secret: {KEY_16}}}]}}")),
        good,
    );
    add(
        "two keys with one name",
        one(format!("aescbc: {{keys: [{{name: k, secret: {KEY_16}}}, {{name: k, secret: {KEY_32}}}]}}")),
        good,
    );

    // KMS.
    add("v2", one(v2("a")), good);
    add("v1", one(v1("a")), good_up_to_1_28);
    add("no version of KMS", one(kms(&format!("name: a, {SOCKET}"))), good_up_to_1_28);
    add("v3", one(kms(&format!("apiVersion: v3, name: a, {SOCKET}"))), bad);
    add("no name", one(kms(&format!("apiVersion: v2, {SOCKET}"))), bad);
    add("a colon in a v2 name", one(v2("'a:b'")), bad);
    add("a colon in a v1 name", one(v1("'a:b'")), good_up_to_1_28);
    add("v2 names twice", providers(&[&v2("a"), &v2("a")]), bad);
    add(
        "v2 names twice in two entries",
        header(&format!(
            "resources:\n- resources: [secrets]\n  providers:\n  - {0}\n- resources: [configmaps]\n  providers:\n  - {0}\n",
            v2("a")
        )),
        bad,
    );
    add(
        "v2 names of two entries",
        header(&format!(
            "resources:\n- resources: [secrets]\n  providers:\n  - {}\n- resources: [configmaps]\n  providers:\n  - {}\n",
            v2("a"),
            v2("b")
        )),
        good,
    );
    add("a v2 name after the same v1 name", providers(&[&v1("a"), &v2("a")]), bad);
    add("a v1 name after the same v2 name", providers(&[&v2("a"), &v1("a")]), good_up_to_1_28);
    add("v1 names twice", providers(&[&v1("a"), &v1("a")]), good_up_to_1_28);
    add("no endpoint", one(kms("apiVersion: v2, name: a")), bad);
    add("an endpoint without scheme", one(kms("apiVersion: v2, name: a, endpoint: /run/a.sock")), bad);
    add("a TCP endpoint", one(kms("apiVersion: v2, name: a, endpoint: 'tcp://localhost:1'")), bad);
    add("an endpoint that is no URL", one(kms("apiVersion: v2, name: a, endpoint: 'unix:///a%zz'")), bad);
    add("an endpoint with a colon first", one(kms("apiVersion: v2, name: a, endpoint: ':///a'")), bad);
    add("an abstract endpoint", one(kms("apiVersion: v2, name: a, endpoint: 'unix:///@a'")), good);
    add(
        "an endpoint with a host",
        one(kms("apiVersion: v2, name: a, endpoint: 'unix://tmp/a.sock'")),
        warned,
    );
    add("an endpoint without slashes", one(kms("apiVersion: v2, name: a, endpoint: 'unix:a.sock'")), warned);
    add(
        "an endpoint with a capital scheme",
        one(kms("apiVersion: v2, name: a, endpoint: 'UNIX:///a.sock'")),
        good,
    );
    add(
        "an endpoint with one slash",
        one(kms("apiVersion: v2, name: a, endpoint: 'unix:/nobody/listens.sock'")),
        good,
    );
    let timed =
        |timeout: &str| one(format!("kms: {{apiVersion: v2, name: a, timeout: {timeout}, {SOCKET}}}"));
    add("timeout 0", timed("0s"), bad);
    add("timeout below 0", timed("-1s"), bad);
    add("timeout as number", timed("3"), bad);
    add("timeout without unit", timed("'3'"), bad);
    add("timeout in parts", timed("0.001s1ms"), good);
    add("timeout of one nanosecond", timed("1ns"), good);
    add("empty timeout", timed("''"), bad);
    let cached = |size: &str| one(kms(&format!("apiVersion: v1, name: a, cachesize: {size}, {SOCKET}")));
    add("cache size of v1", cached("10"), good_up_to_1_28);
    add("cache size 0", cached("0"), bad);
    add("cache size below 0", cached("-1"), good_up_to_1_28);
    add("cache size as text", cached("'10'"), bad);
    add("cache size with a fraction", cached("1.5"), bad);
    add("cache size in hexadecimal", cached("0x10"), good_up_to_1_28);
    add("cache size beyond 32 bits", cached("2147483648"), bad);
    add("null cache size", cached("null"), good_up_to_1_28);
    add("cache size of v2", one(kms(&format!("apiVersion: v2, name: a, cachesize: 10, {SOCKET}"))), bad);

    // What our own edits write.
    let server = ApiServer::new(36);
    let secrets = GroupResource::parse("secrets");
    let new = |name: &str| NewKms {
        api_version: KmsVersion::V2,
        name: name.to_owned(),
        endpoint: "unix:///nobody/listens.sock".to_owned(),
        timeout: Some("10ms".to_owned()),
    };
    let by_hand = EncryptionConfiguration::read(include_bytes!("inputs/good-by-hand.yaml")).expect("good");
    let added = by_hand.add_kms(&secrets, &new("a name: with 'quotes'"), Place::First, &server).err();
    assert!(added.is_some(), "a colon");
    let added = by_hand.add_kms(&secrets, &new("yes \"#' \u{e9}"), Place::First, &server).expect("added");
    add("a file that was edited", added.text().to_owned(), good);
    let added = added
        .add_entry(
            &[GroupResource::parse("*.apps"), GroupResource::parse("pods")],
            &[NewProvider::Kms(new("1")), NewProvider::Identity],
            &server,
        )
        .expect("added");
    add("a file that was edited twice", added.text().to_owned(), good);
    let fresh = [NewProvider::Kms(new("keystead")), NewProvider::Identity];
    let fresh = EncryptionConfiguration::fresh(&[secrets], &fresh, &server);
    add("a file that was made", fresh.expect("made").text().to_owned(), good);

    // Flags.
    let mut flagged = |name, text: String, automatic_reload, kms_v1, verdict| {
        cases.push(Case { name, text, automatic_reload, kms_v1, verdict });
    };
    flagged("v1 with its gate", one(v1("a")), false, Some(true), good);
    flagged("v1 without its gate", one(v1("a")), false, Some(false), bad);
    flagged("v1 names twice with reload", providers(&[&v1("a"), &v1("a")]), true, Some(true), bad);
    flagged("v1 names twice with the gate", providers(&[&v1("a"), &v1("a")]), false, Some(true), good);
    flagged(
        "a v1 name after the same v2 name with reload",
        providers(&[&v2("a"), &v1("a")]),
        true,
        Some(true),
        bad,
    );
    flagged("v2 with reload", one(v2("a")), true, None, good);
    cases
}
