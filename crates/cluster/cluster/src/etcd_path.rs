//! Where kube-apiserver keeps a resource in etcd, below its prefix (`pkg/registry/*/rest/storage_*.go` of Kubernetes).

use crate::encryption_configuration::GroupResource;

/// The path of a resource.
pub fn etcd_path(resource: &GroupResource) -> String {
    if let Some((_, path)) = RENAMED.iter().find(|(name, _)| GroupResource::parse(name) == *resource) {
        return (*path).to_owned();
    }
    match resource.group.as_str() {
        group if group.is_empty() || is_built_in(group) => resource.resource.clone(),
        group => format!("{group}/{}", resource.resource),
    }
}

/// The resource of a path. A built-in resource of a group is only known if it is in the list here.
pub fn resource_at(path: &str) -> GroupResource {
    if let Some((name, _)) = RENAMED.iter().find(|(_, it)| *it == path) {
        return GroupResource::parse(name);
    }
    if let Some((group, resource)) = path.split_once('/') {
        return GroupResource { resource: resource.to_owned(), group: group.to_owned() };
    }
    let group = GROUPS.iter().find(|(_, resources)| resources.contains(&path)).map_or("", |(group, _)| group);
    GroupResource { resource: path.to_owned(), group: group.to_owned() }
}

/// Groups of Kubernetes' own have no group in their paths. Those of `apiregistration.k8s.io` and `apiextensions.k8s.io` have, as those of custom
/// resources do.
fn is_built_in(group: &str) -> bool {
    GROUPS.iter().any(|(it, _)| *it == group)
}

/// Kept under another name.
const RENAMED: [(&str, &str); 5] = [
    ("services", "services/specs"),
    ("endpoints", "services/endpoints"),
    ("nodes", "minions"),
    ("replicationcontrollers", "controllers"),
    ("ingresses.networking.k8s.io", "ingress"),
];

/// Groups of Kubernetes' own, with those of their resources that nothing else tells.
const GROUPS: [(&str, &[&str]); 19] = [
    ("admissionregistration.k8s.io", &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]),
    ("apps", &["deployments", "daemonsets", "replicasets", "statefulsets", "controllerrevisions"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["jobs", "cronjobs"]),
    ("certificates.k8s.io", &["certificatesigningrequests"]),
    ("coordination.k8s.io", &["leases"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("events.k8s.io", &[]),
    ("extensions", &[]),
    ("flowcontrol.apiserver.k8s.io", &["flowschemas", "prioritylevelconfigurations"]),
    ("internal.apiserver.k8s.io", &["storageversions"]),
    ("networking.k8s.io", &["networkpolicies", "ingressclasses", "ipaddresses", "servicecidrs"]),
    ("node.k8s.io", &["runtimeclasses"]),
    ("policy", &["poddisruptionbudgets"]),
    ("rbac.authorization.k8s.io", &["roles", "rolebindings", "clusterroles", "clusterrolebindings"]),
    ("resource.k8s.io", &["resourceclaims", "resourceclaimtemplates", "deviceclasses", "resourceslices"]),
    ("scheduling.k8s.io", &["priorityclasses"]),
    (
        "storage.k8s.io",
        &["storageclasses", "volumeattachments", "csidrivers", "csinodes", "csistoragecapacities"],
    ),
    ("storagemigration.k8s.io", &["storageversionmigrations"]),
];

#[cfg(test)]
mod tests {
    use super::{etcd_path, resource_at};
    use crate::encryption_configuration::GroupResource;

    #[test]
    fn names_lead_to_paths_and_back() {
        for (name, path) in [
            ("secrets", "secrets"),
            ("configmaps", "configmaps"),
            ("services", "services/specs"),
            ("endpoints", "services/endpoints"),
            ("nodes", "minions"),
            ("deployments.apps", "deployments"),
            ("ingresses.networking.k8s.io", "ingress"),
            ("leases.coordination.k8s.io", "leases"),
            ("clusterroles.rbac.authorization.k8s.io", "clusterroles"),
            ("certificates.cert-manager.io", "cert-manager.io/certificates"),
            ("gateways.gateway.networking.k8s.io", "gateway.networking.k8s.io/gateways"),
        ] {
            let resource = GroupResource::parse(name);
            assert_eq!(etcd_path(&resource), path);
            assert_eq!(resource_at(path), resource, "{path}");
        }
    }
}
