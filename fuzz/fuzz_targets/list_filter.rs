//! Any text as the filter of a list: no panic, and what is accepted prints as a filter that is the same.
#![no_main]

use keystead_model::CryptoKeyVersion;
use keystead_model::listing::{Filter, ListedKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(filter) = Filter::<ListedKey>::parse(text) {
        let printed = filter.to_string();
        // Quotation marks and parentheses may make it longer than a filter may be.
        if printed.len() <= keystead_model::listing::MAX_FILTER_LEN {
            assert_eq!(Filter::<ListedKey>::parse(&printed).map(|it| it.to_string()), Ok(printed));
        }
    }
    drop(Filter::<CryptoKeyVersion>::parse(text));
});
