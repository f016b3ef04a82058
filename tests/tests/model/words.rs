//! A trace in words, so that a broken invariant reads as a story.

use crate::{
    protocol::{Bounds, Step, What},
    state::State,
};

/// A line for each step; ticks in a row are one.
pub(crate) fn told(bounds: Bounds, trace: &[(Step, State)]) -> String {
    let runs = trace.chunk_by(|(one, _), (next, _)| one.what == What::Tick && next.what == What::Tick);
    let lines = runs.zip(1..).map(|(run, number)| {
        let (step, _) = run[0];
        let line = if step.what == What::Tick { passed(bounds, run.len()) } else { sentence(bounds, step) };
        format!("  {number:2}. {line}\n")
    });
    lines.collect()
}

fn passed(bounds: Bounds, ticks: usize) -> String {
    format!("{ticks}/{} of a lease pass.", bounds.clock.lease)
}

fn sentence(bounds: Bounds, Step { what, host, number, due }: Step) -> String {
    let host = ["A", "B", "C"][host];
    let check = format!("check {} of due time {due}", number + 1);
    let message =
        format!("the message of check {} and due time {}", number / bounds.dues + 1, number % bounds.dues + 1);
    let ago = format!("{number}/{} of a lease", bounds.clock.lease);
    match what {
        What::Kill => format!("{host} is killed."),
        What::Pause => format!("{host} is paused."),
        What::Resume => format!("{host} resumes, and believes what it believed."),
        What::Restart => format!("{host} starts again, with a new id."),
        What::Tick => passed(bounds, 1),
        What::ClockJump => {
            "The database fails over, and its clock jumps past the end of the channel's lease.".to_owned()
        }
        What::Take => format!("{host} claims {check} (free, or its lease is over) and runs it."),
        What::TakeUnheard => format!("A statement of {host} claims {check}, and {host} does not hear the answer."),
        What::LoseTurn => format!("{host} learns that it lost {check}, and drops the run."),
        What::GiveBackTurn => format!("{host} gives {check} back."),
        What::Die => format!("Running {check} takes {host} down."),
        What::Begin => format!("{host} begins to record {check}."),
        What::SendCommit => format!("{host} sends COMMIT for {check}."),
        What::LoseAnswer => format!("The connection breaks: {host} does not know whether {check} is recorded."),
        What::Commit => format!("The database commits {check}."),
        What::Abort => format!("The database rolls back {check}."),
        What::TakeChannel => format!("{host} takes the channel (free, or its lease is over)."),
        What::TakeChannelUnheard => {
            format!("A statement of {host} takes the channel, and {host} does not hear the answer.")
        }
        What::SendRenewal => format!("{host} sends a renewal of the channel's lease."),
        What::Renew => format!("The database executes the renewal of {host}, sent {ago} ago."),
        What::RenewUnheard => {
            format!("The database executes the renewal of {host}, and {host} does not hear the answer.")
        }
        What::RenewalRefused => format!("The renewal of {host} is refused: it lost the channel."),
        What::RenewalLost => format!("The renewal of {host}, or its answer, is lost."),
        What::RenewalAnswered => format!("{host} hears of its renewal, and counts its lease from {ago} ago."),
        What::LetGo => format!("{host} lets go of the channel."),
        What::GiveBackChannel => format!("{host} gives the channel back."),
        What::Choose => format!("{host} looks at its clock, and is about to send {message}."),
        What::Post => format!("The POST of {host} is accepted: {message}."),
        What::PostFails => format!("{host} could not send {message}."),
        What::PostLate => format!("{host} gives up its POST of {message}, which is still on its way."),
        What::PostArrives => format!("The POST that was given up is accepted: {message}."),
        What::PostVanishes => format!("The POST that was given up never arrives: {message}."),
        What::Answer => format!("{host} hears that {message} was accepted."),
        What::AnswerLost => format!("{host} does not hear that {message} was accepted."),
        What::TimeOut => format!("{host} finds that its time to send {message} is over."),
        What::Receipt => format!("{host} writes the receipt of {message}."),
        What::ReceiptOld => format!("{host} writes the receipt of {message} under an old epoch."),
        What::ReceiptLate => format!("The statement of {host} with the receipt of {message} is cut off or slow."),
        What::ReceiptLost => format!("The receipt of {host} for {message} is never written."),
    }
}
