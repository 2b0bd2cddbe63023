//! Any text as a key reference: no panic, and what is accepted prints back identically and is short enough for a key id.
#![no_main]

use keystead_model::KeyReference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<KeyReference>() {
        assert_eq!(reference.to_string(), text);
        assert!(text.len() <= KeyReference::MAX_LEN);
        assert!(reference.is_same_key(&reference));
    }
});
