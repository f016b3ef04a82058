//! What holds back the notices about one side of a check: a silence, a calendar, or a failure further up the pipeline.

use super::{
    day::At,
    policy::{Hold, Side, Upstream},
    roots::{How, Root},
    standing::{Rules, Standings, silenced},
};

/// What holds back the notices about one side of a check.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) hold: Hold,
    /// The reason for a hold on all notices, in the record's words.
    why: Option<String>,
    /// Whether it has one more run to follow.
    pub(super) follows: bool,
}

impl Held {
    /// The check that speaks for this one, and the channels in which it does.
    pub(super) fn elsewhere(&self) -> Option<(String, Vec<String>)> {
        match &self.hold {
            Hold::Under(Upstream::Reported { root, channels, .. }) => {
                Some((root.clone(), channels.iter().cloned().collect()))
            }
            _ => None,
        }
    }

    /// Why nobody was sent an alert about a side, for the record. `line`: a channel got a line in place of one; `first`:
    /// no channel knew of it before.
    pub(super) fn reason(self, side: &mut Side, line: bool, first: bool, confirm: u32) -> Option<String> {
        if side.announced.is_some() || side.began.is_none() {
            return None;
        }
        // The reason from when it was told stays.
        let stays = !side.listed.is_empty() && !first && !line || self.follows;
        match (side.held.take().filter(|_| stays), self.hold) {
            (Some(before), _) => Some(before),
            (None, Hold::Under(Upstream::Reported { root, .. })) if line => {
                Some(format!("told in one line: {root}, which it depends on, was reported before it"))
            }
            (None, Hold::Under(Upstream::Reported { root, .. })) if !side.listed.is_empty() => {
                Some(format!("listed under {root}, which it depends on"))
            }
            (None, Hold::Under(Upstream::Silenced { root, why })) if !side.listed.is_empty() => {
                Some(format!("told in one line: {root}, which it depends on, is silenced ({why})"))
            }
            (None, Hold::All) => self.why,
            (None, _) if side.bad >= confirm => {
                Some("told later: another date of the check was told less than a repeat_interval ago".to_owned())
            }
            (None, _) => Some(format!("not confirmed: {} of {confirm} results", side.bad)),
        }
    }
}

/// What holds back the notices about one side of a check at a time: `silenced_itself` is its own silence or calendar, `root`
/// the check that speaks for it.
pub(super) fn held(
    silenced_itself: Option<String>,
    root: Option<&Root>,
    at: At,
    standings: &Standings,
    rules: Rules<'_>,
) -> Held {
    if let Some(why) = silenced_itself {
        let why = if why.starts_with("calendars.") { format!("silenced by {why}") } else { why };
        return Held { hold: Hold::All, why: Some(why), ..Held::default() };
    }
    let Some(Root { check, how }) = root else { return Held::default() };
    let root = check.clone();
    let hold = match how {
        How::Reported => {
            let data = standings.get(check).and_then(|standing| standing.failing_at(at.date));
            Hold::Under(Upstream::Reported {
                root,
                at: data.and_then(|data| data.announced).map_or(at.due, |(first, _)| first),
                channels: data.map(Side::knowing).unwrap_or_default(),
            })
        }
        How::Silenced => Hold::Under(Upstream::Silenced { root, why: silenced(check, at, rules).unwrap_or_default() }),
        How::Follows => {
            let why = Some(format!("{check}, which it depends on, had just recovered"));
            return Held { hold: Hold::All, why, follows: true };
        }
    };
    Held { hold, ..Held::default() }
}
