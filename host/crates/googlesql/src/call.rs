//! How SQLite calls one of our functions: its arguments, its result, and the check whether to stop.

use std::borrow::Cow;

use jiff::{
    civil::{Date, DateTime},
    tz::TimeZone,
};
use rusqlite::{
    Connection, ffi,
    functions::{Context, FunctionFlags},
    types::{Value, ValueRef},
};

use super::{
    dates::{self, Answer, Part},
    watch::Watch,
    zones,
};

/// The longest text or blob in a query: longer than checks need, and short enough that no function call or comparison
/// takes long, since SQLite can be interrupted only between them.
pub const VALUE_BYTES: usize = 256 << 10;
/// The longest name of a part, a zone or a type, and the longest format or date: a format can grow a hundredfold.
const SHORT_BYTES: usize = 1000;
/// The part of a value that an error shows.
const SHOWN: usize = 100;
/// Calls with fewer bytes than this leave the check whether to stop to the progress handler.
const SMALL_BYTES: usize = 1 << 10;

/// Why a function has no result.
#[derive(Debug)]
pub(super) enum Fault {
    /// The arguments are invalid.
    Values(String),
    /// The query must stop.
    Over,
    /// The result would be too long.
    TooBig,
}

/// The result of a function.
pub(super) type Outcome = Result<Value, Fault>;

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::Values(message)
    }
}

impl From<Fault> for rusqlite::Error {
    fn from(fault: Fault) -> Self {
        let own = |code| Self::SqliteFailure(ffi::Error::new(code), None);
        match fault {
            Fault::Values(message) => Self::UserFunctionError(message.into()),
            Fault::Over => own(ffi::SQLITE_INTERRUPT),
            Fault::TooBig => own(ffi::SQLITE_TOOBIG),
        }
    }
}

/// Registers functions that share one stop signal.
pub(super) struct Calls<'c> {
    pub(super) connection: &'c Connection,
    pub(super) watch: Watch,
}

impl Calls<'_> {
    /// Registers a function whose arguments are not NULL.
    pub(super) fn plain(
        &self,
        name: &str,
        count: i32,
        function: fn(&Arguments<'_, '_>) -> Answer<Value>,
    ) -> rusqlite::Result<()> {
        self.scalar(name, count, move |arguments| Ok(function(arguments)?))
    }

    /// Registers a function that may stop early, or whose result may be too long.
    pub(super) fn scalar(
        &self,
        name: &str,
        count: i32,
        function: impl Fn(&Arguments<'_, '_>) -> Outcome + Send + 'static,
    ) -> rusqlite::Result<()> {
        let mut flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        // It stands for a function of SQLite, which views of the dataset may call.
        if !name.starts_with("g_") {
            flags |= FunctionFlags::SQLITE_INNOCUOUS;
        }
        let watch = self.watch.clone();
        self.connection.create_scalar_function(name, count, flags, move |context| {
            let mut bytes = 0;
            for at in 0..context.len() {
                match context.get_raw(at) {
                    ValueRef::Null => return Ok(Value::Null),
                    ValueRef::Text(value) | ValueRef::Blob(value) => bytes += value.len(),
                    ValueRef::Integer(_) | ValueRef::Real(_) => {}
                }
            }
            if bytes >= SMALL_BYTES && watch.is_over_after(bytes) {
                return Err(Fault::Over.into());
            }
            Ok(function(&Arguments { context, watch: &watch })?)
        })
    }
}

/// The arguments of a call, none of them NULL.
pub(super) struct Arguments<'c, 'a> {
    context: &'c Context<'a>,
    watch: &'c Watch,
}

impl Arguments<'_, '_> {
    pub(super) fn len(&self) -> usize {
        self.context.len()
    }

    /// Whether the function should stop; for functions that run long.
    pub(super) fn is_over(&self) -> bool {
        self.watch.is_over()
    }

    pub(super) fn raw(&self, at: usize) -> ValueRef<'_> {
        self.context.get_raw(at)
    }

    pub(super) fn value(&self, at: usize) -> Answer<Value> {
        self.context.get(at).map_err(|error| error.to_string())
    }

    pub(super) fn integer(&self, at: usize) -> Answer<i64> {
        match self.raw(at) {
            ValueRef::Integer(number) => Ok(number),
            _ => Err(format!("{} is not an INT64", self.shown(at))),
        }
    }

    pub(super) fn float(&self, at: usize) -> Answer<f64> {
        match self.raw(at) {
            ValueRef::Integer(number) => Ok(number as f64),
            ValueRef::Real(number) => Ok(number),
            _ => Err(format!("{} is not a number", self.shown(at))),
        }
    }

    pub(super) fn text(&self, at: usize) -> Answer<Cow<'_, str>> {
        match self.raw(at) {
            ValueRef::Text(bytes) => Ok(String::from_utf8_lossy(bytes)),
            _ => Err(format!("{} is not a STRING", self.shown(at))),
        }
    }

    /// A text, or a value that SQLite converts to text: the columns of a view may have no type.
    pub(super) fn loose(&self, at: usize) -> Answer<Cow<'_, str>> {
        Ok(match self.raw(at) {
            ValueRef::Integer(number) => Cow::Owned(number.to_string()),
            ValueRef::Real(number) => Cow::Owned(format!("{number:?}")),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes),
            ValueRef::Null => Cow::Borrowed(""),
        })
    }

    /// A text that should be short, such as a format.
    pub(super) fn short(&self, at: usize) -> Answer<Cow<'_, str>> {
        let text = self.text(at)?;
        match text.len() > SHORT_BYTES {
            true => Err(format!("{} is longer than {SHORT_BYTES} bytes", self.shown(at))),
            false => Ok(text),
        }
    }

    pub(super) fn date(&self, at: usize) -> Answer<Date> {
        dates::date(&self.text(at)?).ok_or_else(|| format!("Invalid date: {}", self.shown(at)))
    }

    pub(super) fn civil(&self, at: usize) -> Answer<DateTime> {
        dates::civil(&self.text(at)?).ok_or_else(|| format!("Invalid datetime: {}", self.shown(at)))
    }

    pub(super) fn part(&self, at: usize) -> Answer<Part> {
        let name = self.short(at)?;
        Part::new(&name).ok_or_else(|| format!("{name} is not a date part"))
    }

    /// The time zone, or UTC without that argument.
    pub(super) fn zone(&self, at: usize) -> Answer<TimeZone> {
        if at >= self.len() {
            return Ok(TimeZone::UTC);
        }
        let name = self.short(at)?;
        zones::zone(&name).ok_or_else(|| format!("Invalid time zone: {name}"))
    }

    pub(super) fn shown(&self, at: usize) -> String {
        match self.raw(at) {
            ValueRef::Null => "NULL".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Text(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                match text.char_indices().nth(SHOWN) {
                    Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
                    None => format!("{text:?}"),
                }
            }
            ValueRef::Blob(_) => "BYTES".to_owned(),
        }
    }
}
