//! Code generated from `proto/*.proto`, checked in so that building needs neither protoc nor a build script, and
//! nothing else. It must never hold a rule or a conversion: these types stop at the adapter that uses them.
//!
//! After editing a `.proto` file run `UPDATE_GENERATED=1 cargo test -p keystead-proto`; the same test fails when
//! the code here is not what the `.proto` files give. Read `proto/kms/v2.proto` first.

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

/// etcd's key-value service.
pub mod etcd {
    include!("generated/etcdserverpb.rs");
}
