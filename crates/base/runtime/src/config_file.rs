//! Reading a YAML configuration file into a typed value, with errors that name the file, the line and what to write.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_saphyr::Error as YamlError;

/// Longest configuration file that is read, in bytes.
const MAX_LEN: u64 = 1024 * 1024;

/// Reads a file. Unknown fields are refused when `T` says `deny_unknown_fields`.
pub fn read_config<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigFileError> {
    let unreadable = |source| ConfigFileError::Unreadable { path: path.to_owned(), source };
    let len = std::fs::metadata(path).map_err(unreadable)?.len();
    if len > MAX_LEN {
        return Err(ConfigFileError::TooLong { path: path.to_owned(), len });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse_config(path, &text)
}

/// Parses the text of a file; `path` stands in errors only.
pub fn parse_config<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigFileError> {
    serde_saphyr::from_str(text).map_err(|error| explain(path, error.without_snippet()))
}

/// Why a configuration file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// Its text is wrong.
    #[error("{}, line {line}: {problem}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        problem: String,
        /// What to write instead, where that is known.
        hint: Option<String>,
    },
    /// No configuration is that long.
    #[error("{} has {len} bytes; a configuration file has at most {MAX_LEN}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
    /// It is not there, or may not be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl ConfigFileError {
    /// One action that helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Text { hint, .. } => hint.clone(),
            Self::TooLong { .. } => Some("check that the path names the right file".to_owned()),
            Self::Unreadable { .. } => Some("check the path and who may read it".to_owned()),
        }
    }
}

fn explain(path: &Path, error: &YamlError) -> ConfigFileError {
    let line = error.location().map_or(1, |location| location.line());
    let (problem, hint) = match error {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown field `{field}`"), Some(nearest(field, expected)))
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("unknown value `{variant}`"), Some(nearest(variant, expected)))
        }
        YamlError::SerdeMissingField { field, .. } => {
            (format!("the field `{field}` is missing"), Some(format!("add `{field}: ...`")))
        }
        other => (first_line(&other.to_string()), None),
    };
    ConfigFileError::Text { path: path.to_owned(), line, problem, hint }
}

fn nearest(given: &str, known: &[&str]) -> String {
    let close = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&given.to_lowercase(), &name.to_lowercase()), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3);
    match close {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}

/// Without the place, which stands before it already.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.rsplit_once(" at line ")
        .map_or(line, |(problem, _place)| problem)
        .trim_end_matches(|c: char| c == ':' || c.is_whitespace())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "only parsing is looked at")]
    struct Sample {
        socket: String,
        probe_interval: Option<u32>,
    }

    fn error(text: &str) -> (String, Option<String>) {
        let error = parse_config::<Sample>(Path::new("plugin.yaml"), text).expect_err("refused");
        (error.to_string(), error.hint())
    }

    #[test]
    fn unknown_field_is_refused_with_line_and_nearest_name() {
        let (text, hint) = error("socket: /run/a\nprobeIntervall: 3\n");
        assert_eq!(text, "plugin.yaml, line 2: unknown field `probeIntervall`");
        assert_eq!(hint.as_deref(), Some("did you mean `probeInterval`?"));
        let (_, hint) = error("socket: /run/a\nzzz: 3\n");
        assert_eq!(hint.as_deref(), Some("known are socket, probeInterval"));
    }

    #[test]
    fn bad_type_and_missing_field_name_the_line() {
        let (text, _) = error("socket: /run/a\nprobeInterval: soon\n");
        assert!(text.starts_with("plugin.yaml, line 2: "), "{text}");
        assert_eq!(text.matches("line").count(), 1, "the place stands there once: {text}");
        let (text, hint) = error("probeInterval: 3\n");
        assert!(text.contains("the field `socket` is missing"), "{text}");
        assert_eq!(hint.as_deref(), Some("add `socket: ...`"));
    }

    #[test]
    fn broken_yaml_names_the_line() {
        let (text, _) = error("socket: [a\n");
        assert!(text.starts_with("plugin.yaml, line "), "{text}");
        assert!(!text.contains('\n'), "one sentence: {text}");
    }

    #[test]
    fn missing_file_is_named() {
        let error = read_config::<Sample>(Path::new("/nonexistent/plugin.yaml")).expect_err("refused");
        assert!(error.to_string().contains("/nonexistent/plugin.yaml"), "{error}");
    }
}
