//! The table of counts, with bars on a terminal.

use std::env;
use std::io::IsTerminal;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use keystead_etcd::stored::{PlainFormat, StaticCipher};
use keystead_etcd::{Encryption, Group, StoredCounts};

use crate::output::visible;

/// Whether each row ends with a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bars {
    /// Not into a file or another program.
    None,
    /// Where the terminal may not know more.
    Ascii,
    Blocks,
}

impl Bars {
    pub(super) fn of_standard_output() -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::None;
        }
        // In the order in which a program's locale is chosen.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::Blocks } else { Self::Ascii }
    }

    /// A bar of a share; a share that is not nothing has at least one mark.
    fn of(self, part: u64, whole: u64) -> String {
        let mark = match self {
            Self::None => return String::new(),
            Self::Ascii => "#",
            Self::Blocks => "█",
        };
        let marks = (u128::from(part) * WIDTH).div_ceil(u128::from(whole.max(1)));
        mark.repeat(usize::try_from(marks).unwrap_or_default())
    }
}

/// One row for each way in which a resource is stored. Secrets first, then what is encrypted at least in part, then the rest.
pub(super) fn rows(counts: &StoredCounts, bars: Bars) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut head = vec!["RESOURCE", "STORED AS", "PROVIDER", "KEY", "OBJECTS", "BYTES", "SHARE"];
    head.extend((bars != Bars::None).then_some(""));
    table.set_header(head);
    let totals = super::totals(counts);
    let of = |group: &Group| totals.get(group.resource.as_str()).copied().unwrap_or_default();
    let mut groups: Vec<&Group> = counts.groups.iter().collect();
    groups.sort_by_cached_key(|group| {
        let total = of(group);
        (group.resource != super::SECRETS, total.encrypted + total.malformed == 0)
    });
    for group in groups {
        let all = of(group).all();
        let [kind, provider, key] = words(&group.encryption);
        let tenths = (u128::from(group.objects) * 1000 + u128::from(all / 2)) / u128::from(all.max(1));
        let mut row = vec![
            visible(&group.resource),
            kind,
            visible(&provider),
            visible(&key),
            count(group.objects),
            amount(group.bytes),
            format!("{}.{} %", tenths / 10, tenths % 10),
        ];
        row.extend((bars != Bars::None).then(|| bars.of(group.objects, all)));
        table.add_row(row);
    }
    written(table, &[4, 5, 6])
}

/// A table without lines; these columns are numbers.
pub(in crate::cluster) fn plain_table<const N: usize>(
    head: &[&str; N],
    rows: Vec<[String; N]>,
    numbers: &[usize],
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(head);
    for row in rows {
        table.add_row(row);
    }
    written(table, numbers)
}

fn written(mut table: Table, numbers: &[usize]) -> String {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text = table.to_string();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Kind, provider and key.
fn words(encryption: &Encryption) -> [String; 3] {
    let none = || "-".to_owned();
    match encryption {
        Encryption::Plain { format } => {
            let format = match format {
                PlainFormat::Protobuf => "protobuf",
                PlainFormat::Json => "json",
                PlainFormat::Cbor => "cbor",
                PlainFormat::Other => "other",
            };
            [format!("plain ({format})"), none(), none()]
        }
        Encryption::StaticKey { cipher, key_name } => {
            let cipher = match cipher {
                StaticCipher::AesCbc => "aescbc",
                StaticCipher::AesGcm => "aesgcm",
                StaticCipher::Secretbox => "secretbox",
            };
            [cipher.to_owned(), none(), key_name.clone()]
        }
        Encryption::KmsV1 { provider } => ["kms v1".to_owned(), provider.clone(), none()],
        Encryption::KmsV2 { provider, key_id } => ["kms v2".to_owned(), provider.clone(), key_id.clone()],
        Encryption::Malformed => ["unreadable".to_owned(), none(), none()],
    }
}

/// `1,234,567`.
pub(in crate::cluster) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `512 B`, `1.5 KiB`, `2.0 GiB`: rounded down to tenths.
pub(super) fn amount(bytes: u64) -> String {
    let unit = UNITS.iter().rev().find(|(size, _)| bytes >= *size);
    match unit {
        None => format!("{bytes} B"),
        Some((size, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*size);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

const UNITS: [(u64, &str); 4] = [(1 << 10, "KiB"), (1 << 20, "MiB"), (1 << 30, "GiB"), (1 << 40, "TiB")];

/// Marks of a bar for all of a resource.
const WIDTH: u128 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let amounts = [0, 1023, 1024, 1_580_000, u64::MAX].map(amount);
        assert_eq!(amounts, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "16777215.9 TiB"]);
    }

    #[test]
    fn secrets_come_first_and_bars_show_shares() {
        let group = |resource: &str, encryption, objects| Group {
            resource: resource.to_owned(),
            encryption,
            objects,
            bytes: objects * 100,
        };
        let plain = || Encryption::Plain { format: PlainFormat::Protobuf };
        let v2 = |key_id: &str| Encryption::KmsV2 { provider: "kms".to_owned(), key_id: key_id.to_owned() };
        let counts = StoredCounts {
            first_revision: None,
            last_revision: None,
            objects: 2103,
            groups: vec![
                group("apps", plain(), 100),
                group("configmaps", Encryption::Malformed, 1000),
                group("secrets", plain(), 1),
                group("secrets", v2("k\u{1b}[2J"), 1002),
            ],
            objects_left_out: 0,
            wrapped_seeds: 1,
            wrapped_seeds_are_more: false,
            malformed: Vec::new(),
        };
        let lines = |bars| rows(&counts, bars);
        assert_eq!(
            lines(Bars::Ascii),
            "\
RESOURCE    STORED AS         PROVIDER  KEY         OBJECTS     BYTES    SHARE
secrets     plain (protobuf)  -         -                 1     100 B    0.1 %  #
secrets     kms v2            kms       k\\u{1b}[2J    1,002  97.8 KiB   99.9 %  ########################
configmaps  unreadable        -         -             1,000  97.6 KiB  100.0 %  ########################
apps        plain (protobuf)  -         -               100   9.7 KiB  100.0 %  ########################
"
        );
        assert!(lines(Bars::Blocks).contains("█") && !lines(Bars::None).contains(['#', '█']));
    }
}
