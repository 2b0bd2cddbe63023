//! The page that says how to do it by hand: its steps, with commands and texts of files as they stand there.

use std::path::{Path, PathBuf};

/// One step, `### N. TITLE`.
pub(super) struct Step {
    text: String,
    blocks: Vec<(String, String)>,
}

/// The steps of a page, from number 1.
pub(super) fn steps(page: &str) -> [Step; 8] {
    let page = std::fs::read_to_string(Path::new("../../docs").join(page)).expect("a page");
    let page = page.replace("VERSION", env!("CARGO_PKG_VERSION")).replace(
        "ARCH",
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        },
    );
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("### ") {
            let numbered = format!("### {}. ", steps.len() + 1);
            assert!(line.starts_with(&numbered), "{line}, and not {numbered}");
            steps.push(Step { text: String::new(), blocks: Vec::new() });
        } else if line.starts_with("## ") && !steps.is_empty() {
            break;
        }
        let Some(step) = steps.last_mut() else { continue };
        match line.strip_prefix("```") {
            Some(language) => {
                let block: Vec<&str> = lines.by_ref().take_while(|it| *it != "```").collect();
                step.blocks.push((language.to_owned(), block.join("\n") + "\n"));
            }
            None => step.text.extend([line, "\n"]),
        }
    }
    steps
        .try_into()
        .unwrap_or_else(|steps: Vec<_>| unreachable!("the page has eight steps, and not {}", steps.len()))
}

impl Step {
    /// All commands, in their order.
    pub(super) fn commands(&self) -> String {
        self.blocks("").collect()
    }

    /// The texts for the file that the step names.
    pub(super) fn files(&self) -> Vec<&str> {
        self.blocks("yaml").collect()
    }

    /// The first file that the text names.
    pub(super) fn file(&self) -> PathBuf {
        let named =
            self.text.split('`').skip(1).step_by(2).find(|it| it.starts_with('/') && it.ends_with(".yaml"));
        named.expect("the step names a file").into()
    }

    /// A flag that the text names beside the commands.
    pub(super) fn flag(&self) -> &str {
        self.text.split('`').find(|it| it.starts_with("--")).expect("the step names a flag")
    }

    /// Whether the text tells the reader about it.
    pub(super) fn says(&self, words: &str) -> bool {
        self.text.contains(words)
    }

    /// Adds to `manifest` what the step's difference adds, each part behind the line that stands before it.
    pub(super) fn edit(&self, manifest: &str) -> String {
        let difference = self.blocks("diff").next().expect("a difference");
        let mut lines: Vec<&str> = manifest.lines().collect();
        let mut at = 0;
        for line in difference.lines() {
            let (mark, text) = line.split_at(1);
            if mark == "+" {
                lines.insert(at, text);
            } else {
                let behind = lines.iter().skip(at).position(|it| *it == text);
                at += behind.expect("the manifest has the line");
            }
            at += 1;
        }
        lines.join("\n") + "\n"
    }

    fn blocks<'s>(&'s self, language: &'s str) -> impl Iterator<Item = &'s str> {
        self.blocks.iter().filter(move |(it, _)| it == language).map(|(_, text)| text.as_str())
    }
}
