//! Whose control plane it is, by facts as real clusters give them, and how those are asked for.

use anyhow::Result;
use keystead_cluster::platform::{PlatformFacts, RunBy, recognise};
use serde_json::{Value, json};

use crate::fake::{Answer, Fake};

fn facts(version: &str, has_control_plane_nodes: bool, labels: &[(&str, &str)]) -> PlatformFacts {
    PlatformFacts {
        version: Some(version.into()),
        has_control_plane_nodes: Some(has_control_plane_nodes),
        labels: labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        openshift_topology: None,
    }
}

fn openshift(topology: &str, has_control_plane_nodes: bool) -> PlatformFacts {
    let topology = Some(topology.to_owned());
    PlatformFacts { openshift_topology: topology, ..facts("v1.31.6", has_control_plane_nodes, &[]) }
}

#[test]
fn k12_control_planes_of_vendors_are_recognised_and_their_own_way_is_named() {
    for (facts, name, way) in [
        (facts("v1.31.2-eks-7f9249a", false, &[]), "Amazon EKS", "aws eks associate-encryption-config"),
        // Behind a proxy that says another version, and on Fargate.
        (facts("v1.31.2", false, &[("eks.amazonaws.com/compute-type", "fargate")]), "Amazon EKS", "provider"),
        (
            facts("v1.29.6-gke.1326000", false, &[("cloud.google.com/gke-nodepool", "default-pool")]),
            "Google Kubernetes Engine",
            "gcloud container clusters update NAME --location LOCATION --database-encryption-key",
        ),
        (
            facts(
                "v1.30.3",
                false,
                &[("agentpool", "nodepool1"), ("kubernetes.azure.com/cluster", "MC_rg_aks_westeurope")],
            ),
            "Azure Kubernetes Service",
            "--enable-azure-keyvault-kms",
        ),
        (facts("v1.30.4+IKS", false, &[]), "IBM Cloud Kubernetes Service", "ibmcloud ks kms enable"),
        (
            facts("v1.30.1", false, &[("oke.oraclecloud.com/pool.name", "np-system")]),
            "Oracle Kubernetes Engine",
            "--kms-key-id",
        ),
        (facts("v1.16.9-aliyun.1", false, &[]), "Alibaba Cloud ACK", "Alibaba Cloud KMS"),
        (facts("v1.30.0-tke.3", false, &[]), "Tencent Kubernetes Engine", "Tencent Cloud KMS"),
        (
            facts("v1.31.1", false, &[("doks.digitalocean.com/node-pool-id", "45a15812")]),
            "DigitalOcean Kubernetes",
            "ask the vendor",
        ),
        (facts("v1.31.0", false, &[("lke.linode.com/pool-id", "307295")]), "Linode Kubernetes Engine", "ask"),
        (facts("v1.31.0", false, &[("k8s.scaleway.com/pool-name", "p")]), "Scaleway Kubernetes", "ask"),
        (facts("v1.31.0", false, &[("vke.vultr.com/node-pool", "p")]), "Vultr Kubernetes Engine", "ask"),
        (facts("v1.31.0", false, &[("k8s.ovh.net/nodepool", "p")]), "OVHcloud Managed Kubernetes", "ask"),
        // Made of k3s, and not for its users to change.
        (
            facts("v1.28.7+k3s1", false, &[("kubernetes.civo.com/civo-node-pool", "1")]),
            "Civo Kubernetes",
            "ask",
        ),
        (openshift("External", false), "OpenShift with a hosted control plane", "spec.secretEncryption"),
    ] {
        let found = recognise(&facts).expect("recognised");
        assert_eq!((found.name, found.run_by), (name, RunBy::Vendor), "{facts:?}");
        assert!(found.way.contains(way), "{}: {}", found.name, found.way);
        assert!(!found.because.is_empty());
    }
}

#[test]
fn k12_distributions_that_write_the_flags_themselves_are_recognised() {
    for (facts, name, way) in [
        (facts("v1.31.4+k3s1", true, &[]), "k3s", "docs/guides/k3s-rke2.md"),
        // Of servers that run no kubelet nobody sees a node.
        (facts("v1.33.5+rke2r1", false, &[]), "RKE2", "kube-apiserver-arg"),
        (facts("v1.31.2+k0s", true, &[]), "k0s", "extraArgs"),
        (facts("v1.31.2", true, &[("microk8s.io/cluster", "true")]), "MicroK8s", "args/kube-apiserver"),
        (openshift("HighlyAvailable", true), "OpenShift", "oc edit apiserver"),
        (openshift("", true), "OpenShift", "spec.encryption.type"),
    ] {
        let found = recognise(&facts).expect("recognised");
        assert_eq!((found.name, found.run_by), (name, RunBy::Distribution), "{facts:?}");
        assert!(found.way.contains(way), "{}: {}", found.name, found.way);
    }
}

