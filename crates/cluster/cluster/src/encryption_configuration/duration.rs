//! Go's `time.ParseDuration`.

/// Nanoseconds; none if Go refuses the text.
pub(super) fn parse(text: &str) -> Option<i128> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let (mut total, mut rest) = (0i128, rest);
    loop {
        let number_end = rest.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(number_end)?;
        let unit_end = after.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end)?;
        total = total.checked_add(nanoseconds(number, unit)?)?;
        if total > 1 << 63 {
            return None;
        }
        if after.is_empty() {
            let total = if negative { -total } else { total };
            return (total <= i128::from(i64::MAX)).then_some(total);
        }
        rest = after;
    }
}

fn nanoseconds(number: &str, unit: &str) -> Option<i128> {
    let unit: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { i128::from(whole.parse::<u64>().ok()?) };
    // 18 digits are more than the largest unit has.
    let digits = fraction.get(..fraction.len().min(18))?;
    let scale = 10i128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let part: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    whole.checked_mul(unit)?.checked_add(part.checked_mul(unit)?.checked_div(scale)?)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations_are_go_s() {
        for (text, expected) in [
            ("3s", Some(3_000_000_000)),
            ("1m0.5s", Some(60_500_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("0", Some(0)),
            ("-1ms", Some(-1_000_000)),
            ("+1h", Some(3_600_000_000_000)),
            ("1µs", Some(1_000)),
            ("9223372036854775807ns", Some(9_223_372_036_854_775_807)),
            ("-9223372036854775808ns", Some(-9_223_372_036_854_775_808)),
            ("9223372036854775808ns", None),
            ("", None),
            ("3", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("3 s", None),
            ("3S", None),
            ("1d", None),
            ("--1s", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
