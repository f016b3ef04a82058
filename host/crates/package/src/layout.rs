//! The text of plugins.lock: its comments, its line endings, and the lines of each pin. Changing a pin changes only its
//! values; everything else stays as somebody wrote it.

use std::collections::BTreeMap;

use super::pin::Pin;

const HEADER: &str =
    "# Only these plugins run; a file with other bytes is refused. `host pin` writes this file; review it like code.
format = 1
";

/// The text in parts, with `\n` at the end of each line.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The text before the first pin.
    head: String,
    /// The text of each pin, with the comments above its heading, up to the next pin.
    blocks: BTreeMap<String, String>,
    /// Whether lines end with `\r\n`.
    crlf: bool,
}

impl Layout {
    /// The layout of a new file.
    pub(super) fn new() -> Self {
        Self { head: HEADER.to_owned(), blocks: BTreeMap::new(), crlf: false }
    }

    /// Takes the text of these pins apart.
    pub(super) fn read(text: &str, pins: &BTreeMap<String, Pin>) -> Self {
        let crlf = is_crlf(text);
        let text = text.replace("\r\n", "\n");
        let mut layout = Self { head: String::new(), blocks: BTreeMap::new(), crlf };
        let mut name: Option<String> = None;
        // Comments directly above a heading belong to it.
        let mut comments = String::new();
        for line in text.split_inclusive('\n') {
            if line.trim_start().starts_with('#') {
                comments.push_str(line);
                continue;
            }
            let above = std::mem::take(&mut comments);
            match heading(line) {
                Some(found) => {
                    layout.place(Some(&found)).push_str(&(above + line));
                    name = Some(found);
                }
                None => layout.place(name.as_ref()).push_str(&(above + line)),
            }
        }
        layout.place(name.as_ref()).push_str(&comments);
        match layout.blocks.keys().eq(pins.keys()) {
            true => layout,
            // Valid TOML in another form.
            false => Self { crlf, ..Self::anew(&text, pins) },
        }
    }

    /// Writes pins anew, below all comments of the text.
    pub(super) fn anew(text: &str, pins: &BTreeMap<String, Pin>) -> Self {
        let blocks = pins.iter().map(|(name, pin)| (name.clone(), block(name, pin))).collect();
        Self { head: format!("{HEADER}{}", comments_of(text)), blocks, crlf: is_crlf(text) }
    }

    fn place(&mut self, name: Option<&String>) -> &mut String {
        match name {
            Some(name) => self.blocks.entry(name.clone()).or_default(),
            None => &mut self.head,
        }
    }

    /// Writes a pin: its values in the lines that it has, or new lines.
    pub(super) fn set(&mut self, name: &str, pin: &Pin) {
        let written = match self.blocks.get(name) {
            Some(before) => changed(before, pin).unwrap_or_else(|| comments_of(before) + &block(name, pin)),
            None => block(name, pin),
        };
        self.blocks.insert(name.to_owned(), written);
    }

    /// Removes a pin, with its comments.
    pub(super) fn remove(&mut self, name: &str) {
        self.blocks.remove(name);
    }

    /// The text: pins sorted by name, with an empty line between them.
    pub(super) fn text(&self) -> String {
        let blocks = self.blocks.values().map(|block| format!("\n{}\n", block.trim_end()));
        let text = format!("{}\n", self.head.trim_end()) + &blocks.collect::<String>();
        if self.crlf { text.replace('\n', "\r\n") } else { text }
    }
}

/// Whether the first line, which decides for the others, ends with `\r\n`.
fn is_crlf(text: &str) -> bool {
    text.split_once('\n').is_some_and(|(first, _)| first.ends_with('\r'))
}

/// The name in `[plugin.NAME]`, also with spaces, quotes or a comment behind it.
fn heading(line: &str) -> Option<String> {
    let (inside, behind) = line.trim_start().strip_prefix('[')?.split_once(']')?;
    let behind = behind.trim();
    let (table, name) = inside.split_once('.')?;
    let plain = |key: &str| key.trim().trim_matches(['"', '\'']).to_owned();
    let fits = (behind.is_empty() || behind.starts_with('#')) && plain(table) == "plugin";
    fits.then(|| plain(name))
}

/// The lines that are only a comment, and the comments behind values and headings; the host's own header is left out.
fn comments_of(text: &str) -> String {
    let comments = text.lines().filter_map(|line| match line.trim_start().starts_with('#') {
        true => Some(line.trim()),
        false => comment_behind(line),
    });
    comments.filter(|comment| !HEADER.starts_with(comment)).map(|comment| format!("{comment}\n")).collect()
}

/// The comment behind a value or a heading.
fn comment_behind(line: &str) -> Option<&str> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match quote {
            _ if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' => return line.get(at..).map(str::trim),
            None => {}
        }
    }
    None
}