#[test]
fn k12_clusters_of_their_operators_are_nobody_elses() {
    let ec2 = [
        ("node.kubernetes.io/instance-type", "m5.large"),
        ("topology.kubernetes.io/zone", "eu-west-1a"),
        ("node-role.kubernetes.io/control-plane", ""),
        ("karpenter.sh/nodepool", "default"),
    ];
    let gce = [("topology.gke.io/zone", "europe-west1-b"), ("node.kubernetes.io/instance-type", "e2-medium")];
    for facts in [
        PlatformFacts::default(),
        // kubeadm on EC2 and GCE, with and without nodes that can be seen.
        facts("v1.37.2", true, &ec2),
        facts("v1.37.2", false, &ec2),
        facts("v1.37.2", false, &gce),
        facts("v1.37.2", false, &[]),
        // EKS Anywhere and EKS Distro, GKE on premises, ACK's dedicated clusters, kops with labels that somebody copied.
        facts("v1.29.1-eks-61c0bbb", true, &[]),
        facts("v1.21.2-eks-1-21-4", false, &[]),
        facts("v1.28.5-gke.1200", true, &[("cloud.google.com/gke-nodepool", "np-1")]),
        facts("v1.31.1-aliyun.1", true, &[("alibabacloud.com/nodepool-id", "np1")]),
        facts("v1.31.0", true, &[("eks.amazonaws.com/nodegroup", "copied")]),
        // A flavour of a cloud's machines may be called anything.
        facts("v1.31.4", true, &[("node.kubernetes.io/instance-type", "k3s")]),
        facts("v1.31.4", true, &[("node.kubernetes.io/instance-type", "rke2")]),
        // Nobody knows whether there are nodes of the control plane.
        PlatformFacts { has_control_plane_nodes: None, ..facts("v1.31.2-eks-7f9249a", false, &[]) },
        facts("v1.31.0", false, &[("microk8s.io/cluster", "false"), ("example.com/eks.amazonaws.com", "1")]),
    ] {
        assert_eq!(recognise(&facts), None, "{facts:?}");
    }
}

fn answer(body: Value) -> Answer {
    Answer { body: Some(body), ..Answer::new(200, "") }
}

#[tokio::test]
async fn k12_facts_are_asked_for_and_what_is_refused_is_not_known() -> Result<()> {
    let nodes =
        |labels: Value| answer(json!({"items": [{"metadata": {"labels": labels}}, {"metadata": {}}]}));
    let fake = Fake::start(
        0,
        Some(Box::new(move |_, path, _| {
            Some(match path {
                "/version" => {
                    answer(json!({"major": "1", "minor": "31+", "gitVersion": "v1.31.2-eks-7f9249a"}))
                }
                "/api/v1/nodes?limit=100" => nodes(json!({"eks.amazonaws.com/nodegroup": "one"})),
                "/apis/config.openshift.io/v1/infrastructures/cluster" => {
                    answer(json!({"status": {"controlPlaneTopology": "External"}}))
                }
                path if path.starts_with("/api/v1/nodes?limit=1&") => answer(json!({"items": null})),
                _ => return None,
            })
        })),
    )
    .await?;
    let facts = fake.server.platform_facts().await;
    assert_eq!(facts.version.as_deref(), Some("v1.31.2-eks-7f9249a"));
    assert_eq!(facts.has_control_plane_nodes, Some(false));
    assert_eq!(facts.labels, [("eks.amazonaws.com/nodegroup".to_owned(), "one".to_owned())]);
    assert_eq!(facts.openshift_topology.as_deref(), Some("External"));

    let control_plane = Fake::start(
        0,
        Some(Box::new(move |_, path, _| {
            path.ends_with("%2Fmaster")
                .then(|| nodes(json!({"node-role.kubernetes.io/master": ""})))
                .or_else(|| path.starts_with("/api/v1/nodes").then(|| answer(json!({"items": []}))))
        })),
    )
    .await?;
    let facts = control_plane.server.platform_facts().await;
    assert_eq!((facts.has_control_plane_nodes, facts.openshift_topology), (Some(true), None));

    let refused = Fake::start(
        0,
        Some(Box::new(|_, path, _| {
            let is_asked =
                path.starts_with("/api/v1/nodes") || path == "/version" || path.contains("openshift");
            is_asked.then(|| Answer::new(403, "no"))
        })),
    )
    .await?;
    assert_eq!(refused.server.platform_facts().await, PlatformFacts::default());
    Ok(())
}
