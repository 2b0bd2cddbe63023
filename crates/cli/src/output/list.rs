//! What of a list is shown, and in which order.

use std::cmp::Ordering;

use keystead_runtime::Failure;
use serde_json::{Map, Value};

use super::Filter;
use super::format::path;
use super::path::{Step, at, camel_case};

/// As gcloud asks: the most that one page of the API holds, unless someone wants fewer.
const PAGE: u32 = 100;

/// Options of every list.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ListArgs {
    /// Show only what matches, such as 'state=ENABLED AND labels.team:infra'
    #[arg(long, value_name = "EXPRESSION", allow_hyphen_values = true)]
    filter: Option<Filter>,
    /// Show at most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Ask the server for so many at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    page_size: Option<u32>,
    /// Order by these fields; ~ before one turns its order around
    #[arg(long, value_name = "PATH,...", value_delimiter = ',')]
    sort_by: Vec<String>,
}

impl ListArgs {
    /// How many to ask for at once, where a page holds `most`.
    pub(crate) fn page_size(&self, most: Option<u32>) -> u32 {
        let page = self.page_size.or(most).unwrap_or(PAGE);
        self.enough().map_or(page, |enough| page.min(enough))
    }

    /// How many resources are enough, if the first ones of the server's order will do.
    pub(crate) fn enough(&self) -> Option<u32> {
        self.limit.filter(|_| self.filter.is_none() && self.sort_by.is_empty())
    }

    /// Filters, sorts and cuts.
    pub(super) fn choose(&self, mut resources: Vec<Value>) -> Result<Vec<Value>, Failure> {
        if let Some(filter) = &self.filter {
            resources.retain(|resource| filter.matches(resource));
        }
        let mut keys = Vec::new();
        for text in &self.sort_by {
            let field = text.trim_start_matches('~');
            let path = path(field).map_err(|error| Failure::new(format!("--sort-by: {error}")).usage())?;
            keys.push((path, text.starts_with('~')));
        }
        if !keys.is_empty() {
            resources.sort_by(|one, other| by_keys(one, other, &keys));
        }
        if let Some(limit) = self.limit {
            resources.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        Ok(resources)
    }
}

fn by_keys(one: &Value, other: &Value, keys: &[(Vec<Step>, bool)]) -> Ordering {
    let mut orders = keys.iter().map(|(path, reverse)| {
        let order = compare(&at(one, path), &at(other, path));
        if *reverse { order.reverse() } else { order }
    });
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// What is not there comes first; numbers by size, everything else as text.
pub(super) fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one.as_f64().unwrap_or(0.0).total_cmp(&other.as_f64().unwrap_or(0.0))
        }
        _ => super::path::plain(one).cmp(&super::path::plain(other)),
    }
}

/// One resource for each element of the list at the path; an element takes the place of its list.
pub(super) fn flatten(resources: Vec<Value>, text: &str) -> Result<Vec<Value>, String> {
    let path: Vec<Step> = path(text)?;
    let mut names = Vec::new();
    for step in path {
        match step {
            Step::Field(name) => names.push(camel_case(&name)),
            Step::Each => {}
            Step::Index(_) => return Err(format!("{text:?} names one element; write [] for each")),
        }
    }
    Ok((0..names.len()).fold(resources, |resources, depth| {
        let Some(names) = names.get(..=depth) else { return resources };
        resources.into_iter().flat_map(|resource| spread(resource, names)).collect()
    }))
}

fn spread(resource: Value, names: &[String]) -> Vec<Value> {
    let Some(list) = names.iter().try_fold(&resource, |value, name| value.get(name)) else {
        return vec![resource];
    };
    let Value::Array(list) = list else { return vec![resource] };
    list.iter().map(|element| put(&resource, names, element)).collect()
}

fn put(resource: &Value, names: &[String], element: &Value) -> Value {
    let Some((name, rest)) = names.split_first() else { return element.clone() };
    let mut map: Map<String, Value> = resource.as_object().cloned().unwrap_or_default();
    let inner = put(map.get(name).unwrap_or(&Value::Null), rest, element);
    map.insert(name.clone(), inner);
    Value::Object(map)
}
