//! Resources in a format, as text.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use keystead_model::is_unseen;
use serde_json::{Map, Value};

use super::Shape;
use super::format::{Format, Kind};
use super::list::compare;
use super::path::{Column, Step, camel_case, plain, sorted};
use super::yaml;

/// Between two columns of a table.
const GAP: u16 = 2;

impl Format {
    /// Whether an empty result should be said, because nothing at all would be printed.
    pub(super) fn is_for_people(&self) -> bool {
        self.kind == Kind::Table
    }
}

/// Everything that is printed, line ends included.
pub(super) fn render(format: &Format, mut resources: Vec<Value>, shape: Shape) -> String {
    sort(&mut resources, &format.columns);
    match format.kind {
        Kind::None => String::new(),
        Kind::Json => json(format, &resources, shape),
        Kind::Yaml => {
            let start = if shape == Shape::Many { "---\n" } else { "" };
            resources
                .iter()
                .map(|it| format!("{start}{}", yaml::document(&projected(it, &format.columns))))
                .collect()
        }
        Kind::Value => lines(format, &resources, "\t", false),
        Kind::Csv => lines(format, &resources, ",", true),
        Kind::Table => table(format, &resources),
        Kind::Text => {
            let texts: Vec<String> =
                resources.iter().map(|it| text(&projected(it, &format.columns))).collect();
            if shape == Shape::Many {
                texts.iter().map(|it| format!("---\n{it}")).collect()
            } else {
                texts.concat()
            }
        }
    }
}

fn sort(resources: &mut [Value], columns: &[Column]) {
    let mut keys: Vec<&Column> = columns.iter().filter(|it| it.sort.is_some()).collect();
    keys.sort_by_key(|it| it.sort);
    // Stable: the last key first.
    for key in keys.into_iter().rev() {
        resources.sort_by(|one, other| {
            let order = compare(&key.value(one), &key.value(other));
            if key.reverse { order.reverse() } else { order }
        });
    }
}

fn json(format: &Format, resources: &[Value], shape: Shape) -> String {
    let mut values = resources.iter().map(|it| in_order(&projected(it, &format.columns)));
    let value = match shape {
        Shape::One => values.next().unwrap_or(Value::Null),
        Shape::Many => Value::Array(values.collect()),
    };
    format!("{value:#}\n")
}

/// Fields by name, however the library keeps them.
fn in_order(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(sorted(map).map(|(key, it)| (key.clone(), in_order(it))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(in_order).collect()),
        _ => value.clone(),
    }
}

/// Only the fields that the columns name, where they were.
fn projected(resource: &Value, columns: &[Column]) -> Value {
    if columns.is_empty() {
        return resource.clone();
    }
    let mut out = Value::Null;
    for column in columns {
        let value = column.value(resource);
        if !value.is_null() {
            insert(&mut out, &column.path, value);
        }
    }
    out
}

fn insert(out: &mut Value, path: &[Step], value: Value) {
    let names: Vec<String> = path
        .iter()
        .filter_map(|step| match step {
            Step::Field(name) => Some(camel_case(name)),
            Step::Index(_) | Step::Each => None,
        })
        .collect();
    let mut place = out;
    for name in names {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry(name).or_insert(Value::Null);
    }
    *place = value;
}

