//! An API server that systemd runs, by a unit: systemd says what it would start, the process what that comes to.

mod access;
mod change;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use keystead_runtime::whole_file::{self, FileError};

use super::files::digest;
use super::look::changed;
use super::process::{self, Running};
use super::systemd::{self, UNITS};
use super::{HostError, Process, program};
use crate::api_server_facts::Facts;
use crate::api_server_flags::{self, Flag};
use crate::api_server_manifest::Mount;
use crate::api_server_unit::{
    self, Doubt, Marks, NAME, Shown, UnitError, commands_digest, differing, drop_in_words, expanded,
    is_kube_apiserver, without_encryption,
};
use crate::owned_file::{OwnedFile, OwnedFileError};
use crate::pod_user::PodUser;
use crate::yaml::MAX_LEN;

/// Ten ticks of the kernel's clock, which says when a process started: as exact as that can be compared with times of files.
const TICKS_S: f64 = 0.1;
/// For its version, which it tells in a tenth of a second where nothing else is done.
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// A unit of systemd, and its process.
pub(crate) struct Unit {
    name: String,
    shown: Shown,
    /// With variables.
    words: Vec<String>,
    /// What the words come to.
    flags: Vec<Flag>,
    running: Option<Running>,
    /// Ours, if it is there.
    drop_in: Option<OwnedFile>,
    marks: Marks,
    /// A command of ours was cut off between writing it or taking it away and having systemd read that: the words are those that systemd will
    /// read.
    is_unread: bool,
    /// [`commands_digest`] of the other files.
    others: String,
}

impl Unit {
    pub(super) fn read(name: &str) -> Result<Self, HostError> {
        let path = drop_in_path(name);
        let mut shown = systemd::show(name)?;
        let drop_in = match OwnedFile::read(&path, MAX_LEN) {
            Ok(file) => Some(file),
            Err(OwnedFileError::File(FileError::Missing(_))) => None,
            Err(error) => return Err(error.into()),
        };
        let mut words = systemd::command(name)?;
        let is_unread = match (&drop_in, shown.drop_ins.contains(&path)) {
            (None, false) | (Some(_), true) => false,
            (Some(file), false) => {
                shown.drop_ins.push(path.clone());
                let read = drop_in_words(&String::from_utf8_lossy(file.bytes()));
                let is_ours = read.is_some();
                words = read.unwrap_or(words);
                // What a person wrote is for a person to have read.
                shown.needs_reload |= !is_ours;
                is_ours
            }
            (None, true) => {
                shown.drop_ins.retain(|it| *it != path);
                words = without_encryption(&words);
                true
            }
        };
        let running = shown.main_process.and_then(process::running);
        let running = running.filter(|it| has_begun(&it.words, shown.is_changing()));
        if let Some(found) =
            running.as_ref().and_then(|it| it.words.first()).filter(|it| !is_kube_apiserver(it))
        {
            let found = format!("{found}, which is its main process");
            return Err(UnitError::Command { unit: name.to_owned(), found }.into());
        }
        let variables = match &running {
            Some(running) => running.variables(&words),
            None => variables(&shown),
        };
        let flags = flags_of(name, &expanded(&words, &variables))?;
        let marks = drop_in.as_ref().map(|it| Marks::read(&String::from_utf8_lossy(it.bytes())));
        let unit = Self {
            others: String::new(),
            marks: marks.unwrap_or_default(),
            name: name.to_owned(),
            shown,
            words,
            flags,
            running,
            drop_in,
            is_unread,
        };
        let texts =
            unit.files().filter(|it| **it != path).map(|it| fs::read_to_string(it).unwrap_or_default());
        let texts: Vec<String> = texts.collect();
        Ok(Self { others: commands_digest(texts.iter().map(String::as_str)), ..unit })
    }

