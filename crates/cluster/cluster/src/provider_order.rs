//! The providers of a rollout's resources, between an EncryptionConfiguration and a plan.
//!
//! A plan has one order for all of its resources, in which each key of a static provider stands for itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::encryption_configuration::{
    ApiServer, ChangeError, EncryptionConfiguration, GroupResource, KmsEntry, KmsVersion, NewKms,
    NewProvider, Place, Provider as FileProvider, ProviderAt, StaticKey,
};
use crate::rollout::{Configuration, Order, Provider};

/// A KMS entry, and where its plugin is on every host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsPlugin {
    /// `kms:v1:NAME` or `kms:v2:NAME`.
    pub provider: Provider,
    /// `unix://` and the absolute path of the socket.
    pub endpoint: String,
    /// Such as `3s`; kube-apiserver's own default where there is none.
    pub timeout: Option<String>,
}

/// Why a file does not fit a plan, or is not edited as a plan asks.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// One would be changed as the other needs it.
    #[error(
        "{one} and {other} have different providers, and can only change together: give them the same ones first, or name only one of them"
    )]
    Differ {
        /// A resource.
        one: GroupResource,
        /// Another one.
        other: GroupResource,
    },
    /// This program writes no keys.
    #[error(
        "there is no {0} in the file, and keys are not written by this program: put the key there first, behind the others"
    )]
    NoKey(Provider),
    /// Nobody said where the plugin is.
    #[error("there is no {0} in the file: name its plugin's socket")]
    NoPlugin(Provider),
    /// It stands in several entries.
    #[error(
        "the providers of {0} cannot be put into the order {1}: they stand in several entries, or between the keys of one provider"
    )]
    NotInOrder(GroupResource, Order),
    /// The file cannot be changed.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// What the file says about these resources.
///
/// # Errors
///
/// They have different providers.
pub fn read(
    text: &EncryptionConfiguration,
    resources: &[GroupResource],
) -> Result<Configuration, OrderError> {
    let mut first: Option<(&GroupResource, Configuration)> = None;
    for resource in resources {
        let found = configuration(text, resource);
        match &first {
            None => first = Some((resource, found)),
            Some((_, known)) if *known == found => {}
            Some((one, _)) => {
                return Err(OrderError::Differ { one: (*one).clone(), other: resource.clone() });
            }
        }
    }
    Ok(first.map_or(Configuration::NoEncryption, |(_, it)| it))
}

/// These resources, and all that stand in an entry with one of them: an edit of the entry changes those too.
pub fn resources(text: Option<&EncryptionConfiguration>, named: &[GroupResource]) -> Vec<String> {
    let mut all: BTreeSet<String> = named.iter().map(ToString::to_string).collect();
    let Some(text) = text else { return all.into_iter().collect() };
    loop {
        let before = all.len();
        let found = all.iter().filter_map(|it| text.effective(&GroupResource::parse(it)));
        let entries: BTreeSet<usize> = found
            .flat_map(|it| it.providers.into_iter().map(|(at, _)| at.entry).collect::<Vec<_>>())
            .collect();
        let entries = entries.into_iter().filter_map(|it| text.entries().get(it));
        let names: Vec<String> =
            entries.flat_map(|it| it.resources.iter().map(|(name, _)| name.clone())).collect();
        all.extend(names);
        if all.len() == before {
            return all.into_iter().collect();
        }
    }
}

/// The file with these providers for the resources; a new file if there is none.
///
/// # Errors
///
/// The file or the result is nothing that kube-apiserver takes, or the order cannot be had by edits.
pub fn write(
    text: Option<&EncryptionConfiguration>,
    resources: &[GroupResource],
    order: &Order,
    plugins: &[KmsPlugin],
    server: &ApiServer,
) -> Result<EncryptionConfiguration, OrderError> {
    let new = |provider: &Provider| new_provider(provider, plugins);
    let all = || order.providers().map(new).collect::<Result<Vec<_>, _>>();
    let Some(text) = text else {
        return Ok(EncryptionConfiguration::fresh(resources, &all()?, server)?);
    };
    let (covered, bare): (Vec<GroupResource>, Vec<GroupResource>) =
        resources.iter().cloned().partition(|it| text.effective(it).is_some());
    let mut text = text.copy().map_err(ChangeError::from)?;
    for resource in &covered {
        text = arranged(text, resource, order, plugins, server)?;
    }
    match bare.is_empty() {
        true => Ok(text),
        false => Ok(text.add_entry(&bare, &all()?, server)?),
    }
}

