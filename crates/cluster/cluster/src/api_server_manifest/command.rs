//! The flags of the command line, as `pflag` reads them.

use std::collections::BTreeMap;

use super::{ApiServerManifest, ManifestError};
use crate::api_server_flags::{self, FEATURE_GATES};
use crate::yaml::{Document, Node};

/// The program.
const PROGRAM: &str = "kube-apiserver";

/// One flag and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flag {
    /// Without dashes in front; `_` is `-`, as Kubernetes reads it.
    pub(super) name: String,
    /// None: the flag alone, which means true.
    pub(super) value: Option<String>,
    /// `command` or `args`.
    pub(super) list: &'static str,
    /// Index of `--name` in that list.
    pub(super) index: usize,
    /// Whether the value is an item of its own.
    pub(super) apart: bool,
}

pub(super) fn is_kube_apiserver(container: &Node) -> bool {
    let named = container.get("name").and_then(Node::as_str) == Some(PROGRAM);
    let command = container.get("command").map(Node::items).unwrap_or_default();
    named || command.first().and_then(Node::as_str).is_some_and(is_program)
}

fn is_program(word: &str) -> bool {
    word.rsplit('/').next() == Some(PROGRAM)
}

impl ApiServerManifest {
    /// All flags, in the order in which they are read.
    pub(super) fn flags(&self) -> Result<Vec<Flag>, ManifestError> {
        let container = self.container();
        let mut flags: Vec<Flag> = Vec::new();
        for list in ["command", "args"] {
            let items = self.list(container, list)?;
            let mut words = items.iter().enumerate().peekable();
            if list == "command"
                && let Some((_, program)) = words.next()
                && !program.as_str().is_some_and(is_program)
            {
                return Err(ManifestError::Command(self.document.position(program)));
            }
            while let Some((index, item)) = words.next() {
                let Some(word) = item.as_str() else {
                    return Err(ManifestError::Flag(self.document.position(item)));
                };
                let Some(flag) = word.strip_prefix("--") else {
                    return Err(ManifestError::Command(self.document.position(item)));
                };
                let (name, value) = match flag.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (flag, None),
                };
                // kube-apiserver takes no words of its own, so that one behind a flag is its value.
                let next =
                    words.peek().and_then(|(_, next)| next.as_str()).filter(|next| !next.starts_with('-'));
                let apart = value.is_none() && next.is_some();
                let value = value.or_else(|| next.map(str::to_owned));
                if apart {
                    words.next();
                }
                flags.push(Flag { name: name.replace('_', "-"), value, list, index, apart });
            }
        }
        Ok(flags)
    }

    /// What a flag, named without dashes in front, is set to: the last one counts. `true` if it stands there alone.
    pub fn flag(&self, name: &str) -> Result<Option<String>, ManifestError> {
        let flags = self.flags()?;
        let flag = flags.into_iter().rev().find(|flag| flag.name == name);
        Ok(flag.map(|flag| flag.value.unwrap_or_else(|| "true".to_owned())))
    }

    /// The gates of all `--feature-gates`: unlike other flags they add up.
    pub(super) fn feature_gates(&self) -> Result<BTreeMap<String, bool>, ManifestError> {
        let mut gates = BTreeMap::new();
        for flag in self.flags()?.iter().filter(|flag| flag.name == FEATURE_GATES) {
            let given = api_server_flags::gates(flag.value.as_deref().unwrap_or_default())?;
            gates.extend(given.into_iter().map(|(name, on)| (name.to_owned(), on)));
        }
        Ok(gates)
    }

    /// The same manifest with a flag set.
    pub(super) fn with_flag(&self, name: &str, value: &str) -> Result<Document, ManifestError> {
        let written = format!("--{name}={value}");
        if let Some(flag) = self.only(name)? {
            let list = self.container_list(flag.list);
            return Ok(match flag.apart {
                true => self.document.replace(&list, flag.index + 1, value)?,
                false => self.document.replace(&list, flag.index, &written)?,
            });
        }
        let flags = self.flags()?;
        let has_args = flags.iter().any(|flag| flag.list == "args")
            || self.list(self.container(), "command")?.is_empty();
        let list = if has_args { "args" } else { "command" };
        let names: Vec<(&str, usize)> = flags
            .iter()
            .filter(|flag| flag.list == list)
            .map(|flag| (flag.name.as_str(), flag.index))
            .collect();
        // kubeadm writes flags in order of the alphabet.
        let next = if names.is_sorted() { names.iter().find(|(other, _)| *other > name) } else { None };
        let end = self.list(self.container(), list)?.len();
        let index = next.map_or(end, |(_, index)| *index);
        Ok(self.document.insert(&self.container_list(list), index, &crate::yaml::Value::string(written))?)
    }

    /// The same manifest without a flag.
    pub(super) fn without_flag(&self, name: &str) -> Result<Document, ManifestError> {
        let mut document = Document::parse(self.text().as_bytes())?;
        if let Some(flag) = self.only(name)? {
            let list = self.container_list(flag.list);
            if flag.apart {
                document = document.remove(&list, flag.index + 1)?;
            }
            document = document.remove(&list, flag.index)?;
        }
        Ok(document)
    }

    /// The text of `--feature-gates` with one gate changed or, with none, removed; the others stay as they are.
    pub(super) fn merged_gates(&self, name: &str, on: Option<bool>) -> Result<String, ManifestError> {
        let given = self.only(FEATURE_GATES)?.and_then(|flag| flag.value).unwrap_or_default();
        Ok(api_server_flags::merged(&given, name, on)?)
    }

    /// The only flag with this name.
    pub(super) fn only(&self, name: &str) -> Result<Option<Flag>, ManifestError> {
        let mut flags = self.flags()?.into_iter().filter(|flag| flag.name == name);
        let first = flags.next();
        match flags.next() {
            None => Ok(first),
            Some(second) => {
                let list = self.list(self.container(), second.list)?;
                let node = list.get(second.index).unwrap_or(self.container());
                Err(ManifestError::FlagTwice {
                    position: self.document.position(node),
                    name: name.to_owned(),
                })
            }
        }
    }
}
