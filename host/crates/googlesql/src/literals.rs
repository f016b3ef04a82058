//! String literals, read as GoogleSQL reads them. The parser leaves them as they are written, and would end some of them
//! elsewhere than BigQuery does: <https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#quoted_literals>

use host_contract::Error;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::typed::Result;

/// What comes before the quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    /// Nothing.
    Plain,
    /// `r`
    Raw,
    /// `b`
    Bytes,
}

/// Replaces each literal by a single-quoted one with its value, and refuses words that BigQuery would read differently.
pub(super) fn normalised(mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    for token in &mut tokens {
        if let Token::Word(word) = &token.token
            && word.quote_style.is_none()
            && let Some(name) = word.value.strip_prefix('@')
            && !is_name(name)
        {
            return Err(Error::Invalid(
                "query refused: @@ variables and hints are not allowed; write a parameter such as @date".to_owned(),
            ));
        }
        if let Some(literal) = foreign(token) {
            return Err(Error::Invalid(format!("query failed: syntax error: {literal} is not a literal of GoogleSQL")));
        }
        let (prefix, quote, triple, text) = match &token.token {
            Token::SingleQuotedString(text) => (Prefix::Plain, '\'', false, text),
            Token::DoubleQuotedString(text) => (Prefix::Plain, '"', false, text),
            Token::TripleSingleQuotedString(text) => (Prefix::Plain, '\'', true, text),
            Token::TripleDoubleQuotedString(text) => (Prefix::Plain, '"', true, text),
            Token::SingleQuotedRawStringLiteral(text) => (Prefix::Raw, '\'', false, text),
            Token::DoubleQuotedRawStringLiteral(text) => (Prefix::Raw, '"', false, text),
            Token::TripleSingleQuotedRawStringLiteral(text) => (Prefix::Raw, '\'', true, text),
            Token::TripleDoubleQuotedRawStringLiteral(text) => (Prefix::Raw, '"', true, text),
            Token::SingleQuotedByteStringLiteral(text) => (Prefix::Bytes, '\'', false, text),
            Token::DoubleQuotedByteStringLiteral(text) => (Prefix::Bytes, '"', false, text),
            Token::TripleSingleQuotedByteStringLiteral(text) => (Prefix::Bytes, '\'', true, text),
            Token::TripleDoubleQuotedByteStringLiteral(text) => (Prefix::Bytes, '"', true, text),
            _ => continue,
        };
        // The parser takes the next quote for the end or for one that is doubled, BigQuery for a part of the text.
        let backslashes = text.chars().rev().take_while(|c| *c == '\\').count();
        let escaped = !backslashes.is_multiple_of(2) || !triple && text.contains(&format!("\\{quote}"));
        if prefix != Prefix::Plain && escaped {
            let (letter, instead) = match prefix {
                Prefix::Raw => ('r', "write it without the r"),
                _ => ('b', "write the quote as \\x27 or \\x22"),
            };
            return Err(Error::Invalid(format!(
                "query refused: a literal {letter}{quote}…{quote} has a backslash before a quote; {instead}"
            )));
        }
        if prefix != Prefix::Plain && !triple && text.contains(quote) {
            return Err(Error::Invalid(
                "query refused: two string literals follow each other; write || between them".to_owned(),
            ));
        }
        token.token = match prefix {
            Prefix::Raw => Token::SingleQuotedString(text.clone()),
            Prefix::Plain => Token::SingleQuotedString(value(text, (!triple).then_some(quote))?),
            Prefix::Bytes => Token::SingleQuotedByteStringLiteral(escaped_bytes(&bytes(text)?)),
        };
    }
    Ok(tokens)
}

/// The form of a literal that the parser knows from other engines, if it is one.
fn foreign(token: &TokenWithSpan) -> Option<&'static str> {
    match &token.token {
        // As a number, 0x1F, it is two characters longer than its digits.
        Token::HexStringLiteral(digits) => {
            let width = token.span.end.column.saturating_sub(token.span.start.column);
            (width != digits.chars().count() as u64 + 2).then_some("X'…'")
        }
        Token::NationalStringLiteral(_)
        | Token::QuoteDelimitedStringLiteral(_)
        | Token::NationalQuoteDelimitedStringLiteral(_) => Some("N'…' or Q'…'"),
        Token::DollarQuotedString(_) => Some("$$…$$"),
        Token::EscapedStringLiteral(_) => Some("E'…'"),
        Token::UnicodeStringLiteral(_) => Some("U&'…'"),
        _ => None,
    }
}

