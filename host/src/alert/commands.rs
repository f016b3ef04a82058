//! Commands in the steps of alerts, as they run beside this host: plugins write `bq query`, which reads no SQLite file, and
//! do not know which configuration is used.

use crate::{
    config::{Config, Warehouse},
    contract::slack::Alert,
};

const BQ: &str = "bq query --use_legacy_sql=false ";
const DATE: &str = "--parameter=date:DATE:";

/// Replaces BigQuery's command by `host query` on SQLite, and lets each command of the host name its configuration. A `bq`
/// command with other parameters than the date stays.
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
    let rest = command.strip_prefix(BQ)?;
    let (date, sql) = match rest.strip_prefix(DATE) {
        Some(dated) => dated.split_once(' ').map(|(date, sql)| (format!("--date {date} "), sql))?,
        None => (String::new(), rest),
    };
    sql.starts_with('\'').then(|| format!("host query {date}{sql}"))
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
            ("bq query --use_legacy_sql=false --parameter=team:STRING:BOS 'SELECT 1'", None),
            ("bq query 'SELECT 1'", None),
            ("gcloud run revisions list", None),
        ] {
            assert_eq!(own(command).as_deref(), wanted, "{command}");
        }
    }
}
