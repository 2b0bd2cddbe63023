//! Edits: a good file becomes a good file that means exactly what was intended, or nothing happens.

use super::{
    ApiServer, ConfigurationError, EncryptionConfiguration, Finding, GroupResource, KmsVersion, Problem,
    Provider, ProviderAt,
};
use crate::yaml::{Document, EditError, Step, Value};

/// A KMS entry to write. `apiVersion` is always written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKms {
    /// v2 for everything new.
    pub api_version: KmsVersion,
    /// Part of each stored value: never to be changed.
    pub name: String,
    /// `unix://` and the absolute path of the socket.
    pub endpoint: String,
    /// Such as `3s`, which is Kubernetes' own where nothing is written.
    pub timeout: Option<String>,
}

/// A provider to write. Keys are not written by this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewProvider {
    /// A plugin.
    Kms(NewKms),
    /// No encryption.
    Identity,
}

/// A place among the providers of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where it encrypts.
    First,
    /// Behind all others.
    Last,
    /// Before this one.
    Before(ProviderAt),
    /// Behind this one.
    After(ProviderAt),
}

/// Why a file was not edited.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// kube-apiserver does not take the file as it is.
    #[error("the file has an error and is not edited: {0}; correct it first")]
    Before(Finding),
    /// kube-apiserver would not take the result.
    #[error("the change is refused: {0}")]
    After(Finding),
    /// The text cannot be edited.
    #[error("the file was not edited")]
    Edit(#[from] EditError),
    /// The result cannot be read.
    #[error("the edited file is refused")]
    Result(#[from] ConfigurationError),
    /// Nothing covers the resource.
    #[error("nothing in the file encrypts {0}: add an entry for it")]
    NotCovered(GroupResource),
    /// An entry covers the resource already.
    #[error(
        "{resource} is covered by {pattern}, and values stored by that entry's providers would become unreadable: edit that entry"
    )]
    Covered {
        /// The resource.
        resource: GroupResource,
        /// What covers it.
        pattern: GroupResource,
    },
    /// What is stored now could not be read.
    #[error(
        "nothing in the file encrypts {0} so far, and values that are stored as they are would become unreadable: put `identity: {{}}` among the providers"
    )]
    PlainUnreadable(GroupResource),
    /// Of another resource, or not there.
    #[error("there is no such provider of {0} in the file")]
    NoSuchProvider(GroupResource),
    /// Another entry.
    #[error("a provider of {0} cannot move to another entry, which encrypts other resources too")]
    OtherEntry(GroupResource),
    /// The only one.
    #[error("it is the only provider of its entry: put another one beside it first")]
    OnlyProvider,
    /// The only one.
    #[error("it is the only entry of the file: kube-apiserver takes no file without entries")]
    OnlyEntry,
}

impl EncryptionConfiguration {
    /// A new file with one entry. `identity` must be among the providers, because values may be stored already.
    pub fn fresh(
        resources: &[GroupResource],
        providers: &[NewProvider],
        server: &ApiServer,
    ) -> Result<Self, ChangeError> {
        let file = Value::map([
            ("apiVersion", Value::string("apiserver.config.k8s.io/v1")),
            ("kind", Value::string("EncryptionConfiguration")),
            ("resources", Value::List(vec![entry(resources, providers)])),
        ]);
        let fresh = Self::changed(Document::write(&file)?, Vec::new(), server)?;
        match resources.first().filter(|_| !providers.contains(&NewProvider::Identity)) {
            Some(resource) => Err(ChangeError::PlainUnreadable(resource.clone())),
            None => Ok(fresh),
        }
    }

    /// Adds a KMS entry to the providers of a resource.
    pub fn add_kms(
        &self,
        resource: &GroupResource,
        kms: &NewKms,
        place: Place,
        server: &ApiServer,
    ) -> Result<Self, ChangeError> {
        self.add_provider(resource, &NewProvider::Kms(kms.clone()), place, server)
    }

