//! Random files of people with all kinds of habits, random edits, and what must hold after each.

use keystead_cluster::encryption_configuration::{
    ApiServer, EncryptionConfiguration, GroupResource, KmsVersion, NewKms, NewProvider, Place, Provider,
    ProviderAt,
};
use proptest::prelude::*;

const SERVER: ApiServer = ApiServer { minor: 37, automatic_reload: true, kms_v1: Some(true) };

/// Bytes that decide everything; shorter ones make simpler files.
struct Choices<'c>(std::slice::Iter<'c, u8>);

impl Choices<'_> {
    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or_default()) % limit
    }

    fn of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }

    fn yes(&mut self) -> bool {
        self.below(2) == 1
    }
}

/// What a file means.
type Meaning = Vec<(Vec<String>, Vec<String>)>;

/// How one person writes.
struct Habits {
    /// From `resources:` at the top to its dashes.
    outer: usize,
    /// From `resources:` and `providers:` to their dashes.
    inner: usize,
    /// From a dash to what follows.
    item: usize,
    /// From `kms:` to its fields.
    map: usize,
}

struct Writer<'c> {
    choices: Choices<'c>,
    text: String,
    comments: usize,
}

impl Writer<'_> {
    fn line(&mut self, indent: usize, text: &str) {
        if self.choices.below(6) == 5 {
            self.text.push('\n');
        }
        if self.choices.below(4) == 3 {
            self.comments += 1;
            let column = if self.choices.below(5) == 4 { 0 } else { indent };
            self.text.push_str(&format!("{}# above {}, 'x: - {{\n", " ".repeat(column), self.comments));
        }
        self.text.push_str(&" ".repeat(indent));
        self.text.push_str(text);
        if self.choices.below(4) == 3 {
            self.comments += 1;
            self.text.push_str(&format!("   # right {}", self.comments));
        }
        self.text.push('\n');
    }
}

/// A valid file and what it means.
fn file(bytes: &[u8]) -> (String, Meaning) {
    let mut writer = Writer { choices: Choices(bytes.iter()), text: String::new(), comments: 0 };
    let habits = Habits {
        outer: writer.choices.below(3),
        inner: writer.choices.below(3) * 2,
        item: writer.choices.below(2) * 2 + 2,
        map: writer.choices.below(2) * 2 + 2,
    };
    let mut meaning = Meaning::new();
    if writer.choices.yes() {
        writer.text.push_str("---\n");
    }
    writer.line(0, "apiVersion: apiserver.config.k8s.io/v1");
    writer.line(0, "kind: 'EncryptionConfiguration'");
    writer.line(0, "resources:");
    let entries = writer.choices.below(3) + 1;
    let mut kms = 0;
    for (index, names) in
        ["secrets", "configmaps,leases.coordination.k8s.io", "*.*"].iter().take(entries).enumerate()
    {
        let names: Vec<String> = names.split(',').map(str::to_owned).collect();
        let column = habits.outer + habits.item;
        let dash = format!("{}{}", "-", " ".repeat(habits.item - 1));
        let flow = writer.choices.yes();
        let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        if flow {
            writer.line(habits.outer, &format!("{dash}resources: [{}]", quoted.join(", ")));
        } else {
            writer.line(habits.outer, &format!("{dash}resources:"));
            for name in &quoted {
                writer.line(column + habits.inner, &format!("- {name}"));
            }
        }
        let count = writer.choices.below(3) + 1;
        let mut providers = Vec::new();
        let brackets = writer.choices.below(5) == 4;
        let mut items = Vec::new();
        if !brackets {
            writer.line(column, "providers:");
        }
        for _ in 0..count {
            let dash_column = column + habits.inner;
            let kind = writer.choices.below(4);
            let key = "{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZg==}";
            kms += usize::from(kind >= 2);
            let (provider, flow_text) = match kind {
                0 => ("identity".to_owned(), "{identity: {}}".to_owned()),
                1 => ("aescbc k".to_owned(), format!("{{aescbc: {{keys: [{key}]}}}}")),
                _ => (
                    format!("kms p{kms}"),
                    format!("{{kms: {{apiVersion: v2, name: p{kms}, endpoint: 'unix:///run/p{kms}.sock'}}}}"),
                ),
            };
            providers.push(provider);
            if brackets {
                items.push(flow_text);
            } else if writer.choices.below(4) == 3 {
                writer.line(dash_column, &format!("{dash}{flow_text}"));
            } else {
                match kind {
                    0 => writer.line(dash_column, &format!("{dash}identity: {{}}")),
                    1 => {
                        writer.line(dash_column, &format!("{dash}aescbc:"));
                        writer.line(dash_column + habits.item + habits.map, "keys:");
                        writer.line(dash_column + habits.item + habits.map, &format!("- {key}"));
                    }
                    _ => {
                        writer.line(dash_column, &format!("{dash}kms:"));
                        let fields = dash_column + habits.item + habits.map;
                        let quote = writer.choices.of(&["", "\"", "'"]);
                        writer.line(fields, &format!("name: {quote}p{kms}{quote}"));
                        writer.line(fields, "apiVersion: v2");
                        writer.line(fields, &format!("endpoint: unix:///run/p{kms}.sock"));
                        if writer.choices.yes() {
                            writer.line(fields, "timeout: 3s");
                        }
                    }
                }
            }
        }
        if brackets {
            writer.line(column, &format!("providers: [{}]", items.join(", ")));
        }
        assert_eq!(index, meaning.len());
        meaning.push((names, providers));
    }
    let mut text = writer.text;
    if writer.choices.yes() {
        text.push_str("# the end\n");
    }
    if writer.choices.below(4) == 3 {
        text.pop();
    }
    (text, meaning)
}

