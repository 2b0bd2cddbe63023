use keystead_model::ProjectId;

/// Where addresses of accounts that somebody made end, after the project.
const OWN_DOMAIN: &str = ".iam.gserviceaccount.com";
/// Addresses of the accounts that clusters use.
const CLUSTER_DOMAIN: &str = "@container-engine-robot.iam.gserviceaccount.com";
const CLUSTER_PREFIX: &str = "service-";

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
}

impl AccountEmail {
    pub(crate) fn parse(email: &str) -> Option<Self> {
        if let Some(name) = email.strip_suffix(CLUSTER_DOMAIN) {
            let project_number: u64 = name.strip_prefix(CLUSTER_PREFIX)?.parse().ok()?;
            // `+1` and `01` are no names of 1.
            return (cluster(project_number) == email).then_some(Self::Cluster { project_number });
        }
        let (id, domain) = email.split_once('@')?;
        let project = domain.strip_suffix(OWN_DOMAIN)?.parse().ok()?;
        is_account_id(id).then_some(Self::Own { project })
    }
}

/// The address of the account that the clusters of a project use.
pub(crate) fn cluster(project_number: u64) -> String {
    format!("{CLUSTER_PREFIX}{project_number}{CLUSTER_DOMAIN}")
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
            "",
        ] {
            assert_eq!(AccountEmail::parse(bad), None, "{bad}");
        }
    }
}
