//! Which date a check judges, counted back from the date of a run.

use std::{fmt, str::FromStr};

use host_text::nearest;
use serde::{Deserialize, Deserializer, de::Error as _};

/// The most days back.
const FURTHEST: u16 = 366;
const TODAY: &str = "today";
const YESTERDAY: &str = "yesterday";

/// `checks.NAME.data_date`: the number of days before the date of a run, in the pipeline's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DataDate(u16);

impl DataDate {
    /// The number of days back: 0 for today.
    pub fn days_back(self) -> u16 {
        self.0
    }

    /// For people.
    pub fn words(self) -> String {
        match self.0 {
            0 => "the day of the run".to_owned(),
            1 => "the day before the run".to_owned(),
            days => format!("{days} days before the run"),
        }
    }
}

/// Yesterday.
impl Default for DataDate {
    fn default() -> Self {
        Self(1)
    }
}

/// As host.toml writes it.
impl fmt::Display for DataDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str(TODAY),
            1 => f.write_str(YESTERDAY),
            days => write!(f, "-{days}d"),
        }
    }
}

impl FromStr for DataDate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let back = match text.strip_prefix('-') {
            _ if text == TODAY => return Ok(Self(0)),
            _ if text == YESTERDAY => return Ok(Self(1)),
            Some(back) => days(back),
            None if text == "tomorrow" || days(text.strip_prefix('+').unwrap_or(text)).is_some() => {
                return Err(format!(
                    "`{text}` is in the future; write `today`, `yesterday`, or `-2d` for two days before the run"
                ));
            }
            None => None,
        };
        match back {
            Some(back) => back
                .parse()
                .ok()
                .filter(|days| *days <= FURTHEST)
                .map(Self)
                .ok_or_else(|| format!("`{text}` is too far back; write at most `-{FURTHEST}d`")),
            None => {
                let near = nearest(&text.to_lowercase(), [TODAY, YESTERDAY]);
                Err(format!("`{text}` is not a data date; write `today`, `yesterday` or `-2d`{near}"))
            }
        }
    }
}

/// The digits of `2d`.
fn days(text: &str) -> Option<&str> {
    let digits = text.strip_suffix('d')?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

impl<'de> Deserialize<'de> for DataDate {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        String::deserialize(source)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_they_are_written() {
        for (text, back, written) in [
            ("today", 0, "today"),
            ("-0d", 0, "today"),
            ("yesterday", 1, "yesterday"),
            ("-1d", 1, "yesterday"),
            ("-2d", 2, "-2d"),
            ("-366d", 366, "-366d"),
        ] {
            let date: DataDate = text.parse().expect(text);
            assert_eq!((date.days_back(), date.to_string().as_str()), (back, written), "{text}");
        }
        for (text, why) in [
            ("+1d", "`+1d` is in the future; write `today`, `yesterday`, or `-2d`"),
            ("2d", "`2d` is in the future"),
            ("tomorrow", "`tomorrow` is in the future"),
            ("-367d", "`-367d` is too far back; write at most `-366d`"),
            ("-99999999999999999999d", "is too far back"),
            ("yesterdy", "is not a data date; write `today`, `yesterday` or `-2d`; did you mean `yesterday`?"),
            ("Today", "did you mean `today`?"),
            ("-d", "`-d` is not a data date"),
            ("--2d", "`--2d` is not a data date"),
            ("-2", "`-2` is not a data date"),
            ("-2w", "`-2w` is not a data date"),
            ("2026-02-05", "`2026-02-05` is not a data date"),
            ("", "`` is not a data date"),
        ] {
            let error = text.parse::<DataDate>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
