//! Clusters whose control plane is not a person's to change: a vendor runs it, or a distribution writes kube-apiserver's flags itself.
//!
//! They are told by what only they have: a suffix of the version, a label that their own node pools set, an API of theirs. Where a machine
//! is (`providerID`) says nothing: a cluster of kubeadm's may be anywhere. Wherever nodes of the control plane can be seen, no vendor runs
//! it: EKS Anywhere, GKE on premises and the dedicated clusters of ACK have the same versions.

/// What the API says of itself and of the nodes. What was not answered is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlatformFacts {
    /// `gitVersion`, such as `v1.31.2-eks-7f9249a`.
    pub version: Option<String>,
    /// Whether there are nodes that are labelled as control planes.
    pub has_control_plane_nodes: Option<bool>,
    /// Labels of some nodes, as key and value.
    pub labels: Vec<(String, String)>,
    /// `status.controlPlaneTopology` of OpenShift's Infrastructure; empty where it says none, and nothing where it is no OpenShift.
    pub openshift_topology: Option<String>,
}

/// A platform whose control plane is not changed from its hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// What people call it.
    pub name: &'static str,
    /// Who decides about kube-apiserver's flags.
    pub run_by: RunBy,
    /// The fact that it was told by.
    pub because: String,
    /// Its own way to encrypt Secrets.
    pub way: &'static str,
}

/// Who decides about kube-apiserver's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunBy {
    /// A vendor: nobody else reaches the hosts.
    Vendor,
    /// The distribution's own program or operator, on hosts that may be reached.
    Distribution,
}