    /// Its own file and all drop-ins, as systemd knows them.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.shown.fragment.iter().chain(&self.shown.drop_ins)
    }

    pub(super) fn facts(&self) -> Result<Facts, HostError> {
        let facts = Facts::of_flags(self.flags.iter().map(|it| (it.name.as_str(), it.value.as_deref())));
        let facts = facts.map_err(|source| UnitError::Flag { unit: self.name.clone(), source })?;
        // It sees the host as it is, apart from what is hidden.
        let whole = Mount {
            volume: String::new(),
            host_path: "/".to_owned(),
            host_type: String::new(),
            mount_path: "/".to_owned(),
            read_only: false,
        };
        Ok(Facts { version: self.version(), mounts: vec![whole], view: self.shown.view.clone(), ..facts })
    }

    /// What kube-apiserver says of itself. A program is run only if it is the one that systemd runs already and nobody else may change it.
    fn version(&self) -> Option<(u32, u32, u32)> {
        let program = Path::new(self.words.first()?);
        let (found, runs) = (fs::metadata(program).ok()?, self.running.as_ref()?.program()?);
        let is_it = (found.dev(), found.ino()) == (runs.dev(), runs.ino());
        if !is_it || !whole_file::is_ours(&found) || found.mode() & 0o022 != 0 {
            return None;
        }
        let text = program::told(Command::new(program).arg("--version").env_clear(), VERSION_LIMIT).ok()?;
        crate::api_server_facts::version_of(text.trim().strip_prefix("Kubernetes ")?)
    }

    pub(super) fn path(&self) -> &Path {
        self.shown.fragment.as_deref().unwrap_or(Path::new(UNITS))
    }

    pub(super) fn flag(&self, name: &str) -> Option<String> {
        let flag = self.flags.iter().rfind(|it| it.name == name)?;
        Some(flag.value.clone().unwrap_or_else(|| "true".to_owned()))
    }

    /// Files that its flags name.
    pub(super) fn named_files(&self) -> Vec<PathBuf> {
        let values = self.flags.iter().filter_map(|it| it.value.as_deref());
        values.filter(|it| it.starts_with('/')).map(PathBuf::from).collect()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn users(&self) -> BTreeSet<PodUser> {
        self.user().ok().into_iter().collect()
    }

    pub(super) fn digest(&self) -> String {
        let mut all = self.words.join("\0").into_bytes();
        let mut files: Vec<&PathBuf> = self.files().chain(&self.shown.environment_files).collect();
        // Those that systemd has yet to read have no place among the others.
        files.sort();
        for path in files {
            all.extend(digest(&fs::read(path).unwrap_or_default()).into_bytes());
        }
        digest(&all)
    }

    pub(super) fn changed(&self) -> f64 {
        let files = self.files().chain(&self.shown.environment_files);
        files.map(|it| changed(it)).fold(0.0, f64::max)
    }

    pub(super) fn process(&self) -> Option<Process> {
        self.running.as_ref().map(|it| it.process.clone())
    }

    pub(super) fn is_restarting(&self) -> bool {
        self.shown.is_changing()
    }

    /// Why it might start with something else than what is read here: nothing is changed until a person has settled it.
    pub(super) fn unsettled(&self) -> Option<Doubt> {
        let name = &self.name;
        if self.shown.needs_reload && !self.is_unread {
            let evidence = format!("files of {name} were changed since systemd read them");
            return Some(Doubt {
                evidence,
                advice: "look at them, then run `systemctl daemon-reload`".to_owned(),
            });
        }
        let running = self.running.as_ref()?;
        let advice = format!("look at what was changed, then run `systemctl restart {name}`");
        let is_newer = |it: &&PathBuf| changed(it) > running.process.started + TICKS_S;
        if let Some(file) = self.shown.environment_files.iter().find(is_newer) {
            let file = file.display();
            let evidence =
                format!("{file} was changed after kube-apiserver started, and is not in force yet");
            return Some(Doubt { evidence, advice });
        }
        let used = flags_of(name, &running.words).ok()?;
        let differing = differing(&self.flags, &used).join(", ");
        let evidence = format!("kube-apiserver runs with other flags than {name} has: {differing}");
        (!differing.is_empty()).then_some(Doubt { evidence, advice })
    }

    /// What the next change does before all else, and nobody need do.
    pub(super) fn unread(&self) -> Option<Doubt> {
        let drop_in = drop_in_path(&self.name);
        self.is_unread.then(|| Doubt {
            evidence: format!(
                "{} was written or taken away, and systemd has not read that yet: a reload is pending",
                drop_in.display()
            ),
            advice: "run the command that was cut off again, or `systemctl daemon-reload`".to_owned(),
        })
    }

    /// A command in the other files that is not the one which our drop-in replaced.
    pub(super) fn changed_below(&self) -> Option<Doubt> {
        let drop_in = self.drop_in.as_ref()?.path().display();
        let replaced = self.marks.replaces.as_ref().filter(|it| **it != self.others)?;
        let (name, now) = (&self.name, &self.others);
        Some(Doubt {
            evidence: format!(
                "ExecStart= of {name} was changed after {drop_in} was written, and is not in force because of that"
            ),
            advice: format!(
                "make the same change in {drop_in}, write Replaces={now} there in place of Replaces={replaced}, and run `systemctl daemon-reload` and `systemctl restart {name}`"
            ),
        })
    }
}

/// What systemd has forked has a name in brackets, or is systemd's own program (255 or newer), until it becomes the program, and what has
/// ended has no words. While the unit is changing, any other program may be one of those too.
fn has_begun(words: &[String], is_changing: bool) -> bool {
    let Some(program) = words.first().filter(|it| !it.is_empty() && !it.starts_with('(')) else {
        return false;
    };
    let is_systemd = program.ends_with("/systemd-executor");
    is_kube_apiserver(program) || !(is_systemd || is_changing)
}

/// As long as no process has them. They tell what is there, and nothing is changed by their word.
fn variables(shown: &Shown) -> BTreeMap<String, String> {
    let mut all = api_server_unit::inline_variables(&shown.environment);
    for file in &shown.environment_files {
        all.extend(api_server_unit::variables(&fs::read_to_string(file).unwrap_or_default()));
    }
    all
}

/// Without links on the way, as systemd names what it has read.
fn drop_in_path(unit: &str) -> PathBuf {
    let directory = drop_in_directory(unit);
    directory.canonicalize().unwrap_or(directory).join(NAME)
}

fn drop_in_directory(unit: &str) -> PathBuf {
    let units = Path::new(UNITS);
    units.canonicalize().unwrap_or_else(|_| units.to_owned()).join(format!("{unit}.d"))
}

fn flags_of(unit: &str, words: &[String]) -> Result<Vec<Flag>, UnitError> {
    let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    api_server_flags::read(&words).map_err(|at| UnitError::Command {
        unit: unit.to_owned(),
        found: format!("a command whose word {} is neither a flag nor the value of one", at + 1),
    })
}

#[cfg(test)]
mod tests {
    use super::has_begun;

    #[test]
    fn what_systemd_forks_has_not_begun() {
        for (program, is_changing, begun) in [
            ("", false, false),
            ("(apiserver)", false, false),
            ("/usr/lib/systemd/systemd-executor", false, false),
            ("/usr/bin/kube-apiserver", true, true),
            ("/usr/bin/kube-apiserver", false, true),
            // A script between the two.
            ("/bin/sh", true, false),
            ("/bin/sh", false, true),
        ] {
            assert_eq!(has_begun(&[program.to_owned()], is_changing), begun, "{program} {is_changing}");
        }
        assert!(!has_begun(&[], false));
    }
}