    /// Adds a provider to those of a resource.
    pub fn add_provider(
        &self,
        resource: &GroupResource,
        new: &NewProvider,
        place: Place,
        server: &ApiServer,
    ) -> Result<Self, ChangeError> {
        let known = self.good(server)?;
        let at = self.place(resource, place)?;
        let document = self.document.insert(&providers(at.entry), at.provider, &provider(new))?;
        Self::changed(document, known, server)
    }

    /// Moves a provider of a resource. Its place must be in the same entry.
    pub fn move_provider(
        &self,
        resource: &GroupResource,
        from: ProviderAt,
        place: Place,
        server: &ApiServer,
    ) -> Result<Self, ChangeError> {
        let known = self.good(server)?;
        self.must_have(resource, from)?;
        let to = self.place(resource, place)?;
        if to.entry != from.entry {
            return Err(ChangeError::OtherEntry(resource.clone()));
        }
        // Counted without the one that moves.
        let to = if to.provider > from.provider { to.provider - 1 } else { to.provider };
        let document = self.document.move_item(&providers(from.entry), from.provider, to)?;
        Self::changed(document, known, server)
    }

    /// Removes a provider of a resource. What it has encrypted becomes unreadable: that nothing is left is for the caller to know.
    pub fn remove_provider(
        &self,
        resource: &GroupResource,
        at: ProviderAt,
        server: &ApiServer,
    ) -> Result<Self, ChangeError> {
        let known = self.good(server)?;
        self.must_have(resource, at)?;
        if self.entries().get(at.entry).is_none_or(|entry| entry.providers.len() < 2) {
            return Err(ChangeError::OnlyProvider);
        }
        Self::changed(self.document.remove(&providers(at.entry), at.provider)?, known, server)
    }

    /// Moves a key of a static provider before another one of the same provider: the first one encrypts.
    pub fn move_key(
        &self,
        resource: &GroupResource,
        at: ProviderAt,
        from: usize,
        before: usize,
        server: &ApiServer,
    ) -> Result<Self, ChangeError> {
        let known = self.good(server)?;
        let keys = self.keys(resource, at)?;
        // Counted without the one that moves.
        let to = if before > from { before - 1 } else { before };
        Self::changed(self.document.move_item(&keys, from, to)?, known, server)
    }

    /// Removes a key of a static provider, which must have another one. What it has encrypted becomes unreadable: that nothing is left is
    /// for the caller to know.
    pub fn remove_key(
        &self,
        resource: &GroupResource,
        at: ProviderAt,
        key: usize,
        server: &ApiServer,
    ) -> Result<Self, ChangeError> {
        let known = self.good(server)?;
        Self::changed(self.document.remove(&self.keys(resource, at)?, key)?, known, server)
    }

    /// Adds an entry for resources that nothing encrypts, before the first wildcard that covers one of them. `identity` must be among
    /// its providers, because values may be stored already.
    pub fn add_entry(
        &self,
        resources: &[GroupResource],
        providers: &[NewProvider],
        server: &ApiServer,
    ) -> Result<Self, ChangeError> {
        let known = self.good(server)?;
        for resource in resources {
            if let Some(effective) = self.effective(resource)
                && (effective.pattern == *resource
                    || effective.providers.iter().any(|(_, it)| !matches!(it, Provider::Identity)))
            {
                return Err(ChangeError::Covered { resource: resource.clone(), pattern: effective.pattern });
            }
            if !providers.contains(&NewProvider::Identity) {
                return Err(ChangeError::PlainUnreadable(resource.clone()));
            }
        }
        let masks = |name: &str| resources.iter().any(|resource| GroupResource::parse(name).masks(resource));
        let index = self
            .entries()
            .iter()
            .position(|entry| entry.resources.iter().any(|(name, _)| masks(name)))
            .unwrap_or(self.entries().len());
        let document =
            self.document.insert(&[Step::Key("resources")], index, &entry(resources, providers))?;
        Self::changed(document, known, server)
    }

    /// Removes an entry. What its providers have encrypted becomes unreadable: that nothing is left is for the caller to know.
    pub fn remove_entry(&self, index: usize, server: &ApiServer) -> Result<Self, ChangeError> {
        let known = self.good(server)?;
        if self.entries().len() < 2 {
            return Err(ChangeError::OnlyEntry);
        }
        Self::changed(self.document.remove(&[Step::Key("resources")], index)?, known, server)
    }

