//! Whether a request comes from Slack: it signs the time and the body with the app's signing secret.
//! <https://docs.slack.dev/authentication/verifying-requests-from-slack>

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use ring::hmac;

use crate::text::hex::unhex;

/// How old a request may be.
const OLDEST: SignedDuration = SignedDuration::from_mins(5);
/// How far Slack's clock may be ahead of this machine's.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);

/// What a request brings to show that it comes from Slack.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'p> {
    /// `X-Slack-Request-Timestamp`: seconds since 1970.
    pub timestamp: &'p str,
    /// `X-Slack-Signature`: `v0=` and an HMAC-SHA256 in hexadecimal.
    pub signature: &'p str,
    /// The request's body.
    pub body: &'p [u8],
}

/// The requests that were accepted in the last minutes: none is accepted twice.
#[derive(Debug)]
pub(super) struct Accepted {
    /// In whole seconds, as Slack's timestamps. What was accepted before is not known here, so it is refused.
    started: Timestamp,
    signatures: Mutex<BTreeMap<[u8; 32], Timestamp>>,
}

impl Accepted {
    pub(super) fn since(started: Timestamp) -> Self {
        let started = Timestamp::from_second(started.as_second()).unwrap_or(started);
        Self { started, signatures: Mutex::default() }
    }

    /// Accepts a request once. An error says why not.
    pub(super) fn accept(&self, secret: &str, proof: Proof<'_>, now: Timestamp) -> Result<(), &'static str> {
        let Proof { timestamp, signature, body } = proof;
        let digits = !timestamp.is_empty() && timestamp.bytes().all(|digit| digit.is_ascii_digit());
        let seconds = timestamp.parse::<i64>().ok().filter(|_| digits);
        let at = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or("no valid timestamp")?;
        let age = now.duration_since(at);
        if age > OLDEST {
            return Err("the request is older than five minutes");
        }
        if age < -AHEAD {
            return Err("the request is from the future; compare this machine's clock");
        }
        if at < self.started {
            return Err("the request is older than this host's start");
        }
        let signature: [u8; 32] = signature.strip_prefix("v0=").and_then(unhex).ok_or("no valid signature")?;
        let signed = ["v0:".as_bytes(), timestamp.as_bytes(), b":", body].concat();
        // Compares in constant time.
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &signed, &signature)
            .map_err(|_| "the signature is wrong; compare the signing secret with the app's")?;
        let mut signatures = self.signatures.lock().unwrap_or_else(PoisonError::into_inner);
        signatures.retain(|_, of| now.duration_since(*of) <= OLDEST);
        match signatures.insert(signature, at) {
            None => Ok(()),
            Some(_) => Err("the request was accepted before"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::hex::hex;

    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

    fn moment(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// The example in Slack's documentation.
    #[test]
    fn slacks_own_example_is_accepted_once_and_in_time() {
        let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let proof = Proof { timestamp: "1531420618", signature, body };
        let sent = 1_531_420_618;
        let accepted = || Accepted::since(moment(sent - 3600));
        for (after, expected) in [
            (0, Ok(())),
            (300, Ok(())),
            (-60, Ok(())),
            (301, Err("the request is older than five minutes")),
            (-61, Err("the request is from the future; compare this machine's clock")),
        ] {
            assert_eq!(accepted().accept(SECRET, proof, moment(sent + after)), expected, "{after}");
        }
        let known = accepted();
        assert_eq!(known.accept(SECRET, proof, moment(sent)), Ok(()));
        assert_eq!(known.accept(SECRET, proof, moment(sent + 300)), Err("the request was accepted before"));
        let restarted = Accepted::since(moment(sent + 1));
        assert!(restarted.accept(SECRET, proof, moment(sent + 2)).is_err_and(|why| why.contains("start")));
        for wrong in [
            Proof { body: b"token=other", ..proof },
            Proof { timestamp: "1531420617", ..proof },
            Proof { timestamp: "", ..proof },
            Proof { timestamp: "-1531420618", ..proof },
            Proof { timestamp: "99999999999999999999", ..proof },
            Proof { signature: "", ..proof },
            Proof { signature: signature.trim_start_matches("v0="), ..proof },
            Proof { signature: &signature[..66], ..proof },
        ] {
            assert!(accepted().accept(SECRET, wrong, moment(sent)).is_err(), "{wrong:?}");
        }
        assert!(accepted().accept("another", proof, moment(sent)).is_err());
    }

    #[test]
    fn only_the_last_minutes_are_remembered() {
        let accepted = Accepted::since(moment(0));
        for second in [1000, 1200, 1400] {
            let timestamp = second.to_string();
            let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
            let signature = format!("v0={}", hex(hmac::sign(&key, format!("v0:{timestamp}:x").as_bytes()).as_ref()));
            let proof = Proof { timestamp: &timestamp, signature: &signature, body: b"x" };
            assert_eq!(accepted.accept(SECRET, proof, moment(second)), Ok(()));
        }
        assert_eq!(accepted.signatures.lock().expect("no panic").len(), 2);
    }
}
