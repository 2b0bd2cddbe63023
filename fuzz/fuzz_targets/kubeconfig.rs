//! Any kubeconfig: no panic, and with one more entry everything else in it is what it was. Done twice it is as if it was done once.
#![no_main]

use keystead::fuzzed::kubeconfig_with;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const ENTRY: &str = "gke_p_l_c";

fuzz_target!(|text: &str| {
    let Some([before, after]) = kubeconfig_with(text, ENTRY) else { return };
    assert_eq!(after["current-context"], ENTRY);
    for list in ["clusters", "users", "contexts"] {
        assert_eq!(others(&after, list), others(&before, list), "{list}");
        let ours = after[list].as_array().expect("a list").iter().filter(|it| it["name"] == ENTRY).count();
        assert_eq!(ours, 1, "{list}");
    }
    let written = ["apiVersion", "kind", "current-context", "clusters", "users", "contexts"];
    let kept = |value: &Value| {
        let mut map = value.as_object().cloned().unwrap_or_default();
        map.retain(|name, _| !written.contains(&name.as_str()));
        map
    };
    assert_eq!(kept(&after), kept(&before));
    let again = serde_json::to_string(&after).expect("JSON");
    assert_eq!(kubeconfig_with(&again, ENTRY).map(|[_, twice]| twice), Some(after));
});

fn others(config: &Value, list: &str) -> Vec<Value> {
    let entries = config[list].as_array().cloned().unwrap_or_default();
    entries.into_iter().filter(|it| it["name"] != ENTRY).collect()
}