/// The lines of a pin with other values; `None` if a value is missing or is written in an unusual way.
fn changed(block: &str, pin: &Pin) -> Option<String> {
    let mut values = values(pin);
    let mut text = String::new();
    for line in block.split_inclusive('\n') {
        let key = line.split_once('=').map(|(key, _)| key.trim().trim_matches(['"', '\'']).to_owned());
        let place = values.iter().position(|(known, _)| key.as_deref() == Some(*known));
        match place {
            Some(place) if !line.trim_start().starts_with('#') => {
                text += &with_value(line, &values.swap_remove(place).1)?;
            }
            _ => text += line,
        }
    }
    values.is_empty().then_some(text)
}

/// A line `key = "value" # comment` with another value.
fn with_value(line: &str, value: &str) -> Option<String> {
    let (key, rest) = line.split_once('=')?;
    let space = rest.len() - rest.trim_start().len();
    let (space, written) = rest.split_at_checked(space)?;
    let quote = written.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    let inside = written.get(1..)?;
    let end = inside.find(quote)?;
    // Escapes, and strings of several lines.
    if inside.get(..end)?.contains('\\') || inside.get(end + 1..)?.starts_with(quote) {
        return None;
    }
    Some(format!("{key}={space}{value}{}", inside.get(end + 1..)?))
}

fn values(pin: &Pin) -> Vec<(&'static str, String)> {
    let Pin { version, digest, api, source } = pin;
    let source = toml::Value::from(source.as_str()).to_string();
    let quoted = |text: String| format!("\"{text}\"");
    vec![
        ("version", quoted(version.to_string())),
        ("digest", quoted(digest.to_string())),
        ("api", quoted(api.to_string())),
        ("source", source),
    ]
}

fn block(name: &str, pin: &Pin) -> String {
    let lines = values(pin).into_iter().map(|(key, value)| format!("{key} = {value}\n"));
    format!("[plugin.{name}]\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn pin(version: &str) -> Pin {
        Pin {
            version: version.parse().unwrap(),
            digest: Digest::of(version.as_bytes()),
            api: "0.1.0".parse().unwrap(),
            source: "a.wasm".to_owned(),
        }
    }

    /// Sets another version in a text; returns the lines that changed.
    fn moved(text: &str) -> (String, Vec<String>) {
        let pins = BTreeMap::from([("a".to_owned(), pin("1.0.0")), ("b".to_owned(), pin("1.0.0"))]);
        let mut layout = Layout::read(text, &pins);
        assert_eq!(layout.text(), text, "reading and writing changes nothing");
        layout.set("a", &pin("2.0.0"));
        let after = layout.text();
        let changed = text.lines().zip(after.lines()).filter(|(old, new)| old != new);
        (after.clone(), changed.map(|(_, new)| new.to_owned()).collect())
    }

    fn text() -> String {
        let pins = ["a", "b"].map(|name| format!("\n{}", block(name, &pin("1.0.0"))));
        format!("{HEADER}{}", pins.concat())
    }

    #[test]
    fn comments_stay_wherever_they_are() {
        let text = text()
            .replace("[plugin.a]\nversion = \"1.0.0\"", "# Agreed.\n[plugin.a] # by A\nversion = '1.0.0' # \"safe\"")
            .replace("[plugin.b]", "# Since May.\n[ plugin . \"b\" ]# by B");
        let (after, changed) = moved(&text);
        assert_eq!(changed.len(), 2, "{after}");
        assert_eq!(changed[0], "version = \"2.0.0\" # \"safe\"");
        assert_eq!(after.matches('#').count(), text.matches('#').count());
    }

    #[test]
    fn line_endings_stay() {
        let text = text().replace('\n', "\r\n");
        let (after, changed) = moved(&text);
        assert_eq!(changed.len(), 2);
        assert_eq!(after.matches('\n').count(), after.matches("\r\n").count());
        // The first line decides for a file with both.
        let mixed = text.replacen("format = 1\r\n", "format = 1\n", 1);
        let pins = BTreeMap::from([("a".to_owned(), pin("1.0.0")), ("b".to_owned(), pin("1.0.0"))]);
        assert_eq!(Layout::read(&mixed, &pins).text(), text);
    }

    #[test]
    fn another_form_keeps_its_comments() {
        let line = |name| {
            let Pin { version, digest, api, source } = pin("1.0.0");
            format!("{name} = {{ version = '{version}', digest = '{digest}', api = '{api}', source = '{source}' }}")
        };
        let text = format!("format = 1\n[plugin] # all\n# Agreed.\n{} # \"by A\"\n{}\n", line("a"), line("b"));
        let pins = BTreeMap::from([("a".to_owned(), pin("1.0.0")), ("b".to_owned(), pin("1.0.0"))]);
        let written = Layout::read(&text, &pins).text();
        for comment in ["# all\n", "# Agreed.\n", "# \"by A\"\n"] {
            assert!(written.contains(comment), "{written}");
        }
        assert_eq!(Layout::read(&written, &pins).text(), written);
    }

    #[test]
    fn unusual_values_are_written_anew_below_their_comments() {
        let text = text().replacen("source = \"a.wasm\"", "source = \"\"\"a.wasm\"\"\" # here", 1);
        let (after, _) = moved(&text);
        assert!(after.contains("# here\n[plugin.a]\nversion = \"2.0.0\""), "{after}");
    }
}
