//! What people would have been told of runs: the policy, with the time of the runs as the present. Nothing is recorded or sent.

use jiff::Timestamp;

use super::{News, Notification, Rules, Standings, compose, decide, suit};
use crate::{config::Config, run::Run};

/// The messages that these runs would have caused, each with the due time of its round. The runs are those of the first to the
/// last due time; silences and what other checks found play no part.
pub fn would_say(config: &Config, mut runs: Vec<Run>) -> Vec<(Timestamp, Notification)> {
    runs.sort_by_key(|run| run.due);
    runs.iter_mut().flat_map(|run| &mut run.alerts).for_each(|alert| suit(alert, config));
    let (mut standings, mut said) = (Standings::new(), Vec::new());
    for round in runs.chunk_by(|one, other| one.due == other.due) {
        let Some(due) = round.first().map(|run| run.due) else { continue };
        let news: Vec<News<'_>> = round.iter().map(News::Run).collect();
        let decided = decide(&news, &mut standings, Rules { config, silences: &[], looks: false, now: due });
        let messages = compose(&decided, round, &config.timezone.rules(), None);
        said.extend(messages.into_iter().map(|message| (due, message)));
    }
    said
}
