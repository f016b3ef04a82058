//! LIKE: `%` matches any text, `_` one character, and a character after the escape matches itself. Case matters.

/// Steps between two checks whether to stop: well under a millisecond, also in a debug build.
const STEPS: usize = 10_000;

/// Whether a text matches a pattern; `None` when `over` said to stop first. A text of n bytes and a pattern of m bytes
/// take at most n·m steps, since only the last `%` is ever retried.
pub(super) fn matches(text: &str, pattern: &str, escape: Option<char>, mut over: impl FnMut() -> bool) -> Option<bool> {
    let whole = text;
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let escape = escape.and_then(|escape| u8::try_from(escape).ok()).filter(u8::is_ascii);
    let (mut at, mut place) = (0, 0);
    // The pattern after the last `%`, and the place in the text where it was last tried.
    let mut retry: Option<(usize, usize)> = None;
    let mut steps = 0;
    loop {
        steps += 1;
        if steps >= STEPS {
            steps = 0;
            if over() {
                return None;
            }
        }
        let wanted = pattern.get(place).copied();
        let (literal, width) = match wanted {
            None if at == text.len() => return Some(true),
            None => (None, 0),
            wanted if wanted == escape => (pattern.get(place + 1).copied(), 2),
            Some(b'%') => {
                place += 1;
                if place == pattern.len() {
                    return Some(true);
                }
                retry = Some((place, at));
                continue;
            }
            Some(b'_') => {
                if let Some(next) = after_character(whole, at) {
                    (at, place) = (next, place + 1);
                    continue;
                }
                (None, 0)
            }
            literal => (literal, 1),
        };
        if literal.is_some() && text.get(at).copied() == literal {
            (at, place) = (at + 1, place + width);
            continue;
        }
        // No match here: the pattern after the last `%` may match further on.
        let Some((after, tried)) = retry else { return Some(false) };
        let Some(mut next) = after_character(whole, tried) else { return Some(false) };
        let first = pattern.get(after).copied().filter(|byte| !matches!(byte, b'%' | b'_') && Some(*byte) != escape);
        if let Some(first) = first {
            let Some(skipped) = text.get(next..).and_then(|rest| rest.iter().position(|byte| *byte == first)) else {
                return Some(false);
            };
            next += skipped;
            // A byte that is only read takes far less than a step.
            steps += skipped / 16;
        }
        retry = Some((after, next));
        (at, place) = (next, after);
    }
}

/// The end of the character that begins here; `None` at the end of the text.
fn after_character(text: &str, at: usize) -> Option<usize> {
    Some(at + text.get(at..)?.chars().next()?.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(text: &str, pattern: &str) -> bool {
        matches(text, pattern, Some('\\'), || false).expect("an answer")
    }

    /// Compares each pattern and text with a matcher that tries every possibility.
    #[test]
    fn it_agrees_with_trying_everything() {
        fn slow(text: &[char], pattern: &[char]) -> bool {
            match (pattern, text) {
                ([], text) => text.is_empty(),
                (['\\'], _) => false,
                (['\\', literal, rest @ ..], [first, text @ ..]) => literal == first && slow(text, rest),
                (['%', rest @ ..], text) => (0..=text.len()).any(|skipped| slow(&text[skipped..], rest)),
                (['_', rest @ ..], [_, text @ ..]) => slow(text, rest),
                ([literal, rest @ ..], [first, text @ ..]) => literal == first && slow(text, rest),
                _ => false,
            }
        }
        let letters = ['a', 'b', 'ä', '%', '_', '\\'];
        let mut random = fastrand::Rng::with_seed(4);
        let mut word = |most: usize, known: usize| -> Vec<char> {
            (0..random.usize(0..=most)).map(|_| letters[random.usize(0..known)]).collect()
        };
        let mut alike = 0;
        for _ in 0..200_000 {
            let (text, pattern) = (word(7, 6), word(5, 6));
            let expected = slow(&text, &pattern);
            alike += usize::from(expected);
            let (text, pattern) = (String::from_iter(text), String::from_iter(pattern));
            assert_eq!(like(&text, &pattern), expected, "{text:?} LIKE {pattern:?}");
        }
        assert!(alike > 1000, "{alike}");
    }

    #[test]
    fn it_stops_in_the_middle() {
        let (text, pattern) = ("a".repeat(100_000), format!("%{}b", "a".repeat(900)));
        let mut looks = 0;
        let answer = matches(&text, &pattern, None, || {
            looks += 1;
            looks == 3
        });
        assert_eq!((answer, looks), (None, 3));
    }
}