/// What tells a platform.
#[derive(Clone, Copy)]
enum Sign {
    /// The version has this in it.
    Version(&'static str),
    /// The version is one of EKS, and not one of EKS Distro, which anybody may run.
    EksVersion,
    /// A node has a label whose key begins so.
    Label(&'static str),
    /// A node has this label with this value.
    LabelIs(&'static str, &'static str),
    /// OpenShift whose control plane is elsewhere, or is not.
    OpenShift { hosted: bool },
}

struct Row {
    name: &'static str,
    run_by: RunBy,
    signs: &'static [Sign],
    way: &'static str,
}

/// The first that fits counts: what a vendor runs may itself be made of k3s or OpenShift.
const ROWS: &[Row] = &[
    Row {
        name: "Amazon EKS",
        run_by: RunBy::Vendor,
        signs: &[Sign::EksVersion, Sign::Label("eks.amazonaws.com/")],
        way: "use EKS's envelope encryption with a key of AWS KMS: aws eks associate-encryption-config --cluster-name NAME --encryption-config '[{\"resources\":[\"secrets\"],\"provider\":{\"keyArn\":\"ARN\"}}]'",
    },
    Row {
        name: "Google Kubernetes Engine",
        run_by: RunBy::Vendor,
        signs: &[Sign::Version("-gke."), Sign::Label("cloud.google.com/gke-nodepool")],
        way: "use GKE's application-layer secrets encryption: gcloud container clusters update NAME --location LOCATION --database-encryption-key projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY",
    },
    Row {
        name: "Azure Kubernetes Service",
        run_by: RunBy::Vendor,
        signs: &[Sign::Label("kubernetes.azure.com/cluster")],
        way: "use AKS's KMS etcd encryption with a key of Key Vault: az aks update --name NAME --resource-group GROUP --enable-azure-keyvault-kms --azure-keyvault-kms-key-id URL",
    },
    Row {
        name: "IBM Cloud Kubernetes Service",
        run_by: RunBy::Vendor,
        signs: &[Sign::Version("+IKS"), Sign::Label("ibm-cloud.kubernetes.io/worker-pool-id")],
        way: "use a key of IBM Key Protect or Hyper Protect: ibmcloud ks kms enable -c NAME --instance-id INSTANCE --crk KEY",
    },
    Row {
        name: "OpenShift with a hosted control plane",
        run_by: RunBy::Vendor,
        signs: &[Sign::OpenShift { hosted: true }],
        way: "set spec.secretEncryption of its HostedCluster, in the cluster that hosts the control plane; on a vendor's OpenShift choose a key for etcd when the cluster is created",
    },
    Row {
        name: "Oracle Kubernetes Engine",
        run_by: RunBy::Vendor,
        signs: &[Sign::Label("oke.oraclecloud.com/")],
        way: "choose a key of OCI Vault when the cluster is created: oci ce cluster create --kms-key-id OCID",
    },
    Row {
        name: "Alibaba Cloud ACK",
        run_by: RunBy::Vendor,
        signs: &[Sign::Version("-aliyun."), Sign::Label("alibabacloud.com/nodepool-id")],
        way: "use ACK's encryption of Secrets with a key of Alibaba Cloud KMS, in the settings of the cluster",
    },
    Row {
        name: "Tencent Kubernetes Engine",
        run_by: RunBy::Vendor,
        signs: &[Sign::Version("-tke.")],
        way: "use TKE's encryption of Secrets with a key of Tencent Cloud KMS, in the settings of the cluster",
    },
    Row {
        name: "DigitalOcean Kubernetes",
        run_by: RunBy::Vendor,
        signs: &[Sign::Label("doks.digitalocean.com/")],
        way: ASK_VENDOR,
    },
    Row {
        name: "Linode Kubernetes Engine",
        run_by: RunBy::Vendor,
        signs: &[Sign::Label("lke.linode.com/")],
        way: ASK_VENDOR,
    },
    Row {
        name: "Scaleway Kubernetes",
        run_by: RunBy::Vendor,
        signs: &[Sign::Label("k8s.scaleway.com/pool")],
        way: ASK_VENDOR,
    },
    Row {
        name: "Vultr Kubernetes Engine",
        run_by: RunBy::Vendor,
        signs: &[Sign::Label("vke.vultr.com/")],
        way: ASK_VENDOR,
    },
    Row {
        name: "OVHcloud Managed Kubernetes",
        run_by: RunBy::Vendor,
        signs: &[Sign::Label("k8s.ovh.net/nodepool")],
        way: ASK_VENDOR,
    },
    Row {
        name: "Civo Kubernetes",
        run_by: RunBy::Vendor,
        signs: &[Sign::Label("kubernetes.civo.com/civo-node-pool")],
        way: ASK_VENDOR,
    },
    Row {
        name: "OpenShift",
        run_by: RunBy::Distribution,
        signs: &[Sign::OpenShift { hosted: false }],
        way: "let its operator do it: `oc edit apiserver cluster`, and set spec.encryption.type",
    },
    Row { name: "RKE2", run_by: RunBy::Distribution, signs: &[Sign::Version("+rke2")], way: K3S_RKE2 },
    Row { name: "k3s", run_by: RunBy::Distribution, signs: &[Sign::Version("+k3s")], way: K3S_RKE2 },
    Row {
        name: "k0s",
        run_by: RunBy::Distribution,
        signs: &[Sign::Version("+k0s")],
        way: "set encryption-provider-config below spec.api.extraArgs of its configuration by hand, then run `keystead cluster reencrypt`",
    },
    Row {
        name: "MicroK8s",
        run_by: RunBy::Distribution,
        signs: &[Sign::LabelIs("microk8s.io/cluster", "true")],
        way: "add --encryption-provider-config to /var/snap/microk8s/current/args/kube-apiserver by hand, then run `keystead cluster reencrypt`",
    },
];

const K3S_RKE2: &str = "encrypt with a plugin by hand, with kube-apiserver-arg: encryption-provider-config=FILE on every server and without secrets-encryption, as docs/guides/k3s-rke2.md says; `keystead cluster reencrypt` and `cluster inventory` work there";
const ASK_VENDOR: &str = "ask the vendor whether Secrets can be under a key of yours; no other way leads to kube-apiserver's flags";

/// Whose control plane it is, if it is not one whose hosts decide. The same facts give the same answer, and unknown ones give none.
pub fn recognise(facts: &PlatformFacts) -> Option<Platform> {
    ROWS.iter().find_map(|row| {
        let because = row.signs.iter().find_map(|sign| seen(*sign, row.run_by, facts))?;
        Some(Platform { name: row.name, run_by: row.run_by, because, way: row.way })
    })
}

/// The fact, in words.
fn seen(sign: Sign, run_by: RunBy, facts: &PlatformFacts) -> Option<String> {
    if let Sign::OpenShift { hosted } = sign {
        let topology = facts.openshift_topology.as_ref()?;
        return (hosted == (topology == "External")).then(|| match topology.as_str() {
            "" => "it has OpenShift's Infrastructure".to_owned(),
            topology => format!("the control plane topology of its Infrastructure is {topology}"),
        });
    }
    if run_by == RunBy::Vendor && facts.has_control_plane_nodes != Some(false) {
        return None;
    }
    let version = || facts.version.as_deref().unwrap_or_default();
    let label = |is_it: &dyn Fn(&str, &str) -> bool| {
        let (key, value) = facts.labels.iter().find(|(key, value)| is_it(key, value))?;
        Some(format!("a node has the label {key}={value}"))
    };
    match sign {
        Sign::Version(part) => version().contains(part).then(|| version_is(version())),
        Sign::EksVersion => is_of_eks(version()).then(|| version_is(version())),
        Sign::Label(begin) => label(&|key, _| key.starts_with(begin)),
        Sign::LabelIs(wanted, wanted_value) => label(&|key, value| key == wanted && value == wanted_value),
        Sign::OpenShift { .. } => None,
    }
}

fn version_is(version: &str) -> String {
    format!("the version of its API server is {version}")
}

/// EKS names a commit behind `-eks-`, EKS Distro its own release: `v1.21.2-eks-1-21-4`.
fn is_of_eks(version: &str) -> bool {
    let Some((_, rest)) = version.split_once("-eks-") else { return false };
    !rest.contains('-')
}

#[cfg(test)]
mod tests {
    use super::{ROWS, RunBy, Sign};

    #[test]
    fn every_row_can_be_told_and_names_a_way() {
        for row in ROWS {
            assert!(!row.signs.is_empty() && row.way.len() > 20, "{}", row.name);
        }
        let vendors = ROWS.iter().take_while(|it| it.run_by == RunBy::Vendor).count();
        let others = ROWS.iter().filter(|it| it.run_by == RunBy::Distribution).count();
        assert_eq!(vendors + others, ROWS.len(), "what a vendor runs comes first");
        let bare = |it: &&Sign| matches!(it, Sign::Version("") | Sign::Label(""));
        assert!(ROWS.iter().all(|row| !row.signs.iter().any(|it| bare(&it))));
    }
}