fn arranged(
    mut text: EncryptionConfiguration,
    resource: &GroupResource,
    order: &Order,
    plugins: &[KmsPlugin],
    server: &ApiServer,
) -> Result<EncryptionConfiguration, OrderError> {
    // First what is missing, so that at no point the list is empty.
    for provider in order.providers() {
        if !ways(&text, resource).iter().any(|it| it.provider == *provider) {
            text = text.add_provider(resource, &new_provider(provider, plugins)?, Place::Last, server)?;
        }
    }
    while let Some(way) = ways(&text, resource).into_iter().find(|it| !order.reads(&it.provider)) {
        text = match way.key {
            Some(key) if way.keys > 1 => text.remove_key(resource, way.at, key, server)?,
            _ => text.remove_provider(resource, way.at, server)?,
        };
    }
    let wanted: Vec<&Provider> = order.providers().collect();
    // Each move puts one more of them into its place.
    for _ in 0..2 * wanted.len() {
        let now = ways(&text, resource);
        let wrong = now.iter().zip(&wanted).position(|(way, wanted)| way.provider != **wanted);
        let Some(wrong) = wrong else { break };
        let from = now.iter().skip(wrong).find(|it| Some(&&it.provider) == wanted.get(wrong));
        let Some((from, here)) = from.zip(now.get(wrong)) else { break };
        text = match (from.key, here.key) {
            (Some(key), Some(before)) if from.at == here.at => {
                text.move_key(resource, from.at, key, before, server)?
            }
            _ => text.move_provider(resource, from.at, Place::Before(here.at), server)?,
        };
    }
    let reached = configuration(&text, resource) == Configuration::Providers(order.clone());
    if reached { Ok(text) } else { Err(OrderError::NotInOrder(resource.clone(), order.clone())) }
}

/// What kube-apiserver does with a resource.
pub(crate) fn configuration(text: &EncryptionConfiguration, resource: &GroupResource) -> Configuration {
    let mut providers = ways(text, resource).into_iter().map(|it| it.provider);
    match providers.next() {
        None => Configuration::NoEncryption,
        Some(writer) => Configuration::Providers(Order { writer, readers: providers.collect() }),
    }
}

/// One way in which values of a resource are read, and where it stands in the file.
struct Way {
    provider: Provider,
    at: ProviderAt,
    /// Index among the keys of a static provider.
    key: Option<usize>,
    /// How many keys it has.
    keys: usize,
}

fn ways(text: &EncryptionConfiguration, resource: &GroupResource) -> Vec<Way> {
    let Some(effective) = text.effective(resource) else { return Vec::new() };
    let mut ways = Vec::new();
    for (at, provider) in effective.providers {
        let mut keyed = |keys: &[StaticKey], of: fn(String) -> Provider| {
            let each = keys.iter().enumerate();
            ways.extend(each.map(|(index, key)| Way {
                provider: of(key.name.clone()),
                at,
                key: Some(index),
                keys: keys.len(),
            }));
        };
        match provider {
            FileProvider::AesCbc(keys) => keyed(keys, |key| Provider::AesCbc { key }),
            FileProvider::AesGcm(keys) => keyed(keys, |key| Provider::AesGcm { key }),
            FileProvider::Secretbox(keys) => keyed(keys, |key| Provider::Secretbox { key }),
            FileProvider::Identity => ways.push(Way { provider: Provider::Identity, at, key: None, keys: 0 }),
            FileProvider::Kms(kms) => {
                ways.push(Way { provider: of_entry(kms), at, key: None, keys: 0 });
            }
        }
    }
    ways
}

/// The plan's word for a KMS entry.
pub(crate) fn of_entry(kms: &KmsEntry) -> Provider {
    let name = kms.name.clone();
    match kms.api_version {
        KmsVersion::V1 => Provider::KmsV1 { name },
        KmsVersion::V2 => Provider::KmsV2 { name },
    }
}

fn new_provider(provider: &Provider, plugins: &[KmsPlugin]) -> Result<NewProvider, OrderError> {
    let (api_version, name) = match provider {
        Provider::Identity => return Ok(NewProvider::Identity),
        Provider::KmsV1 { name } => (KmsVersion::V1, name),
        Provider::KmsV2 { name } => (KmsVersion::V2, name),
        Provider::AesCbc { .. } | Provider::AesGcm { .. } | Provider::Secretbox { .. } => {
            return Err(OrderError::NoKey(provider.clone()));
        }
    };
    let plugin = plugins.iter().find(|it| it.provider == *provider);
    let plugin = plugin.ok_or_else(|| OrderError::NoPlugin(provider.clone()))?;
    Ok(NewProvider::Kms(NewKms {
        api_version,
        name: name.clone(),
        endpoint: plugin.endpoint.clone(),
        timeout: plugin.timeout.clone(),
    }))
}
