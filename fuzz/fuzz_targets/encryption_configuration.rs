//! Any file of a person: no panic, and an edit is there exactly once and goes away again. Good inputs to start from:
//! `crates/cluster/cluster/tests/it/inputs`.
#![no_main]

use keystead_cluster::encryption_configuration::{
    ApiServer, EncryptionConfiguration, GroupResource, KmsVersion, NewKms, Place,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let server = ApiServer::new(37);
    let Ok(old) = EncryptionConfiguration::read(bytes) else { return };
    let secrets = GroupResource::parse("secrets");
    let kms = NewKms {
        api_version: KmsVersion::V2,
        name: "a name that nobody has".to_owned(),
        endpoint: "unix:///run/keystead/kms.sock".to_owned(),
        timeout: None,
    };
    for place in [Place::First, Place::Last] {
        let Ok(new) = old.add_kms(&secrets, &kms, place, &server) else { continue };
        let at = new.effective(&secrets).and_then(|it| it.kms(&kms.name)).expect("it was added");
        let back = new.remove_provider(&secrets, at, &server).expect("it can be removed");
        assert_eq!(back.text(), old.text());
    }
});
