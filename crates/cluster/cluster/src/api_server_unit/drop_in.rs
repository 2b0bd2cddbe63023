//! The drop-in that changes a unit's command.

use keystead_crypto::sha256;

/// The file in `UNIT.d`.
pub const NAME: &str = "50-keystead.conf";

/// A drop-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIn {
    /// The command: kube-apiserver's path and its words, with variables as they stand in a unit.
    pub words: Vec<String>,
    /// What else is written there.
    pub marks: Marks,
}

/// What is remembered in a section that systemd passes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// [`commands_digest`] of the other files of the unit: what the drop-in replaces. None: a person does not want to be told.
    pub replaces: Option<String>,
    /// Whether the unit itself names an EncryptionConfiguration, so that it does so again when the drop-in is gone.
    pub flag_is_below: bool,
}

const HEAD: &str = "# Of keystead: kube-apiserver's command with its flags about encryption. As long as it is here, ExecStart= of the unit's other files
# is not in force; `keystead cluster disable` and `undo` take it away, or say why they cannot.
";
const REPLACES: &str = "Replaces=";
const FLAG_IS_BELOW: &str = "FlagIsBelow=yes";

impl DropIn {
    /// Its text.
    pub fn text(&self) -> String {
        let words: Vec<String> = self.words.iter().map(|it| quoted(it)).collect();
        let mut text =
            format!("{HEAD}[Service]\nExecStart=\nExecStart={}\n\n[X-Keystead]\n", words.join(" \\\n  "));
        if let Some(digest) = &self.marks.replaces {
            text.push_str(&format!("{REPLACES}{digest}\n"));
        }
        if self.marks.flag_is_below {
            text.push_str(&format!("{FLAG_IS_BELOW}\n"));
        }
        text
    }
}

/// The command of a drop-in's text, if every word of it stands in quotes as [`DropIn::text`] writes them. None: a person wrote it in another
/// way, and only systemd says what it is.
pub fn words(text: &str) -> Option<Vec<String>> {
    let (_, rest) = text.split_once("\nExecStart=\nExecStart=")?;
    let mut letters = rest.chars().peekable();
    let mut words = Vec::new();
    loop {
        match letters.next()? {
            '\n' => break,
            ' ' => {}
            '\\' if letters.next()? == '\n' => {}
            '"' => words.push(unquoted(&mut letters)?),
            _ => return None,
        }
    }
    let more = letters.collect::<String>();
    // Another command behind it would count too.
    (!words.is_empty() && !more.contains("ExecStart")).then_some(words)
}

/// Up to the quote at its end, as [`quoted`] writes it.
fn unquoted(letters: &mut impl Iterator<Item = char>) -> Option<String> {
    let mut word = String::new();
    loop {
        word.push(match letters.next()? {
            '"' => return Some(word),
            '%' => letters.next().filter(|it| *it == '%')?,
            '\\' => match letters.next()? {
                letter @ ('"' | '\\') => letter,
                'x' => {
                    let digits = [letters.next()?, letters.next()?].iter().collect::<String>();
                    u8::from_str_radix(&digits, 16).ok().filter(u8::is_ascii).map(char::from)?
                }
                _ => return None,
            },
            '\n' => return None,
            letter => letter,
        });
    }
}

impl Marks {
    /// Of the text of a drop-in.
    pub fn read(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim);
        let replaces = lines.clone().find_map(|it| it.strip_prefix(REPLACES)).map(str::to_owned);
        Self { replaces, flag_is_below: lines.any(|it| it == FLAG_IS_BELOW) }
    }
}

/// A word as `systemd.syntax`(7) reads it: in quotes, with C's escapes, and each `%` twice. A `$` stays: it begins a variable.
fn quoted(word: &str) -> String {
    let mut text = String::from('"');
    for letter in word.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            '%' => text.push_str("%%"),
            _ if letter.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(letter))),
            _ => text.push(letter),
        }
    }
    text + "\""
}

/// SHA-256 of all `ExecStart=` lines of these texts, the first 16 digits of it. It is only compared with itself.
pub fn commands_digest<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let mut all = String::new();
    for line in texts.flat_map(logical_lines) {
        if line.split_once('=').is_some_and(|(name, _)| name.trim() == "ExecStart") {
            all.push_str(&line);
            all.push('\n');
        }
    }
    hex::encode(sha256(all.as_bytes())).get(..16).unwrap_or_default().to_owned()
}

/// Lines, with those that a backslash continues as one, and without comments, which may stand between.
fn logical_lines(text: &str) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for part in text.lines().map(str::trim).filter(|it| !it.starts_with(['#', ';'])) {
        match part.strip_suffix('\\') {
            Some(part) => line.extend([part.trim_end(), " "]),
            None => lines.push(std::mem::take(&mut line) + part),
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_again() {
        let words = vec!["/k".to_owned(), "--a=\"1\\2\" %h $X\t\u{e9}".to_owned()];
        for marks in [Marks { replaces: Some("0123".to_owned()), flag_is_below: true }, Marks::default()] {
            let text = DropIn { words: words.clone(), marks: marks.clone() }.text();
            assert_eq!(Marks::read(&text), marks);
            assert_eq!(super::words(&text).as_ref(), Some(&words));
            assert!(
                text.contains(
                    "ExecStart=\nExecStart=\"/k\" \\\n  \"--a=\\\"1\\\\2\\\" %%h $X\\x09\u{e9}\"\n"
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn a_command_that_is_written_in_another_way_is_nobodys_guess() {
        let text = DropIn { words: vec!["/k".to_owned()], marks: Marks::default() }.text();
        for (from, to) in [
            ("\"/k\"", "/k"),
            ("\"/k\"", "\"/k %h\""),
            ("\"/k\"", "\"/k\\n\""),
            ("\"/k\"", "\"/k"),
            ("\"/k\"", ""),
            ("[X-Keystead]", "ExecStart=/other\n"),
            ("ExecStart=\n", ""),
        ] {
            assert_eq!(words(&text.replacen(from, to, 1)), None, "{to}");
        }
        assert_eq!(words(&text.replace("\"/k\"", "\"/k\" \"\"")), Some(vec!["/k".to_owned(), String::new()]));
    }

    #[test]
    fn only_commands_count() {
        let digest = |text: &str| commands_digest([text].into_iter());
        let one =
            "[Unit]\nDescription=a\n[Service]\nExecStart=/k \\\n  # a comment\n  --a=1\nLimitNOFILE=1\n";
        assert_eq!(digest(one), digest("[Service]\nExecStart=/k --a=1\n"));
        assert_ne!(digest(one), digest("[Service]\nExecStart=/k --a=2\n"));
        assert_ne!(digest(one), digest("[Service]\nExecStart=\nExecStart=/k --a=1\n"));
        assert_ne!(digest(one), commands_digest(["ExecStart=/k --a=1", "ExecStart=/b"].into_iter()));
    }
}
