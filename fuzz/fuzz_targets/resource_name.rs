//! Any text as a resource name: no panic, and what is accepted prints back identically.
#![no_main]

use keystead_model::{CryptoKeyName, CryptoKeyVersionName, KeyRingName, LocationName, ProjectName};
use libfuzzer_sys::fuzz_target;

fn round_trip<T: std::str::FromStr + std::fmt::Display>(text: &str) {
    if let Ok(name) = text.parse::<T>() {
        assert_eq!(name.to_string(), text);
    }
}

fuzz_target!(|text: &str| {
    round_trip::<ProjectName>(text);
    round_trip::<LocationName>(text);
    round_trip::<KeyRingName>(text);
    round_trip::<CryptoKeyName>(text);
    round_trip::<CryptoKeyVersionName>(text);
});
