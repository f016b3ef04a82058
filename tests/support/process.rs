//! The resource usage of a process, seen from outside.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::command::Ended;

/// The peak usage of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peak {
    /// Memory, in bytes.
    pub memory: usize,
    /// Threads, sampled every few milliseconds.
    pub threads: usize,
    /// How long it ran.
    pub took: Duration,
}

/// Runs a command to its end and watches it.
pub fn watched(command: &mut Command) -> Result<(Ended, Peak)> {
    let started = Instant::now();
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let id = process.id();
    let reading = std::thread::spawn(move || process.wait_with_output());
    let mut peak = Peak::default();
    while !reading.is_finished() {
        peak.memory = highest(id).unwrap_or(peak.memory);
        peak.threads = peak.threads.max(threads(id));
        std::thread::sleep(Duration::from_millis(5));
    }
    peak.took = started.elapsed();
    let output = reading.join().unwrap_or_else(|error| std::panic::resume_unwind(error))?;
    let ended = Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    Ok((ended, peak))
}

/// The peak memory of a process so far, in bytes; `None` if it has ended.
pub fn highest(process: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? << 10)
}

/// The threads of a process.
pub fn threads(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/task")).map_or(0, Iterator::count)
}

/// CPU time that a process has used, all its threads together.
pub fn computed(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The 14th and 15th field of proc_pid_stat(5), in hundredths of a second; the second one ends with the last bracket.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    let ticks = fields.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// A process that computes without end, until this is dropped.
pub struct Busy(std::process::Child);

impl Busy {
    /// Starts it.
    pub fn start() -> Result<Self> {
        Ok(Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn()?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // It does not end by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
