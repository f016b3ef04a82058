//! Writes proposals into host.toml.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use toml_edit::{DocumentMut, Item};

use crate::{config::Config, proof::Tuned, text::note};

/// Changes host.toml, with its comments and order.
pub(super) fn write(named: &Path, config: &Config, check: &str, tuned: &Tuned) -> Result<()> {
    if let Some(origin) = config.origin(check) {
        bail!(
            "{} is made by [{}], so nothing is written: its proposals are not those of the other checks that are made there",
            check,
            origin.definition
        );
    }
    // The file itself, where the name is a link to it.
    let path = &named.canonicalize().with_context(|| named.display().to_string())?;
    let found = fs::metadata(path).with_context(|| path.display().to_string())?;
    if found.permissions().readonly() {
        bail!("{} is read-only, so nothing is written", path.display());
    }
    let before = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let plain = before.replace("\r\n", "\n");
    let mut document: DocumentMut = plain.parse().with_context(|| path.display().to_string())?;
    for proposal in &tuned.proposals {
        let Some(value) = &proposal.proposed else { continue };
        for (path, value) in proposal.leaves(value) {
            change(&mut document, check, &format!("settings.{path}"), &value)?;
        }
    }
    if let Some(confirm) = tuned.confirm.proposed {
        change(&mut document, check, "alerts.confirm", &json!(confirm))?;
    }
    let changed = document.to_string();
    if changed == plain {
        note!("{} has these values already", named.display());
        return Ok(());
    }
    // What stays keeps its ends of lines, and what is new has those of the line before.
    let mut after = String::new();
    let mut lines = before.split_inclusive('\n');
    for change in similar::TextDiff::from_lines(plain.as_str(), changed.as_str()).iter_all_changes() {
        let mark = match change.tag() {
            similar::ChangeTag::Delete => '-',
            similar::ChangeTag::Insert => '+',
            similar::ChangeTag::Equal => {
                after += lines.next().unwrap_or_default();
                continue;
            }
        };
        note!("{mark} {}", change.value().trim_end_matches('\n'));
        if mark == '-' {
            lines.next();
        } else {
            let end = if after.ends_with("\r\n") { "\r\n" } else { "\n" };
            after += &change.value().replace('\n', end);
        }
    }
    // Another command must never read half of it, and a link that somebody put beside it is not followed.
    let directory = path.parent().with_context(|| path.display().to_string())?;
    let written = NamedTempFile::new_in(directory).and_then(|mut file| {
        file.write_all(after.as_bytes())?;
        file.as_file().set_permissions(found.permissions())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    });
    written.with_context(|| path.display().to_string())?;
    note!("{} is changed", named.display());
    Ok(())
}

/// Sets a setting of a check in the text of host.toml.
fn change(document: &mut DocumentMut, check: &str, setting: &str, value: &Value) -> Result<()> {
    let checks = document.get_mut("checks").and_then(Item::as_table_like_mut);
    let own = checks.and_then(|checks| checks.get_mut(check)).with_context(|| {
        format!("host.toml has no [checks.{check}] of its own, so nothing is written; set {setting} = {value} there")
    })?;
    let mut place = own;
    let path: Vec<&str> = setting.split('.').collect();
    let (last, tables) = path.split_last().ok_or_else(|| anyhow!("no setting"))?;
    for key in tables {
        let table = place
            .as_table_like_mut()
            .with_context(|| format!("{setting}: {key} is in something that is not a table"))?;
        if !table.contains_key(key) {
            // As it would be written by hand: below a table of its own, else within the same braces.
            let mut below = toml_edit::InlineTable::new();
            below.set_dotted(!["settings", "alerts"].contains(key));
            table.insert(key, Item::Value(below.into()));
        }
        place = table.get_mut(key).with_context(|| format!("{setting}: {key}"))?;
    }
    let table = place.as_table_like_mut().with_context(|| format!("{setting} is in something that is not a table"))?;
    let written = toml(value)?;
    match table.get_mut(last) {
        // What stands around the old value stays: a comment behind it, too.
        Some(Item::Value(old)) => {
            let around = old.decor().clone();
            *old = written;
            *old.decor_mut() = around;
        }
        _ => drop(table.insert(last, Item::Value(written))),
    }
    Ok(())
}

/// A value of JSON as one of TOML.
fn toml(value: &Value) -> Result<toml_edit::Value> {
    Ok(match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64().with_context(|| format!("{number} is not a number of TOML"))?.into(),
        },
        Value::Object(object) => {
            let mut table = toml_edit::InlineTable::new();
            for (key, value) in object {
                table.insert(key, toml(value)?);
            }
            table.into()
        }
        other => bail!("{other} is not a limit"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, setting: &str, value: Value) -> String {
        let mut document: DocumentMut = text.parse().expect("TOML");
        change(&mut document, "a", &format!("settings.{setting}"), &value).expect("changed");
        document.to_string()
    }

    #[test]
    fn comments_and_order_stay() {
        let text = "# top\n[checks.a] # a\n[checks.a.settings]\nmin = 2 # games\nsql = \"x\"\n\n[web]\n";
        assert_eq!(changed(text, "min", json!(3.5)), text.replace("min = 2", "min = 3.5"));
        let text = "[checks.a]\nsettings = { sql = \"x\", thresholds = { rows = { min = 1 } } }\n";
        assert_eq!(changed(text, "thresholds.rows.min", json!(40)), text.replace("min = 1", "min = 40"));
        let text = "[checks.a.settings]\nsql = \"x\"\nthresholds.rows.min = 1\n";
        assert_eq!(
            changed(text, "thresholds.rows.max", json!(9)),
            "[checks.a.settings]\nsql = \"x\"\nthresholds.rows.min = 1\nthresholds.rows.max = 9\n"
        );
        let text = "[checks.a]\nplugin = \"p\"\n";
        assert_eq!(changed(text, "min_games", json!(3)), "[checks.a]\nplugin = \"p\"\nsettings = { min_games = 3 }\n");
        let text = "[checks.a.settings]\nsql = \"x\"\n";
        let drop = json!({ "weeks": 4, "max_drop_percent": 40 });
        assert_eq!(
            changed(text, "thresholds.rows.change", drop),
            "[checks.a.settings]\nsql = \"x\"\nthresholds.rows.change = { weeks = 4, max_drop_percent = 40 }\n"
        );
        let mut document: DocumentMut = "[checks.a]\nplugin = \"p\"\n".parse().expect("TOML");
        change(&mut document, "a", "alerts.confirm", &json!(2)).expect("changed");
        assert_eq!(document.to_string(), "[checks.a]\nplugin = \"p\"\nalerts = { confirm = 2 }\n");
        let mut document: DocumentMut = "[checks.b]\n".parse().expect("TOML");
        assert!(change(&mut document, "a", "min", &json!(1)).is_err());
    }
}
