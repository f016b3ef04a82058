//! The keys whose signatures count: since when, until when, and which of them no longer.

use std::fmt;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::key::PublicKey;

/// A trusted key, and the days on which its signatures count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// The first day, in UTC; without it, always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Date>,
    /// The last day, in UTC; without it, for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}

/// The keys of a host. With any trusted key, only signed plugins run, even if none of the keys is valid today.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// The trusted keys.
    pub trusted: Vec<TrustedKey>,
    /// Keys that no longer count, whatever `trusted` says.
    pub revoked: Vec<PublicKey>,
}

/// What a signature by a key is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It counts.
    Valid,
    /// The key is not among the trusted ones.
    Unknown,
    /// The key is revoked.
    Revoked,
    /// Its first day is still to come.
    NotYet(Date),
    /// Its last day has passed.
    Expired(Date),
}

impl Keys {
    /// Whether no signature is needed.
    pub fn is_empty(&self) -> bool {
        self.trusted.is_empty()
    }

    /// What a signature by a key is worth on a day. A key may be listed several times.
    pub fn standing(&self, key: &PublicKey, today: Date) -> Standing {
        if self.revoked.contains(key) {
            return Standing::Revoked;
        }
        let mut standing = Standing::Unknown;
        for trusted in self.trusted.iter().filter(|trusted| trusted.key == *key) {
            standing = match (trusted.from, trusted.until) {
                (Some(from), _) if today < from => Standing::NotYet(from),
                (_, Some(until)) if today > until => Standing::Expired(until),
                _ => return Standing::Valid,
            };
        }
        standing
    }

    /// Why a plugin with these signatures may not run on a day; `None` if it may.
    pub fn distrust(&self, signers: &[PublicKey], today: Date) -> Option<String> {
        let standings: Vec<_> = signers.iter().map(|key| (key, self.standing(key, today))).collect();
        if self.is_empty() || standings.iter().any(|(_, standing)| *standing == Standing::Valid) {
            return None;
        }
        let signed: Vec<_> =
            standings.iter().map(|(key, standing)| format!("it is signed by {key}, which is {standing}")).collect();
        Some(if signed.is_empty() { "it is not signed".to_owned() } else { signed.join("; ") })
    }

    /// The keys that are valid on a day.
    pub fn valid(&self, today: Date) -> Vec<PublicKey> {
        let keys = self.trusted.iter().map(|trusted| trusted.key);
        keys.filter(|key| self.standing(key, today) == Standing::Valid).collect()
    }
}

/// Today in UTC, the day that keys are judged by.
// It knows no record.
#[allow(clippy::disallowed_methods)]
pub fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// Why it does not count, with the key in host.toml that says so.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => f.write_str("valid"),
            Self::Unknown => f.write_str("not trusted"),
            Self::Revoked => f.write_str("revoked (trust.revoked)"),
            Self::NotYet(from) => write!(f, "not valid before {from} (trust.keys)"),
            Self::Expired(until) => write!(f, "expired: its last day was {until} (trust.keys)"),
        }
    }
}

/// `ed25519:…`, and its days if it has any.
impl fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        self.until.map_or(Ok(()), |until| write!(f, " until {until}"))
    }
}

/// A key alone, or a table with its days.
impl<'de> Deserialize<'de> for TrustedKey {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Dated {
            key: PublicKey,
            from: Option<toml::Value>,
            until: Option<toml::Value>,
        }
        let Dated { key, from, until } = match toml::Value::deserialize(text)? {
            toml::Value::String(key) => Dated { key: key.parse().map_err(D::Error::custom)?, from: None, until: None },
            table @ toml::Value::Table(_) => {
                table.try_into().map_err(|error: toml::de::Error| D::Error::custom(error.message()))?
            }
            other => {
                let wrong =
                    format!("`{other}` is not a key; write it as text, or as a table with `key`, `from` and `until`");
                return Err(D::Error::custom(wrong));
            }
        };
        let day = |name: &str, value: Option<toml::Value>| {
            let Some(value) = value else { return Ok(None) };
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let day = text.parse::<Date>();
            let wrong = format!("`{name}`: `{text}` is not a date; write it like \"2027-01-31\"");
            day.map(Some).map_err(|_| D::Error::custom(wrong))
        };
        let (from, until) = (day("from", from)?, day("until", until)?);
        if from.zip(until).is_some_and(|(from, until)| until < from) {
            return Err(D::Error::custom(format!("the key {key} ends before it begins")));
        }
        Ok(Self { key, from, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Keys, toml::de::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Text {
            keys: Vec<TrustedKey>,
            revoked: Vec<PublicKey>,
        }
        let Text { keys, revoked } = toml::from_str(text)?;
        Ok(Keys { trusted: keys, revoked })
    }

    #[test]
    fn signatures_count_on_the_days_of_their_key() {
        let key = |digit: &str| format!("ed25519:{}", digit.repeat(64));
        let [a, b, c] = ["a", "b", "c"].map(key);
        let text = format!(
            "keys = ['{a}', {{ key = '{b}', from = 2026-02-01, until = '2026-02-28' }}, '{c}']\nrevoked = ['{c}']"
        );
        let keys = keys(&text).unwrap();
        let standing = |key: &str, day: &str| keys.standing(&key.parse().unwrap(), day.parse().unwrap());
        let day = |text: &str| text.parse::<Date>().unwrap();
        assert_eq!(standing(&a, "2026-02-01"), Standing::Valid);
        assert_eq!(standing(&b, "2026-01-31"), Standing::NotYet(day("2026-02-01")));
        assert_eq!(standing(&b, "2026-02-01"), Standing::Valid);
        assert_eq!(standing(&b, "2026-02-28"), Standing::Valid);
        assert_eq!(standing(&b, "2026-03-01"), Standing::Expired(day("2026-02-28")));
        assert_eq!(standing(&c, "2026-02-01"), Standing::Revoked);
        assert_eq!(standing(&key("d"), "2026-02-01"), Standing::Unknown);
        assert_eq!(keys.valid(day("2026-03-01")), [a.parse().unwrap()]);
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        let key = format!("ed25519:{}", "a".repeat(64));
        for (text, words) in [
            ("keys = ['rsa:1']".to_owned(), "is not a key"),
            ("keys = [1]".to_owned(), "`1` is not a key"),
            (format!("keys = [{{ key = '{key}', untill = '2027-01-01' }}]"), "unknown field `untill`"),
            (format!("keys = [{{ key = '{key}', until = 'soon' }}]"), "`soon` is not a date"),
            (format!("keys = [{{ key = '{key}', until = 2027-01-01T10:00:00Z }}]"), "is not a date"),
            (format!("keys = [{{ key = '{key}', from = 2027-01-02, until = 2027-01-01 }}]"), "ends before it begins"),
            ("keys = [{ until = 2027-01-01 }]".to_owned(), "missing field `key`"),
        ] {
            let error = keys(&text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
