use std::collections::BTreeSet;

use keystead_keyservice::Location;
use keystead_model::LocationId;
use keystead_runtime::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::wrong;

/// What scripts written for Google's service name; with us a location is a name, not a place.
const DEFAULT: &[(&str, &str)] = &[
    ("global", "Global"),
    ("africa-south1", "Johannesburg"),
    ("asia-east1", "Taiwan"),
    ("asia-east2", "Hong Kong"),
    ("asia-northeast1", "Tokyo"),
    ("asia-northeast2", "Osaka"),
    ("asia-northeast3", "Seoul"),
    ("asia-south1", "Mumbai"),
    ("asia-south2", "Delhi"),
    ("asia-southeast1", "Singapore"),
    ("asia-southeast2", "Jakarta"),
    ("australia-southeast1", "Sydney"),
    ("australia-southeast2", "Melbourne"),
    ("europe-central2", "Warsaw"),
    ("europe-north1", "Finland"),
    ("europe-southwest1", "Madrid"),
    ("europe-west1", "Belgium"),
    ("europe-west2", "London"),
    ("europe-west3", "Frankfurt"),
    ("europe-west4", "Netherlands"),
    ("europe-west6", "Zurich"),
    ("europe-west8", "Milan"),
    ("europe-west9", "Paris"),
    ("europe-west10", "Berlin"),
    ("europe-west12", "Turin"),
    ("me-central1", "Doha"),
    ("me-central2", "Dammam"),
    ("me-west1", "Tel Aviv"),
    ("northamerica-northeast1", "Montreal"),
    ("northamerica-northeast2", "Toronto"),
    ("southamerica-east1", "Sao Paulo"),
    ("southamerica-west1", "Santiago"),
    ("us-central1", "Iowa"),
    ("us-east1", "South Carolina"),
    ("us-east4", "Northern Virginia"),
    ("us-east5", "Columbus"),
    ("us-south1", "Dallas"),
    ("us-west1", "Oregon"),
    ("us-west2", "Los Angeles"),
    ("us-west3", "Salt Lake City"),
    ("us-west4", "Las Vegas"),
    ("asia", "Asia, several regions"),
    ("eur4", "Europe, two regions"),
    ("europe", "European Union, several regions"),
    ("nam4", "United States, two regions"),
    ("us", "United States, several regions"),
];

/// A location that can hold key rings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct LocationEntry {
    /// Such as `us-central1` or `dc1`
    name: String,
    /// For people; the name when it is left out
    display_name: Option<String>,
    /// Names of places in it that clusters may be in. Those that end in a hyphen and a letter, as `us-central1-a`, are known without
    #[serde(default)]
    zones: Vec<String>,
}

/// Checks a list, or takes the default one.
pub(super) fn complete(given: Option<Vec<LocationEntry>>) -> Result<Vec<Location>, Failure> {
    let given = given.unwrap_or_else(|| {
        let of = |(name, display): &(&str, &str)| LocationEntry {
            name: (*name).to_owned(),
            display_name: Some((*display).to_owned()),
            zones: Vec::new(),
        };
        DEFAULT.iter().map(of).collect()
    });
    if given.is_empty() {
        return Err(wrong("the list `locations` is empty", "leave it out for `global` and Google's regions"));
    }
    let mut seen = BTreeSet::new();
    let mut locations = Vec::new();
    for LocationEntry { name, display_name, zones } in given {
        let id = parse(&name, &mut seen)?;
        let zones = zones.iter().map(|zone| parse(zone, &mut seen)).collect::<Result<_, _>>()?;
        locations.push(Location { id, display_name: display_name.unwrap_or(name), zones });
    }
    Ok(locations)
}

/// A name that no other location and no other zone has.
fn parse(name: &str, seen: &mut BTreeSet<String>) -> Result<LocationId, Failure> {
    let id = name.parse::<LocationId>().map_err(|error| {
        wrong(format!("a location has a wrong name: {error}"), "write it like us-central1 or dc1")
    })?;
    if !seen.insert(name.to_owned()) {
        return Err(wrong(format!("the location `{name}` is there twice"), "remove one of them"));
    }
    Ok(id)
}
