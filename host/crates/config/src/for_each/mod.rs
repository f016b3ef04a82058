//! `for_each`: one definition under `[checks]` or `[grants]` for many. It is expanded before anything else reads the
//! configuration, so that no other part knows of it. Spans are kept, so that a mistake shows its line.

mod elements;
mod filling;
mod pieces;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::Range,
};

use anyhow::{Result, anyhow};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Visitor},
};
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue, ValueDeserializer},
};

use super::{Check, Config, Grants, definitions::FOR_EACH, mistakes::explained, names};
use filling::Filling;
use pieces::placeholders;

/// The most checks and grants that all definitions of a file may make.
const MOST: usize = 2_000;
/// The most text that they may make, in bytes: that of 2,000 checks with 8 KiB of SQL.
const MOST_BYTES: usize = 16 << 20;

/// The definition that made a check or a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its key: `checks."source-{table}"`.
    pub definition: String,
    /// The element: `table = "b"`.
    pub element: String,
}

impl Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with {}", self.definition, self.element)
    }
}

/// What the definitions of a file make.
pub(super) struct Many<'t> {
    checks: Vec<Made<'t>>,
    grants: Vec<Made<'t>>,
}

/// One entry that a definition makes.
struct Made<'t> {
    name: String,
    /// The name of the definition: `source-{table}`.
    of: String,
    entry: Spanned<DeValue<'t>>,
    origin: Origin,
}

impl<'t> Many<'t> {
    /// Takes the definitions out of a file, and expands them.
    pub(super) fn take(file: &mut DeTable<'t>, text: &str) -> Result<Self> {
        let mut room = Room { entries: MOST, bytes: MOST_BYTES };
        let checks = Section { key: "checks", valid: names::check_name, room: &mut room, text }.expand(file)?;
        let grants = Section { key: "grants", valid: names::plugin_name, room: &mut room, text }.expand(file)?;
        Ok(Self { checks, grants })
    }

    /// Adds what was made to the rest of the file. A definition's name in `depends_on` or a calendar means all its checks.
    pub(super) fn add_to(self, config: &mut Config, text: &str) -> Result<()> {
        let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for made in self.checks {
            let check = Check::deserialize(ValueDeserializer::from(made.entry));
            config.checks.insert(made.name.clone(), check.map_err(|error| unread(&made.origin, error, text))?);
            config.origins.insert(format!("checks.{}", made.name), made.origin);
            of.entry(made.of).or_default().push(made.name);
        }
        for made in self.grants {
            let grants = Grants::deserialize(ValueDeserializer::from(made.entry));
            config.grants.insert(made.name.clone(), grants.map_err(|error| unread(&made.origin, error, text))?);
            config.origins.insert(format!("grants.{}", made.name), made.origin);
        }
        let depends_on = config.checks.values_mut().map(|check| &mut check.depends_on);
        let calendars = config.calendars.values_mut().map(|calendar| &mut calendar.checks);
        for names in depends_on.chain(calendars).filter(|names| names.iter().any(|name| of.contains_key(name))) {
            let all = names.iter().flat_map(|name| of.get(name).cloned().unwrap_or_else(|| vec![name.clone()]));
            *names = all.collect();
        }
        Ok(())
    }
}

/// What the definitions of a file may still make.
struct Room {
    entries: usize,
    bytes: usize,
}

/// `[checks]` or `[grants]`.
struct Section<'s> {
    key: &'static str,
    /// The rule for names.
    valid: fn(&str) -> Result<()>,
    room: &'s mut Room,
    text: &'s str,
}

