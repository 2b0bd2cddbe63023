//! Who encrypts and decrypts one resource.

use super::{EncryptionConfiguration, GroupResource, Provider};

/// The place of a provider in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProviderAt {
    /// Index of the entry of `resources`.
    pub entry: usize,
    /// Index in its `providers`.
    pub provider: usize,
}

/// The providers of one resource.
#[derive(Debug)]
pub struct Effective<'c> {
    /// What covers the resource: itself, `*.GROUP` or `*.*`.
    pub pattern: GroupResource,
    /// In order, over all entries that name the pattern. Never empty.
    pub providers: Vec<(ProviderAt, &'c Provider)>,
}

impl EncryptionConfiguration {
    /// kube-apiserver's lookup: the resource itself, else `*.GROUP`, else `*.*`, with the lists of all entries that name it one after the
    /// other. None: it is stored as it is.
    pub fn effective(&self, resource: &GroupResource) -> Option<Effective<'_>> {
        [resource.clone(), resource.whole_group(), GroupResource::everything()].into_iter().find_map(
            |pattern| {
                let mut providers = Vec::new();
                for (entry, content) in self.entries().iter().enumerate() {
                    if content.resources.iter().any(|(name, _)| GroupResource::parse(name) == pattern) {
                        let all = content.providers.iter().enumerate();
                        providers
                            .extend(all.map(|(provider, it)| (ProviderAt { entry, provider }, &it.provider)));
                    }
                }
                (!providers.is_empty()).then_some(Effective { pattern, providers })
            },
        )
    }
}

impl<'c> Effective<'c> {
    /// The provider that encrypts, with its first key if it has keys in the file.
    pub fn writer(&self) -> Option<&'c Provider> {
        self.providers.first().map(|(_, provider)| *provider)
    }

    /// Where the KMS entry with this name stands, the first if there are several.
    pub fn kms(&self, name: &str) -> Option<ProviderAt> {
        self.find(|provider| matches!(provider, Provider::Kms(kms) if kms.name == name))
    }

    /// Where the first `identity` stands.
    pub fn identity(&self) -> Option<ProviderAt> {
        self.find(|provider| matches!(provider, Provider::Identity))
    }

    fn find(&self, is: impl Fn(&Provider) -> bool) -> Option<ProviderAt> {
        self.providers.iter().find(|(_, provider)| is(provider)).map(|(at, _)| *at)
    }
}
