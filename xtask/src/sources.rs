//! Size and names of source files.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::{process, workspace};

/// Lines of a source file without its tests. A file past this holds more than one idea.
const LONGEST: usize = 800;
/// Everything a binary does is in the library that tests start in-process.
const LONGEST_MAIN: usize = 60;
/// Names that say nothing: a file belongs to an idea, and the idea has a name. The name of a module is that of
/// its file, beside its folder, so there is no `mod.rs`.
const FORBIDDEN: &[&str] = &["util", "utils", "helper", "helpers", "manager", "managers", "common", "mod"];

pub fn check() -> Result<()> {
    let mut problems = Vec::new();
    let mut lengths = Vec::new();
    for path in process::files()? {
        problems.extend(forbidden_name(&path));
        if path.extension().is_none_or(|it| it != "rs") {
            continue;
        }
        let text = fs::read_to_string(workspace::root().join(&path))?;
        if let Some(name) = text.lines().find_map(forbidden_module) {
            problems.push(format!("{}: a module may not be called {name}", path.display()));
        }
        if path.iter().any(|part| part == "tests" || part == "generated" || part == "tests.rs") {
            continue;
        }
        let lines = without_tests(&text);
        let limit = if path.ends_with("main.rs") { LONGEST_MAIN } else { LONGEST };
        if lines > limit {
            problems.push(format!("{}: {lines} lines, at most {limit}", path.display()));
        }
        lengths.push(lines);
    }
    if !problems.is_empty() {
        bail!("source files:\n  {}", problems.join("\n  "));
    }
    lengths.sort_unstable();
    let (median, longest) = (lengths.get(lengths.len() / 2), lengths.last());
    println!(
        "sources: {} files, median {} lines, longest {} (without tests and generated code)",
        lengths.len(),
        median.unwrap_or(&0),
        longest.unwrap_or(&0)
    );
    Ok(())
}

fn forbidden_name(path: &Path) -> Option<String> {
    let part = path.iter().filter_map(|it| it.to_str()).find(|part| {
        let stem = part.split('.').next().unwrap_or(part);
        FORBIDDEN.contains(&stem)
    })?;
    Some(format!("{}: nothing may be called {part}", path.display()))
}

fn forbidden_module(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("pub").map_or(line, |it| it.trim_start_matches("(crate)").trim_start());
    let name = line.strip_prefix("mod ")?.split([' ', ';', '{']).next()?;
    FORBIDDEN.contains(&name).then_some(name)
}

/// Lines before the file's own test module, which stands last in a file.
fn without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|it| it[0] == "#[cfg(test)]" && it[1].starts_with("mod tests {"));
    tests.unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_nothing_are_found() {
        assert!(forbidden_name(Path::new("crates/plugin/src/utils.rs")).is_some());
        assert!(forbidden_name(Path::new("crates/plugin/src/common/mod.rs")).is_some());
        assert!(forbidden_name(Path::new("crates/plugin/src/commons.rs")).is_none());
        assert_eq!(forbidden_module("    pub(crate) mod helpers {"), Some("helpers"));
        assert_eq!(forbidden_module("mod manager;"), Some("manager"));
        assert_eq!(forbidden_module("mod managers_of_sheep;"), None);
    }

    #[test]
    fn only_the_last_test_module_is_left_out() {
        assert_eq!(without_tests("a\n#[cfg(test)]\nfn b() {}\n#[cfg(test)]\nmod tests {\n}\n"), 3);
        assert_eq!(without_tests("a\nb\n"), 2);
    }
}