    /// Refuses a file that kube-apiserver does not take. The answer is what is odd about one that it takes: that is how it is wanted.
    fn good(&self, server: &ApiServer) -> Result<Vec<Problem>, ChangeError> {
        let findings = self.check(server).into_iter().map(|finding| match finding.problem.is_refused() {
            true => Err(ChangeError::Before(finding)),
            false => Ok(finding.problem),
        });
        findings.collect()
    }

    /// The edited file. Of what is only odd, no more may be in it than was known before.
    fn changed(document: Document, mut known: Vec<Problem>, server: &ApiServer) -> Result<Self, ChangeError> {
        let changed = Self::of(document)?;
        for finding in changed.check(server) {
            match known.iter().position(|it| *it == finding.problem) {
                Some(index) => drop(known.swap_remove(index)),
                None => return Err(ChangeError::After(finding)),
            }
        }
        Ok(changed)
    }

    fn must_have(&self, resource: &GroupResource, at: ProviderAt) -> Result<(), ChangeError> {
        let effective = self.effective(resource).ok_or_else(|| ChangeError::NotCovered(resource.clone()))?;
        let known = effective.providers.iter().any(|(known, _)| *known == at);
        if known { Ok(()) } else { Err(ChangeError::NoSuchProvider(resource.clone())) }
    }

    /// The list of keys of a static provider.
    fn keys(&self, resource: &GroupResource, at: ProviderAt) -> Result<[Step<'static>; 6], ChangeError> {
        self.must_have(resource, at)?;
        let entry = self.entries().get(at.entry).and_then(|entry| entry.providers.get(at.provider));
        let kind = match entry.map(|it| &it.provider) {
            Some(Provider::AesCbc(_)) => "aescbc",
            Some(Provider::AesGcm(_)) => "aesgcm",
            Some(Provider::Secretbox(_)) => "secretbox",
            _ => return Err(ChangeError::NoSuchProvider(resource.clone())),
        };
        let [resources, entry, providers] = providers(at.entry);
        Ok([resources, entry, providers, Step::Index(at.provider), Step::Key(kind), Step::Key("keys")])
    }

    /// The index before which something comes to stand.
    fn place(&self, resource: &GroupResource, place: Place) -> Result<ProviderAt, ChangeError> {
        let effective = self.effective(resource).ok_or_else(|| ChangeError::NotCovered(resource.clone()))?;
        let behind = |at: ProviderAt| ProviderAt { provider: at.provider + 1, ..at };
        let (first, last) = (effective.providers.first(), effective.providers.last());
        match place {
            Place::First => first.map(|(at, _)| *at),
            Place::Last => last.map(|(at, _)| behind(*at)),
            Place::Before(at) => self.must_have(resource, at).map(|()| Some(at))?,
            Place::After(at) => self.must_have(resource, at).map(|()| Some(behind(at)))?,
        }
        .ok_or_else(|| ChangeError::NotCovered(resource.clone()))
    }
}

fn providers(entry: usize) -> [Step<'static>; 3] {
    [Step::Key("resources"), Step::Index(entry), Step::Key("providers")]
}

fn entry(resources: &[GroupResource], providers: &[NewProvider]) -> Value {
    let resources = resources.iter().map(|resource| Value::string(resource.to_string())).collect();
    let providers = providers.iter().map(provider).collect();
    Value::map([("resources", Value::List(resources)), ("providers", Value::List(providers))])
}

fn provider(new: &NewProvider) -> Value {
    let kms = match new {
        NewProvider::Identity => return Value::map([("identity", Value::Map(Vec::new()))]),
        NewProvider::Kms(kms) => kms,
    };
    let mut fields = vec![
        ("apiVersion".to_owned(), Value::string(kms.api_version.to_string())),
        ("name".to_owned(), Value::string(&kms.name)),
        ("endpoint".to_owned(), Value::string(&kms.endpoint)),
    ];
    fields.extend(kms.timeout.iter().map(|timeout| ("timeout".to_owned(), Value::string(timeout))));
    Value::map([("kms", Value::Map(fields))])
}
