use std::fmt;
use std::str::FromStr;

/// Makes the closed type, its names and the list of all from one table.
macro_rules! permissions {
    ($($variant:ident = $text:literal,)+) => {
        /// What a call needs. Closed: a permission that no call needs does not exist, and one that is not here cannot be
        /// checked. Named as in the text, without `cloudkms`, `iam` and so on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the text of each says it")]
        pub enum Permission {
            $($variant,)+
        }

        impl Permission {
            /// All of them, in the order of the type.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As IAM writes it, such as `cloudkms.cryptoKeys.get`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

permissions! {
    KeyRingsCreate = "cloudkms.keyRings.create",
    KeyRingsGet = "cloudkms.keyRings.get",
    KeyRingsList = "cloudkms.keyRings.list",
    KeyRingsGetIamPolicy = "cloudkms.keyRings.getIamPolicy",
    KeyRingsSetIamPolicy = "cloudkms.keyRings.setIamPolicy",
    CryptoKeysCreate = "cloudkms.cryptoKeys.create",
    CryptoKeysGet = "cloudkms.cryptoKeys.get",
    CryptoKeysList = "cloudkms.cryptoKeys.list",
    CryptoKeysUpdate = "cloudkms.cryptoKeys.update",
    CryptoKeysDelete = "cloudkms.cryptoKeys.delete",
    CryptoKeysGetIamPolicy = "cloudkms.cryptoKeys.getIamPolicy",
    CryptoKeysSetIamPolicy = "cloudkms.cryptoKeys.setIamPolicy",
    CryptoKeyVersionsCreate = "cloudkms.cryptoKeyVersions.create",
    CryptoKeyVersionsGet = "cloudkms.cryptoKeyVersions.get",
    CryptoKeyVersionsList = "cloudkms.cryptoKeyVersions.list",
    CryptoKeyVersionsUpdate = "cloudkms.cryptoKeyVersions.update",
    CryptoKeyVersionsDestroy = "cloudkms.cryptoKeyVersions.destroy",
    CryptoKeyVersionsRestore = "cloudkms.cryptoKeyVersions.restore",
    CryptoKeyVersionsDelete = "cloudkms.cryptoKeyVersions.delete",
    CryptoKeyVersionsUseToEncrypt = "cloudkms.cryptoKeyVersions.useToEncrypt",
    CryptoKeyVersionsUseToDecrypt = "cloudkms.cryptoKeyVersions.useToDecrypt",
    CryptoKeyVersionsUseToSign = "cloudkms.cryptoKeyVersions.useToSign",
    CryptoKeyVersionsUseToVerify = "cloudkms.cryptoKeyVersions.useToVerify",
    CryptoKeyVersionsUseToDecapsulate = "cloudkms.cryptoKeyVersions.useToDecapsulate",
    CryptoKeyVersionsViewPublicKey = "cloudkms.cryptoKeyVersions.viewPublicKey",
    LocationsGet = "cloudkms.locations.get",
    LocationsList = "cloudkms.locations.list",
    LocationsGenerateRandomBytes = "cloudkms.locations.generateRandomBytes",
    OperationsGet = "cloudkms.operations.get",
    ProtectedResourcesSearch = "cloudkms.protectedResources.search",
    RetiredResourcesGet = "cloudkms.retiredResources.get",
    RetiredResourcesList = "cloudkms.retiredResources.list",
    ClustersCreate = "container.clusters.create",
    ClustersGet = "container.clusters.get",
    ClustersList = "container.clusters.list",
    ClustersUpdate = "container.clusters.update",
    ClustersDelete = "container.clusters.delete",
    ClusterOperationsGet = "container.operations.get",
    ClusterOperationsList = "container.operations.list",
    ClusterRoleBindingsUpdate = "container.clusterRoleBindings.update",
    SecretsUpdate = "container.secrets.update",
    PodsGet = "container.pods.get",
    ProjectsCreate = "resourcemanager.projects.create",
    ProjectsGet = "resourcemanager.projects.get",
    ProjectsList = "resourcemanager.projects.list",
    ProjectsGetIamPolicy = "resourcemanager.projects.getIamPolicy",
    ProjectsSetIamPolicy = "resourcemanager.projects.setIamPolicy",
    ServicesEnable = "serviceusage.services.enable",
    ServicesDisable = "serviceusage.services.disable",
    ServicesGet = "serviceusage.services.get",
    ServicesList = "serviceusage.services.list",
    ServiceAccountsCreate = "iam.serviceAccounts.create",
    ServiceAccountsGet = "iam.serviceAccounts.get",
    ServiceAccountsList = "iam.serviceAccounts.list",
    ServiceAccountsDelete = "iam.serviceAccounts.delete",
    ServiceAccountsDisable = "iam.serviceAccounts.disable",
    ServiceAccountsEnable = "iam.serviceAccounts.enable",
    ServiceAccountsUpdate = "iam.serviceAccounts.update",
    ServiceAccountsGetIamPolicy = "iam.serviceAccounts.getIamPolicy",
    ServiceAccountsSetIamPolicy = "iam.serviceAccounts.setIamPolicy",
    ServiceAccountKeysCreate = "iam.serviceAccountKeys.create",
    ServiceAccountKeysGet = "iam.serviceAccountKeys.get",
    ServiceAccountKeysList = "iam.serviceAccountKeys.list",
    ServiceAccountKeysDelete = "iam.serviceAccountKeys.delete",
    TokensCreate = "keystead.tokens.create",
    TokensList = "keystead.tokens.list",
    TokensRevoke = "keystead.tokens.revoke",
    UserCredentialsCreate = "keystead.userCredentials.create",
    UserCredentialsRevoke = "keystead.userCredentials.revoke",
    DestructionsApprove = "keystead.destructions.approve",
    AuditRead = "keystead.audit.read",
    BackupsCreate = "keystead.backups.create",
    ServerGetIamPolicy = "keystead.server.getIamPolicy",
    ServerSetIamPolicy = "keystead.server.setIamPolicy",
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        Self::parse(text).ok_or_else(|| UnknownPermission(text.chars().take(200).collect()))
    }
}

/// A text that is no permission of this server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Permission {0} is not valid for this resource.")]
pub struct UnknownPermission(String);

/// Some permissions: one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PermissionSet(u128);

impl PermissionSet {
    pub(crate) const fn of(permissions: &[Permission]) -> Self {
        let mut bits = 0;
        let mut rest = permissions;
        while let [first, tail @ ..] = rest {
            bits |= 1 << (*first as u32);
            rest = tail;
        }
        Self(bits)
    }

    pub(crate) fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << (permission as u32)) != 0
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

// One bit each: a table that outgrows the set must not compile.
const _: () = assert!(Permission::ALL.len() <= 128);
