//! What holds for a check: the words of host.toml, and where they are missing, the wishes in its plugin's description as
//! far as they disturb nobody. A wish that is not allowed makes only this check unable to run.

use std::time::Duration;

use crate::{
    config::{self, Cron, Grants, Zone, channel_name, check_name},
    contract::Descriptor,
};

/// A plugin may not be due more often than this unless host.toml gives its check a schedule.
const SHORTEST: Duration = Duration::from_secs(5 * 60);

/// The longest schedule or time zone, in bytes.
const LONGEST: usize = 1000;

/// What holds for a check.
#[derive(Default)]
pub(super) struct Terms {
    pub(super) schedule: Option<Cron>,
    pub(super) zone: Option<Zone>,
    /// From host.toml, or wished and granted.
    pub(super) channel: Option<String>,
    pub(super) group: Option<String>,
    /// The wishes that are not allowed, each with the line of host.toml that would change that.
    pub(super) refused: Vec<String>,
}

impl Terms {
    /// `wanted` is a check in host.toml, where its table is `[checks.NAME]`, and `grants` are those of its plugin.
    pub(super) fn new(table: &str, wanted: &config::Check, wishes: &Descriptor, grants: &Grants) -> Self {
        let mut terms = Self {
            schedule: wanted.schedule.clone(),
            zone: wanted.timezone.clone(),
            channel: wanted.channel.clone(),
            ..Self::default()
        };
        if terms.schedule.is_none() {
            terms.schedule = terms.keep(schedule(table, &wishes.schedule.cron));
        }
        if let (None, Some(zone)) = (&terms.zone, &wishes.schedule.timezone) {
            terms.zone = terms.keep(bounded(zone).and_then(Zone::new).map_err(|error| {
                let error = format!("{error:#}").escape_debug().to_string();
                format!("its own time zone: {error}; add `timezone = \"…\"` to {table} in host.toml")
            }));
        }
        if terms.channel.is_none() {
            terms.channel = terms.keep(channel(table, &wishes.name, &wishes.channel, grants));
        }
        terms.group = terms.keep(match check_name(&wishes.group) {
            Ok(()) => Ok(wishes.group.clone()),
            Err(error) => Err(format!("its own group: {error}; rebuild the plugin with another group")),
        });
        terms
    }

    fn keep<T>(&mut self, wish: Result<T, String>) -> Option<T> {
        wish.map_err(|refused| self.refused.push(refused)).ok()
    }
}

/// Whether a schedule is due more often than a plugin may ask for.
pub fn is_too_often(wish: &str) -> bool {
    bounded(wish).and_then(Cron::new).is_ok_and(|cron| cron.shortest_gap() < SHORTEST)
}

fn schedule(table: &str, wish: &str) -> Result<Cron, String> {
    let line = |schedule: &str| format!("`schedule = \"{schedule}\"` to {table} in host.toml");
    match bounded(wish).and_then(Cron::new) {
        Err(error) => {
            let error = format!("{error:#}").escape_debug().to_string();
            Err(format!("its own schedule: {error}; add {}", line("0 * * * *")))
        }
        Ok(cron) if cron.shortest_gap() < SHORTEST => Err(format!(
            "its own schedule `{cron}` is due more often than every {} minutes, which only host.toml may ask for; add {}",
            SHORTEST.as_secs() / 60,
            line(&cron.to_string())
        )),
        Ok(cron) => Ok(cron),
    }
}

fn channel(table: &str, plugin: &str, wish: &str, grants: &Grants) -> Result<String, String> {
    if let Err(error) = channel_name(wish) {
        return Err(format!("its own channel: {error}; add `channel = \"#…\"` to {table} in host.toml"));
    }
    if grants.slack.iter().any(|granted| granted == wish) {
        return Ok(wish.to_owned());
    }
    let granted: Vec<String> = grants.slack.iter().map(String::as_str).chain([wish]).map(quoted).collect();
    Err(format!(
        "it posts to {wish}, which is not granted; add {} to grants.{plugin}.slack in host.toml: `slack = [{}]`",
        quoted(wish),
        granted.join(", ")
    ))
}

