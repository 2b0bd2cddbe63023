//! Methods that Google publishes and we do not serve: known by the descriptors, and answered with a sentence.

use keystead_keyservice::{KmsError, Method, MethodKind};
use keystead_model::ErrorClass;

use crate::methods::Known;

/// As the audit log names it.
pub(super) fn audited(known: &'static Known) -> Method {
    let name = known.name();
    let reads = ["Get", "List", "Show", "Query", "Verify", "Fetch", "Check"]
        .iter()
        .any(|verb| name.starts_with(verb));
    let kind = if reads { MethodKind::AdminRead } else { MethodKind::AdminWrite };
    Method { service: api(known.method.parent_service().package_name()), name, kind }
}

fn api(package: &str) -> &'static str {
    match package {
        "google.container.v1" => "container.googleapis.com",
        "google.cloud.kms.inventory.v1" => "kmsinventory.googleapis.com",
        "google.iam.admin.v1" => "iam.googleapis.com",
        "google.api.serviceusage.v1" => "serviceusage.googleapis.com",
        "google.cloudresourcemanager.v1" | "google.cloud.resourcemanager.v3" => {
            "cloudresourcemanager.googleapis.com"
        }
        _ => "cloudkms.googleapis.com",
    }
}

pub(super) fn sentence(method: Method) -> KmsError {
    let served = match method.service {
        "iam.googleapis.com" => {
            "service accounts: create, get, list, patch, delete, enable, disable, their keys and policies"
        }
        "container.googleapis.com" => {
            "clusters: create, get, list, update of databaseEncryption, setResourceLabels, delete; their operations; serverConfig"
        }
        "serviceusage.googleapis.com" => "enable, disable, batchEnable, get and list of services",
        "cloudresourcemanager.googleapis.com" => "projects: create, get, list, search and their policies",
        _ => {
            "key rings, keys of purpose ENCRYPT_DECRYPT and protection level SOFTWARE, their versions, encrypt, decrypt, \
             generateRandomBytes, policies, locations and retired resources"
        }
    };
    let text = format!("Keystead does not serve {}. Of {} it serves {served}.", method.name, method.service);
    KmsError::new(ErrorClass::Unimplemented, text)
}