fn lines(format: &Format, resources: &[Value], separator: &str, csv: bool) -> String {
    let separator = format.separator.as_deref().unwrap_or(separator);
    let quoted = |text: String| if csv { quote(text, separator, &format.delimiter) } else { text };
    let cell = |value: Value| match &value {
        Value::Object(map) => {
            let fields = sorted(map).map(|(key, it)| quoted(format!("{key}={}", plain(it))));
            fields.collect::<Vec<_>>().join(&format.delimiter)
        }
        Value::Array(list) => {
            list.iter().map(|it| quoted(plain(it))).collect::<Vec<_>>().join(&format.delimiter)
        }
        _ => quoted(plain(&value)),
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    if csv && format.heading {
        rows.push(labels(&format.columns).into_iter().map(|it| it.to_lowercase()).collect());
    }
    rows.extend(
        resources.iter().map(|it| format.columns.iter().map(|column| cell(column.value(it))).collect()),
    );
    rows.iter().map(|row| format!("{}\n", row.join(separator))).collect()
}

fn quote(text: String, separator: &str, delimiter: &str) -> String {
    let needs = text.contains(separator)
        || text.contains(delimiter)
        || text.contains(['"', '\n'])
        || text.starts_with(char::is_whitespace)
        || text.ends_with(char::is_whitespace);
    if needs { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn table(format: &Format, resources: &[Value]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if format.heading {
        table.set_header(labels(&format.columns));
    }
    for resource in resources {
        table.add_row(format.columns.iter().map(|column| visible(&plain(&column.value(resource)))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    format!("{}\n", table.trim_fmt())
}

/// `PROTECTION_LEVEL` for `versionTemplate.protectionLevel`; with more of the path where that is taken.
fn labels(columns: &[Column]) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for column in columns {
        let mut label = String::new();
        let names = column.path.iter().rev().filter_map(|step| match step {
            Step::Field(name) => Some(snake_case(name)),
            Step::Index(_) | Step::Each => None,
        });
        for name in names {
            label = if label.is_empty() { name } else { format!("{name}_{label}") };
            if !labels.contains(&label) {
                break;
            }
        }
        labels.push(column.label.clone().unwrap_or(label));
    }
    labels
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    let mut lower = false;
    for letter in name.chars() {
        if letter.is_uppercase() && lower {
            out.push('_');
        }
        lower = letter.is_lowercase() || letter.is_ascii_digit();
        out.extend(letter.to_uppercase());
    }
    out
}

/// What people chose must not move the cursor of whoever reads it, and not turn his line around or hide in it.
pub(crate) fn visible(text: &str) -> String {
    if !text.contains(is_unseen) {
        return text.to_owned();
    }
    text.chars()
        .map(|it| if is_unseen(it) { it.escape_default().to_string() } else { it.to_string() })
        .collect()
}

fn text(resource: &Value) -> String {
    let mut leaves = Vec::new();
    walk(resource, String::new(), &mut leaves);
    let width = leaves.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0) + 1;
    let lines =
        leaves.iter().map(|(path, value)| format!("{:width$} {}\n", format!("{path}:"), visible(value)));
    lines.collect()
}

fn walk(value: &Value, path: String, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in sorted(map) {
                let dot = if path.is_empty() { "" } else { "." };
                walk(inner, format!("{path}{dot}{key}"), leaves);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, inner) in list.iter().enumerate() {
                walk(inner, format!("{path}[{index}]"), leaves);
            }
        }
        _ => leaves.push((path, plain(value))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Shape, render};
    use crate::output::format::Format;

    fn key() -> Value {
        json!({"name": "projects/p/locations/l1/keyRings/r1/cryptoKeys/k1", "purpose": "ENCRYPT_DECRYPT",
            "labels": {"team": "infra", "env": "prod"}, "nextRotationTime": "2027-01-01T00:00:00Z",
            "primary": {"state": "ENABLED", "name": "projects/p/locations/l1/keyRings/r1/cryptoKeys/k1/cryptoKeyVersions/2"},
            "versionTemplate": {"protectionLevel": "SOFTWARE", "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION"}})
    }

    fn shown(format: &str, resources: &[Value], shape: Shape) -> String {
        render(&format.parse::<Format>().expect(format), resources.to_vec(), shape)
    }

    /// What the real gcloud printed for the same resource.
    #[test]
    fn projections_of_one_resource_are_those_of_gcloud() {
        for (format, expected) in [
            ("value(nothing,purpose)", "\tENCRYPT_DECRYPT\n"),
            ("value(labels)", "env=prod;team=infra\n"),
            ("value(versionTemplate)", "algorithm=GOOGLE_SYMMETRIC_ENCRYPTION;protectionLevel=SOFTWARE\n"),
            (
                "value(primary.state.yesno(yes,no),labels.list(),versionTemplate.protection_level,name.scope(keyRings),labels.len())",
                "yes\tenv=prod,team=infra\tSOFTWARE\tr1/cryptoKeys/k1\t2\n",
            ),
            ("value[separator=\",\"](purpose,primary.state)", "ENCRYPT_DECRYPT,ENABLED\n"),
            ("get(primary.name.segment(9))", "2\n"),
            (
                "csv(name,purpose)",
                "name,purpose\nprojects/p/locations/l1/keyRings/r1/cryptoKeys/k1,ENCRYPT_DECRYPT\n",
            ),
            ("csv[no-heading](labels,name.segment(-1))", "env=prod;team=infra,k1\n"),
            (
                "table[no-heading](name.basename(),purpose:label=WHAT,nextRotationTime)",
                "k1  ENCRYPT_DECRYPT  2027-01-01T00:00:00Z\n",
            ),
            ("table(name.basename():label=K,primary.state)", "K   STATE\nk1  ENABLED\n"),
            ("yaml(primary.state,purpose)", "primary:\n  state: ENABLED\npurpose: ENCRYPT_DECRYPT\n"),
            (
                "json(purpose,primary.state)",
                "{\n  \"primary\": {\n    \"state\": \"ENABLED\"\n  },\n  \"purpose\": \"ENCRYPT_DECRYPT\"\n}\n",
            ),
            ("json(nothing)", "null\n"),
            ("none", ""),
        ] {
            assert_eq!(shown(format, &[key()], Shape::One), expected, "{format}");
        }
    }

    #[test]
    fn policies_project_as_in_gcloud() {
        let policy = json!({"etag": "BwX-Dro_ei4=", "version": 1, "bindings": [
            {"role": "roles/cloudkms.admin", "members": ["user:a@example.com", "user:b@example.com"]}]});
        for (format, expected) in [
            (
                "value(bindings)",
                "{'members': ['user:a@example.com', 'user:b@example.com'], 'role': 'roles/cloudkms.admin'}\n",
            ),
            ("value(bindings[0].members)", "user:a@example.com;user:b@example.com\n"),
            ("value(bindings.members)", "['user:a@example.com', 'user:b@example.com']\n"),
            (
                "table(bindings.members,bindings.role)",
                "MEMBERS                                         ROLE\n\
              [['user:a@example.com', 'user:b@example.com']]  ['roles/cloudkms.admin']\n",
            ),
        ] {
            assert_eq!(shown(format, std::slice::from_ref(&policy), Shape::One), expected, "{format}");
        }
        let flat = crate::output::list::flatten(vec![policy], "bindings[].members").expect("path");
        assert_eq!(
            shown("table(bindings.role,bindings.members)", &flat, Shape::Many),
            "ROLE                  MEMBERS\nroles/cloudkms.admin  user:a@example.com\nroles/cloudkms.admin  user:b@example.com\n"
        );
    }

    #[test]
    fn lists_are_json_arrays_yaml_documents_and_sorted_tables() {
        let rings = [json!({"name": "r2", "hsm": true}), json!({"name": "r1"})];
        assert_eq!(shown("json", &[], Shape::Many), "[]\n");
        assert_eq!(shown("yaml(name)", &rings, Shape::Many), "---\nname: r2\n---\nname: r1\n");
        assert_eq!(shown("table(name:sort=1,hsm)", &rings, Shape::Many), "NAME  HSM\nr1\nr2    True\n");
        assert_eq!(shown("table(name:sort=1:reverse)", &rings, Shape::Many), "NAME\nr2\nr1\n");
        assert_eq!(shown("text", &rings[..1], Shape::One), "hsm:  True\nname: r2\n");
    }

    #[test]
    fn headings_say_as_much_of_the_path_as_they_must() {
        let both =
            shown("table(primary.state,state,versionTemplate.protection_level)", &[json!({})], Shape::One);
        assert_eq!(both.lines().next(), Some("STATE  STATE  PROTECTION_LEVEL"));
        let both = shown("table(state,primary.state)", &[json!({})], Shape::One);
        assert_eq!(both.lines().next(), Some("STATE  PRIMARY_STATE"));
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        let hostile = json!({"name": "a\u{1b}[2Jb"});
        assert_eq!(shown("table[no-heading](name)", &[hostile], Shape::One), "a\\u{1b}[2Jb\n");
    }
}
