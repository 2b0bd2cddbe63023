//! Paths that begin with `crate`, `super` or `self`, as they stand in a source file; not in its comments, texts and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A source file of a crate.
pub(super) struct Source {
    /// Relative to the folder `src` of the crate.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// What a source file says of modules.
#[derive(Default)]
pub(super) struct Content {
    /// Every path, with its line.
    pub(super) paths: Vec<(Vec<String>, usize)>,
    /// What it exports of others: the name here, and the path from here.
    pub(super) exports: BTreeMap<String, Vec<String>>,
    /// Modules that are only there in tests.
    pub(super) tests: BTreeSet<String>,
}

impl Source {
    /// `a/b.rs` and `a/b/mod.rs` are `a::b`; `lib.rs` is the crate.
    pub(super) fn module(&self) -> Vec<String> {
        let path = self.path.with_extension("");
        let mut module: Vec<String> = path.iter().map(|it| it.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|it| it == "mod" || it == "lib") {
            module.pop();
        }
        module
    }
}

/// Reads a file.
pub(super) fn read(text: &str) -> Content {
    let tokens = without_tests(tokens(text));
    let mut content = Content { tests: tokens.1, ..Content::default() };
    let tokens = tokens.0;
    let mut at = 0;
    while at < tokens.len() {
        let line = tokens[at].line;
        match tokens[at].text.as_str() {
            "use" => {
                let is_export = at > 0 && ["pub", ")"].contains(&tokens[at - 1].text.as_str());
                at += 1;
                let mut leaves = Vec::new();
                tree(&tokens, &mut at, &mut Vec::new(), &mut leaves);
                for (path, name) in leaves {
                    if path.first().is_some_and(|it| is_root(it)) {
                        content.paths.push((path.clone(), line));
                    }
                    if is_export {
                        // `pub use part::Thing` is `self::part::Thing`.
                        let own = if path.first().is_some_and(|it| is_root(it)) {
                            None
                        } else {
                            Some("self".to_owned())
                        };
                        content.exports.insert(name, own.into_iter().chain(path).collect());
                    }
                }
            }
            word if is_root(word) && tokens.get(at + 1).is_some_and(|it| it.text == "::") => {
                let mut leaves = Vec::new();
                tree(&tokens, &mut at, &mut Vec::new(), &mut leaves);
                content.paths.extend(leaves.into_iter().map(|(path, _)| (path, line)));
            }
            _ => at += 1,
        }
    }
    content
}

fn is_root(word: &str) -> bool {
    ["crate", "super", "self"].contains(&word)
}

/// The paths of a tree such as `a::{b, c::d as e}`, each with the name that it gets. Ends behind the tree.
fn tree(tokens: &[Token], at: &mut usize, above: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, String)>) {
    let depth = above.len();
    let word = |at: usize| tokens.get(at).map(|it| it.text.as_str());
    loop {
        match word(*at) {
            Some("{") => {
                *at += 1;
                while let Some(next) = word(*at) {
                    match next {
                        "}" => break,
                        "," => *at += 1,
                        _ => tree(tokens, at, above, leaves),
                    }
                }
                *at += 1;
                break;
            }
            Some(part) if is_word(part) || part == "*" => {
                // In a group `self` is the module of the group.
                if part != "self" || above.is_empty() {
                    above.push(part.to_owned());
                }
                *at += 1;
                if word(*at) == Some("::") {
                    *at += 1;
                    continue;
                }
                let mut name = above.last().cloned().unwrap_or_default();
                if word(*at) == Some("as") {
                    name = word(*at + 1).unwrap_or_default().to_owned();
                    *at += 2;
                }
                leaves.push((above.clone(), name));
                break;
            }
            // The end of `crate::f::<T>`.
            _ => {
                leaves.push((above.clone(), String::new()));
                *at += 1;
                break;
            }
        }
    }
    above.truncate(depth);
}

/// A word, `::`, or one other character.
struct Token {
    text: String,
    line: usize,
}

fn is_word(text: &str) -> bool {
    text.starts_with(|it: char| it.is_alphanumeric() || it == '_')
}

/// A source file without its comments and texts.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(len) = raw_text(rest) {
            len
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && (rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'')) {
            quoted(rest, '\'')
        } else {
            let len = match first {
                it if it.is_alphanumeric() || it == '_' => {
                    rest.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(rest.len())
                }
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            if !first.is_whitespace() {
                tokens.push(Token { text: rest[..len].to_owned(), line });
            }
            len
        };
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    tokens
}

/// The length of a text such as `r#"..."#`, if there is one here.
fn raw_text(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let len = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(rest.len() - body.len() + len)
}

/// The length of a text or character that begins here.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = true;
    for (at, it) in rest.char_indices() {
        if it == quote && !escaped {
            return at + 1;
        }
        escaped = at > 0 && it == '\\' && !escaped;
    }
    rest.len()
}

/// Leaves out what stands behind `#[cfg(test)]`, and names the modules among it.
fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, BTreeSet<String>) {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut modules) = (Vec::new(), BTreeSet::new());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        kept.push(token);
        let is_cfg = kept.len() >= CFG_TEST.len()
            && kept[kept.len() - CFG_TEST.len()..].iter().map(|it| it.text.as_str()).eq(CFG_TEST);
        if !is_cfg {
            continue;
        }
        let (mut depth, mut before) = (0_i32, String::new());
        for token in tokens.by_ref() {
            match token.text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                name if before == "mod" => drop(modules.insert(name.to_owned())),
                _ => {}
            }
            let is_end = depth == 0 && ["}", ";", ","].contains(&token.text.as_str());
            before = token.text;
            if is_end {
                break;
            }
        }
    }
    (kept, modules)
}
