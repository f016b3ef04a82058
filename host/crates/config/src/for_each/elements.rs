//! The elements of a `for_each`: each combination of its lists, or each of its tables.

use std::{fmt::Display, ops::Range};

use host_text::shortened;
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{MOST, Mistake, pieces::is_name};

/// The longest text of an element in a message, in bytes.
const SHOWN: usize = 60;

/// The values of one entry, in the order of host.toml.
pub(super) struct Element<'e, 't> {
    values: Vec<(&'e Spanned<DeString<'t>>, &'e Spanned<DeValue<'t>>)>,
}

impl<'e, 't> Element<'e, 't> {
    pub(super) fn names(&self) -> impl Iterator<Item = &'e Spanned<DeString<'t>>> {
        self.values.iter().map(|(name, _)| *name)
    }

    pub(super) fn value(&self, name: &str) -> Option<&'e Spanned<DeValue<'t>>> {
        self.values.iter().find(|(own, _)| own.get_ref() == name).map(|(_, value)| *value)
    }
}

/// `table = "b", rows = 3`
impl Display for Element<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (name, value)) in self.values.iter().enumerate() {
            let value = match value.get_ref() {
                DeValue::String(text) => format!("{:?}", shortened(text, SHOWN)),
                DeValue::Array(_) => "[…]".to_owned(),
                DeValue::Table(_) => "{…}".to_owned(),
                plain => words(plain).unwrap_or_default(),
            };
            write!(f, "{}{} = {value}", if at > 0 { ", " } else { "" }, name.get_ref())?;
        }
        Ok(())
    }
}

/// A value within a text; `None` for a list or table.
pub(super) fn words(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(moment) => Some(moment.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Reads the value of `for_each`, of which this many elements are allowed.
pub(super) fn read<'e, 't>(for_each: &'e Spanned<DeValue<'t>>, room: usize) -> Result<Vec<Element<'e, 't>>, Mistake> {
    let span = for_each.span();
    let elements = match for_each.get_ref() {
        DeValue::Table(lists) if !lists.is_empty() => combined(lists, &span, room)?,
        DeValue::Array(tables) if !tables.is_empty() => {
            fits(Some(tables.len()), &span, room)?;
            tables.iter().map(single).collect::<Result<Vec<_>, _>>()?
        }
        DeValue::Table(_) | DeValue::Array(_) => {
            return Err(Mistake::at(
                span,
                "for_each is empty, so it makes nothing; list at least one value, or remove it",
            ));
        }
        _ => {
            let wrong = "for_each is neither a table of lists nor a list of tables; write `for_each = { table = [\"a\", \"b\"] }`";
            return Err(Mistake::at(span, wrong));
        }
    };
    let first: Vec<&Spanned<DeString<'t>>> = elements.iter().take(1).flat_map(Element::names).collect();
    if let Some(name) = first.iter().find(|name| !is_name(name.get_ref())) {
        let wrong = format!(
            "`{}` cannot be a placeholder; use letters, digits and _, not a digit first",
            name.get_ref().escape_debug()
        );
        return Err(Mistake::at(name.span(), wrong));
    }
    for (element, table) in elements.iter().zip(for_each.get_ref().as_array().into_iter().flatten()) {
        let missing = first.iter().find(|name| element.value(name.get_ref()).is_none());
        let new = element.names().find(|name| !first.contains(name));
        let (name, has) = match (missing, new) {
            (Some(name), _) => (name.get_ref(), "has no"),
            (None, Some(name)) => (name.get_ref(), "is the first with"),
            (None, None) => continue,
        };
        let wrong = format!("{element} {has} `{name}`; every table of for_each has the same keys");
        return Err(Mistake::at(table.span(), wrong));
    }
    Ok(elements)
}

/// Every combination of the lists; the last list changes fastest.
fn combined<'e, 't>(lists: &'e DeTable<'t>, span: &Range<usize>, room: usize) -> Result<Vec<Element<'e, 't>>, Mistake> {
    let mut values = Vec::new();
    for (name, list) in lists {
        let shown = name.get_ref().escape_debug();
        let all = list.get_ref().as_array().ok_or_else(|| {
            Mistake::at(list.span(), format!("for_each.{shown} is not a list; write `{shown} = [\"a\", \"b\"]`"))
        })?;
        if all.is_empty() {
            let wrong = format!("for_each.{shown} is empty, so it makes nothing; list at least one value");
            return Err(Mistake::at(list.span(), wrong));
        }
        values.push((name, all));
    }
    fits(values.iter().try_fold(1_usize, |count, (_, all)| count.checked_mul(all.len())), span, room)?;
    let mut elements = vec![Element { values: Vec::new() }];
    for (name, all) in values {
        let with = |element: Element<'e, 't>| {
            let each = all.iter().map(move |value| {
                let values = element.values.iter().copied().chain([(name, value)]).collect();
                Element { values }
            });
            each.collect::<Vec<_>>()
        };
        elements = elements.into_iter().flat_map(with).collect();
    }
    Ok(elements)
}

fn single<'e, 't>(table: &'e Spanned<DeValue<'t>>) -> Result<Element<'e, 't>, Mistake> {
    match table.get_ref() {
        DeValue::Table(values) => Ok(Element { values: values.iter().collect() }),
        _ => Err(Mistake::at(
            table.span(),
            "this element of for_each has no name; write `for_each = { table = [\"a\", \"b\"] }`, or a list of tables",
        )),
    }
}

fn fits(count: Option<usize>, span: &Range<usize>, room: usize) -> Result<(), Mistake> {
    if count.is_some_and(|count| count <= room) {
        return Ok(());
    }
    let count = count.map_or_else(|| "more than can be counted".to_owned(), |count| count.to_string());
    let wrong = format!("it makes {count}; all for_each of a file may make at most {MOST} checks and grants");
    Err(Mistake::at(span.clone(), wrong))
}
