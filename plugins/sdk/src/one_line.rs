//! SQL on one line, for commands that people copy: the same query, with neither comments nor line breaks between its words.

/// The same SQL with one blank in the place of blanks, line breaks and comments. Literals keep their values: a line break
/// in one is written `\n`, except in a raw literal, which has no other form.
pub fn one_line(sql: &str) -> String {
    let mut line = String::with_capacity(sql.len());
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        let (kept, after) = match first {
            '\'' | '"' | '`' => rest.split_at(quoted(rest, first)),
            _ => match gap(rest) {
                0 => rest.split_at(first.len_utf8()),
                gap => {
                    rest = rest.split_at(gap).1;
                    if !line.ends_with(' ') {
                        line.push(' ');
                    }
                    continue;
                }
            },
        };
        match first {
            '\'' | '"' if !is_raw(&line) => line.push_str(&kept.replace('\n', "\\n").replace('\t', "\\t")),
            _ => line.push_str(kept),
        }
        rest = after;
    }
    line.trim().to_owned()
}

/// Whether a query uses a parameter, `@name`: in neither a literal nor a comment. As in SQL, upper and lower case are the
/// same.
pub fn uses(sql: &str, name: &str) -> bool {
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' | '`' => quoted(rest, first),
            _ => gap(rest).max(first.len_utf8()),
        };
        let (part, after) = rest.split_at(length);
        if part == "@" {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            if after.get(..end).is_some_and(|word| word.eq_ignore_ascii_case(name)) {
                return true;
            }
        }
        rest = after;
    }
    false
}

/// The length of blanks or of a comment at the beginning; 0 if there is neither.
/// <https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#comments>
fn gap(sql: &str) -> usize {
    let until = |end: &str| sql.find(end).map_or(sql.len(), |at| at + end.len());
    match sql {
        _ if sql.starts_with("--") || sql.starts_with('#') => until("\n"),
        _ if sql.starts_with("/*") => match sql.get(2..).and_then(|inner| inner.find("*/")) {
            Some(end) => end + 4,
            None => sql.len(),
        },
        _ => sql.len() - sql.trim_start().len(),
    }
}

/// Whether the literal that comes next is a raw one, as `r'…'` or `rb'…'`.
fn is_raw(before: &str) -> bool {
    let word = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    ["r", "rb", "br"].iter().any(|prefix| prefix.eq_ignore_ascii_case(word))
}

/// The length of the literal or quoted name at the beginning. Also in a raw literal, a quote after a backslash is a part
/// of the text. <https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#quoted_literals>
fn quoted(sql: &str, quote: char) -> usize {
    let triple = String::from(quote).repeat(3);
    let end = if quote != '`' && sql.starts_with(&triple) { triple } else { String::from(quote) };
    let mut at = end.len();
    while let Some(rest) = sql.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(&end) {
            return at + end.len();
        }
        let mut chars = rest.chars();
        at += match chars.next() {
            Some('\\') => 1 + chars.next().map_or(0, char::len_utf8),
            other => other.map_or(1, char::len_utf8),
        };
    }
    sql.len()
}

#[cfg(test)]
mod tests {
    use super::{one_line, uses};

    #[test]
    fn a_parameter_is_used_outside_of_literals_and_comments() {
        for sql in ["SELECT @date", "d=@DATE", "SELECT '@x', @date", "@date_x @date", "-- it\'s\n@date", "@@x @date"] {
            assert!(uses(sql, "date"), "{sql}");
        }
        for sql in
            ["", "SELECT 1", "'@date'", "\"@date\"", "`@date`", "-- @date", "/* @date */ 1", "@date_x", "@due", "date"]
        {
            assert!(!uses(sql, "date"), "{sql}");
        }
    }

    #[test]
    fn only_what_has_no_meaning_is_left_out() {
        for (sql, line) in [
            ("\n  SELECT 1,\n\t2  ", "SELECT 1, 2"),
            ("SELECT 1 -- all rows\nFROM t\n# of the day\nWHERE a = 1 -- end", "SELECT 1 FROM t WHERE a = 1"),
            ("SELECT/* a */1/**/+/* b\n -- c */2", "SELECT 1 + 2"),
            ("a = \"two  blanks -- no # comment\"  AND b", "a = \"two  blanks -- no # comment\" AND b"),
            (r"a = 'it\'s  --' -- b", r"a = 'it\'s  --'"),
            ("a = 'it''s  so' AND b = '' -- c", "a = 'it''s  so' AND b = ''"),
            ("a = '''one\n\t'two'  # three'''\n\nAND b", "a = '''one\\n\\t'two'  # three''' AND b"),
            ("a = r'\\'  AND' AND  b", "a = r'\\'  AND' AND b"),
            ("a = R\"\"\"one\n  two\"\"\" --", "a = R\"\"\"one\n  two\"\"\""),
            ("bar'a\nb'", "bar'a\\nb'"),
            ("`a  b`.c  - -1", "`a  b`.c - -1"),
            ("'open", "'open"),
            ("/* open", ""),
            ("\u{e9}\u{a0}\u{e9}", "\u{e9} \u{e9}"),
        ] {
            assert_eq!(one_line(sql), line, "{sql}");
        }
    }
}
