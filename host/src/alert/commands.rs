//! Commands in the steps of alerts, as they run beside this host: plugins write `bq query`, which reads no SQLite file, and
//! do not know which configuration is used.

use crate::{
    config::{Config, Warehouse},
    contract::slack::Alert,
};

const BQ: &str = "bq query --use_legacy_sql=false ";
const PARAMETER: &str = "--parameter=";
const DATE: &str = "date:DATE:";

/// Replaces BigQuery's command by `host query` on SQLite, and lets each command of the host name its configuration. A `bq`
/// command with other options than parameters stays.
pub fn suit(alert: &mut Alert, config: &Config) {
    let on_sqlite = matches!(config.warehouse, Some(Warehouse::Sqlite { .. }));
    for command in alert.steps.iter_mut().filter_map(|step| step.command.as_mut()) {
        if let Some(own) = on_sqlite.then(|| own(command)).flatten() {
            *command = own;
        }
        *command = config.command(command);
    }
}

fn own(command: &str) -> Option<String> {
    let mut rest = command.strip_prefix(BQ)?;
    let mut own = "host query ".to_owned();
    while let Some((parameter, others)) = rest.strip_prefix(PARAMETER).and_then(|given| given.split_once(' ')) {
        // A quoted value may contain spaces.
        if parameter.contains(['\'', '"', '\\']) {
            return None;
        }
        own += &match parameter.strip_prefix(DATE) {
            Some(date) => format!("--date {date} "),
            None => format!("--parameter {parameter} "),
        };
        rest = others;
    }
    // A quoted option is none of these parameters.
    (rest.starts_with('\'') && !rest.starts_with("'--")).then(|| own + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_usual_form_is_replaced() {
        for (command, wanted) in [
            (
                "bq query --use_legacy_sql=false --parameter=date:DATE:2026-02-05 'SELECT 1'",
                Some("host query --date 2026-02-05 'SELECT 1'"),
            ),
            ("bq query --use_legacy_sql=false 'SELECT 1'", Some("host query 'SELECT 1'")),
            (
                "bq query --use_legacy_sql=false --parameter=date:DATE:2026-02-05 --parameter=due:TIMESTAMP:2026-02-06T11:30:00Z 'SELECT 1'",
                Some("host query --date 2026-02-05 --parameter due:TIMESTAMP:2026-02-06T11:30:00Z 'SELECT 1'"),
            ),
            (
                "bq query --use_legacy_sql=false --parameter=team:STRING:BOS 'SELECT 1'",
                Some("host query --parameter team:STRING:BOS 'SELECT 1'"),
            ),
            ("bq query --use_legacy_sql=false '--parameter=team:STRING:B S' 'SELECT 1'", None),
            ("bq query --use_legacy_sql=false --parameter=team:STRING:'B S' 'SELECT 1'", None),
            ("bq query --use_legacy_sql=false --location=EU 'SELECT 1'", None),
            ("bq query 'SELECT 1'", None),
            ("gcloud run revisions list", None),
        ] {
            assert_eq!(own(command).as_deref(), wanted, "{command}");
        }
    }
}
