//! What host.toml and plugins.lock allow, as a list that can be compared: for the review of a change, and for the audit
//! trail of a host.

use std::collections::{BTreeMap, BTreeSet};

use host_package::{LOCK, Lock};
use host_text::shortened;
use serde::{Deserialize, Serialize};

use super::{Config, check_key};

/// Where the rights of plugins without a signature are listed.
const TRUST: &str = "trust.keys";
/// What is listed there takes rights away.
const REVOKED: &str = "trust.revoked";
/// What may run without a signature or a pin.
const EVERYTHING: &str = "any plugin";

/// The most bytes of a value that a difference shows.
const SHOWN: usize = 160;

/// All rights of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// The entries of each list: `grants.NAME.warehouse`, `trust.keys`.
    lists: BTreeMap<String, BTreeSet<String>>,
    /// Single values: the pin of `plugins.lock NAME`, `checks.NAME.plugin`.
    values: BTreeMap<String, String>,
    /// Every other key of host.toml with its value: what a granted dataset or channel means depends on them. Older records
    /// do not have them.
    #[serde(default)]
    settings: Option<BTreeMap<String, String>>,
}

/// One difference between the rights of two configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `gives`, `takes` or `changes`.
    pub direction: Direction,
    /// The key: `grants.phase2-raw.warehouse`, `plugins.lock phase2-raw`.
    pub place: String,
    /// The value before, if there was one.
    pub before: Option<String>,
    /// The value now, if there is one.
    pub after: Option<String>,
}

/// The effect of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More is allowed.
    Gives,
    /// Less is allowed.
    Takes,
    /// Something else is allowed.
    Changes,
}

impl Direction {
    /// As in a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Gives => "gives",
            Self::Takes => "takes",
            Self::Changes => "changes",
        }
    }
}

impl Change {
    /// `0.1.0 sha256:… → 0.2.0 sha256:…`, or the value alone.
    pub fn what(&self) -> String {
        let shown = |value: &Option<String>| {
            let words: Vec<&str> = value.as_deref().unwrap_or("not set").split_whitespace().collect();
            shortened(&words.join(" "), SHOWN)
        };
        match (&self.before, &self.after) {
            (before, after) if self.direction == Direction::Changes => format!("{} → {}", shown(before), shown(after)),
            (one, other) => one.as_ref().or(other.as_ref()).cloned().unwrap_or_default(),
        }
    }
}

impl Rights {
    /// The rights that two files give; without a lock file, any plugin runs.
    pub fn of(config: &Config, lock: Option<&Lock>) -> Self {
        let mut rights = Self::default();
        for (plugin, grants) in &config.grants {
            for (kind, granted) in grants.lists() {
                granted.iter().for_each(|granted| rights.list(format!("grants.{plugin}.{kind}"), granted.clone()));
            }
            let (own, all) = (config.budgets(plugin).list(), config.budgets.list());
            for ((budget, value, _), _) in own.into_iter().zip(all).filter(|((_, own, _), (_, all, _))| own != all) {
                rights.values.insert(format!("grants.{plugin}.budgets.{budget}"), value);
            }
        }
        for (budget, value, _) in config.budgets.list() {
            rights.values.insert(format!("budgets.{budget}"), value);
        }
        for (check, own) in &config.checks {
            let key = check_key(check);
            rights.values.insert(format!("checks.{key}.plugin"), own.plugin.as_ref().unwrap_or(check).clone());
            if let Some(channel) = &own.channel {
                rights.values.insert(format!("checks.{key}.channel"), channel.clone());
            }
        }
        for key in &config.trust.keys {
            rights.list(TRUST.to_owned(), key.to_string());
        }
        for key in &config.trust.revoked {
            rights.list(REVOKED.to_owned(), key.to_string());
        }
        if config.trust.keys.is_empty() {
            rights.list(TRUST.to_owned(), format!("{EVERYTHING}, signed or not"));
        }
        if let Some(listen) = config.web.listen {
            rights.values.insert("web.listen".to_owned(), listen.to_string());
        }
        match lock {
            None => rights.list(LOCK.to_owned(), format!("{EVERYTHING}, pinned or not")),
            Some(lock) => rights.values.extend(
                lock.pins()
                    .iter()
                    .map(|(name, pin)| (format!("{LOCK} {name}"), format!("{} {}", pin.version, pin.digest))),
            ),
        }
        let file: toml::Table = config.text.parse().unwrap_or_default();
        let mut settings = BTreeMap::new();
        flatten(String::new(), &toml::Value::Table(file), &mut settings);
        settings.retain(|key, _| !rights.holds(key));
        rights.settings = Some(settings);
        rights
    }

    /// Whether a key is among the lists and values.
    fn holds(&self, key: &str) -> bool {
        ["grants.", "budgets.", "trust."].iter().any(|whole| key.starts_with(whole)) || self.values.contains_key(key)
    }

