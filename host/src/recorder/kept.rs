//! Fits a run into its `record_bytes` budget: all of it, or as much as fits. The status and the error are always kept.

use anyhow::Result;
use serde::Serialize;

use crate::{
    capability::{Call, Evidence},
    config::{Bytes, raise},
    contract::{Gate, Report},
    record::{NewRun, PluginKey},
    run::{Run, verdict_name},
    text::{beginning, shortened},
};

/// The longest summary, in bytes. Errors are limited to this where they are made.
const SUMMARY: usize = 8 << 10;

/// A run as recorded, within a number of bytes.
pub(super) fn kept(run: &Run, most: Bytes) -> Result<NewRun> {
    let summary = shortened(&run.summary(), SUMMARY);
    let error = run.error.as_ref().map(ToString::to_string);
    let mut room = Room { left: most.0, cut: Vec::new() };
    room.take(summary.len() + error.as_ref().map_or(0, String::len));
    let report = run.report.as_ref().map(|report| room.report(report)).transpose()?;
    let evidence = room.evidence(&run.evidence)?;
    let calls = room.calls(&run.calls)?;
    Ok(NewRun {
        check: run.check.clone(),
        plugin: run.plugin.as_ref().map(|plugin| PluginKey {
            name: plugin.name.clone(),
            version: plugin.version.clone(),
            digest: plugin.digest.to_string(),
        }),
        due: run.due,
        data_date: run.data_date,
        attempt: run.attempt,
        past: run.past,
        status: run.status().name(),
        summary,
        report,
        evidence,
        error,
        seconds: run.duration.as_secs_f64(),
        calls,
        left_out: run.is_left_out(),
        cut: (!room.cut.is_empty()).then(|| {
            let plugin = run.plugin.as_ref().map_or(run.check.as_str(), |plugin| plugin.name.as_str());
            let (cut, raise) = (room.cut.join(", "), raise(plugin, "record_bytes"));
            format!("not recorded: {cut}; the limit for one run is {most}: {raise}")
        }),
        tape: None,
    })
}

/// The rest of a run's budget, and what did not fit.
struct Room {
    left: usize,
    cut: Vec<String>,
}

