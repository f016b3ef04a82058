//! Makes untrusted text safe for a terminal, and formats sizes, digits and names. It does not depend on checks, so
//! every crate can use it.

pub mod hex;
mod nearest;
mod path;
mod shell;
mod tell;

pub use nearest::nearest;
pub use path::{directory_of, or_here};
pub use shell::{quoted, quoted_path};
pub use tell::tell;

/// Replaces control characters, text-direction marks and Unicode's line separators; keeps line breaks.
pub fn printable(text: &str) -> String {
    let replaced = |c: char| (c.is_control() && c != '\n') || turns(c) || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().map(|c| if replaced(c) { ' ' } else { c }).collect()
}

/// The text without the passwords of its addresses: `postgres://user:…@host`.
pub fn without_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown += "://";
        let end = part.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(part.len());
        let (address, rest) = part.split_at(end);
        shown += &match address.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
            Some((user, host)) => format!("{user}:…@{host}"),
            None => address.to_owned(),
        };
        shown += rest;
    }
    shown
}

/// Whether a character changes the text direction, so that the text reads as something else:
/// <https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>
pub fn turns(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of a text, with the number of bytes left out, if any.
pub fn shortened(text: &str, most: usize) -> String {
    match beginning(text, most) {
        whole if whole.len() == text.len() => whole.to_owned(),
        start => format!("{start}… ({} B left out)", text.len() - start.len()),
    }
}

/// The longest beginning of a text that fits into some bytes, without splitting a character.
pub fn beginning(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// A duration in at most two units: `3 h 30 min`.
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let parts = match (days, hours, minutes) {
        (0, 0, 0) => vec![(seconds, "s")],
        (0, 0, minutes) => vec![(minutes, "min")],
        (0, hours, minutes) => vec![(hours, "h"), (minutes, "min")],
        (1, hours, _) => vec![(1, "day"), (hours, "h")],
        (days, hours, _) => vec![(days, "days"), (hours, "h")],
    };
    let shown = parts.iter().enumerate().filter(|(at, (number, _))| *at == 0 || *number > 0);
    shown.map(|(_, (number, unit))| format!("{number} {unit}")).collect::<Vec<_>>().join(" ")
}

/// A number of bytes for people: `1.4 GiB`.
pub fn bytes(bytes: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

/// Percent-encodes a part of a URL's path, or a value of its query.
pub fn encoded(part: &str) -> String {
    let mut text = String::new();
    for byte in part.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => text.push(byte.into()),
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

/// A number of things: `1 date`, `3 dates`.
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The first of some names, and how many more there are: `a, b and 3 more`.
pub fn listed(names: &[impl AsRef<str>], most: usize) -> String {
    let shown = names.iter().take(most).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// As short as a reader needs it.
pub fn number(value: f64) -> String {
    match value {
        value if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        value if value.abs() >= 1e6 || value.abs() < 1e-3 => format!("{value:.3e}"),
        value => format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let text = "url = \"postgres://host:s3:cr@t@db/watch\" or https://example.com:80/a and x://me@b";
        let shown = "url = \"postgres://host:…@db/watch\" or https://example.com:80/a and x://me@b";
        assert_eq!(without_passwords(text), shown);
    }

    #[test]
    fn nothing_steers_the_terminal_or_turns_what_follows() {
        assert_eq!(printable("a\u{1b}[31m\tb\nc"), "a [31m b\nc");
        assert_eq!(printable("a\u{2028}b\u{2029}c"), "a b c");
        assert_eq!(printable("cat \u{202e}cod.exe\u{2069}"), "cat  cod.exe ");
        assert!("\u{200f}\u{061c}".chars().all(turns) && !"é漢🔴".chars().any(turns));
    }

    #[test]
    fn what_is_left_out_of_a_text_is_counted() {
        let cases = [("", 0, ""), ("abc", 3, "abc"), ("abc", 2, "ab… (1 B left out)"), ("äö", 3, "ä… (2 B left out)")];
        for (text, most, shown) in cases {
            assert_eq!(shortened(text, most), shown);
        }
        assert_eq!((beginning("äö", 1), beginning("äö", 9)), ("", "äö"));
    }

    #[test]
    fn sizes_are_in_the_largest_unit_that_they_fill() {
        let cases =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536 << 20, "1.5 GiB"), (u64::MAX, "16777216.0 TiB")];
        for (size, shown) in cases {
            assert_eq!(bytes(size), shown);
        }
    }

    #[test]
    fn a_part_of_an_address_cannot_become_another_part() {
        assert_eq!(encoded("a/b?c=d&e#f é~"), "a%2Fb%3Fc%3Dd%26e%23f%20%C3%A9~");
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (40.0, "40"),
            (-3.0, "-3"),
            (2.5, "2.5"),
            (0.1234567, "0.123"),
            (1_234_567.891, "1.235e6"),
            (0.000_012, "1.200e-5"),
            (1e300, "1.000e300"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }
}
