//! The drop-in of a unit: what is to be in it, and putting it in its place.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use keystead_model::ErrorChain;
use keystead_runtime::whole_file::{self, FileError};
use rustix::fs::Access;

use super::access::SEARCHES;
use super::{Unit, drop_in_directory, drop_in_path};
use crate::api_server_flags::CONFIG;
use crate::api_server_manifest::EncryptionSettings;
use crate::api_server_unit::{self, DropIn, Marks, UnitError};
use crate::host::{HostError, systemd};
use crate::owned_file::{self, OwnedFile, OwnedFileError, Places};
use crate::yaml::MAX_LEN;

impl Unit {
    /// The drop-in that makes it encrypt.
    pub(in crate::host) fn encrypting(
        &self,
        settings: &EncryptionSettings,
    ) -> Result<Option<DropIn>, HostError> {
        self.settled()?;
        self.known()?;
        if let Some(doubt) = self.changed_below() {
            return Err(UnitError::ChangedBelow(doubt).into());
        }
        for directory in &settings.directories {
            let path = Path::new(&directory.path);
            if let Some(refused) = self.hides(path).or_else(|| self.closes(path, SEARCHES, "may not enter")) {
                return Err(refused.into());
            }
        }
        let words = api_server_unit::with_encryption(&self.words, &self.facts()?, settings)?;
        Ok(Some(self.drop_in_of(words)))
    }

    /// The drop-in without which it does not encrypt any more; none where there need be none.
    pub(in crate::host) fn plain(&self) -> Result<Option<DropIn>, HostError> {
        self.settled()?;
        if self.drop_in.is_some() && !self.marks.flag_is_below {
            return Ok(None);
        }
        self.known()?;
        let words = api_server_unit::without_encryption(&self.words);
        if self.flag(CONFIG).is_some() && words == self.words {
            let files = self.shown.environment_files.iter().map(|it| it.display().to_string());
            return Err(UnitError::FlagInVariable { unit: self.name.clone(), files: files.collect() }.into());
        }
        let mut new = self.drop_in_of(words);
        new.marks.flag_is_below = true;
        Ok(Some(new))
    }

    /// Whether what is read here is what it would start with.
    fn settled(&self) -> Result<(), HostError> {
        if self.running.is_none() && self.shown.is_changing() {
            return Err(HostError::Changing(self.name.clone()));
        }
        // systemd was told to read all again before this.
        let doubt = self.unsettled().or_else(|| self.unread());
        doubt.map_or(Ok(()), |doubt| Err(UnitError::Unsettled(doubt).into()))
    }

    /// Whether its flags are known: only a process says whether its variables were understood.
    fn known(&self) -> Result<(), UnitError> {
        if self.running.is_some() || !api_server_unit::has_variables(&self.words) {
            return Ok(());
        }
        Err(UnitError::Down { unit: self.name.clone(), state: self.shown.active_state.clone() })
    }

    fn drop_in_of(&self, words: Vec<String>) -> DropIn {
        let marks = match &self.drop_in {
            Some(_) => self.marks.clone(),
            None => Marks { replaces: Some(self.others.clone()), flag_is_below: false },
        };
        DropIn { words, marks }
    }

    /// Whether [`Self::put`] would find its places fit.
    pub(in crate::host) fn check(&self, places: &Places) -> Result<(), HostError> {
        if let Some(old) = &self.drop_in {
            return Ok(old.check_beside(places)?);
        }
        let directory = drop_in_directory(&self.name);
        let above = directory.ancestors().find(|it| it.exists()).unwrap_or(&directory);
        let path = above.to_owned();
        rustix::fs::access(above, Access::WRITE_OK)
            .map_err(|error| HostError::Places { path, source: error.into() })
    }

