//! The drop-in of a unit: what is to be in it, and putting it in its place.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use keystead_runtime::whole_file;

use super::access::SEARCHES;
use super::{Unit, drop_in_path};
use crate::api_server_flags::CONFIG;
use crate::api_server_manifest::EncryptionSettings;
use crate::api_server_unit::{self, DropIn, Marks, UnitError};
use crate::host::{HostError, systemd};
use crate::owned_file::{self, OwnedFile, Places};
use crate::yaml::MAX_LEN;

impl Unit {
    /// The drop-in that makes it encrypt.
    pub(in crate::host) fn encrypting(
        &self,
        settings: &EncryptionSettings,
    ) -> Result<Option<DropIn>, HostError> {
        self.settled()?;
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
        let words = api_server_unit::without_encryption(&self.words);
        if self.flag(CONFIG).is_some() && words == self.words {
            let files = self.shown.environment_files.iter().map(|it| it.display().to_string());
            return Err(UnitError::FlagInVariable { unit: self.name.clone(), files: files.collect() }.into());
        }
        let mut new = self.drop_in_of(words);
        new.marks.flag_is_below = true;
        Ok(Some(new))
    }

    /// Whether it is known what it would start with.
    fn settled(&self) -> Result<(), HostError> {
        if self.running.is_none() && self.words.iter().any(|it| it.contains('$')) {
            // Only a process says whether its variables were understood. Another look tells whether there will be one.
            return Err(HostError::Changed(self.path().to_owned()));
        }
        self.unsettled().map_or(Ok(()), |doubt| Err(UnitError::Unsettled(doubt).into()))
    }

    fn drop_in_of(&self, words: Vec<String>) -> DropIn {
        let marks = match &self.drop_in {
            Some(_) => self.marks.clone(),
            None => Marks { replaces: Some(self.others.clone()), flag_is_below: false },
        };
        DropIn { words, marks }
    }

    /// Puts the drop-in in its place or takes it away, has systemd read it, and restarts the API server if systemd read what was meant.
    pub(in crate::host) fn put(&self, new: Option<&DropIn>, places: &Places) -> Result<(), HostError> {
        let path = drop_in_path(&self.name);
        match (new, &self.drop_in) {
            (Some(new), Some(old)) => drop(old.replace(new.text().as_bytes(), places)?),
            (Some(new), None) => {
                let directory = whole_file::directory_of(&path);
                let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
                made.map_err(|source| HostError::Places { path: directory.to_owned(), source })?;
                owned_file::create(&path, new.text().as_bytes(), places, None)?;
            }
            (None, Some(old)) => {
                old.remove(places)?;
                // It stays if something else is in it.
                drop(fs::remove_dir(whole_file::directory_of(&path)));
            }
            (None, None) => return Ok(()),
        }
        systemd::reload()?;
        if let Some(new) = new {
            let read = systemd::command(&self.name);
            if read.as_ref().ok() != Some(&new.words) {
                self.take_back(&path, places)?;
                let found = read.map_or_else(
                    |error| error.to_string(),
                    |read| {
                        let same =
                            read.iter().zip(&new.words).take_while(|(read, meant)| read == meant).count();
                        format!("{} words, of which the first {same} are as meant", read.len())
                    },
                );
                return Err(UnitError::NotTaken { drop_in: path, found }.into());
            }
        }
        Ok(systemd::restart(&self.name)?)
    }

    fn take_back(&self, path: &Path, places: &Places) -> Result<(), HostError> {
        let now = OwnedFile::read(path, MAX_LEN)?;
        match &self.drop_in {
            Some(old) => drop(now.replace(old.bytes(), places)?),
            None => {
                now.remove(places)?;
                drop(fs::remove_dir(whole_file::directory_of(path)));
            }
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
