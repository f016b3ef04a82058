//! A metric over time with its thresholds, drawn on the server as SVG.

use jiff::{Timestamp, tz::TimeZone};
use maud::{Markup, html};

use crate::{contract::Metric, plugin::WarnLimits, text::number};

/// The size of the drawing, and its margins, in SVG units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;

/// One value: its time, the number, and its thresholds.
pub(super) type Point = (Timestamp, Metric);

/// The chart of one metric; `points` are in chronological order.
pub(super) fn chart(name: &str, points: &[Point], warn: WarnLimits, zone: &TimeZone) -> Markup {
    let Some((first, last)) = points.first().zip(points.last()) else { return html! {} };
    let values: Vec<f64> = points.iter().filter_map(|(_, metric)| metric.value).collect();
    let limits = |(_, metric): &Point| [metric.min, metric.max, metric.below].into_iter().flatten().collect::<Vec<_>>();
    let warned = [warn.min, warn.max].into_iter().flatten();
    let all = || {
        let all = values.iter().copied().chain(points.iter().flat_map(limits)).chain(warned.clone());
        all.filter(|value| value.is_finite())
    };
    let (low, high) =
        all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    // Halves, so that the largest numbers do not overflow.
    let half = (high / 2.0 - low / 2.0).max(f64::MIN_POSITIVE);
    let (low, half) = if high > low { (low, half) } else { (low - 0.5, 0.5) };
    let span = last.0.duration_since(first.0).as_secs_f64();
    let x = |at: Timestamp| {
        let part = if span > 0.0 { at.duration_since(first.0).as_secs_f64() / span } else { 0.5 };
        LEFT + part * (WIDTH - LEFT - RIGHT)
    };
    let y = |value: f64| {
        let part = ((value / 2.0 - low / 2.0) / half).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    };
    // A metric without a value leaves a gap.
    let mut line = String::new();
    let mut pen_down = false;
    for (at, metric) in points {
        match metric.value {
            Some(value) => {
                line += &format!("{}{:.1} {:.1}", if pen_down { "L" } else { "M" }, x(*at), y(value));
                pen_down = true;
            }
            None => pen_down = false,
        }
    }
    let newest = &last.1;
    let thresholds = [
        ("at least", newest.min, "threshold"),
        ("at most", newest.max, "threshold"),
        ("below", newest.below, "threshold"),
        ("warns below", warn.min, "threshold warns"),
        ("warns above", warn.max, "threshold warns"),
    ];
    let thresholds: Vec<(String, f64, &str)> = thresholds
        .into_iter()
        .filter_map(|(words, limit, class)| Some((format!("{words} {}", number(limit?)), limit?, class)))
        .collect();
    let asked: Vec<&str> = thresholds.iter().map(|(words, ..)| words.as_str()).collect();
    let label = format!(
        "{name} over {} runs: last {}{}{}",
        points.len(),
        newest.value.map_or("none".to_owned(), number),
        if values.is_empty() { String::new() } else { range(&values) },
        if asked.is_empty() { String::new() } else { format!("; limits: {}", asked.join(", ")) },
    );
    let day = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%m-%d %H:%M").to_string();
    html! {
        figure.chart {
            figcaption { (name) " " @for words in &asked { span.asked { (words) } " " } }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(label) {
                path.axis d={ "M" (LEFT) " " (TOP) "V" (HEIGHT - BOTTOM) "H" (WIDTH - RIGHT) } {}
                text.tick x=(LEFT - 6.0) y=(TOP + 4.0) text-anchor="end" { (number(low + half + half)) }
                text.tick x=(LEFT - 6.0) y=(HEIGHT - BOTTOM + 4.0) text-anchor="end" { (number(low)) }
                text.tick x=(LEFT) y=(HEIGHT - 8.0) { (day(first.0)) }
                @if span > 0.0 { text.tick x=(WIDTH - RIGHT) y=(HEIGHT - 8.0) text-anchor="end" { (day(last.0)) } }
                @for (_, limit, class) in &thresholds {
                    path class=(class) d=(format!("M{LEFT} {:.1}H{:.1}", y(*limit), WIDTH - RIGHT)) {}
                }
                path.line d=(line) {}
                @for (at, metric) in points {
                    @if let Some(value) = metric.value {
                        @if metric.is_broken() {
                            path.bad d=(format!("M{:.1} {:.1}l5 9h-10z", x(*at), y(value) - 6.0)) { title { (day(*at)) ": " (number(value)) } }
                        } @else if warn.are_broken(value) {
                            circle.warned cx=(format!("{:.1}", x(*at))) cy=(format!("{:.1}", y(value))) r="3" { title { (day(*at)) ": " (number(value)) " (warned)" } }
                        } @else {
                            circle.good cx=(format!("{:.1}", x(*at))) cy=(format!("{:.1}", y(value))) r="2.2" { title { (day(*at)) ": " (number(value)) } }
                        }
                    } @else {
                        path.bad d=(format!("M{:.1} {:.1}l6 6m0 -6l-6 6", x(*at) - 3.0, HEIGHT - BOTTOM - 7.0)) { title { (day(*at)) ": none" } }
                    }
                }
            }
        }
    }
}

fn range(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!(", lowest {}, highest {}", number(low), number(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(value: Option<f64>) -> Metric {
        Metric { name: "m".to_owned(), value, min: Some(2.0), max: None, below: None, unit: None }
    }

    /// Whatever a plugin reports, all coordinates are numbers.
    #[test]
    fn any_values_can_be_drawn() {
        let moments = |values: &[Option<f64>]| -> Vec<Point> {
            values
                .iter()
                .zip(0..)
                .map(|(value, at)| (Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(at), metric(*value)))
                .collect()
        };
        let cases: [&[Option<f64>]; 7] = [
            &[],
            &[Some(2.0)],
            &[None, None],
            &[Some(2.0), Some(2.0)],
            &[Some(f64::MAX), Some(f64::MIN)],
            &[Some(f64::MIN_POSITIVE), None, Some(0.0)],
            &[Some(1.0), None, Some(3.0)],
        ];
        for values in cases {
            let text = chart("<b>", &moments(values), WarnLimits::default(), &TimeZone::UTC).into_string();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{values:?}: {text}");
            assert!(!text.contains("<b>"), "{text}");
        }
        let drawn = |warn| chart("m", &moments(&[Some(1.0), None, Some(3.0)]), warn, &TimeZone::UTC).into_string();
        let text = drawn(WarnLimits::default());
        assert!(text.contains("m over 3 runs: last 3, lowest 1, highest 3; limits: at least 2\""), "{text}");
        assert!(!text.contains("warn"), "{text}");
        let settings = serde_json::json!({ "thresholds": { "m": { "warn_min": 5 }, "n": { "warn_max": 1 } } });
        let text = drawn(WarnLimits::of(&settings, "m"));
        assert!(text.contains("limits: at least 2, warns below 5\"") && text.contains("threshold warns"), "{text}");
    }
}