fn bounded(wish: &str) -> anyhow::Result<&str> {
    anyhow::ensure!(wish.len() <= LONGEST, "it has {} bytes; the maximum is {LONGEST}", wish.len());
    Ok(wish)
}

/// The name of a channel as TOML; its characters need no escapes.
fn quoted(channel: &str) -> String {
    format!("\"{channel}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Schedule;

    fn terms(wanted: &config::Check, change: impl Fn(&mut Descriptor), slack: &[&str]) -> Terms {
        let mut wishes = Descriptor {
            name: "p".to_owned(),
            version: "1.0.0".to_owned(),
            summary: String::new(),
            group: "canaries".to_owned(),
            schedule: Schedule { cron: "*/30 * * * *".to_owned(), timezone: None },
            channel: "#a".to_owned(),
            needs: Vec::new(),
            settings: "{}".to_owned(),
            runbook: String::new(),
        };
        change(&mut wishes);
        let grants = Grants { slack: slack.iter().map(|name| (*name).to_owned()).collect(), ..Grants::default() };
        Terms::new("[checks.c]", wanted, &wishes, &grants)
    }

    /// Each wish is followed, or refused with the line to write; with that line it holds.
    #[test]
    fn a_wish_that_is_refused_has_the_line_that_allows_it() {
        let silent = config::Check::default();
        let followed = terms(&silent, |_| {}, &["#a"]);
        assert!(followed.refused.is_empty(), "{:?}", followed.refused);
        assert_eq!((followed.channel.as_deref(), followed.group.as_deref()), (Some("#a"), Some("canaries")));
        let refused =
            |change: &dyn Fn(&mut Descriptor), slack: &[&str]| terms(&silent, change, slack).refused.join("; ");
        type Change<'c> = &'c dyn Fn(&mut Descriptor);
        let cases: [(Change<'_>, &str); 7] = [
            (
                &|wish| wish.channel = "#b".to_owned(),
                "add \"#b\" to grants.p.slack in host.toml: `slack = [\"#a\", \"#b\"]`",
            ),
            (&|wish| wish.channel = "fallback".to_owned(), "its own channel: `fallback` is not a channel name"),
            (&|wish| wish.channel = String::new(), "its own channel: `` is not a channel name"),
            (
                &|wish| wish.schedule.cron = "* * * * *".to_owned(),
                "more often than every 5 minutes, which only host.toml may ask for; add `schedule = \"* * * * *\"` to [checks.c]",
            ),
            (&|wish| wish.schedule.cron = "* * * * * *".to_owned(), "its own schedule: `* * * * * *` is not a valid"),
            (&|wish| wish.schedule.timezone = Some("Mars\n".to_owned()), "its own time zone: `Mars\\n` is not an IANA"),
            (&|wish| wish.group = "a\nb".to_owned(), "its own group: `a\\nb` is not a valid name"),
        ];
        for (change, words) in cases {
            let found = refused(change, &["#a"]);
            assert!(found.contains(words), "{words}: {found}");
        }
        assert!(terms(&silent, |_| {}, &[]).channel.is_none());
        // The words of host.toml hold, whatever the plugin wishes.
        let said = config::Check {
            schedule: Cron::new("* * * * *").ok(),
            timezone: Zone::new("UTC").ok(),
            channel: Some("#c".to_owned()),
            ..config::Check::default()
        };
        let held = terms(
            &said,
            |wish| {
                wish.schedule = Schedule { cron: "often".to_owned(), timezone: Some("Mars".to_owned()) };
                wish.channel = "fallback".to_owned();
            },
            &[],
        );
        assert!(held.refused.is_empty(), "{:?}", held.refused);
        assert_eq!(held.channel.as_deref(), Some("#c"));
    }
}
