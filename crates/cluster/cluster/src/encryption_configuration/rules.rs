//! Rules that hold over a whole configuration, or for some kube-apiservers only.

use super::{Finding, GroupResource, KmsVersion, Problem, Provider, ResourceEntry};
use crate::yaml::Position;

/// What decides, beside the file, whether kube-apiserver takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiServer {
    /// The y of Kubernetes 1.y.
    pub minor: u32,
    /// `--encryption-provider-config-automatic-reload`.
    pub automatic_reload: bool,
    /// `KMSv1` in `--feature-gates`, if it is there.
    pub kms_v1: Option<bool>,
}

impl ApiServer {
    /// Without any flag.
    pub fn new(minor: u32) -> Self {
        Self { minor, automatic_reload: false, kms_v1: None }
    }

    /// The gate came in 1.28, on; it is off by default from 1.29 (KEP-3299).
    fn takes_kms_v1(&self) -> bool {
        self.minor < 28 || self.kms_v1.unwrap_or(self.minor < 29)
    }
}

/// The first Kubernetes with wildcards and with the KMS v2 of today.
const WILDCARDS_AND_V2: u32 = 27;

/// Kept in etcd without a REST API, so that no encryption reaches them.
const NO_REST_API: [&str; 3] = ["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"];

pub(super) fn check(entries: &[ResourceEntry], server: &ApiServer) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let mut earlier: Vec<GroupResource> = Vec::new();
    for entry in entries {
        let resources: Vec<(GroupResource, &str, Position)> = entry
            .resources
            .iter()
            .map(|(text, position)| (GroupResource::parse(text), text.as_str(), *position))
            .collect();
        overlaps(&resources, entry.position, &mut findings);
        for (resource, text, position) in &resources {
            let masking = earlier.iter().find(|wildcard| wildcard.masks(resource));
            let problem = match (name(resource, text), masking) {
                (Some(problem), _) => Some(problem),
                (None, Some(by)) => Some(Problem::Masked { resource: resource.clone(), by: by.clone() }),
                (None, None) if resource.resource == "*" && server.minor < WILDCARDS_AND_V2 => {
                    Some(Problem::WildcardTooNew)
                }
                (None, None) => None,
            };
            findings.extend(problem.map(|problem| Finding { position: *position, problem }));
        }
        earlier.extend(resources.into_iter().map(|(resource, ..)| resource));
        for provider in &entry.providers {
            let Provider::Kms(kms) = &provider.provider else { continue };
            let mut find = |problem| findings.push(Finding { position: provider.position, problem });
            let v1 = kms.api_version == KmsVersion::V1;
            if v1 && !server.takes_kms_v1() {
                find(Problem::KmsV1Gate { implicit: !kms.is_version_written });
            }
            if !v1 && server.minor < WILDCARDS_AND_V2 {
                find(Problem::KmsV2TooNew);
            }
            if !v1 && kms.name.contains(':') {
                find(Problem::NameColon);
            }
            if (!v1 || server.automatic_reload) && names.contains(&kms.name.as_str()) {
                find(Problem::NameTwice(kms.name.clone()));
            }
            if kms.endpoint.socket().is_empty() || !kms.endpoint.is_plain() {
                find(Problem::EndpointPath { socket: kms.endpoint.socket().to_owned() });
            }
            names.push(&kms.name);
        }
    }
    findings
}

fn name(resource: &GroupResource, text: &str) -> Option<Problem> {
    if text.to_lowercase() != text {
        Some(Problem::Capitals)
    } else if text == "*" {
        Some(Problem::Star)
    } else if NO_REST_API.contains(&text) {
        Some(Problem::NoRestApi(text.to_owned()))
    } else if resource.group == "events.k8s.io" {
        Some(Problem::EventsGroup)
    } else if resource.group == "extensions" {
        Some(Problem::ExtensionsGroup)
    } else if resource.group == "*" && resource.resource != "*" {
        Some(Problem::AcrossGroups)
    } else {
        None
    }
}

/// Among the resources of one entry.
fn overlaps(resources: &[(GroupResource, &str, Position)], position: Position, findings: &mut Vec<Finding>) {
    let (mut twice, mut overlap) = (false, false);
    let everything = GroupResource::everything();
    for (index, (one, ..)) in resources.iter().enumerate() {
        for (other, ..) in resources.iter().skip(index + 1) {
            if one == other {
                twice = true;
            } else {
                let wildcard = one.resource == "*" || other.resource == "*";
                overlap |=
                    *one == everything || *other == everything || (one.group == other.group && wildcard);
            }
        }
    }
    if twice {
        findings.push(Finding { position, problem: Problem::ResourceTwice });
    }
    if overlap {
        findings.push(Finding { position, problem: Problem::Overlap });
    }
}
