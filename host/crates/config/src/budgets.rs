//! The limits of a run: one list of numbers, for all plugins or for one.

use std::{fmt, time::Duration};

use anyhow::{Result, bail};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

/// A time, written `90s`, `5m`, `4h` or `90d`; a day has 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

/// A size, written `64 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub usize);

macro_rules! budgets {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $default:expr;)+) => {
        /// `[budgets]`
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct Budgets {
            $($(#[doc = $doc])+ pub $name: $kind,)+
        }

        /// `[grants.NAME.budgets]`: a key that is left out has its value from `[budgets]`.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct OwnBudgets {
            $($(#[doc = $doc])+ pub $name: Option<$kind>,)+
        }

        impl Default for Budgets {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Budgets {
            /// These budgets, with a plugin's own values where it has any.
            pub fn with(&self, own: &OwnBudgets) -> Self {
                Self { $($name: own.$name.unwrap_or(self.$name),)+ }
            }

            /// All of them as the lines of `[budgets]`.
            pub fn text(&self) -> String {
                let line = |(key, value, _): (&str, String, &str)| match value.parse::<u64>() {
                    Ok(number) => format!("{key} = {number}\n"),
                    Err(_) => format!("{key} = {value:?}\n"),
                };
                self.list().into_iter().map(line).collect()
            }

            /// Reads the lines of `[budgets]`.
            pub fn parse(text: &str) -> Result<Self> {
                Ok(toml::from_str(text)?)
            }

            /// Each budget: its key, its value as host.toml writes it, and its meaning.
            pub fn list(&self) -> Vec<(&'static str, String, &'static str)> {
                vec![$((stringify!($name), self.$name.to_string(), concat!($($doc),+).trim_ascii()),)+]
            }
        }
    };
}

// The compile budgets come from the largest honest plugins, which embed Python: 20 MB, compiled in 20 s of CPU
// time and 320 MB by a host of the dev profile, which is the slow one.
budgets! {
    /// Wall-clock time of one run, host calls included.
    timeout: Time = Time(Duration::from_secs(60));
    /// CPU time of one run. Waiting for answers does not count.
    cpu: Time = Time(Duration::from_secs(10));
    /// Linear memory of one run, over all its memories.
    memory: Bytes = Bytes(64 << 20);
    /// Elements of the largest table of one run; a table holds references to functions.
    table_elements: Count = Count(20_000);
    /// Machine stack of one run. A guest also has a stack of its own within its memory.
    stack: Bytes = Bytes(512 << 10);
    /// Host calls of one run.
    calls: Count = Count(1000);
    /// Concurrent host calls of one run.
    concurrent_calls: Count = Count(100);
    /// Length of one query.
    sql_bytes: Bytes = Bytes(32 << 10);
    /// Bytes that one query may bill, where the warehouse bills: limits the dry run's estimate, and is BigQuery's
    /// maximumBytesBilled.
    query_bytes: Bytes = Bytes(10 << 30);
    /// Bytes that the queries of one check may bill in one day of the pipeline's time zone.
    bytes_per_day: Bytes = Bytes(100 << 30);
    /// Rows of one query's answer.
    rows: Count = Count(100_000);
    /// Size of one query's answer.
    result_bytes: Bytes = Bytes(16 << 20);
    /// Host memory that one run may use at once: queries with their parameters, answers in transit, and git history
    /// that was read.
    host_memory: Bytes = Bytes(64 << 20);
    /// Alerts of one run.
    alerts: Count = Count(20);
    /// Size of one alert; Slack shows a fraction of it.
    alert_bytes: Bytes = Bytes(256 << 10);
    /// Size of the data that a guest passes to the host in one call: SQL, an alert, a report.
    transfer_bytes: Bytes = Bytes(8 << 20);
    /// Size of the output (stdout and stderr) of one run.
    log_bytes: Bytes = Bytes(64 << 10);
    /// Size of a report.
    report_bytes: Bytes = Bytes(1 << 20);
    /// Metrics of a report. The page shows only some of them.
    report_metrics: Count = Count(1000);
    /// Violations of a report; also its unknown items, its missing items and its metadata entries. If there are more,
    /// the first are kept, with a count of the rest.
    report_lines: Count = Count(1000);
    /// Length of one text of a report: a violation, a name. The beginning of a longer text is kept, with the number of
    /// bytes that were cut.
    report_text_bytes: Bytes = Bytes(8 << 10);
    /// Rows of evidence of one run. The first are kept, with a count of the rest.
    evidence_rows: Count = Count(100);
    /// Size of one run's evidence as JSON. The rows that fit are kept, with a count of the rest.
    evidence_bytes: Bytes = Bytes(32 << 10);
    /// Size of one run in the record: its report, its evidence, its calls, its error. As much as fits is kept, with a count of the
    /// rest. A thousand ordinary metrics fit; one such run a minute takes 190 MB a day.
    record_bytes: Bytes = Bytes(128 << 10);
    /// CPU time to compile the plugin, in whole seconds. A plugin is compiled once; the compiled code is cached.
    compile_cpu: Time = Time(Duration::from_secs(60));
    /// Memory to compile the plugin.
    compile_memory: Bytes = Bytes(1 << 30);
}

impl Budgets {
    /// Rejects budgets over the sandbox's own limits.
    pub(super) fn check(&self) -> Result<()> {
        for (key, value, most, why) in [
            ("memory", self.memory, Bytes(4 << 30), "a WebAssembly memory cannot be larger"),
            ("stack", self.stack, Bytes(16 << 20), "the sandbox reserves no larger stack for a run"),
            (
                "sql_bytes",
                self.sql_bytes,
                Bytes(48 << 10),
                "longer SQL, deeply nested, would overflow the parser's stack",
            ),
        ] {
            if value > most {
                bail!("{key}: {value} is over the maximum of {most}: {why}");
            }
        }
        let most = Count(1_000_000);
        if self.table_elements > most {
            bail!(
                "table_elements: {} is over the maximum of {most}: the sandbox reserves no larger table",
                self.table_elements
            );
        }
        Ok(())
    }
}

/// A number of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u32);

/// The advice to raise a budget, with both of its keys.
pub fn raise(plugin: &str, budget: &str) -> String {
    format!("raise budgets.{budget}, or grants.{plugin}.budgets.{budget}, in host.toml")
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            millis if millis % 1000 == 0 => write!(f, "{} s", millis / 1000),
            millis => write!(f, "{millis} ms"),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1usize << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{} {name}", self.0 / unit),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let days = text.trim().strip_suffix('d').and_then(|days| days.trim_end().parse::<u32>().ok());
        let parsed = match days {
            Some(days) => Some(Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
            None => text.parse::<SignedDuration>().ok().and_then(|parsed| Duration::try_from(parsed).ok()),
        };
        match parsed {
            Some(duration) if duration.is_zero() => Err(format!("`{text}` is too short; it must be longer than 0")),
            Some(duration) => Ok(Self(duration)),
            None => Err(format!("`{text}` is not a duration; write it like `90s`, `5m`, `4h` or `90d`")),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        quoted(source, "a duration in quotes, such as \"90s\", \"4h\" or \"90d\"")?.parse().map_err(D::Error::custom)
    }
}

impl std::str::FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let trimmed = text.trim();
        let (number, unit) = trimmed.split_at(trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len()));
        let factor = match unit.trim() {
            "B" => Some(1usize),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            "TiB" => Some(1 << 40),
            _ => None,
        };
        factor
            .and_then(|factor| number.parse::<usize>().ok()?.checked_mul(factor))
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a size; write it like `64 MiB`"))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        quoted(source, "a size in quotes, such as \"64 MiB\"")?.parse().map_err(D::Error::custom)
    }
}

