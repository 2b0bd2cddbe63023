//! Regenerates the checked-in code and compares.

mod descriptors;

use std::path::{Path, PathBuf};

use prost_reflect::{DescriptorPool, Value};
use tonic_prost_build::FileDescriptorSet;

/// Read by programs that have nothing to do with the server: not in its descriptors.
const KUBERNETES: [&str; 4] = ["kms/v1beta1.proto", "kms/v2.proto", "kms/stored.proto", "etcd/kv.proto"];

/// What the server speaks.
const SERVER: [&str; 14] = [
    "google/api/serviceusage/v1.proto",
    "google/cloud/kms/inventory.proto",
    "google/cloud/kms/service.proto",
    "google/cloud/kms/unserved.proto",
    "google/cloud/location/locations.proto",
    "google/cloud/resourcemanager/v1.proto",
    "google/cloud/resourcemanager/v3.proto",
    "google/container/v1.proto",
    "google/iam/admin/v1.proto",
    "google/iam/v1/iam_policy.proto",
    "google/longrunning/operations.proto",
    "google/rpc/error_details.proto",
    "keystead/hosts.proto",
    "keystead/v1.proto",
];

/// Options of methods: their values are in the descriptors, nobody needs their code.
const OPTIONS: [&str; 2] = ["google/api/annotations.proto", "keystead/unserved.proto"];

/// Messages that carry seeds, keys, passwords or tokens, or what etcd stores unencrypted, must not be printable.
const SECRET_BEARING: [&str; 22] = [
    ".v1beta1.EncryptRequest",
    ".v1beta1.DecryptResponse",
    ".v2.EncryptRequest",
    ".v2.DecryptResponse",
    ".etcdserverpb.KeyValue",
    ".etcdserverpb.RangeResponse",
    ".etcdserverpb.PutRequest",
    ".etcdserverpb.AuthenticateRequest",
    ".etcdserverpb.AuthenticateResponse",
    ".keystead.stored.EncryptedObject",
    ".keystead.v1.CreateTokenResponse",
    ".keystead.v1.InviteHostResponse",
    ".keystead.v1.IssuePluginTokenResponse",
    ".google.cloud.kms.v1.EncryptRequest",
    ".google.cloud.kms.v1.DecryptResponse",
    ".google.cloud.kms.v1.GenerateRandomBytesResponse",
    ".google.container.v1.MasterAuth",
    ".google.container.v1.Cluster",
    ".google.container.v1.CreateClusterRequest",
    ".google.container.v1.ListClustersResponse",
    ".google.iam.admin.v1.ServiceAccountKey",
    ".google.iam.admin.v1.ListServiceAccountKeysResponse",
];

#[test]
fn generated_code_is_what_the_proto_files_give() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checked_in = crate_dir.join("src/generated");
    let fresh = tempfile::tempdir().expect("temporary directory");
    generate(&crate_dir.join("../../../proto"), fresh.path());

    for file in files_in(fresh.path()) {
        let name = file.file_name().expect("a file has a name");
        let new = std::fs::read(&file).expect("generated file");
        let target = checked_in.join(name);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(&target, &new).expect("write generated file");
        }
        let old = std::fs::read(&target).unwrap_or_default();
        assert!(old == new, "{name:?} is out of date: run UPDATE_GENERATED=1 cargo test -p keystead-proto");
    }
    assert_eq!(files_in(fresh.path()).len(), files_in(&checked_in).len(), "a generated file has no source");
}

fn generate(proto_dir: &Path, out: &Path) {
    let kubernetes = protox::compile(KUBERNETES, [proto_dir]).expect("proto files compile");
    let mut server = protox::Compiler::new([proto_dir]).expect("folder of proto files");
    server.include_imports(true).include_source_info(true).open_files(SERVER).expect("proto files compile");
    for files in [kubernetes, served(&server)] {
        tonic_prost_build::configure()
            .build_transport(false)
            .skip_debug(SECRET_BEARING)
            // In order, so that one object gives the same bytes each time.
            .btree_map(".keystead.stored")
            .out_dir(out)
            .compile_fds(files)
            .expect("code is generated");
    }

    server.include_source_info(false);
    std::fs::write(out.join("descriptors.bin"), server.encode_file_descriptor_set())
        .expect("write descriptors");
}

/// Without the methods that are not served, and the services that have no others.
fn served(compiler: &protox::Compiler) -> FileDescriptorSet {
    let pool = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).expect("descriptors");
    let unserved = pool.get_extension_by_name("keystead.api.unserved").expect("extension");
    let is_served = |service: &str, method: &str| {
        let service = pool.get_service_by_name(service).expect("service");
        let method = service.methods().find(|known| known.name() == method).expect("method");
        *method.options().get_extension(&unserved) != Value::Bool(true)
    };
    let mut files = compiler.file_descriptor_set();
    files.file.retain(|file| !OPTIONS.contains(&file.name()));
    for file in &mut files.file {
        let package = file.package().to_owned();
        let kept: Vec<Vec<usize>> = file
            .service
            .iter_mut()
            .map(|service| {
                let name = format!("{package}.{}", service.name());
                let all = std::mem::take(&mut service.method).into_iter().enumerate();
                let served = all.filter(|(_, method)| is_served(&name, method.name()));
                let (positions, methods) = served.unzip();
                service.method = methods;
                positions
            })
            .collect();
        file.service.retain(|service| !service.method.is_empty());
        if let Some(info) = &mut file.source_code_info {
            info.location.retain_mut(|location| moved(&mut location.path, &kept));
        }
    }
    files
}

/// Comments are found by the position of what they describe: `[6, service, 2, method, ...]`. Says whether it is still there.
fn moved(path: &mut [i32], kept: &[Vec<usize>]) -> bool {
    let [6, service, rest @ ..] = path else { return true };
    let old_service = usize::try_from(*service).expect("position");
    if kept[old_service].is_empty() {
        return false;
    }
    let new_service = kept[..old_service].iter().filter(|methods| !methods.is_empty()).count();
    *service = i32::try_from(new_service).expect("position");
    let [2, method, ..] = rest else { return true };
    let old_method = usize::try_from(*method).expect("position");
    let new_method = kept[old_service].iter().position(|position| *position == old_method);
    *method = new_method.map_or(*method, |position| i32::try_from(position).expect("position"));
    new_method.is_some()
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).expect("directory").map(|entry| entry.expect("entry").path()).collect()
}
