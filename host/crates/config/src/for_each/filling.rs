//! Placeholders: `{table}` in the keys and texts of a definition becomes the value of an element.

use std::{borrow::Cow, collections::BTreeSet, ops::Range};

use host_text::nearest;
use toml::{Spanned, de::DeValue};

use super::{
    MOST_BYTES, Mistake,
    elements::{Element, words},
    pieces::{Piece, pieces, placeholders},
};

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
                for (key, mut value) in std::mem::take(table) {
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
