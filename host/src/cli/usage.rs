//! A command line that cannot be understood: the mistake and the next step, in one or two sentences.

use clap::{
    Command, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::text::nearest;

/// The answer to `host` alone.
pub(super) const START: &str = "host runs data-pipeline checks as sandboxed WebAssembly components. Start with:

  host init             create host.toml; in an empty directory also a check
                        and sample data
  host new raw-events   a check of your own
  host doctor           what is missing on this machine

`host --help` lists every command.
";

/// The mistake and the next step. None where clap says it as well.
pub(super) fn explained(error: &Error, root: &Command) -> Option<String> {
    let usage = text(error, ContextKind::Usage).unwrap_or_default();
    let named: Vec<&str> = usage.trim_start_matches("Usage: ").split_whitespace().take_while(is_name).collect();
    let (path, command) = (named.join(" "), found(root, &named));
    let wrong = text(error, ContextKind::InvalidArg).or_else(|| text(error, ContextKind::InvalidSubcommand));
    match (error.kind(), wrong) {
        (ErrorKind::InvalidSubcommand, Some(wrong)) => {
            let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            let near = next(nearest(&wrong, names));
            Some(format!("error: `{path} {wrong}` is not a command{near}`{path} --help` lists the commands.\n"))
        }
        (ErrorKind::UnknownArgument, Some(wrong)) if wrong.starts_with("--") => {
            // The sentence names --help anyway. Without the dashes, which make all options alike.
            let flags = command.get_arguments().filter_map(|flag| flag.get_long()).filter(|flag| *flag != "help");
            let near = next(nearest(wrong.trim_start_matches('-'), flags).replacen('`', "`--", 1));
            Some(format!("error: `{path}` has no option `{wrong}`{near}`{path} --help` lists its options.\n"))
        }
        (ErrorKind::UnknownArgument, Some(wrong)) => {
            Some(format!("error: `{path}` does not take `{wrong}`. `{path} --help` has examples.\n"))
        }
        (ErrorKind::MissingRequiredArgument, Some(missing)) => {
            let missing = missing.replace("...", "");
            Some(format!("error: `{path}` needs {missing}. `{path} --help` has examples.\n"))
        }
        (ErrorKind::ArgumentConflict, Some(option)) if text(error, ContextKind::PriorArg).as_ref() == Some(&option) => {
            Some(format!("error: `{}` is given twice\n", name(&option)))
        }
        (ErrorKind::InvalidValue, Some(option)) => {
            let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
            if value.is_empty() {
                return Some(format!("error: `{}` needs a value: `{option}`\n", name(&option)));
            }
            let Some(ContextValue::Strings(known)) = error.get(ContextKind::ValidValue) else { return None };
            let near = nearest(&value, known);
            Some(format!("error: {}: `{value}` is not one of {}{near}\n", name(&option), known.join(", ")))
        }
        (ErrorKind::ValueValidation, Some(option)) => {
            let value = text(error, ContextKind::InvalidValue)?;
            let why = match option.split_once('<').map(|(_, kind)| kind.trim_end_matches('>')) {
                Some("YYYY-MM-DD") => format!("`{value}` is not a date; write it like 2026-02-05"),
                Some("TIME") if name(&option) == "--at" => {
                    format!("`{value}` is not a time; write it like 2026-02-06T10:00:00Z")
                }
                _ => number(&value, &std::error::Error::source(error)?.to_string()),
            };
            Some(format!("error: {}: {why}\n", name(&option)))
        }
        _ => None,
    }
}

/// What is wrong with a value. Of a number, std and clap say it in the terms of a type.
fn number(value: &str, why: &str) -> String {
    let whole = || format!("`{value}` is not a whole number");
    let Some((least, most)) = why.split_once(" is not in ").and_then(|(_, range)| range.split_once("..=")) else {
        return match why {
            "invalid digit found in string" | "cannot parse integer from empty string" => whole(),
            "number too large to fit in target type" => format!("`{value}` is too large"),
            "number too small to fit in target type" => format!("`{value}` is too small"),
            other => other.to_owned(),
        };
    };
    match (value.parse::<i128>(), least.parse::<i128>()) {
        (Ok(number), Ok(least)) if number < least => format!("`{value}` is too small; write at least {least}"),
        (Ok(_), _) => format!("`{value}` is too large; write at most {most}"),
        (Err(_), _) => whole(),
    }
}

/// The option of `--date <YYYY-MM-DD>`, or the argument itself.
fn name(option: &str) -> &str {
    option.split(' ').next().unwrap_or(option)
}

/// Ends the sentence before the next one.
fn next(near: String) -> String {
    if near.is_empty() { ". ".to_owned() } else { format!("{near} ") }
}

/// Whether a word of a usage line is a command's name.
fn is_name(word: &&str) -> bool {
    word.starts_with(|first: char| first.is_ascii_lowercase())
}

/// The subcommand with this path, which starts with the program's name.
fn found<'c>(root: &'c Command, path: &[&str]) -> &'c Command {
    path.iter().skip(1).fold(root, |command, name| command.find_subcommand(name).unwrap_or(command))
}

fn text(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(" and ")),
        ContextValue::StyledStr(text) => Some(text.to_string()),
        _ => None,
    }
}
