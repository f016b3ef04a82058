//! The confined process: it drops every right that its work does not need, and then reads its input. If a limit cannot
//! be set, it ends.

use std::{
    any::Any,
    io::{Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use rustix::{
    io::Errno,
    process::{
        DumpableBehavior, Pid, Resource, Rlimit, Signal, getppid, set_dumpable_behavior,
        set_parent_process_death_signal, setrlimit,
    },
    thread::set_no_new_privs,
};

use super::{Failed, MARKER, Task, allocator, filter};

/// The first byte of an answer: the kind of the rest.
const DONE: u8 = 0;
const REFUSED: u8 = 1;
const BROKEN: u8 = 2;

/// The longest reason, in bytes.
const REASON: usize = 16 << 10;

/// Does the work of a confined process if the arguments ask for it; `None` otherwise.
pub(crate) fn serve(work: fn(Task, &[u8]) -> Result<Vec<u8>, String>) -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != MARKER {
        return None;
    }
    let mut next = || arguments.next()?.into_string().ok();
    let ordered = (|| {
        let name = next()?;
        let task = Task::ALL.into_iter().find(|task| task.name() == name)?;
        Some(Ordered {
            task,
            parent: Pid::from_raw(next()?.parse().ok()?)?,
            seconds: next()?.parse().ok()?,
            bytes: next()?.parse().ok()?,
        })
    })();
    let done = ordered.and_then(|ordered| ordered.perform(work).ok());
    Some(if done.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Parses the arguments.
struct Ordered {
    task: Task,
    parent: Pid,
    seconds: u64,
    bytes: u64,
}

impl Ordered {
    fn perform(&self, work: fn(Task, &[u8]) -> Result<Vec<u8>, String>) -> std::io::Result<()> {
        self.confine()?;
        let mut input = Vec::new();
        std::io::stdin().lock().read_to_end(&mut input)?;
        let (kind, answer) = match catch_unwind(AssertUnwindSafe(|| work(self.task, &input))) {
            Ok(Ok(answer)) => (DONE, answer),
            Ok(Err(reason)) => (REFUSED, reason.into_bytes()),
            Err(panic) => (BROKEN, said(panic.as_ref()).into_bytes()),
        };
        let mut out = std::io::stdout().lock();
        out.write_all(&[kind])?;
        out.write_all(&answer)?;
        out.flush()
    }

    fn confine(&self) -> Result<(), Errno> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before.
        if getppid() != Some(self.parent) {
            return Err(Errno::SRCH);
        }
        set_no_new_privs(true)?;
        // Other processes of the same user can neither read nor change it.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        filter::close_files()?;
        for (resource, soft, hard) in [
            (Resource::Core, 0, 0),
            (Resource::Fsize, 0, 0),
            // The first second over the limit raises a signal of its own.
            (Resource::Cpu, self.seconds, self.seconds + 1),
            // Counts private writable memory, mapped or not, but neither code nor reserved addresses.
            (Resource::Data, self.bytes, self.bytes),
        ] {
            setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })?;
        }
        allocator::end_without_memory();
        filter::deny_files()?;
        // Setting up the file rules needed one more file.
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum: Some(0) })?;
        filter::deny_calls()
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason".to_owned())
}

/// Parses an answer.
pub(super) fn read_answer(mut answer: Vec<u8>) -> Result<Vec<u8>, Failed> {
    let kind = answer.first().copied();
    let reason = |answer: &[u8]| {
        let text = answer.get(1..).unwrap_or_default();
        String::from_utf8_lossy(text.get(..REASON).unwrap_or(text)).into_owned()
    };
    match kind {
        Some(DONE) => {
            answer.remove(0);
            Ok(answer)
        }
        Some(REFUSED) => Err(Failed::Refused(reason(&answer))),
        Some(BROKEN) => Err(Failed::Broken(format!("broke off: {}", reason(&answer)))),
        _ => Err(Failed::Broken("gave no answer".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_they_are_written() {
        assert_eq!(read_answer(vec![DONE, 1, 2]), Ok(vec![1, 2]));
        assert_eq!(read_answer(vec![REFUSED, b'n', b'o']), Err(Failed::Refused("no".to_owned())));
        assert!(matches!(read_answer(vec![BROKEN, b'x']), Err(Failed::Broken(why)) if why.contains("broke off: x")));
        for nothing in [vec![], vec![7, 7]] {
            assert!(matches!(read_answer(nothing), Err(Failed::Broken(_))));
        }
    }
}