impl Section<'_> {
    fn expand<'t>(mut self, file: &mut DeTable<'t>) -> Result<Vec<Made<'t>>> {
        let Some(DeValue::Table(entries)) = file.get_mut(self.key).map(Spanned::get_mut) else { return Ok(Vec::new()) };
        let all = std::mem::take(entries);
        let (definitions, single): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, entry)| is_definition(entry));
        *entries = single.into_iter().collect();
        let mut taken: BTreeMap<String, Option<Origin>> = BTreeMap::new();
        for key in entries.keys() {
            self.has_no_placeholder(key)?;
            taken.insert(key.get_ref().to_string(), None);
        }
        let known = definitions.iter().map(|(key, _)| key.get_ref().to_string()).collect();
        let mut made = Vec::new();
        for (key, entry) in definitions {
            made.extend(self.define(&key, entry, &known, &mut taken)?);
        }
        Ok(made)
    }

    /// `known` are the names of all definitions, `taken` the names of all entries until now.
    fn define<'t>(
        &mut self,
        key: &Spanned<DeString<'t>>,
        mut entry: Spanned<DeValue<'t>>,
        known: &BTreeSet<String>,
        taken: &mut BTreeMap<String, Option<Origin>>,
    ) -> Result<Vec<Made<'t>>> {
        let (text, definition) = (self.text, self.named(key));
        let for_each = match entry.get_mut() {
            DeValue::Table(entry) => entry.remove(FOR_EACH),
            _ => None,
        };
        let Some(for_each) = for_each else { return Ok(Vec::new()) };
        let elements = elements::read(&for_each, self.room.entries).map_err(|wrong| wrong.shown(&definition, text))?;
        self.room.entries = self.room.entries.saturating_sub(elements.len());
        let mut used = BTreeSet::new();
        let mut all = Vec::new();
        for element in &elements {
            let origin = Origin { definition: definition.clone(), element: element.to_string() };
            let wrong = |mistake: Mistake| mistake.shown(&origin, text);
            let mut entry = entry.clone();
            let mut filling = Filling { element, known, used: &mut used, left: &mut self.room.bytes };
            let name = filling.text(key.get_ref(), &key.span()).map_err(wrong)?;
            filling.value(&mut entry).map_err(wrong)?;
            (self.valid)(&name).map_err(|error| wrong(Mistake::at(key.span(), error.to_string())))?;
            if let Some(other) = taken.get(&name) {
                return Err(wrong(Mistake::at(key.span(), self.is_taken(&name, other.as_ref()))));
            }
            taken.insert(name.clone(), Some(origin.clone()));
            all.push(Made { name, of: key.get_ref().to_string(), entry, origin });
        }
        let unused =
            elements.first().and_then(|element| element.names().find(|name| !used.contains(name.get_ref().as_ref())));
        match unused {
            None => Ok(all),
            Some(name) => {
                let message = format!(
                    "nothing uses {{{0}}}: write it where `{0}` belongs, or remove it from for_each",
                    name.get_ref()
                );
                Err(Mistake::at(name.span(), message).shown(&definition, text))
            }
        }
    }

    /// An entry that is not a definition has no placeholder in its name.
    fn has_no_placeholder(&self, key: &Spanned<DeString<'_>>) -> Result<()> {
        let Some(name) = placeholders(key.get_ref()).next() else { return Ok(()) };
        let message =
            format!("its name has {{{name}}}, but it has no for_each; add `for_each = {{ {name} = [\"…\"] }}`");
        Err(Mistake::at(key.span(), message).shown(&self.named(key), self.text))
    }

    fn is_taken(&self, name: &str, other: Option<&Origin>) -> String {
        let other = other.map_or_else(|| format!("[{}.{}]", self.key, names::check_key(name)), Origin::to_string);
        format!("the name {name} is that of {other} too; use the placeholders in a way that gives each its own name")
    }

    fn named(&self, key: &Spanned<DeString<'_>>) -> String {
        format!("{}.{:?}", self.key, key.get_ref())
    }
}

fn is_definition(entry: &Spanned<DeValue<'_>>) -> bool {
    entry.get_ref().as_table().is_some_and(|entry| entry.contains_key(FOR_EACH))
}

/// A mistake in a definition.
struct Mistake {
    /// The part of the file that it is about.
    span: Range<usize>,
    message: String,
}

impl Mistake {
    fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }

    /// With its line, as toml shows other mistakes.
    fn shown(self, place: &impl Display, text: &str) -> anyhow::Error {
        let value = ValueDeserializer::from(Spanned::new(self.span, DeValue::Boolean(true)));
        match Refused(self.message).deserialize(value) {
            Err(error) => unread(place, error, text),
            Ok(never) => match never {},
        }
    }
}

/// Refuses a value, whatever it is: only toml can make its error with a span.
struct Refused(String);

enum Never {}

impl<'de> DeserializeSeed<'de> for Refused {
    type Value = Never;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Never, D::Error> {
        value.deserialize_any(self)
    }
}

impl Visitor<'_> for Refused {
    type Value = Never;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing")
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Never, E> {
        Err(E::custom(self.0))
    }
}

fn unread(place: &impl Display, mut error: toml::de::Error, text: &str) -> anyhow::Error {
    error.set_input(Some(text));
    anyhow!("{place}: {}", explained(&error))
}
