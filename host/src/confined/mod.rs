//! Work on a plugin's bytes that may take without limit runs in a separate process: this program again, which confines
//! itself before it reads the first byte. Exceeding a limit ends only that process.

mod allocator;
mod filter;
mod inside;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
    time::Duration,
};

use rustix::process::{Pid, getpriority_process, setpriority_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

use crate::lanes::{Held, Permit};
pub use allocator::Allocator;
pub(crate) use inside::serve;

/// The first argument of a confined process.
const MARKER: &str = "--confined";

/// The running program, even if its file was replaced or removed meanwhile.
const ITSELF: &str = "/proc/self/exe";

/// The exit code of a process that ran out of memory.
const OUT_OF_MEMORY: i32 = 100;

/// CPU time at normal priority. A host of the dev profile compiles a plugin in Rust in 0.7 to 2 s, one of the release
/// profile in less; longer work continues at lower priority.
const ORDINARY: Duration = Duration::from_secs(2);

/// How often the process's CPU time is read.
const LOOK: Duration = Duration::from_millis(500);

/// The increase of its niceness then, on top of the host's own: others get ten times its share of a contested core. Not
/// `SCHED_IDLE`, under which a plugin in Python would take hours to compile beside busy processes.
const NICE: i32 = 10;

/// The maximum niceness.
const LAST: i32 = 19;

/// How long a process may take to exit after its answer.
const LINGERING: Duration = Duration::from_secs(10);

/// The tasks of a confined process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Compile a component to machine code.
    Compile,
    /// Validate settings against their schema.
    Settings,
}

impl Task {
    const ALL: [Self; 2] = [Self::Compile, Self::Settings];

    fn name(self) -> &'static str {
        match self {
            Self::Compile => "compile",
            Self::Settings => "settings",
        }
    }
}

/// The limits of the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// CPU time, counted in whole seconds.
    pub(crate) cpu: Duration,
    /// Writable memory, in bytes; also the limit of its answer.
    pub(crate) memory: usize,
}

/// Why the process gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failed {
    /// It used its CPU time up.
    #[error("it needs more CPU time")]
    Cpu,
    /// It exceeded its memory limit.
    #[error("it needs more memory")]
    Memory,
    /// The input is invalid, and why.
    #[error("{0}")]
    Refused(String),
    /// The process could not do its work, and why.
    #[error("the confined process {0}")]
    Broken(String),
}

/// The program that does confined work.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Sets the program that does confined work: the built `host`, for tests and benchmarks, which are other programs. Only
/// the first call counts.
pub fn use_program(path: &Path) {
    let _ = PROGRAM.set(path.to_owned());
}

/// Runs a task on some bytes, in a process that ends when this is dropped. The answer is charged to the permit.
pub(crate) async fn run(permit: &Permit, task: Task, input: &[u8], limits: Limits) -> Result<(Vec<u8>, Held), Failed> {
    let mut child = start(task, limits)?;
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let answered = tokio::select! {
        answered = exchange(permit, &mut child, input, limits) => answered,
        () = give_way(id) => Err(Failed::Broken("was lost".to_owned())),
    };
    // Only a faulty compiler closes its output and keeps running.
    let status = match tokio::time::timeout(LINGERING, child.wait()).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(Failed::Broken(format!("cannot be waited for: {error}"))),
        Err(_) => return Err(Failed::Broken("answered and did not end".to_owned())),
    };
    let (answer, held) = answered?;
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok((inside::read_answer(answer)?, held)),
        (Some(OUT_OF_MEMORY), _) => Err(Failed::Memory),
        (_, Some(libc::SIGXCPU)) => Err(Failed::Cpu),
        _ => Err(Failed::Broken(format!("ended unexpectedly ({status})"))),
    }
}

fn start(task: Task, limits: Limits) -> Result<Child, Failed> {
    let program = PROGRAM.get().map_or(Path::new(ITSELF), PathBuf::as_path);
    let seconds = limits.cpu.as_secs() + u64::from(limits.cpu.subsec_nanos() > 0);
    let arguments: [OsString; 5] = [
        MARKER.into(),
        task.name().into(),
        std::process::id().to_string().into(),
        seconds.to_string().into(),
        limits.memory.to_string().into(),
    ];
    Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failed::Broken(format!("cannot be started from {}: {error}", program.display())))
}

/// Writes the input, and reads the answer.
async fn exchange(permit: &Permit, child: &mut Child, input: &[u8], limits: Limits) -> Result<(Vec<u8>, Held), Failed> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Failed::Broken("has no pipes".to_owned()));
    };
    // If the process ended before it read everything, its exit status says why.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    let mut held = permit.hold(0).map_err(|_| Failed::Memory)?;
    let mut answer = Vec::new();
    // No more than the memory limit of the process.
    let mut stdout = stdout.take(limits.memory as u64 + 1);
    loop {
        match stdout.read_buf(&mut answer).await {
            Ok(0) => return Ok((answer, held)),
            Ok(read) => held.more(read).map_err(|_| Failed::Memory)?,
            Err(error) => return Err(Failed::Broken(format!("has an output that cannot be read: {error}"))),
        }
    }
}

/// Lowers the priority of a process that computes long. Never returns.
async fn give_way(process: Option<Pid>) {
    if let Some(process) = process {
        while computed(process).is_some_and(|computed| computed < ORDINARY) {
            tokio::time::sleep(LOOK).await;
        }
        // If this fails, the process keeps its priority.
        if let Ok(own) = getpriority_process(Some(process)) {
            let _ = setpriority_process(Some(process), (own + NICE).min(LAST));
        }
    }
    std::future::pending().await
}

/// CPU time of a process; `None` if it has ended.
fn computed(process: Pid) -> Option<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both write to memory that outlives the call.
    #[allow(unsafe_code)]
    let read = unsafe {
        libc::clock_getcpuclockid(process.as_raw_nonzero().get(), &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    read.then(|| {
        Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_computed_is_known() {
        let itself = Pid::from_raw(std::process::id().cast_signed()).expect("a process");
        assert!(computed(itself).is_some_and(|computed| !computed.is_zero()));
    }

    #[test]
    fn failures_name_what_was_too_much() {
        for (failed, said) in [(Failed::Cpu, "CPU time"), (Failed::Memory, "memory")] {
            assert!(failed.to_string().contains(said), "{failed}");
        }
    }
}