fn words(provider: &Provider) -> String {
    match provider {
        Provider::Identity => "identity".to_owned(),
        Provider::Kms(kms) => format!("kms {}", kms.name),
        Provider::AesCbc(keys) => format!("aescbc {}", keys[0].name),
        Provider::AesGcm(_) | Provider::Secretbox(_) => unreachable!("no file has one"),
    }
}

/// Some that random files cover by name or by a wildcard, and some that only a wildcard covers.
const RESOURCES: [&str; 5] =
    ["secrets", "configmaps", "pods", "deployments.apps", "leases.coordination.k8s.io"];

/// Who can decrypt a resource. What nothing covers is stored as it is.
fn readers(configuration: &EncryptionConfiguration, resource: &str) -> Vec<String> {
    match configuration.effective(&GroupResource::parse(resource)) {
        Some(effective) => effective.providers.iter().map(|(_, it)| words(it)).collect(),
        None => vec!["identity".to_owned()],
    }
}

fn meaning(configuration: &EncryptionConfiguration) -> Meaning {
    configuration
        .entries()
        .iter()
        .map(|entry| {
            let names = entry.resources.iter().map(|(name, _)| name.clone()).collect();
            (names, entry.providers.iter().map(|it| words(&it.provider)).collect())
        })
        .collect()
}

fn comments(text: &str) -> Vec<String> {
    let mut comments: Vec<String> =
        text.lines().filter_map(|line| line.split_once('#')).map(|(_, comment)| comment.to_owned()).collect();
    comments.sort();
    comments
}

/// Whether `long` is `short` with one piece put in; the line break at the end of a file may move.
fn is_one_insertion(short: &str, long: &str) -> bool {
    let (short, long) = (short.trim_end_matches('\n').as_bytes(), long.trim_end_matches('\n').as_bytes());
    let before = short.iter().zip(long).take_while(|(a, b)| a == b).count();
    let after = short.iter().rev().zip(long.iter().rev()).take_while(|(a, b)| a == b).count();
    before + after >= short.len()
}

fn new_kms(name: &str) -> NewKms {
    NewKms {
        api_version: KmsVersion::V2,
        name: name.to_owned(),
        endpoint: "unix:///run/keystead/kms.sock".to_owned(),
        timeout: None,
    }
}

