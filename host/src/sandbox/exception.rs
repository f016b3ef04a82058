//! The exception that made a guest trap, from its output: a trap itself says only `unreachable`.

use super::HOST_LINE;

/// Rust prints this and the place, then the message.
const PANIC: &str = " panicked at ";
/// Python prints this, the frames and the exception.
const TRACEBACK: &str = "Traceback (most recent call last):";
/// componentize-py panics with this after a traceback.
const OF_PYTHON: &str = "Python function threw an unexpected exception";
/// Directories in a component that componentize-py makes, which hold none of the check's own code.
const NOT_ITS_OWN: &[&str] = &["/bundled/", "/python/", "/world/"];

/// The exception at the end of an output, on one line, with file and line number.
pub fn exception(log: &str) -> Option<String> {
    let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with(HOST_LINE)).collect();
    let at = lines.iter().rposition(|line| line.starts_with("thread '") && line.contains(PANIC))?;
    let (before, panic) = lines.split_at_checked(at)?;
    let (head, message) = panic.split_first()?;
    let message = message.iter().take_while(|line| !line.starts_with("note: ")).copied();
    let message = message.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let (_, place) = head.split_once(PANIC)?;
    match message == OF_PYTHON {
        true => traceback(before).or(Some(message)),
        false => Some(format!("panicked at {place} {message}").trim_end().to_owned()),
    }
}

/// `ValueError: no such day (check.py:14, in run)`
fn traceback(lines: &[&str]) -> Option<String> {
    let at = lines.iter().rposition(|line| *line == TRACEBACK)?;
    let lines = lines.get(at + 1..)?;
    let mut own = lines
        .iter()
        .filter_map(|line| frame(line))
        .filter(|(file, ..)| !NOT_ITS_OWN.iter().any(|directory| file.starts_with(directory)));
    let place = own.next_back().map(|(file, line, function)| {
        let name = file.rsplit('/').next().unwrap_or(file);
        format!(" ({name}:{line}, in {function})")
    });
    let raised = lines.iter().find(|line| !line.is_empty() && !line.starts_with(' '))?;
    Some(format!("{raised}{}", place.unwrap_or_default()))
}

/// A file, a line number and a function, from `  File "/0/check.py", line 14, in run`.
fn frame(line: &str) -> Option<(&str, &str, &str)> {
    let (file, rest) = line.trim_start().strip_prefix("File \"")?.split_once("\", line ")?;
    let (number, function) = rest.split_once(", in ")?;
    Some((file, number, function))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_exception_is_found_with_its_place() {
        let panic =
            "thread '<unnamed>' (1) panicked at src/lib.rs:42:13:\nout of\ncheese\nnote: run with `RUST_BACKTRACE=1`\n";
        let python = "\nthread '<unnamed>' panicked at runtime/src/lib.rs:1268:25:\nPython function threw an unexpected exception\n";
        let traced = "Traceback (most recent call last):\n  File \"/world/wit_world/exports/__init__.py\", line 36, in _async_start_run\n  File \"/0/check.py\", line 14, in run\n  File \"/python/lib/json/decoder.py\", line 3, in decode\nValueError: a mistake\n";
        let cases = [
            (panic.to_owned(), Some("panicked at src/lib.rs:42:13: out of cheese")),
            (
                format!("hello\n{panic}host: it tried to open a file, which is not allowed\n"),
                Some("panicked at src/lib.rs:42:13: out of cheese"),
            ),
            (format!("{traced}{python}"), Some("ValueError: a mistake (check.py:14, in run)")),
            // A traceback that the check printed itself is no reason for a later trap.
            (format!("{traced}{panic}"), Some("panicked at src/lib.rs:42:13: out of cheese")),
            (traced.to_owned(), None),
            (python.to_owned(), Some(OF_PYTHON)),
            (String::new(), None),
        ];
        for (log, expected) in cases {
            assert_eq!(exception(&log).as_deref(), expected, "{log}");
        }
    }
}
