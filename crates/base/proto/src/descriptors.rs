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