/// A resource that only this entry covers.
fn resource_of(meaning: &Meaning, entry: usize) -> GroupResource {
    GroupResource::parse(if meaning[entry].0[0] == "*.*" { "pods" } else { &meaning[entry].0[0] })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_added_provider_is_the_only_difference_and_its_removal_leaves_the_same_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        entry in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
    ) {
        let (text, mut expected) = file(&bytes);
        let old = EncryptionConfiguration::read(text.as_bytes()).expect(&text);
        prop_assert_eq!(meaning(&old), expected.clone(), "{}", text);
        prop_assert_eq!(old.check(&SERVER), [], "{}", text);

        let entry = entry.index(expected.len());
        let resource = resource_of(&expected, entry);
        let count = expected[entry].1.len();
        let index = place.index(count + 1);
        let at = |provider| ProviderAt { entry, provider };
        let place = match index {
            0 => Place::First,
            index if index == count => Place::Last,
            index if index % 2 == 0 => Place::Before(at(index)),
            index => Place::After(at(index - 1)),
        };
        let new = old.add_kms(&resource, &new_kms("new"), place, &SERVER).expect(&text);
        expected[entry].1.insert(index, "kms new".to_owned());
        prop_assert_eq!(meaning(&new), expected, "{}\n{}", text, new.text());
        prop_assert_eq!(comments(new.text()), comments(&text));
        prop_assert!(is_one_insertion(&text, new.text()), "{}\n{}", text, new.text());

        let undone = new.remove_provider(&resource, at(index), &SERVER).expect("a way back");
        prop_assert_eq!(undone.text(), text);
    }

    #[test]
    fn a_moved_provider_is_the_only_one_that_moves_and_comes_back(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        entry in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let (text, before) = file(&bytes);
        let old = EncryptionConfiguration::read(text.as_bytes()).expect(&text);
        let entry = entry.index(before.len());
        let resource = resource_of(&before, entry);
        let count = before[entry].1.len();
        let (from, to) = (from.index(count), to.index(count));
        let at = |provider| ProviderAt { entry, provider };
        let place = |from: usize, to: usize| if to > from { Place::After(at(to)) } else { Place::Before(at(to)) };
        let new = old.move_provider(&resource, at(from), place(from, to), &SERVER).expect(&text);
        let mut expected = before.clone();
        let provider = expected[entry].1.remove(from);
        expected[entry].1.insert(to, provider);
        prop_assert_eq!(meaning(&new), expected, "{}\n{}", text, new.text());
        prop_assert_eq!(comments(new.text()), comments(&text), "{}\n{}", text, new.text());

        let back = new.move_provider(&resource, at(to), place(to, from), &SERVER).expect("a way back");
        prop_assert_eq!(meaning(&back), before);
        prop_assert_eq!(comments(back.text()), comments(&text));
    }

    #[test]
    fn a_removed_provider_takes_only_its_lines_along(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        entry in any::<prop::sample::Index>(),
        provider in any::<prop::sample::Index>(),
    ) {
        let (text, mut expected) = file(&bytes);
        let old = EncryptionConfiguration::read(text.as_bytes()).expect(&text);
        let entry = entry.index(expected.len());
        let resource = resource_of(&expected, entry);
        let at = ProviderAt { entry, provider: provider.index(expected[entry].1.len()) };
        let new = old.remove_provider(&resource, at, &SERVER);
        if expected[entry].1.len() == 1 {
            prop_assert!(new.is_err());
            return Ok(());
        }
        let new = new.expect(&text);
        expected[entry].1.remove(at.provider);
        prop_assert_eq!(meaning(&new), expected, "{}\n{}", text, new.text());
        prop_assert!(is_one_insertion(new.text(), &text), "{}\n{}", text, new.text());
    }

    #[test]
    fn an_added_entry_stands_before_what_would_mask_it_and_goes_without_a_trace(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let (text, mut expected) = file(&bytes);
        let old = EncryptionConfiguration::read(text.as_bytes()).expect(&text);
        let resources = [GroupResource::parse("deployments.apps"), GroupResource::parse("pods")];
        let providers = [NewProvider::Kms(new_kms("new")), NewProvider::Identity];
        let new = old.add_entry(&resources, &providers, &SERVER);
        let wildcard = expected.get(2);
        if wildcard.is_some_and(|(_, providers)| providers.iter().any(|it| it != "identity")) {
            prop_assert!(new.is_err(), "values of the wildcard's providers would become unreadable");
            return Ok(());
        }
        let new = new.expect(&text);
        let index = expected.len().min(2);
        let entry = (
            vec!["deployments.apps".to_owned(), "pods".to_owned()],
            vec!["kms new".to_owned(), "identity".to_owned()],
        );
        expected.insert(index, entry);
        prop_assert_eq!(meaning(&new), expected, "{}\n{}", text, new.text());
        prop_assert_eq!(comments(new.text()), comments(&text));
        prop_assert!(is_one_insertion(&text, new.text()), "{}\n{}", text, new.text());
        let undone = new.remove_entry(index, &SERVER).expect("a way back");
        prop_assert_eq!(undone.text(), text);
    }

    #[test]
    fn what_could_be_stored_before_an_entry_was_added_can_be_read_after_it(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        resource in prop::sample::select([&RESOURCES[..], &["*.", "*.apps", "*.*"]].concat()),
        new in prop::sample::subsequence(vec![NewProvider::Kms(new_kms("new")), NewProvider::Identity], 1..=2),
    ) {
        let (text, _) = file(&bytes);
        let old = EncryptionConfiguration::read(text.as_bytes()).expect(&text);
        if let Ok(new) = old.add_entry(&[GroupResource::parse(resource)], &new, &SERVER) {
            for resource in RESOURCES {
                let (before, after) = (readers(&old, resource), readers(&new, resource));
                prop_assert!(
                    before.iter().all(|reader| after.contains(reader)),
                    "{}: {:?} {:?}\n{}", resource, before, after, new.text()
                );
            }
        }
    }

    #[test]
    fn no_text_makes_the_reader_or_an_edit_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
        piece in "[-:#&*!|>{}\\[\\],'\"%@`? \\n\\t\\ra0~<\u{85}\u{feff}]{0,8}",
    ) {
        let (mut text, _) = file(&bytes);
        let cut = (0..=cut.index(text.len() + 1)).rev().find(|it| text.is_char_boundary(*it)).unwrap_or_default();
        text.insert_str(cut, &piece);
        if let Ok(old) = EncryptionConfiguration::read(text.as_bytes()) {
            let secrets = GroupResource::parse("secrets");
            if let Ok(new) = old.add_kms(&secrets, &new_kms("new"), Place::First, &SERVER) {
                prop_assert_eq!(new.entries().len(), old.entries().len());
                prop_assert!(new.text().contains("keystead/kms.sock"));
            }
        }
    }
}