    fn list(&mut self, place: String, value: String) {
        self.lists.entry(place).or_default().insert(value);
    }

    /// A single value. A plugin without a budget of its own has the general one.
    fn value(&self, place: &str) -> Option<String> {
        let general = || {
            let (_, budget) = place.strip_prefix("grants.")?.split_once(".budgets.")?;
            self.values.get(&format!("budgets.{budget}"))
        };
        self.values.get(place).or_else(general).cloned()
    }

    /// The differences to other rights, by place.
    pub fn changes(&self, now: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let nothing = BTreeSet::new();
        let places: BTreeSet<&String> = self.lists.keys().chain(now.lists.keys()).collect();
        for place in places {
            let values = |rights: &Self| rights.lists.get(place).unwrap_or(&nothing).clone();
            let (before, after) = (values(self), values(now));
            let (more, less) = match place.as_str() {
                REVOKED => (Direction::Takes, Direction::Gives),
                _ => (Direction::Gives, Direction::Takes),
            };
            let change = |direction, before, after| Change { direction, place: place.clone(), before, after };
            changes.extend(before.difference(&after).map(|gone| change(less, Some(gone.clone()), None)));
            changes.extend(after.difference(&before).map(|new| change(more, None, Some(new.clone()))));
        }
        let places: BTreeSet<&String> = self.values.keys().chain(now.values.keys()).collect();
        for place in places {
            let (before, after) = (self.value(place), now.value(place));
            let direction = match (&before, &after) {
                (before, after) if before == after => continue,
                (None, Some(_)) => Direction::Gives,
                (Some(_), None) => Direction::Takes,
                _ => Direction::Changes,
            };
            changes.push(Change { direction, place: place.clone(), before, after });
        }
        if let (Some(before), Some(after)) = (&self.settings, &now.settings) {
            let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for place in keys {
                let (before, after) = (before.get(place).cloned(), after.get(place).cloned());
                if before != after {
                    changes.push(Change { direction: Direction::Changes, place: place.clone(), before, after });
                }
            }
        }
        changes.sort_by(|one, other| one.place.cmp(&other.place));
        changes
    }
}

/// The values of a table by their whole keys, as they are written.
fn flatten(key: String, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                flatten(if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, value, into);
            }
        }
        value => {
            into.insert(key, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn rights(text: &str, lock: Option<&str>) -> Rights {
        let lock = lock.map(|text| Lock::parse(Path::new("plugins.lock"), text).expect("a lock"));
        Rights::of(&Config::parse(text).expect("valid"), lock.as_ref())
    }

    #[test]
    fn what_is_given_and_taken_is_told_apart() {
        let key = |digit: &str| format!("ed25519:{}", digit.repeat(64));
        let pin = |version: &str, digit: &str| {
            format!(
                "format = 1\n[plugin.a]\nversion = '{version}'\ndigest = 'sha256:{}'\napi = '0.1.0'\nsource = 'a.wasm'\n",
                digit.repeat(64)
            )
        };
        let old = "[grants.a]\nwarehouse = ['raw', 'ops']\n[checks.c]\nplugin = 'a'\n";
        let new = format!(
            "[grants.a]\nwarehouse = ['raw', 'secret']\nfunctions = ['raw.f']\nbudgets = {{ memory = '128 MiB' }}\n[checks.c]\nplugin = 'b'\n\
             [trust]\nkeys = ['{}']\nrevoked = ['{}']\n",
            key("a"),
            key("b")
        );
        let (before, after) = (rights(old, Some(&pin("1.0.0", "1"))), rights(&new, Some(&pin("1.1.0", "2"))));
        assert_eq!(before.changes(&before), []);
        let told: Vec<String> = before
            .changes(&after)
            .iter()
            .map(|change| format!("{} {}: {}", change.direction.word(), change.place, change.what()))
            .collect();
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        assert_eq!(
            told,
            [
                "changes checks.c.plugin: a → b".to_owned(),
                "changes grants.a.budgets.memory: 64 MiB → 128 MiB".to_owned(),
                "gives grants.a.functions: raw.f".to_owned(),
                "takes grants.a.warehouse: ops".to_owned(),
                "gives grants.a.warehouse: secret".to_owned(),
                format!("changes plugins.lock a: 1.0.0 {} → 1.1.0 {}", digest("1"), digest("2")),
                "takes trust.keys: any plugin, signed or not".to_owned(),
                format!("gives trust.keys: {}", key("a")),
                format!("takes trust.revoked: {}", key("b")),
            ]
        );
        // What is kept in a record is read again as it was.
        let text = serde_json::to_string(&after).expect("JSON");
        assert_eq!(serde_json::from_str::<Rights>(&text).expect("rights"), after);
        // Without a lock file any plugin runs.
        let unpinned = rights(&new, None).changes(&after);
        assert_eq!(unpinned[0].what(), "any plugin, pinned or not");
        assert_eq!(unpinned[0].direction, Direction::Takes);
    }
}
