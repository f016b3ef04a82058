//! Text functions. Each takes time linear in its input, or checks whether to stop, since SQLite cannot interrupt a
//! function call.

use std::borrow::Cow;

use rusqlite::types::Value;

use super::{
    call::{Arguments, Calls, Fault, Outcome, VALUE_BYTES},
    like,
};

/// The longest pattern of LIKE.
const PATTERN_BYTES: usize = 1000;

/// Registers all of them.
pub(super) fn register(calls: &Calls<'_>) -> rusqlite::Result<()> {
    calls.scalar("g_concat", -1, |a| {
        let mut whole = String::new();
        for at in 0..a.len() {
            push(&mut whole, &a.text(at)?)?;
        }
        Ok(Value::Text(whole))
    })?;
    calls.plain("g_lower", 1, |a| Ok(Value::Text(a.text(0)?.to_lowercase())))?;
    calls.plain("g_upper", 1, |a| Ok(Value::Text(a.text(0)?.to_uppercase())))?;
    calls.plain("g_starts_with", 2, |a| Ok(truth(a.text(0)?.starts_with(&*a.text(1)?))))?;
    calls.plain("g_ends_with", 2, |a| Ok(truth(a.text(0)?.ends_with(&*a.text(1)?))))?;
    calls
        .plain("g_contains_substr", 2, |a| Ok(truth(a.text(0)?.to_lowercase().contains(&a.text(1)?.to_lowercase()))))?;
    calls.scalar("g_substr", -1, substring)?;
    calls.plain("g_reverse", 1, |a| Ok(Value::Text(a.text(0)?.chars().rev().collect())))?;
    calls.scalar("g_strpos", 2, position)?;
    calls.scalar("g_replace", 3, replace)?;
    calls.scalar("g_like", 2, |a| is_like(a, 0, 1, Some('\\')))?;
    calls.scalar("g_trim", -1, |a| trim(a, Sides::Both, char::is_whitespace))?;
    calls.scalar("g_ltrim", -1, |a| trim(a, Sides::Left, char::is_whitespace))?;
    calls.scalar("g_rtrim", -1, |a| trim(a, Sides::Right, char::is_whitespace))?;
    // The same for views, with SQLite's names and semantics: SQLite's own functions cannot be stopped.
    calls.scalar("instr", 2, position)?;
    calls.scalar("replace", 3, replace)?;
    calls.scalar("like", 2, |a| is_like(a, 1, 0, None))?;
    calls.scalar("like", 3, |a| {
        let escape = a.loose(2)?;
        let mut characters = escape.chars();
        match (characters.next(), characters.next()) {
            (Some(escape), None) if escape.is_ascii() => is_like(a, 1, 0, Some(escape)),
            _ => Err("ESCAPE expression must be a single character".to_owned().into()),
        }
    })?;
    for count in [1, 2] {
        calls.scalar("trim", count, |a| trim(a, Sides::Both, |c| c == ' '))?;
        calls.scalar("ltrim", count, |a| trim(a, Sides::Left, |c| c == ' '))?;
        calls.scalar("rtrim", count, |a| trim(a, Sides::Right, |c| c == ' '))?;
    }
    Ok(())
}

/// With SQLite's semantics.
pub(super) fn truth(is: bool) -> Value {
    Value::Integer(is.into())
}

/// Appends to a text, within the maximum length.
fn push(whole: &mut String, part: &str) -> Result<(), Fault> {
    if whole.len() + part.len() > VALUE_BYTES {
        return Err(Fault::TooBig);
    }
    whole.push_str(part);
    Ok(())
}

/// SUBSTR: counted in characters from 1; from the end when negative.
fn substring(a: &Arguments<'_, '_>) -> Outcome {
    let text = a.text(0)?;
    let start = match a.integer(1)? {
        start if start > 0 => start - 1,
        0 => 0,
        start => (i64::try_from(text.chars().count()).unwrap_or(i64::MAX) + start).max(0),
    };
    let length = if a.len() > 2 { a.integer(2)? } else { i64::MAX };
    if length < 0 {
        return Err("SUBSTR with a negative length".to_owned().into());
    }
    let (start, length) = (usize::try_from(start).unwrap_or(usize::MAX), usize::try_from(length).unwrap_or(usize::MAX));
    Ok(Value::Text(text.chars().skip(start).take(length).collect()))
}

/// STRPOS: counted in characters from 1; 0 if not found. The standard library searches in linear time.
fn position(a: &Arguments<'_, '_>) -> Outcome {
    let (text, wanted) = (a.loose(0)?, a.loose(1)?);
    let before = text.find(&*wanted).and_then(|at| text.get(..at));
    let place = before.map_or(0, |before| before.chars().count() + 1);
    Ok(Value::Integer(i64::try_from(place).unwrap_or(i64::MAX)))
}

fn replace(a: &Arguments<'_, '_>) -> Outcome {
    let (text, from, to) = (a.loose(0)?, a.loose(1)?, a.loose(2)?);
    if from.is_empty() {
        return Ok(Value::Text(text.into_owned()));
    }
    let mut replaced = String::new();
    let mut rest: &str = &text;
    while let Some((before, after)) = rest.split_once(&*from) {
        push(&mut replaced, before)?;
        push(&mut replaced, &to)?;
        rest = after;
    }
    push(&mut replaced, rest)?;
    Ok(Value::Text(replaced))
}

fn is_like(a: &Arguments<'_, '_>, text: usize, pattern: usize, escape: Option<char>) -> Outcome {
    let (text, pattern) = (a.loose(text)?, a.loose(pattern)?);
    if pattern.len() > PATTERN_BYTES {
        let length = pattern.len();
        return Err(format!("LIKE or GLOB pattern too complex: {length} bytes, more than {PATTERN_BYTES}").into());
    }
    like::matches(&text, &pattern, escape, || a.is_over()).map(truth).ok_or(Fault::Over)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sides {
    Both,
    Left,
    Right,
}

/// TRIM: removes white space, or the characters of the second argument.
fn trim(a: &Arguments<'_, '_>, sides: Sides, blank: fn(char) -> bool) -> Outcome {
    let text = a.loose(0)?;
    let characters: Cow<'_, str> = if a.len() > 1 { a.loose(1)? } else { Cow::Borrowed("") };
    // A set lookup takes the same time for any number of characters.
    let set: Vec<char> = {
        let mut characters: Vec<char> = characters.chars().collect();
        characters.sort_unstable();
        characters
    };
    let trimmed = |c: char| if a.len() > 1 { set.binary_search(&c).is_ok() } else { blank(c) };
    let kept = if sides == Sides::Right { &*text } else { text.trim_start_matches(trimmed) };
    let kept = if sides == Sides::Left { kept } else { kept.trim_end_matches(trimmed) };
    Ok(Value::Text(kept.to_owned()))
}
