//! How a check names something on Cloud Run: `NAME`, `REGION/NAME`, `job:NAME` or `job:REGION/NAME`.

use std::fmt;

use crate::contract::Error;

/// The prefix of a job's name. No service can have it: their names have no colon.
const JOB: &str = "job:";

/// What is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Service,
    Job,
}

/// A name in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) kind: Kind,
    pub(super) region: Option<&'a str>,
    /// The name on Cloud Run.
    pub(super) plain: &'a str,
}

impl<'a> Name<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Error> {
        let (kind, rest) = match text.strip_prefix(JOB) {
            Some(rest) => (Kind::Job, rest),
            None => (Kind::Service, text),
        };
        let (region, plain) = match rest.split_once('/') {
            Some((region, plain)) => (Some(region), plain),
            None => (None, rest),
        };
        if [region, Some(plain)].into_iter().flatten().all(valid) {
            return Ok(Self { kind, region, plain });
        }
        let function = plain.to_ascii_lowercase().replace('_', "-");
        let hint = match valid(&function) && kind == Kind::Service {
            true => format!("; the function {plain} is the service {function}"),
            false => String::new(),
        };
        Err(Error::Invalid(format!(
            "lookup failed: {text:?} is not a name on Cloud Run, which has lower-case letters, digits and -; \
             write NAME, REGION/NAME or job:NAME{hint}"
        )))
    }

    /// The same with its region.
    pub(super) fn within(&self, region: &str) -> String {
        Name { region: Some(region), ..*self }.to_string()
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == Kind::Job { JOB } else { "" };
        match self.region {
            Some(region) => write!(f, "{kind}{region}/{}", self.plain),
            None => write!(f, "{kind}{}", self.plain),
        }
    }
}

/// Whether a name, or a region's, has only the characters that Cloud Run allows, so that it stays one part of a path.
fn valid(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_kind_and_may_have_a_region() {
        for (text, kind, region, plain) in [
            ("worker", Kind::Service, None, "worker"),
            ("us-west2/worker", Kind::Service, Some("us-west2"), "worker"),
            ("job:nightly", Kind::Job, None, "nightly"),
            ("job:us-west2/nightly", Kind::Job, Some("us-west2"), "nightly"),
        ] {
            let name = Name::parse(text).expect(text);
            assert_eq!(name, Name { kind, region, plain });
            assert_eq!(name.to_string(), text);
        }
        assert_eq!(Name::parse("job:nightly").expect("a job").within("us-east1"), "job:us-east1/nightly");
    }

    #[test]
    fn what_is_not_a_name_is_told_with_what_to_write() {
        for (text, hint) in [
            ("phase3_to_phase4", "the function phase3_to_phase4 is the service phase3-to-phase4"),
            ("us-west2/publishScores", "the function publishScores is the service publishscores"),
            ("", "write NAME"),
            ("job:", "write NAME"),
            ("/worker", "write NAME"),
            ("a/b/c", "write NAME"),
            ("job:../services/a", "write NAME"),
            ("worker?x=1", "write NAME"),
        ] {
            let error = Name::parse(text).expect_err(text);
            assert!(matches!(error, Error::Invalid(_)) && error.message().contains(hint), "{text}: {error:?}");
        }
        assert!(!Name::parse("job:a_b").expect_err("no job").message().contains("function"));
    }
}
