//! Limits beyond which a check only warns. A report has no place for them, so the page and the validation read them from the
//! settings.

use serde_json::Value;

/// The limits of a metric beyond which its check only warns: from settings that are named like the metric, by itself or
/// under `thresholds`: `warn_min`, `warn_max` and `warn_hours`. As in SQL, upper and lower case are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WarnLimits {
    /// It warns below this value.
    pub min: Option<f64>,
    /// It warns above this value.
    pub max: Option<f64>,
}

impl WarnLimits {
    /// From a check's settings.
    pub fn of(settings: &Value, metric: &str) -> Self {
        let own = settings.get("thresholds").and_then(|thresholds| named(thresholds, metric));
        let own = own.or_else(|| named(settings, metric));
        let limit = |key: &str| own.and_then(|own| own.get(key)).and_then(Value::as_f64);
        Self { min: limit("warn_min"), max: limit("warn_max").or_else(|| limit("warn_hours")) }
    }

    /// Whether a value is beyond them.
    pub fn are_broken(self, value: f64) -> bool {
        self.min.is_some_and(|min| value < min) || self.max.is_some_and(|max| value > max)
    }
}

fn named<'v>(table: &'v Value, name: &str) -> Option<&'v Value> {
    table
        .get(name)
        .or_else(|| table.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, own)| own))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn they_are_found_by_the_name_of_the_metric() {
        let settings = json!({
            "thresholds": { "orders": { "warn_min": 5 } },
            "freshness": { "max_hours": 26, "warn_hours": 25 }
        });
        let of = |metric| WarnLimits::of(&settings, metric);
        assert_eq!(of("Orders"), WarnLimits { min: Some(5.0), max: None });
        assert_eq!(of("freshness"), WarnLimits { min: None, max: Some(25.0) });
        assert_eq!(of("revenue"), WarnLimits::default());
    }
}