/// A text in quotes; the error for any other type says what is expected.
pub(super) fn quoted<'de, D: Deserializer<'de>>(
    source: D,
    expected: &'static str,
) -> std::result::Result<String, D::Error> {
    source.deserialize_str(Quoted(expected))
}

struct Quoted(&'static str);

impl Visitor<'_> for Quoted {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> std::result::Result<String, E> {
        Ok(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        u32::deserialize(source).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_they_are_read() {
        let written =
            |budgets: &Budgets| budgets.list().iter().map(|(key, value, _)| (*key, value.clone())).collect::<Vec<_>>();
        let defaults = written(&Budgets::default());
        let text: String = defaults
            .iter()
            .map(|(key, value)| match value.parse::<u32>() {
                Ok(count) => format!("{key} = {count}\n"),
                Err(_) => format!("{key} = \"{value}\"\n"),
            })
            .collect();
        let read: Budgets = toml::from_str(&text).expect("what is written can be read");
        assert_eq!(read, Budgets::default());
    }

    #[test]
    fn a_plugins_own_come_first() {
        let own: OwnBudgets = toml::from_str("timeout = '1m 30s'\nrows = 7").expect("valid");
        let budgets = Budgets::default().with(&own);
        assert_eq!((budgets.timeout, budgets.rows), (Time(Duration::from_secs(90)), Count(7)));
        assert_eq!(budgets.memory, Budgets::default().memory);
    }
}