impl Room {
    fn take(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    /// A report as JSON; if too large, as much of its lists as fits, the most important first.
    fn report(&mut self, report: &Report) -> Result<String> {
        let whole = written(report)?;
        if whole.len() <= self.left {
            self.take(whole.len());
            return Ok(whole);
        }
        let gate = |gate: &Gate| Gate { missing: Vec::new(), metadata: Vec::new(), ..gate.clone() };
        let mut part = Report {
            metrics: Vec::new(),
            violations: Vec::new(),
            unknown: Vec::new(),
            gate: report.gate.as_ref().map(gate),
            ..report.clone()
        };
        self.take(written(&part)?.len());
        part.violations = self.list("violations", &report.violations)?;
        part.unknown = self.list("unknown items", &report.unknown)?;
        part.metrics = self.list("metrics", &report.metrics)?;
        if let (Some(part), Some(whole)) = (&mut part.gate, &report.gate) {
            part.missing = self.list("missing items", &whole.missing)?;
            part.metadata = self.list("metadata", &whole.metadata)?;
        }
        written(&part)
    }

    /// Evidence as JSON, with the first rows that fit; `None` if there is none.
    fn evidence(&mut self, all: &[Evidence]) -> Result<Option<String>> {
        if all.is_empty() {
            return Ok(None);
        }
        let mut kept = Vec::new();
        for one in self.list("tables of evidence", &all.iter().map(Evidence::without_rows).collect::<Vec<_>>())? {
            let rows = all.get(kept.len()).map(|whole| whole.rows.as_slice()).unwrap_or_default();
            let rows = self.list(&format!("rows of evidence of {}", one.metric), rows)?;
            kept.push(Evidence { rows, ..one });
        }
        Ok(Some(serde_json::to_string(&kept)?))
    }

    /// The first items of a list that fit.
    fn list<T: Clone + Serialize>(&mut self, what: &str, all: &[T]) -> Result<Vec<T>> {
        let mut kept = Vec::new();
        for one in all {
            // Including the comma.
            let bytes = serde_json::to_vec(one)?.len() + 1;
            if bytes > self.left {
                self.cut.push(format!("{} of {} {what}", all.len() - kept.len(), all.len()));
                break;
            }
            self.take(bytes);
            kept.push(one.clone());
        }
        Ok(kept)
    }

    /// Calls as JSON. Names and times are short and come first; questions and errors share the rest, and the longest
    /// are cut first.
    fn calls(&mut self, calls: &[Call]) -> Result<String> {
        let calls: Vec<Written> = calls.iter().map(Written::from).collect();
        let bare = |call: &Written| Written {
            asked: String::new(),
            error: call.error.as_ref().map(|_| String::new()),
            ..call.clone()
        };
        // One bracket; the other takes the place of a comma.
        self.take(1);
        let bare = self.list("calls", &calls.iter().map(bare).collect::<Vec<_>>())?;
        let texts =
            || calls.iter().take(bare.len()).flat_map(|call| [Some(&call.asked), call.error.as_ref()]).flatten();
        let longest = longest(texts().map(|text| escaped(text)).collect(), self.left);
        let mut left_out = 0;
        let mut fitting = |text: &str| {
            let start = held(text, longest);
            left_out += text.len() - start.len();
            match start.len() {
                all if all == text.len() => text.to_owned(),
                0 => String::new(),
                _ => format!("{start}…"),
            }
        };
        let kept: Vec<Written> = calls
            .iter()
            .zip(bare)
            .map(|(call, bare)| Written {
                asked: fitting(&call.asked),
                error: call.error.as_deref().map(&mut fitting),
                ..bare
            })
            .collect();
        if left_out > 0 {
            self.cut.push(format!("{left_out} B of the calls' questions and errors"));
        }
        Ok(serde_json::to_string(&kept)?)
    }
}

/// A call as recorded.
#[derive(Clone, Serialize)]
struct Written {
    name: &'static str,
    asked: String,
    bytes: u64,
    seconds: f64,
    error: Option<String>,
}

impl From<&Call> for Written {
    fn from(call: &Call) -> Self {
        let error = call.error.as_ref().map(ToString::to_string);
        let (asked, seconds) = (call.asked.clone(), call.duration.as_secs_f64());
        Self { name: call.name, asked, bytes: call.bytes, seconds, error }
    }
}

fn written(report: &Report) -> Result<String> {
    let mut json = serde_json::to_value(report)?;
    if let Some(verdict) = json.get_mut("verdict") {
        *verdict = verdict_name(&report.verdict).into();
    }
    Ok(json.to_string())
}

/// The length of the `…` mark, in bytes.
const MARK: usize = '…'.len_utf8();

/// The length to cut texts to, so that all of them fit.
fn longest(mut lengths: Vec<usize>, room: usize) -> usize {
    lengths.sort_unstable();
    let (mut room, mut rest) = (room, lengths.len());
    for length in lengths {
        // All remaining texts are at least this long.
        let share = room / rest;
        if length > share {
            return share.saturating_sub(MARK);
        }
        room -= length;
        rest -= 1;
    }
    usize::MAX
}

/// The length of a text within JSON. <https://www.rfc-editor.org/rfc/rfc8259#section-7>
fn escaped(text: &str) -> usize {
    text.bytes().map(escaped_byte).sum()
}

fn escaped_byte(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

/// The beginning of a text that takes a number of bytes within JSON.
fn held(text: &str, most: usize) -> &str {
    let mut length = 0;
    let end = text.bytes().position(|byte| {
        length += escaped_byte(byte);
        length > most
    });
    end.map_or(text, |end| beginning(text, end))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{capability::Unanswered, contract::Error};

    fn call(asked: &str, error: Option<&str>) -> Call {
        let asked = asked.to_owned();
        let unavailable = |text: &str| Unanswered::Error(Error::Unavailable(text.to_owned()));
        Call {
            name: "warehouse.query",
            asked,
            bytes: 7,
            duration: Duration::from_millis(2),
            error: error.map(unavailable),
        }
    }

    fn room(left: usize) -> Room {
        Room { left, cut: Vec::new() }
    }

    #[test]
    fn the_longest_texts_give_way_to_the_others() {
        assert_eq!(longest(vec![10, 20, 30], 60), usize::MAX);
        assert_eq!(longest(vec![30, 10, 20], 59), 29 - MARK);
        assert_eq!(longest(vec![100, 100], 60), 30 - MARK);
        assert_eq!(longest(vec![100, 1], 2), 0);
        assert_eq!(longest(Vec::new(), 0), usize::MAX);
    }

    #[test]
    fn what_is_measured_is_what_json_takes() {
        for text in ["", "plain", "\"quoted\" \\ \n\r\t\u{8}\u{c}", "\u{0}\u{1f}\u{7f}", "ä€😀"] {
            let json = serde_json::to_string(text).expect("a text");
            assert_eq!(escaped(text), json.len() - 2, "{text:?}");
            for most in 0..json.len() {
                let start = held(text, most);
                assert!(escaped(start) <= most && text.starts_with(start), "{text:?} {most}");
            }
        }
    }

    /// However much is asked, the recorded part fits, and short questions are kept whole.
    #[test]
    fn calls_fit_their_room() {
        let mut calls = vec![call("SELECT 1", None)];
        calls.extend((0..1000).map(|_| call(&"\u{1}".repeat(8000), Some(&"é\"".repeat(4000)))));
        for most in [10, 1000, 100_000, 130_000, 1_000_000] {
            let mut room = room(most);
            let json = room.calls(&calls).expect("JSON");
            assert!(json.len() <= most.max(2), "{} of {most}", json.len());
            let kept: Vec<serde_json::Value> = serde_json::from_str(&json).expect("JSON");
            match most {
                10 => assert_eq!(room.cut, ["1001 of 1001 calls"]),
                130_000 => {
                    assert_eq!((kept.len(), &kept[0]["asked"]), (1001, &"SELECT 1".into()));
                    assert!(room.cut[0].ends_with(" B of the calls' questions and errors"), "{:?}", room.cut);
                }
                _ => assert!(!room.cut.is_empty()),
            }
        }
        let mut room = room(1000);
        let few = [call("SELECT 1", Some("denied"))];
        assert_eq!(room.calls(&few).expect("JSON"), serde_json::to_string(&few).expect("JSON"));
        assert!(room.cut.is_empty());
    }
}
