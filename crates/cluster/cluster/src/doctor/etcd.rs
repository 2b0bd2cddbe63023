//! etcd, as kube-apiserver's manifest leads to it.

use super::check::{Check, Verdict};
use super::facts::Facts;

pub(super) const CHECKS: [Check; 3] = [
    Check {
        id: "etcd-down",
        looks_at: "whether etcd answers where kube-apiserver's manifest says it is, with the certificate of kube-apiserver",
        judge: etcd_down,
    },
    Check {
        id: "etcd-of-another-cluster",
        looks_at: "whether etcd holds the cluster to which the kubeconfig leads",
        judge: etcd_of_another_cluster,
    },
    Check { id: "etcd-alarm", looks_at: "etcd's alarms: out of space, or damaged", judge: etcd_alarm },
];

fn etcd_down(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    facts.manifest()?;
    if let Err(reason) = &facts.stored {
        verdict.error(
            format!("etcd cannot be read: {reason}"),
            "`crictl ps -a --name etcd` and its log say why; --etcd-servers and --etcd-certfile of kube-apiserver's manifest say where it is and who asks",
        );
    }
    Ok(())
}

fn etcd_of_another_cluster(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let is_own = facts.is_own_etcd.clone();
    if !is_own.map_err(|reason| format!("etcd and the API server were not compared: {reason}"))? {
        verdict.error(
            "the etcd of kube-apiserver's manifest does not hold the cluster to which the kubeconfig leads: what is said of one does not hold for the other",
            "name this host's own kubeconfig with --kubeconfig; kubeadm writes /etc/kubernetes/admin.conf. If it is that one, --etcd-servers or --etcd-prefix of the manifest is wrong",
        );
    }
    Ok(())
}

fn etcd_alarm(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let alarms = facts.alarms.as_ref().map_err(|reason| format!("etcd was not asked: {reason}"))?;
    for (kind, member) in alarms {
        let advice = match kind.as_str() {
            "NOSPACE" => {
                "no write is taken, re-encryption least of all. Compact etcd, defragment each member, raise --quota-backend-bytes if it must be, and then `etcdctl alarm disarm`"
            }
            _ => {
                "take the member out of the cluster and bring it back empty, or restore from a snapshot: see etcd's guide for this alarm"
            }
        };
        verdict.error(format!("etcd has the alarm {kind} of member {member}"), advice);
    }
    Ok(())
}
