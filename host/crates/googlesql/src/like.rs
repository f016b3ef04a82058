//! LIKE: `%` stands for any text, `_` for one character, and what follows the escape for itself. Case matters.

/// Steps between two looks at whether to stop: well under a millisecond, also when built for debugging.
const STEPS: usize = 10_000;

/// Whether a text is like a pattern; none when `over` said to stop before it was known. A text of n bytes and a pattern of
/// m take n·m steps at worst, since a `%` that was passed is never gone back to.
pub(super) fn matches(text: &str, pattern: &str, escape: Option<char>, mut over: impl FnMut() -> bool) -> Option<bool> {
    let whole = text;
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let escape = escape.and_then(|escape| u8::try_from(escape).ok()).filter(u8::is_ascii);
    let (mut at, mut place) = (0, 0);
    // What follows the last `%`, and where in the text that was last tried.
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
        // No match here: what follows the last `%` may match further on.
        let Some((after, tried)) = retry else { return Some(false) };
        let Some(mut next) = after_character(whole, tried) else { return Some(false) };
        let first = pattern.get(after).copied().filter(|byte| !matches!(byte, b'%' | b'_') && Some(*byte) != escape);
        if let Some(first) = first {
            let Some(skipped) = text.get(next..).and_then(|rest| rest.iter().position(|byte| *byte == first)) else {
                return Some(false);
            };
            next += skipped;
            // Bytes that are only looked at take far less than a step.
            steps += skipped / 16;
        }
        retry = Some((after, next));
        (at, place) = (next, after);
    }
}

/// Where the character that begins here ends; none at the end of the text.
fn after_character(text: &str, at: usize) -> Option<usize> {
    Some(at + text.get(at..)?.chars().next()?.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(text: &str, pattern: &str) -> bool {
        matches(text, pattern, Some('\\'), || false).expect("an answer")
    }

    /// Each pattern against each text, as a matcher says that tries everything.
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
