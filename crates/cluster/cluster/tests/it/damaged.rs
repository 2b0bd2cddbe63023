//! Files that a person edits and damages: an edit of ours says what it must, changes nothing else, and goes away again; or it is refused.

use keystead_cluster::api_server_facts::Facts;
use keystead_cluster::api_server_manifest::ApiServerManifest;
use keystead_cluster::kubeadm_configuration::ClusterConfiguration;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::kubeadm::{V1BETA3, V1BETA4};
use crate::manifests::{KUBEADM, settings};

/// What happens to a text.
#[derive(Clone, Debug)]
enum Damage {
    Insert(Index, String),
    RemoveLine(Index),
    RepeatLine(Index, Index),
    Indent(Index, usize),
    /// All of its lines end as on Windows.
    Windows,
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let piece = "[-:#&*!|>{}\\[\\],'\"%@`? \\n\\t\\ra0~<=$\u{85}\u{feff}]{1,6}";
    let one = prop_oneof![
        (any::<Index>(), piece).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        any::<Index>().prop_map(Damage::RemoveLine),
        any::<(Index, Index)>().prop_map(|(line, to)| Damage::RepeatLine(line, to)),
        (any::<Index>(), 0..9usize).prop_map(|(line, by)| Damage::Indent(line, by)),
        Just(Damage::Windows),
    ];
    proptest::collection::vec(one, 0..4)
}

fn damaged(text: &str, all: &[Damage]) -> String {
    let mut text = text.to_owned();
    for damage in all {
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        let count = lines.len().max(1);
        match damage {
            Damage::Insert(at, piece) => {
                let at = at.index(text.len() + 1);
                let at = (0..=at).rev().find(|it| text.is_char_boundary(*it)).unwrap_or_default();
                text.insert_str(at, piece);
                continue;
            }
            Damage::Windows => {
                text = text.replace('\n', "\r\n");
                continue;
            }
            Damage::RemoveLine(line) => {
                if !lines.is_empty() {
                    lines.remove(line.index(count));
                }
            }
            Damage::RepeatLine(line, to) => {
                if let Some(line) = lines.get(line.index(count)).cloned() {
                    lines.insert(to.index(count), line);
                }
            }
            Damage::Indent(line, by) => {
                if let Some(line) = lines.get_mut(line.index(count)) {
                    *line = format!("{}{}", " ".repeat(*by), line.trim_start_matches(' '));
                }
            }
        }
        text = lines.concat();
    }
    text
}

/// Without what an edit of ours is about.
fn others(facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    facts.encryption_provider_config = None;
    facts.automatic_reload = false;
    facts.feature_gates.remove("KMSv1");
    facts.mounts.retain(|mount| !settings().directories.iter().any(|it| it.path == mount.mount_path));
    facts
}

proptest! {
    #[test]
    fn a_damaged_manifest_is_edited_wholly_or_not_at_all(damage in damage()) {
        let text = damaged(KUBEADM, &damage);
        let Ok(old) = ApiServerManifest::read(text.as_bytes()) else { return Ok(()) };
        let Ok(before) = old.facts() else { return Ok(()) };
        let Ok(new) = old.plan_encryption(&settings()).and_then(|edits| old.edited(&edits)) else {
            return Ok(());
        };
        prop_assert_eq!(new.plan_encryption(&settings()).expect("planned"), []);
        let facts = new.facts().expect("facts");
        prop_assert_eq!(facts.encryption_provider_config.as_deref(), Some(&*settings().configuration));
        prop_assert_eq!(others(&facts), others(&before));
        let back = new.edited(&new.plan_removal(&settings()).expect("planned")).expect("edited");
        prop_assert_eq!(back.facts().expect("facts"), before);
    }

    #[test]
    fn a_damaged_cluster_configuration_is_edited_wholly_or_not_at_all(
        damage in damage(),
        is_older in any::<bool>(),
    ) {
        let text = damaged(if is_older { V1BETA3 } else { V1BETA4 }, &damage);
        let Ok(old) = ClusterConfiguration::read(text.as_bytes()) else { return Ok(()) };
        let Ok(new) = old.with_encryption(&settings()) else { return Ok(()) };
        let again = new.with_encryption(&settings()).expect("again");
        prop_assert_eq!(again.text(), new.text());
        let config = new.flag("encryption-provider-config").expect("a flag");
        prop_assert_eq!(config, Some(&*settings().configuration));
        let modes = |it: &ClusterConfiguration| it.flag("authorization-mode").map(|it| it.map(str::to_owned));
        prop_assert_eq!(modes(&new).ok(), modes(&old).ok());
        let back = new.without_encryption(&settings());
        let back = back.unwrap_or_else(|error| panic!("{error} in\n{}\nof\n{text}", new.text()));
        prop_assert_eq!(back.flag("encryption-provider-config").expect("a flag"), None);
        prop_assert!(back.with_encryption(&settings()).is_ok());
    }
}
