//! Placeholders: `{table}` in the keys and texts of a definition becomes the value of an element.

use std::{borrow::Cow, collections::BTreeSet, ops::Range};

use host_text::nearest;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    MOST_BYTES, Mistake,
    elements::{Element, words},
};

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'p> {
    Text(&'p str),
    /// `{name}`
    Name(&'p str),
    /// `{{name}}`, which is the text `{name}`.
    Braced(&'p str),
}

/// Fills in the values of one element.
pub(super) struct Filling<'f, 'e, 't> {
    pub(super) element: &'f Element<'e, 't>,
    /// The names of all definitions.
    pub(super) known: &'f BTreeSet<String>,
    /// The placeholders that were found.
    pub(super) used: &'f mut BTreeSet<String>,
    /// How many bytes there is room for.
    pub(super) left: &'f mut usize,
}

impl<'e, 't> Filling<'_, 'e, 't> {
    /// Fills in a value and everything within it. A text that is only a placeholder becomes the element's value, with its type.
    pub(super) fn value(&mut self, value: &mut Spanned<DeValue<'t>>) -> Result<(), Mistake> {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) => {
                let filled = match pieces(text).as_slice() {
                    [Piece::Name(name)] if !self.is_of_others(text) => {
                        let found = self.find(name, &span)?;
                        self.charge(found.span().len(), &span)?;
                        found.get_ref().clone()
                    }
                    _ => DeValue::String(Cow::Owned(self.text(text, &span)?)),
                };
                *value = Spanned::new(span, filled);
            }
            DeValue::Array(list) => list.iter_mut().try_for_each(|value| self.value(value))?,
            DeValue::Table(table) => {
                for (key, mut value) in std::mem::replace(table, DeTable::new()) {
                    let name = self.text(key.get_ref(), &key.span())?;
                    self.value(&mut value)?;
                    if table.contains_key(name.as_str()) {
                        return Err(Mistake::at(
                            key.span(),
                            format!("the key `{}` is there twice", name.escape_debug()),
                        ));
                    }
                    table.insert(Spanned::new(key.span(), Cow::Owned(name)), value);
                }
            }
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
        Ok(())
    }

    /// Fills in a text.
    pub(super) fn text(&mut self, text: &str, span: &Range<usize>) -> Result<String, Mistake> {
        if self.is_of_others(text) {
            return Ok(text.to_owned());
        }
        let mut filled = String::with_capacity(text.len());
        for piece in pieces(text) {
            let before = filled.len();
            match piece {
                Piece::Text(text) => filled += text,
                Piece::Braced(name) => filled.extend(["{", name, "}"]),
                Piece::Name(name) => {
                    let found = self.find(name, span)?.get_ref();
                    filled += &words(found).ok_or_else(|| {
                        let wrong = format!(
                            "`{name}` is {}, which has no place within a text; write \"{{{name}}}\" alone",
                            found.type_str()
                        );
                        Mistake::at(span.clone(), wrong)
                    })?;
                }
            }
            self.charge(filled.len() - before, span)?;
        }
        Ok(filled)
    }

    /// Whether a text is the name of a definition with other placeholders, which `depends_on` may have.
    fn is_of_others(&self, text: &str) -> bool {
        self.known.contains(text) && placeholders(text).any(|name| self.element.value(name).is_none())
    }

    fn find(&mut self, name: &str, span: &Range<usize>) -> Result<&'e Spanned<DeValue<'t>>, Mistake> {
        let found = self.element.value(name).ok_or_else(|| {
            let near = nearest(name, self.element.names().map(|name| name.get_ref().as_ref()));
            let near = match near.is_empty() {
                true => format!("; write {{{{{name}}}}} for the text {{{name}}}"),
                false => near,
            };
            Mistake::at(span.clone(), format!("there is no `{name}` in for_each{near}"))
        })?;
        self.used.insert(name.to_owned());
        Ok(found)
    }

    fn charge(&mut self, bytes: usize, span: &Range<usize>) -> Result<(), Mistake> {
        *self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            let most = MOST_BYTES >> 20;
            Mistake::at(
                span.clone(),
                format!("all for_each of a file may make at most {most} MiB of text; this is more"),
            )
        })?;
        Ok(())
    }
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
fn pieces(mut text: &str) -> Vec<Piece<'_>> {
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
