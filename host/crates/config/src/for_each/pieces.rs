//! The placeholders of a text: `source-{table}`.

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'p> {
    Text(&'p str),
    /// `{name}`
    Name(&'p str),
    /// `{{name}}`, which is the text `{name}`.
    Braced(&'p str),
}

/// Whether a word can be a placeholder's name.
pub(super) fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && word.chars().all(is_part)
}

/// The names of the placeholders in a text.
pub(super) fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).into_iter().filter_map(|piece| match piece {
        Piece::Name(name) => Some(name),
        Piece::Text(_) | Piece::Braced(_) => None,
    })
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The parts of a text. A brace that belongs to no name is itself, as in `^\d{4}$`.
pub(super) fn pieces(mut text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut add = |piece| match piece {
        Piece::Text("") => {}
        piece => pieces.push(piece),
    };
    while let Some((before, after)) = text.split_once('{') {
        add(Piece::Text(before));
        let braced = || {
            let (name, rest) = named(after.strip_prefix('{')?)?;
            Some((name, rest.strip_prefix('}')?))
        };
        text = match (named(after), braced()) {
            (Some((name, rest)), _) => {
                add(Piece::Name(name));
                rest
            }
            (None, Some((name, rest))) => {
                add(Piece::Braced(name));
                rest
            }
            (None, None) => {
                add(Piece::Text("{"));
                after
            }
        };
    }
    add(Piece::Text(text));
    pieces
}

/// `name}` and what follows.
fn named(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_at_checked(text.find(|c| !is_part(c))?)?;
    Some((name, rest.strip_prefix('}')?)).filter(|(name, _)| is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_in_braces_is_a_placeholder() {
        use Piece::{Braced, Name, Text};
        for (text, expected) in [
            ("source-{table}", vec![Text("source-"), Name("table")]),
            ("{a}{b_1}", vec![Name("a"), Name("b_1")]),
            ("./deploy {{service}} now", vec![Text("./deploy "), Braced("service"), Text(" now")]),
            (r"^\d{4}-{2,3}$", vec![Text(r"^\d"), Text("{"), Text("4}-"), Text("{"), Text("2,3}$")]),
            ("{", vec![Text("{")]),
            ("{{", vec![Text("{"), Text("{")]),
            ("{{a}", vec![Text("{"), Name("a")]),
            ("{a b} {ä}", vec![Text("{"), Text("a b} "), Text("{"), Text("ä}")]),
            ("{}", vec![Text("{"), Text("}")]),
            ("", vec![]),
        ] {
            assert_eq!(pieces(text), expected, "{text}");
        }
    }
}
