//! Finds bytes in whatever form somebody may have written them.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// What is looked for in the table; every form is longer.
const KEY_LEN: usize = 8;

/// All forms of many secrets.
pub(super) struct Search {
    /// What is hidden, by number.
    labels: Vec<String>,
    /// The first bytes of each form, the whole form, and whose it is.
    forms: HashMap<[u8; KEY_LEN], Vec<(Vec<u8>, usize)>>,
    /// Whether a form begins with these two bytes: most places are passed over by this alone.
    begins: Vec<bool>,
}

impl Search {
    pub(super) fn new() -> Self {
        Self { labels: Vec::new(), forms: HashMap::new(), begins: vec![false; 1 << 16] }
    }

    /// Adds a secret of at least 16 bytes.
    pub(super) fn add(&mut self, label: &str, secret: &[u8]) {
        assert!(secret.len() >= 16, "{label} is too short to be told from chance");
        let number = self.labels.len();
        self.labels.push(label.to_owned());
        for form in forms(secret) {
            let key: [u8; KEY_LEN] = form[..KEY_LEN].try_into().expect("eight bytes");
            self.begins[usize::from(u16::from_be_bytes([key[0], key[1]]))] = true;
            self.forms.entry(key).or_default().push((form, number));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// What is in there.
    pub(super) fn find(&self, bytes: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        for (at, window) in bytes.windows(KEY_LEN).enumerate() {
            if !self.begins[usize::from(u16::from_be_bytes([window[0], window[1]]))] {
                continue;
            }
            for (form, number) in self.forms.get(window).into_iter().flatten() {
                if bytes[at..].starts_with(form) {
                    found.push(self.labels[*number].as_str());
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What is in the files below a directory, with their paths; `but` are paths in it that are passed over.
    pub(super) fn find_below(&self, directory: &Path, but: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        let mut directories = vec![directory.to_owned()];
        while let Some(next) = directories.pop() {
            for entry in std::fs::read_dir(&next).expect("a directory") {
                let path = entry.expect("an entry").path();
                let name = path.strip_prefix(directory).expect("below");
                if path.is_dir() {
                    directories.push(path);
                } else if !but.iter().any(|but| name == Path::new(but)) {
                    let hits = self.find(&std::fs::read(&path).expect("a file"));
                    found.extend(hits.iter().map(|label| format!("{label} in {}", name.display())));
                }
            }
        }
        found
    }
}

fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex = hex::encode(secret);
    let percent = |upper: bool| {
        let each = secret.iter().map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) => char::from(*byte).to_string(),
            byte if upper => format!("%{byte:02X}"),
            byte => format!("%{byte:02x}"),
        });
        each.collect::<String>()
    };
    let decimal: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut forms = vec![
        secret.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        percent(true).into_bytes(),
        percent(false).into_bytes(),
        // As Rust prints bytes.
        decimal.join(", ").into_bytes(),
        decimal.join(",").into_bytes(),
        secret.escape_ascii().to_string().into_bytes(),
    ];
    for before in 0..3 {
        let text = STANDARD_NO_PAD.encode([&vec![0; before], secret].concat());
        // Characters that hold bits of what stands before or behind.
        let start = [0, 2, 3][before];
        let end = text.len() - usize::from(!(before + secret.len()).is_multiple_of(3));
        let text = &text[start..end];
        forms.push(text.replace('+', "-").replace('/', "_").into_bytes());
        forms.push(text.as_bytes().to_vec());
    }
    forms.sort();
    forms.dedup();
    forms
}

#[test]
fn every_form_is_found_wherever_it_stands() {
    let secret: Vec<u8> = (0..24_u8).map(|byte| byte.wrapping_mul(37) ^ 0xa5).collect();
    let mut search = Search::new();
    search.add("it", &secret);
    for form in forms(&secret) {
        let hidden = [b"some text ", &form[..], b" more"].concat();
        assert_eq!(search.find(&hidden), ["it"]);
        assert!(search.find(&hidden[11..]).is_empty(), "a form without its beginning");
    }
    for before in 0..7 {
        let stream = [vec![b'x'; before], secret.clone(), vec![b'y'; 5]].concat();
        assert_eq!(search.find(STANDARD_NO_PAD.encode(&stream).as_bytes()), ["it"], "after {before} bytes");
    }
}
