//! The flags of the command line, as `pflag` reads them.

use super::{ApiServerManifest, ManifestError};
use crate::api_server_flags::{self, FEATURE_GATES};
use crate::yaml::{Document, Node, Position};

/// The program.
const PROGRAM: &str = "kube-apiserver";

/// One flag, and the list in which it stands: `command` or `args`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) value: Option<String>,
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
            let mut skipped = 0;
            if list == "command"
                && let Some(program) = items.first()
            {
                if !program.as_str().is_some_and(is_program) {
                    return Err(ManifestError::Command(self.document.position(program)));
                }
                skipped = 1;
            }
            let items = items.get(skipped..).unwrap_or_default();
            let at = |item: &Node| self.document.position(item);
            let words: Vec<&str> = items
                .iter()
                .map(|item| item.as_str().ok_or_else(|| ManifestError::Flag(at(item))))
                .collect::<Result<_, _>>()?;
            let found = api_server_flags::read(&words)
                .map_err(|index| ManifestError::Word(at(items.get(index).unwrap_or(container))))?;
            flags.extend(found.into_iter().map(|it| Flag {
                name: it.name,
                value: it.value,
                list,
                index: it.index + skipped,
                apart: it.apart,
            }));
        }
        Ok(flags)
    }

    /// What a flag, named without dashes in front, is set to: the last one counts. `true` if it stands there alone.
    pub fn flag(&self, name: &str) -> Result<Option<String>, ManifestError> {
        Ok(self.last(name)?.map(Flag::into_value))
    }

    fn last(&self, name: &str) -> Result<Option<Flag>, ManifestError> {
        Ok(self.flags()?.into_iter().rev().find(|flag| flag.name == name))
    }

    pub(super) fn flag_position(&self, flag: &Flag) -> Position {
        let list = self.container().get(flag.list).map(Node::items).unwrap_or_default();
        self.document.position(list.get(flag.index).unwrap_or(self.container()))
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

    /// The same manifest without a flag, and without a list that has no other.
    pub(super) fn without_flag(&self, name: &str) -> Result<Document, ManifestError> {
        let Some(flag) = self.only(name)? else { return Ok(Document::parse(self.text().as_bytes())?) };
        let words = if flag.apart { 2 } else { 1 };
        if self.list(self.container(), flag.list)?.len() == words {
            return Ok(self.document.unset(&self.container_path(), flag.list)?);
        }
        let list = self.container_list(flag.list);
        let document = self.document.remove(&list, flag.index)?;
        Ok(if flag.apart { document.remove(&list, flag.index)? } else { document })
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
                Err(ManifestError::FlagTwice { position: self.flag_position(&second), name: name.to_owned() })
            }
        }
    }
}

impl Flag {
    fn into_value(self) -> String {
        self.value.unwrap_or_else(|| "true".to_owned())
    }
}
