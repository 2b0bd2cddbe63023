use keystead_model::{ClusterHostName, ClusterName, LocationName, ProjectId};

/// Where addresses of accounts that somebody made end, after the project.
const OWN_DOMAIN: &str = ".iam.gserviceaccount.com";
/// Addresses of the accounts that clusters use.
const CLUSTER_DOMAIN: &str = "@container-engine-robot.iam.gserviceaccount.com";
const CLUSTER_PREFIX: &str = "service-";
/// Where addresses of hosts of clusters end, after cluster, location and project.
const HOST_DOMAIN: &str = ".hosts.keystead.io";

/// What the address of a service account says. It is the account's name, so nothing about it is guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccountEmail {
    /// `ID@PROJECT.iam.gserviceaccount.com`.
    Own {
        /// The project.
        project: ProjectId,
    },
    /// `service-PROJECT_NUMBER@container-engine-robot.iam.gserviceaccount.com`: every project has it.
    Cluster {
        /// The project's number.
        project_number: u64,
    },
    /// `host-ID@CLUSTER.LOCATION.PROJECT.hosts.keystead.io`: it exists as long as its host does.
    Host(ClusterHostName),
}

impl AccountEmail {
    pub(crate) fn parse(email: &str) -> Option<Self> {
        if let Some(name) = email.strip_suffix(CLUSTER_DOMAIN) {
            let project_number: u64 = name.strip_prefix(CLUSTER_PREFIX)?.parse().ok()?;
            // `+1` and `01` are no names of 1.
            return (cluster(project_number) == email).then_some(Self::Cluster { project_number });
        }
        let (id, domain) = email.split_once('@')?;
        if let Some(place) = domain.strip_suffix(HOST_DOMAIN) {
            // None of the three has a dot.
            let (cluster, place) = place.split_once('.')?;
            let (location, project) = place.split_once('.')?;
            let location = LocationName { project: project.parse().ok()?, location: location.parse().ok()? };
            let cluster = ClusterName { location, cluster: cluster.parse().ok()? };
            return Some(Self::Host(ClusterHostName { cluster, host: id.parse().ok()? }));
        }
        let project = domain.strip_suffix(OWN_DOMAIN)?.parse().ok()?;
        is_account_id(id).then_some(Self::Own { project })
    }
}

/// The address of the account that the clusters of a project use.
pub(crate) fn cluster(project_number: u64) -> String {
    format!("{CLUSTER_PREFIX}{project_number}{CLUSTER_DOMAIN}")
}

/// The address as which the agent of a host calls.
pub(crate) fn host(name: &ClusterHostName) -> String {
    let ClusterName { location, cluster } = &name.cluster;
    format!("{}@{cluster}.{}.{}{HOST_DOMAIN}", name.host, location.location, location.project)
}

/// The address of an account that somebody makes.
pub(crate) fn own(id: &str, project: &ProjectId) -> String {
    format!("{id}@{project}{OWN_DOMAIN}")
}

/// `[a-z][a-z0-9-]{4,28}[a-z0-9]`, as IAM has it.
pub(crate) fn is_account_id(text: &str) -> bool {
    (6..=30).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_the_address_of_the_cluster_account_holds_the_project_number() {
        let email = "service-123456789012@container-engine-robot.iam.gserviceaccount.com";
        assert_eq!(cluster(123_456_789_012), email);
        assert_eq!(
            AccountEmail::parse(email),
            Some(AccountEmail::Cluster { project_number: 123_456_789_012 })
        );
    }

    #[test]
    fn an_address_of_one_of_ours_names_its_project() {
        let project: ProjectId = "key-project".parse().expect("a project");
        let email = own("backup-job", &project);
        assert_eq!(email, "backup-job@key-project.iam.gserviceaccount.com");
        assert_eq!(AccountEmail::parse(&email), Some(AccountEmail::Own { project }));
    }

    #[test]
    fn an_address_of_a_host_names_its_cluster() {
        let name: ClusterHostName =
            "projects/cluster-project/locations/us-central1/clusters/prod-a/hosts/host-0123456789abcdef"
                .parse()
                .expect("a host");
        let email = host(&name);
        assert_eq!(email, "host-0123456789abcdef@prod-a.us-central1.cluster-project.hosts.keystead.io");
        assert_eq!(AccountEmail::parse(&email), Some(AccountEmail::Host(name)));
    }

    #[test]
    fn other_addresses_are_not_ours() {
        for bad in [
            "alice@example.com",
            "backup-job@key-project.gserviceaccount.com",
            "backup-job@KEY-project.iam.gserviceaccount.com",
            "short@key-project.iam.gserviceaccount.com",
            "a/../bc@key-project.iam.gserviceaccount.com",
            "backup-job@a.key-project.iam.gserviceaccount.com",
            "service-+1@container-engine-robot.iam.gserviceaccount.com",
            "service-01@container-engine-robot.iam.gserviceaccount.com",
            "service-@container-engine-robot.iam.gserviceaccount.com",
            "host-0123456789abcdef@prod-a.us-central1.hosts.keystead.io",
            "host-0123456789abcdef@prod-a.x.us-central1.cluster-project.hosts.keystead.io",
            "host-0123456789ABCDEF@prod-a.us-central1.cluster-project.hosts.keystead.io",
            "backup-job@prod-a.us-central1.cluster-project.hosts.keystead.io",
            "",
        ] {
            assert_eq!(AccountEmail::parse(bad), None, "{bad}");
        }
    }
}
