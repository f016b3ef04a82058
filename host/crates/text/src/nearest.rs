//! Suggestions for misspelt names.

/// `; did you mean …?`, or an empty text if no name is near.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a (impl AsRef<str> + 'a + ?Sized)>) -> String {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wrong, name.as_ref()), name.as_ref()))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_proposed() {
        let known = ["schedule", "channel", "timezone"];
        assert_eq!(nearest("schedul", known), "; did you mean `schedule`?");
        assert_eq!(nearest("zone_of_time", known), "");
        assert_eq!(nearest("schedule", [""; 0]), "");
    }
}
