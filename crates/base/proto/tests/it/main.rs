//! Regenerates the checked-in code and compares.

use std::path::{Path, PathBuf};

const FILES: [&str; 4] = ["kms/v1beta1.proto", "kms/v2.proto", "kms/stored.proto", "etcd/kv.proto"];

/// Messages that carry seeds, or what etcd stores unencrypted, must not be printable.
const SECRET_BEARING: [&str; 8] = [
    ".v1beta1.EncryptRequest",
    ".v1beta1.DecryptResponse",
    ".v2.EncryptRequest",
    ".v2.DecryptResponse",
    ".etcdserverpb.KeyValue",
    ".etcdserverpb.RangeResponse",
    ".etcdserverpb.PutRequest",
    ".keystead.stored.EncryptedObject",
];

#[test]
fn generated_code_is_what_the_proto_files_give() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checked_in = crate_dir.join("src/generated");
    let fresh = tempfile::tempdir().expect("temporary directory");
    generate(&crate_dir.join("../../../proto"), fresh.path());

    for file in files_in(fresh.path()) {
        let name = file.file_name().expect("a file has a name");
        let new = std::fs::read_to_string(&file).expect("generated file");
        let target = checked_in.join(name);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(&target, &new).expect("write generated file");
        }
        let old = std::fs::read_to_string(&target).unwrap_or_default();
        assert!(old == new, "{name:?} is out of date: run UPDATE_GENERATED=1 cargo test -p keystead-proto");
    }
    assert_eq!(files_in(fresh.path()).len(), files_in(&checked_in).len(), "a generated file has no source");
}

fn generate(proto_dir: &Path, out: &Path) {
    let descriptors = protox::compile(FILES, [proto_dir]).expect("proto files compile");
    tonic_prost_build::configure()
        .build_transport(false)
        .skip_debug(SECRET_BEARING)
        // In order, so that one object gives the same bytes each time.
        .btree_map(".keystead.stored")
        .out_dir(out)
        .compile_fds(descriptors)
        .expect("code is generated");
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).expect("directory").map(|entry| entry.expect("entry").path()).collect()
}
