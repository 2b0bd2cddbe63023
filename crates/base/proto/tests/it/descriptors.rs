use keystead_proto::descriptor_pool;
use prost_reflect::Value;

/// Facts of the wire, written by hand.
#[test]
fn the_pool_knows_paths_and_what_is_not_served() {
    let pool = descriptor_pool();
    let http = pool.get_extension_by_name("google.api.http").expect("http");
    let unserved = pool.get_extension_by_name("keystead.api.unserved").expect("unserved");
    let service = pool.get_service_by_name("google.cloud.kms.v1.KeyManagementService").expect("service");
    assert_eq!(service.methods().count(), 35);
    let method = |name: &str| service.methods().find(|method| method.name() == name).expect("method");

    let options = method("Encrypt").options();
    let rule = options.get_extension(&http);
    let rule = rule.as_message().expect("rule");
    let path = rule.get_field_by_name("post").expect("post").into_owned();
    let expected = "/v1/{name=projects/*/locations/*/keyRings/*/cryptoKeys/**}:encrypt";
    assert_eq!(path, Value::String(expected.to_owned()));

    for (name, is_unserved) in [("Encrypt", false), ("AsymmetricSign", true), ("ListImportJobs", true)] {
        let method = method(name);
        assert_eq!(*method.options().get_extension(&unserved), Value::Bool(is_unserved), "{name}");
    }
}

/// Numbers that clients send, from the published protocol.
#[test]
fn field_numbers_are_the_published_ones() {
    for (message, field, number) in [
        ("google.cloud.kms.v1.EncryptRequest", "plaintext_crc32c", 7),
        ("google.cloud.kms.v1.EncryptResponse", "ciphertext_crc32c", 4),
        ("google.cloud.kms.v1.DecryptRequest", "ciphertext_crc32c", 5),
        ("google.cloud.kms.v1.CryptoKey", "rotation_period", 8),
        ("google.cloud.kms.v1.CryptoKey", "labels", 10),
        ("google.cloud.kms.v1.CryptoKeyVersion", "algorithm", 10),
        ("google.iam.v1.Policy", "etag", 3),
        ("google.iam.v1.Policy", "bindings", 4),
        ("google.longrunning.Operation", "response", 5),
        ("google.cloud.location.Location", "metadata", 3),
        ("google.cloud.resourcemanager.v3.Project", "labels", 10),
        ("google.iam.admin.v1.ServiceAccountKey", "private_key_data", 3),
        ("google.api.serviceusage.v1.Service", "parent", 5),
    ] {
        let message = descriptor_pool().get_message_by_name(message).expect("message");
        assert_eq!(message.get_field_by_name(field).map(|field| field.number()), Some(number), "{field}");
    }
}
