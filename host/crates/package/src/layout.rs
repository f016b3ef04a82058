//! The text of plugins.lock: its comments, its line endings, and the lines of each pin in their order. Changing a pin
//! changes only its values; everything else stays as somebody wrote it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::pin::Pin;

const HEADER: &str =
    "# Only these plugins run; a file with other bytes is refused. `host pin` writes this file; review it like code.
format = 1
";

/// The text in parts, with `\n` at the end of each line. Together they are the text as it was read.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The text before the first pin.
    head: String,
    /// The name and the text of each pin, in the order of the file: the comments above its heading, its lines, and what
    /// follows up to the next pin.
    blocks: Vec<(String, String)>,
    /// The comments at the end of the file, which belong to no pin.
    tail: String,
    /// Whether lines end with `\r\n`.
    crlf: bool,
}

impl Layout {
    /// The layout of a new file.
    pub(super) fn new() -> Self {
        Self { head: HEADER.to_owned(), blocks: Vec::new(), tail: String::new(), crlf: false }
    }

    /// Takes the text of these pins apart.
    pub(super) fn read(text: &str, pins: &BTreeMap<String, Pin>) -> Self {
        let crlf = is_crlf(text);
        let text = text.replace("\r\n", "\n");
        let mut layout = Self { head: String::new(), blocks: Vec::new(), tail: String::new(), crlf };
        // Comments directly above a heading belong to it.
        let mut comments = String::new();
        for line in text.split_inclusive('\n') {
            if line.trim_start().starts_with('#') {
                comments.push_str(line);
                continue;
            }
            let above = std::mem::take(&mut comments);
            match heading(line) {
                Some(name) => layout.blocks.push((name, above + line)),
                None => layout.end().push_str(&(above + line)),
            }
        }
        layout.end().push_str(&comments);
        if let Some((_, last)) = layout.blocks.last_mut() {
            layout.tail = split_apart(last);
        }
        let each_is_a_pin = layout.blocks.len() == pins.len()
            && layout.blocks.iter().all(|(name, block)| pins.get(name).is_some_and(|pin| holds(block, name, pin)));
        match each_is_a_pin {
            true => layout,
            // Valid TOML in another form, or strings of several lines that look like headings.
            false => Self::anew(&text, pins, crlf),
        }
    }

    /// Writes pins anew, below all comments of the text.
    fn anew(text: &str, pins: &BTreeMap<String, Pin>, crlf: bool) -> Self {
        let mut layout = Self { head: format!("{HEADER}{}", comments_of(text)), crlf, ..Self::new() };
        pins.iter().for_each(|(name, pin)| layout.set(name, pin));
        layout
    }

    /// The part that the next line belongs to.
    fn end(&mut self) -> &mut String {
        self.blocks.last_mut().map_or(&mut self.head, |(_, block)| block)
    }

    /// The part before a block.
    fn before(&mut self, place: usize) -> &mut String {
        let block = place.checked_sub(1).and_then(|place| self.blocks.get_mut(place));
        block.map_or(&mut self.head, |(_, block)| block)
    }

    /// Writes a pin: its values in the lines that it has, or new lines before the first pin with a greater name.
    pub(super) fn set(&mut self, name: &str, pin: &Pin) {
        if let Some((_, text)) = self.blocks.iter_mut().find(|(known, _)| known == name) {
            let behind = split_apart(text);
            let written = changed(text, pin).filter(|written| holds(written, name, pin));
            *text = written.unwrap_or_else(|| comments_of(text) + &block(name, pin)) + &behind;
            return;
        }
        let place = self.blocks.iter().position(|(known, _)| known.as_str() > name).unwrap_or(self.blocks.len());
        let before = self.before(place);
        if !before.ends_with('\n') {
            before.push('\n');
        }
        if !before.ends_with("\n\n") {
            before.push('\n');
        }
        // The tail begins with its own empty line.
        let behind = if place == self.blocks.len() { "" } else { "\n" };
        self.blocks.insert(place, (name.to_owned(), block(name, pin) + behind));
    }

    /// Removes a pin with its comments. Those with an empty line above them are about what follows, and stay.
    pub(super) fn remove(&mut self, name: &str) {
        let Some(place) = self.blocks.iter().position(|(known, _)| known == name) else { return };
        let (_, mut text) = self.blocks.remove(place);
        let behind = split_apart(&mut text);
        let is_last = place == self.blocks.len();
        let before = self.before(place);
        before.push_str(behind.trim_start_matches('\n'));
        if is_last {
            *before = format!("{}\n", before.trim_end());
        }
    }

    /// The text.
    pub(super) fn text(&self) -> String {
        let blocks: String = self.blocks.iter().map(|(_, block)| block.as_str()).collect();
        let text = format!("{}{blocks}{}", self.head, self.tail);
        if self.crlf { text.replace('\n', "\r\n") } else { text }
    }
}

/// Takes from a pin's text what an empty line sets apart from it: further empty lines, and comments.
fn split_apart(text: &mut String) -> String {
    let mut end = 0;
    let mut read = 0;
    for line in text.split_inclusive('\n') {
        read += line.len();
        if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
            end = read;
        }
    }
    let behind = text.get(end..).unwrap_or_default();
    // Comments directly below its lines are its own.
    let own = behind.split_inclusive('\n').take_while(|line| !line.trim().is_empty()).map(str::len).sum::<usize>();
    text.split_off(end + own)
}

/// Whether a block alone says exactly this.
fn holds(block: &str, name: &str, pin: &Pin) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Block {
        plugin: BTreeMap<String, Pin>,
    }
    let read = toml::from_str::<Block>(block).map(|block| block.plugin).unwrap_or_default();
    read.len() == 1 && read.get(name) == Some(pin)
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
    fn the_order_and_what_belongs_to_no_pin_stay() {
        let pins = || BTreeMap::from(["c", "a", "b"].map(|name| (name.to_owned(), pin("1.0.0"))));
        let [c, a, b] = ["c", "a", "b"].map(|name| block(name, &pin("1.0.0")));
        let text = format!("{HEADER}# mine\n\n\n{c}# below c\n\n# Set apart.\n\n# A's own.\n{a}\n{b}\n# The end.\n");
        let mut layout = Layout::read(&text, &pins());
        assert_eq!(layout.text(), text);
        layout.set("a", &pin("2.0.0"));
        let moved = text.replace(&a, &block("a", &pin("2.0.0")));
        assert_eq!(layout.text(), moved);
        // A new pin comes before the first one with a greater name, or last, but above the comment at the end.
        let d = block("d", &pin("1.0.0"));
        layout.set("d", &pin("1.0.0"));
        assert_eq!(layout.text(), moved.replace("\n# The end.", &format!("\n{d}\n# The end.")));
        layout.remove("d");
        assert_eq!(layout.text(), moved);
        layout.remove("c");
        assert_eq!(layout.text(), moved.replace(&format!("{c}# below c\n\n"), ""));
        layout.remove("b");
        assert!(layout.text().ends_with(&format!("{}\n# The end.\n", block("a", &pin("2.0.0")))), "{}", layout.text());
        // A string of several lines that looks like a heading.
        let trick = text.replace("source = \"a.wasm\"\n# below", "source = \"\"\"\n[plugin.a]\n\"\"\"\n# below");
        let mut pins = pins();
        pins.get_mut("c").unwrap().source = "[plugin.a]\n".to_owned();
        let written = Layout::read(&trick, &pins).text();
        assert!(written.contains("# The end.\n") && written.contains(&block("c", &pins["c"])), "{written}");
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
