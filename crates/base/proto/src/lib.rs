//! Code generated from `proto/*.proto`, checked in so that building needs neither protoc nor a build script, and
//! nothing else. It must never hold a rule or a conversion: these types stop at the adapter that uses them.
//!
//! After editing a `.proto` file run `UPDATE_GENERATED=1 cargo test -p keystead-proto`; the same test fails when
//! the code here is not what the `.proto` files give. Read `proto/kms/v2.proto` first, then
//! `proto/google/cloud/kms/service.proto`.
//!
//! [`descriptor_pool`] describes every API of the server, with the REST path of each method. Methods that are published
//! and not served (`proto/keystead/unserved.proto`) are in it; no code is generated for them.

pub mod google;

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// Describes every API of the server, with the extensions `google.api.http` and `keystead.api.unserved`. Built when it is
/// first asked for.
pub fn descriptor_pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        // The test that writes the file reads it back, so there is nothing that could fail here.
        DescriptorPool::decode(include_bytes!("generated/descriptors.bin").as_slice()).unwrap_or_default()
    });
    &POOL
}

/// Kubernetes KMS v1 (`v1beta1`).
pub mod kms_v1 {
    include!("generated/v1beta1.rs");
}

/// Kubernetes KMS v2.
pub mod kms_v2 {
    include!("generated/v2.rs");
}

/// The stored form of an object behind the KMS v2 prefix.
pub mod stored {
    include!("generated/keystead.stored.rs");
}

/// etcd's key-value service, and its login.
pub mod etcd {
    include!("generated/etcdserverpb.rs");
}

/// Nested as its package is, because generated code names other packages from here.
mod keystead {
    pub mod v1 {
        include!("generated/keystead.v1.rs");
    }
}

/// What Google's APIs have no word for: tokens, certificates, the server's policy, the audit log's head, backups, usage of
/// versions.
pub use keystead::v1 as keystead_v1;

/// Service Usage.
pub use google::api::serviceusage::v1 as service_usage;
/// Cloud KMS inventory: the keys of a project, and what keys protect.
pub use google::cloud::kms::inventory::v1 as kms_inventory;
/// Cloud KMS v1.
pub use google::cloud::kms::v1 as cloud_kms;
/// Cloud locations.
pub use google::cloud::location as locations;
/// Resource Manager v3: the client libraries'.
pub use google::cloud::resourcemanager::v3 as resource_manager_v3;
/// Resource Manager v1: gcloud's and Terraform's.
pub use google::cloudresourcemanager::v1 as resource_manager_v1;
/// Kubernetes Engine: clusters.
pub use google::container::v1 as container;
/// Service accounts and their keys.
pub use google::iam::admin::v1 as iam_admin;
/// IAM policies.
pub use google::iam::v1 as iam_policy;
/// Operations that take their time.
pub use google::longrunning;
/// Errors.
pub use google::rpc;
