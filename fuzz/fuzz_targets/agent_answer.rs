//! Any agent.yaml and any answer of a server: no panic, what is heard is a key that the file allows, and no server keeps an agent silent or
//! has it ask without end.
#![no_main]

use std::time::Duration;

use keystead::fuzzed::heard_by_agent;
use keystead_model::CryptoKeyName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (configuration, answer) = input;
    let Ok(answer) = serde_json::from_slice(answer) else { return };
    for configuration in [configuration, "allowed: []\n", "{}\n"] {
        let Some((key, pause)) = heard_by_agent(configuration, &answer) else { continue };
        assert!((Duration::from_secs(1)..=Duration::from_secs(60)).contains(&pause));
        let Some(key) = key else { continue };
        assert_ne!(configuration, "allowed: []\n", "nothing is allowed");
        assert_eq!(key.parse::<CryptoKeyName>().expect("a key").to_string(), key);
    }
});
