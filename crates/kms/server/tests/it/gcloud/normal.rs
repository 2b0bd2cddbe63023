//! What differs each time, by its place-holder.

/// Replaces times, etags, project numbers, key ids, operations, the server's address and its directory.
pub(super) fn without_what_differs(text: &str, endpoint: &str, directory: &str) -> String {
    text.replace(endpoint, "ENDPOINT")
        .replace(directory, "DIRECTORY")
        .lines()
        // Python warns of its own libraries; gcloud of its version.
        .filter(|line| !line.contains("Warning:") && !line.contains("gcloud components update"))
        .map(|line| match line.split_once("etag: ") {
            Some((before, _)) => format!("{before}etag: ETAG"),
            None => line.split_inclusive(is_separator).map(word).collect::<String>(),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_separator(it: char) -> bool {
    " '\"=;,/[]`".contains(it)
}

/// One word and the separator behind it.
fn word(word: &str) -> String {
    let end = word.find(is_separator).unwrap_or(word.len());
    let (text, separator) = word.split_at(end);
    if let Some((before, after)) = text.split_once("service-")
        && let Some((number, domain)) = after.split_once('@')
        && placeholder(number).is_some()
    {
        return format!("{before}service-NUMBER@{domain}{separator}");
    }
    format!("{}{separator}", placeholder(text).unwrap_or(text))
}

fn placeholder(text: &str) -> Option<&'static str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    if text.len() >= 19 && text.get(..2) == Some("20") && text.get(10..11) == Some("T") {
        return Some("TIME");
    }
    if text.len() >= 12 && digits(text) {
        return Some("NUMBER");
    }
    // Of an HTTP answer that gcloud prints raw.
    if text.len() == 8 && text.bytes().filter(|it| *it == b':').count() == 2 {
        return Some("TIME");
    }
    if text.starts_with("operation-") {
        return Some("OPERATION");
    }
    (text.len() == 40 && text.bytes().all(|it| it.is_ascii_hexdigit())).then_some("KEY_ID")
}

#[test]
fn only_what_differs_is_replaced() {
    let text = "createTime: '2026-11-25T18:00:00.123456Z'\netag: abcdEF12345=\nprojectNumber: '123456789012'\nname: k/1";
    let wanted = "createTime: 'TIME'\netag: ETAG\nprojectNumber: 'NUMBER'\nname: k/1";
    assert_eq!(without_what_differs(text, "https://localhost:1", "/tmp/x"), wanted);
}
