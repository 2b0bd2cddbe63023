//! The name that an EncryptionConfiguration has for what stands in an etcd key.

use crate::encryption_configuration::GroupResource;

/// The reverse of [`crate::stored_values::etcd_path`]. A built-in resource of a group is only known if it is in the list here.
pub(super) fn resource_name(path: &str) -> GroupResource {
    let core = |resource: &str| GroupResource { resource: resource.to_owned(), group: String::new() };
    match path {
        "services/specs" => return core("services"),
        "services/endpoints" => return core("endpoints"),
        "minions" => return core("nodes"),
        "controllers" => return core("replicationcontrollers"),
        "ingress" => return GroupResource::parse("ingresses.networking.k8s.io"),
        _ => (),
    }
    if let Some((group, resource)) = path.split_once('/') {
        return GroupResource { resource: resource.to_owned(), group: group.to_owned() };
    }
    let group = GROUPS.iter().find(|(_, resources)| resources.contains(&path)).map_or("", |(group, _)| group);
    GroupResource { resource: path.to_owned(), group: group.to_owned() }
}

/// Built-in resources outside the core group (`pkg/registry/*/rest/storage_*.go` of Kubernetes).
const GROUPS: [(&str, &[&str]); 11] = [
    ("apps", &["deployments", "daemonsets", "replicasets", "statefulsets", "controllerrevisions"]),
    ("batch", &["jobs", "cronjobs"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("policy", &["poddisruptionbudgets"]),
    ("networking.k8s.io", &["networkpolicies", "ingressclasses", "ipaddresses", "servicecidrs"]),
    ("rbac.authorization.k8s.io", &["roles", "rolebindings", "clusterroles", "clusterrolebindings"]),
    (
        "storage.k8s.io",
        &["storageclasses", "volumeattachments", "csidrivers", "csinodes", "csistoragecapacities"],
    ),
    ("coordination.k8s.io", &["leases"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("certificates.k8s.io", &["certificatesigningrequests"]),
    ("scheduling.k8s.io", &["priorityclasses"]),
];

#[cfg(test)]
mod tests {
    use super::resource_name;
    use crate::encryption_configuration::GroupResource;
    use crate::stored_values::etcd_path;

    #[test]
    fn names_are_those_that_lead_to_the_path() {
        for name in [
            "secrets",
            "configmaps",
            "services",
            "endpoints",
            "nodes",
            "deployments.apps",
            "ingresses.networking.k8s.io",
            "leases.coordination.k8s.io",
            "certificates.cert-manager.io",
            "clusterroles.rbac.authorization.k8s.io",
        ] {
            let resource = GroupResource::parse(name);
            assert_eq!(resource_name(&etcd_path(&resource)), resource, "{name}");
        }
    }
}
