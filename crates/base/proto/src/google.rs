//! Google's packages, nested as generated code expects them. The crate's root has shorter names for each.

pub mod api {
    pub mod serviceusage {
        pub mod v1 {
            include!("generated/google.api.serviceusage.v1.rs");
        }
    }
}

pub mod cloud {
    pub mod kms {
        pub mod inventory {
            pub mod v1 {
                include!("generated/google.cloud.kms.inventory.v1.rs");
            }
        }
        pub mod v1 {
            include!("generated/google.cloud.kms.v1.rs");
        }
    }
    pub mod location {
        include!("generated/google.cloud.location.rs");
    }
    pub mod resourcemanager {
        pub mod v3 {
            include!("generated/google.cloud.resourcemanager.v3.rs");
        }
    }
}

pub mod cloudresourcemanager {
    pub mod v1 {
        include!("generated/google.cloudresourcemanager.v1.rs");
    }
}

pub mod container {
    pub mod v1 {
        include!("generated/google.container.v1.rs");
    }
}

pub mod iam {
    pub mod admin {
        pub mod v1 {
            include!("generated/google.iam.admin.v1.rs");
        }
    }
    pub mod v1 {
        include!("generated/google.iam.v1.rs");
    }
}

pub mod longrunning {
    include!("generated/google.longrunning.rs");
}

pub mod rpc {
    include!("generated/google.rpc.rs");
}

pub mod r#type {
    include!("generated/google.r#type.rs");
}