/// A name that needs no quotes.
pub(super) fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The text of a string literal; the parser lets a quote stand twice for itself.
fn value(written: &str, doubled: Option<char>) -> Result<String> {
    let mut text = String::new();
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match escape(&mut chars)? {
                Escape::Char(c) => text.push(c),
                Escape::Byte(byte) => text.push(char::from(byte)),
            },
            quote if doubled == Some(quote) => {
                chars.next();
                text.push(quote);
            }
            other => text.push(other),
        }
    }
    Ok(text)
}

/// The bytes of a bytes literal.
fn bytes(written: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match escape(&mut chars)? {
                Escape::Byte(byte) => {
                    bytes.push(byte);
                    continue;
                }
                Escape::Char(c) => c,
            },
            other => other,
        };
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(bytes)
}

enum Escape {
    Char(char),
    /// `\101` and `\x41`: a byte, or in a string the character with that number.
    Byte(u8),
}

/// What comes after a backslash:
/// <https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#escape_sequences>
fn escape(chars: &mut std::str::Chars<'_>) -> Result<Escape> {
    let letter = chars.next().unwrap_or('\0');
    let mut number = |digits: usize, radix: u32, first: Option<char>| {
        let text: String = first.into_iter().chain(chars.by_ref().take(digits)).collect();
        let whole = text.len() == digits + usize::from(first.is_some()) && text.chars().all(|c| c.is_digit(radix));
        if whole { u32::from_str_radix(&text, radix).ok() } else { None }
    };
    let found = match letter {
        'a' => Some(Escape::Char('\u{7}')),
        'b' => Some(Escape::Char('\u{8}')),
        'f' => Some(Escape::Char('\u{c}')),
        'n' => Some(Escape::Char('\n')),
        'r' => Some(Escape::Char('\r')),
        't' => Some(Escape::Char('\t')),
        'v' => Some(Escape::Char('\u{b}')),
        '\\' | '?' | '"' | '\'' | '`' => Some(Escape::Char(letter)),
        'x' | 'X' => number(2, 16, None).and_then(|number| u8::try_from(number).ok()).map(Escape::Byte),
        '0'..='3' => number(2, 8, Some(letter)).and_then(|number| u8::try_from(number).ok()).map(Escape::Byte),
        'u' => number(4, 16, None).and_then(char::from_u32).map(Escape::Char),
        'U' => number(8, 16, None).and_then(char::from_u32).map(Escape::Char),
        _ => None,
    };
    found.ok_or_else(|| {
        let letter: String = letter.escape_default().collect();
        Error::Invalid(format!("query failed: Illegal escape sequence: \\{letter}; write \\\\ for a backslash"))
    })
}

/// A literal with this value, in the only form that is sent.
pub(super) fn quoted_string(value: &str) -> String {
    let mut text = String::from("'");
    for c in value.chars() {
        match c {
            '\\' => text += "\\\\",
            '\'' => text += "\\'",
            '\n' => text += "\\n",
            '\r' => text += "\\r",
            '\t' => text += "\\t",
            // Also separators and the like, which some readers take for the end of a line.
            c if c.is_control() || !c.is_ascii() && c.is_whitespace() => text += &format!("\\U{:08x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text.push('\'');
    text
}

/// Bytes with every byte escaped, as the text of a literal.
fn escaped_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_has_the_value_that_bigquery_gives_it() {
        for (written, expected) in
            [(r"a\n\t\\\'\x41\101\u00e4\U0001F600", "a\n\t\\'AA\u{e4}\u{1f600}"), ("it''s", "it's"), ("", "")]
        {
            assert_eq!(value(written, Some('\'')).as_deref(), Ok(expected), "{written}");
            assert_eq!(
                value(&quoted_string(expected)[1..quoted_string(expected).len() - 1], None).as_deref(),
                Ok(expected)
            );
        }
        assert_eq!(bytes(r"\xff\377a").as_deref(), Ok(&[255, 255, b'a'][..]));
        for wrong in [r"\d", r"\x4", r"\400", r"\ud800", r"\U00110000", r"\8", r"\"] {
            assert!(value(wrong, None).is_err(), "{wrong}");
        }
    }
}
