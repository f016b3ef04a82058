//! Suggestions for misspelt names.

/// `; did you mean …?`, or an empty text if no name is near.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a (impl AsRef<str> + 'a + ?Sized)>) -> String {
    known
        .into_iter()
        .map(|name| (likeness(wrong, name.as_ref()), name.as_ref()))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

/// From 0 to 1. Two letters that changed places are one slip, also in a word of three, where Jaro and Winkler see none.
fn likeness(wrong: &str, name: &str) -> f64 {
    let slip = name.len() > 2 && strsim::osa_distance(wrong, name) == 1;
    strsim::jaro_winkler(wrong, name).max(if slip { 0.8 } else { 0.0 })
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
        assert_eq!(nearest("rnu", ["run", "plan"]), "; did you mean `run`?");
        assert_eq!(nearest("rug", ["man", "add"]), "");
    }
}
