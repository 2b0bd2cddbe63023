//! Any key file: no panic, and what is accepted prints back identically. Each input is tried as it is and with its own
//! digest behind it, because no fuzzer guesses that. A good input to start from: the example in
//! `docs/formats/key-file.md` without its last line.
#![no_main]

use keystead_crypto::{SystemRandom, sha256};
use keystead_provider_local::KeyFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    let digest: String = sha256(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    check(&[bytes, b"sha256 ", digest.as_bytes(), b"\n"].concat());
});

fn check(text: &[u8]) {
    let Ok(mut file) = KeyFile::parse(text) else { return };
    assert_eq!(file.print().as_bytes(), text);

    let numbers = |file: &KeyFile| -> Vec<u32> {
        file.versions().iter().map(|version| version.version).collect()
    };
    let before = numbers(&file);
    assert!(before.contains(&file.primary()));
    // Refused when the file is full or its counters are at their end.
    if let Ok(number) = file.add("2026-01-31T12:00:00Z", &SystemRandom) {
        assert!(before.iter().all(|earlier| *earlier < number));
        let promoted = file.promote(number).is_ok();
        assert_eq!(file.primary() == number, promoted);
        assert!(KeyFile::parse(file.print().as_bytes()).is_ok());
    }
}
