//! Documents: links lead somewhere, ARCHITECTURE.md names every crate and no other, and the requirements name their tests.

mod requirements;

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

/// What one sitting can read.
const LONGEST_ARCHITECTURE: usize = 300;

pub fn check() -> Result<()> {
    let mut problems = architecture()?;
    let mut links = 0;
    for path in process::files()?.iter().filter(|it| it.extension().is_some_and(|it| it == "md")) {
        let text = read(path)?;
        for target in targets(&text) {
            links += 1;
            if let Some(problem) = broken(path, target)? {
                problems.push(format!("{}: {problem}", path.display()));
            }
        }
    }
    if !problems.is_empty() {
        bail!("documents:\n  {}", problems.join("\n  "));
    }
    println!("documents: {links} relative links lead somewhere, every crate is in ARCHITECTURE.md");
    requirements::check()
}

fn architecture() -> Result<Vec<String>> {
    let text = read(Path::new("ARCHITECTURE.md"))?;
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST_ARCHITECTURE {
        problems.push(format!("ARCHITECTURE.md: {lines} lines, at most {LONGEST_ARCHITECTURE}"));
    }
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    for package in workspace::packages()? {
        let dir = package.dir.to_string_lossy();
        if !quoted.contains(&dir.as_ref()) {
            problems.push(format!("ARCHITECTURE.md: `{dir}` is missing"));
        }
    }
    for path in quoted.iter().filter(|it| it.starts_with("crates/") && !it.contains(char::is_whitespace)) {
        if !workspace::root().join(path).exists() {
            problems.push(format!("ARCHITECTURE.md: `{path}` does not exist"));
        }
    }
    Ok(problems)
}

/// Targets of inline links within the checkout, code blocks left out.
fn targets(text: &str) -> Vec<&str> {
    let mut code = false;
    let mut targets = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if !code {
            let links = line.split("](").skip(1).filter_map(|it| it.split([')', ' ']).next());
            targets.extend(links.filter(|it| !it.contains("://") && !it.starts_with("mailto:")));
        }
    }
    targets
}

fn broken(document: &Path, target: &str) -> Result<Option<String>> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = match path {
        "" => document.to_owned(),
        _ => resolve(document, path),
    };
    if !workspace::root().join(&file).exists() {
        return Ok(Some(format!("{target} does not exist")));
    }
    if !anchor.is_empty() && file.extension().is_some_and(|it| it == "md") {
        let text = read(&file)?;
        if !text.lines().filter(|it| it.starts_with('#')).any(|it| slug(it) == anchor) {
            return Ok(Some(format!("{target}: no such heading")));
        }
    }
    Ok(None)
}

/// `path` as seen from `document`, without the file system, so that a link cannot leave the checkout and come back.
fn resolve(document: &Path, path: &str) -> PathBuf {
    let mut resolved = document.parent().map(Path::to_owned).unwrap_or_default();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Normal(part) => resolved.push(part),
            _ => {}
        }
    }
    resolved
}

/// The anchor that a heading gets on GitHub.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|it| it.is_alphanumeric() || " -_".contains(*it))
        .map(|it| if it == ' ' { '-' } else { it })
        .collect()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(workspace::root().join(path))
        .with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code_blocks() {
        let text = "[a](b.md) and [c](../d.md#e), [web](https://example.org)\n```\n[f](g.md)\n```\n[h](#i)\n";
        assert_eq!(targets(text), ["b.md", "../d.md#e", "#i"]);
    }

    #[test]
    fn links_are_seen_from_their_document() {
        assert_eq!(resolve(Path::new("docs/adr/0001-a.md"), "../README.md"), Path::new("docs/README.md"));
        assert_eq!(resolve(Path::new("README.md"), "./docs/README.md"), Path::new("docs/README.md"));
    }

    #[test]
    fn a_link_to_nothing_is_broken() {
        let broken = |target| broken(Path::new("Cargo.toml"), target).expect("readable");
        assert_eq!(broken("xtask/Cargo.toml"), None);
        assert!(broken("xtask/no-such-file.md").is_some());
    }

    #[test]
    fn headings_get_the_anchors_of_github() {
        assert_eq!(slug("## 9. HTTP/2 :authority"), "9-http2-authority");
    }
}