    /// Puts the drop-in in its place or takes it away, has systemd read it, and restarts the API server if systemd read what was meant. What
    /// goes wrong after the write is taken back.
    pub(in crate::host) fn put(&self, new: Option<&DropIn>, places: &Places) -> Result<(), HostError> {
        if new.is_none() && self.drop_in.is_none() {
            return Ok(());
        }
        let directory = drop_in_directory(&self.name);
        let error = match self.write(new, &directory, places) {
            Ok(()) => match self.begin(new) {
                Ok(()) => {
                    if new.is_none() {
                        remove_if_empty(&directory);
                    }
                    return Ok(());
                }
                Err(error) => error.into(),
            },
            // Unless only the last step failed, which comes after the write.
            Err(error) if !self.is_there(new) => {
                remove_if_empty(&directory);
                return Err(error);
            }
            Err(error) => error,
        };
        let (drop_in, reason) = (drop_in_path(&self.name), ErrorChain(&error).to_string());
        Err(HostError::Unit(match self.take_back(new, &directory, places) {
            Ok(()) => UnitError::TakenBack { drop_in, reason },
            Err(why) => UnitError::Left { drop_in, reason, why: ErrorChain(&why).to_string() },
        }))
    }

    fn write(&self, new: Option<&DropIn>, directory: &Path, places: &Places) -> Result<(), HostError> {
        let places_at = |source| HostError::Places { path: directory.to_owned(), source };
        let text = new.map(DropIn::text);
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(places_at)?;
        // What a process that was killed left beside it. Only root writes there.
        whole_file::remove_unfinished(directory).map_err(places_at)?;
        match (text, &self.drop_in) {
            (Some(text), Some(old)) => drop(old.replace_beside(text.as_bytes(), places)?),
            (Some(text), None) => {
                owned_file::create_beside(&drop_in_path(&self.name), text.as_bytes())?;
            }
            (None, Some(old)) => drop(old.remove(places)?),
            (None, None) => {}
        }
        Ok(())
    }

    fn begin(&self, new: Option<&DropIn>) -> Result<(), UnitError> {
        systemd::reload()?;
        if let Some(new) = new {
            let read = systemd::command(&self.name);
            if read.as_ref().ok() != Some(&new.words) {
                let found = read.map_or_else(
                    |error| error.to_string(),
                    |read| {
                        let same =
                            read.iter().zip(&new.words).take_while(|(read, meant)| read == meant).count();
                        format!("{} words, of which the first {same} are as meant", read.len())
                    },
                );
                return Err(UnitError::NotTaken { drop_in: drop_in_path(&self.name), found });
            }
        }
        systemd::restart(&self.name)
    }

    /// Whether there is now what was to be written, and not what was there before.
    fn is_there(&self, new: Option<&DropIn>) -> bool {
        let now = OwnedFile::read(&drop_in_path(&self.name), MAX_LEN);
        match (new.map(DropIn::text), now) {
            (Some(text), Ok(now)) => now.bytes() == text.as_bytes(),
            (None, Err(OwnedFileError::File(FileError::Missing(_)))) => true,
            _ => false,
        }
    }

    fn take_back(&self, new: Option<&DropIn>, directory: &Path, places: &Places) -> Result<(), HostError> {
        let path = drop_in_path(&self.name);
        if !self.is_there(new) {
            // Somebody else wrote it since.
            return Err(HostError::Changed(path));
        }
        match (new, &self.drop_in) {
            (Some(_), Some(old)) => {
                drop(OwnedFile::read(&path, MAX_LEN)?.replace_beside(old.bytes(), places)?);
            }
            (Some(_), None) => {
                OwnedFile::read(&path, MAX_LEN)?.remove(places)?;
                remove_if_empty(directory);
            }
            (None, Some(old)) => old.put_back()?,
            (None, None) => {}
        }
        Ok(systemd::reload()?)
    }

    /// Unless that process has ended already.
    pub(in crate::host) fn restart(&self, process: &str) -> Result<(), HostError> {
        if self.running.is_none() && self.shown.is_changing() {
            return Ok(());
        }
        self.settled()?;
        let is_it = self.running.as_ref().is_none_or(|it| it.process.id == process);
        if is_it { Ok(systemd::restart(&self.name)?) } else { Ok(()) }
    }
}

/// It stays if something else is in it, and if it is a link.
fn remove_if_empty(directory: &Path) {
    drop(fs::remove_dir(directory));
}
