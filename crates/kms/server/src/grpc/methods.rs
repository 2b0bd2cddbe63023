//! The methods of every API by their gRPC path, as the descriptors have them.

use std::collections::HashMap;
use std::sync::LazyLock;

use keystead_proto::descriptor_pool;
use prost_reflect::{MethodDescriptor, Value};

static METHODS: LazyLock<HashMap<String, Known>> = LazyLock::new(|| {
    let unserved = descriptor_pool().get_extension_by_name("keystead.api.unserved");
    let methods = descriptor_pool().services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let known = methods.map(|method| {
        let marked = unserved.as_ref().map(|it| method.options().get_extension(it).into_owned());
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        (path, Known { served: marked != Some(Value::Bool(true)), method })
    });
    known.collect()
});

pub(crate) struct Known {
    /// Otherwise its answer is a sentence.
    pub(super) served: bool,
    pub(super) method: MethodDescriptor,
}

/// The method of that path, if there is one.
pub(crate) fn known(path: &str) -> Option<&'static Known> {
    METHODS.get(path)
}

impl Known {
    /// Such as `Encrypt`: one of a closed list.
    pub(crate) fn name(&self) -> &str {
        self.method.name()
    }
}
