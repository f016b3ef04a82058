//! `host costs`: the bytes that each check's queries billed, next to its daily budget.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use jiff::{Span, civil::Date};
use serde_json::json;

use super::{
    flags::{ConfigFlag, Format, OutputFlag},
    recorded,
    table::Table,
};
use crate::{config::Config, record::Cost, text};

/// BigQuery's on-demand price of a TiB in the US, in dollars. Other regions differ, and the first TiB of a month is free:
/// <https://cloud.google.com/bigquery/pricing#on_demand_pricing>
const DOLLARS: f64 = 6.25;
const TIB: f64 = (1_u64 << 40) as f64;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host costs                          today, and the last 30 days
  host costs --days 7 --output json   each day by itself

BigQuery bills whole MiB, at least 10 for each table of a query. Cached
results are free. grants.NAME.budgets.bytes_per_day in host.toml limits what
one check may bill in a day.")]
pub(super) struct Costs {
    /// The number of days, including today
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    days: u16,
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    output: OutputFlag,
}

impl Costs {
    pub(super) fn execute(self) -> Result<u8> {
        let config = Config::read(self.config.path())?;
        super::runtime()?.block_on(async {
            let record = recorded(&config).await?;
            let today = crate::record::now().to_zoned(config.timezone.rules()).date();
            let since = today.checked_sub(Span::new().days(i64::from(self.days) - 1))?;
            let costs = record.costs(since).await?;
            record.close().await;
            super::print(&self.render(&config, &costs, today))?;
            Ok(0)
        })
    }

    fn render(&self, config: &Config, costs: &[Cost], today: Date) -> String {
        let mut checks: BTreeMap<&str, Vec<&Cost>> = BTreeMap::new();
        for cost in costs {
            checks.entry(&cost.check).or_default().push(cost);
        }
        let budget = |check: &str| {
            let plugin = config.checks.get(check).and_then(|check| check.plugin.as_deref()).unwrap_or(check);
            config.budgets(plugin).bytes_per_day
        };
        let day = |days: &[&Cost]| {
            days.iter().find(|cost| cost.day == today).map_or((0, 0), |cost| (cost.bytes, cost.queries))
        };
        let all = |days: &[&Cost]| days.iter().map(|cost| cost.bytes).sum::<u64>();
        if self.output.output == Format::Json {
            let checks = checks.iter().map(|(check, days)| {
                let (bytes, queries) = day(days);
                json!({
                    "check": check,
                    "bytes_per_day": budget(check).0,
                    "today": { "day": today, "bytes": bytes, "queries": queries },
                    "days": days.iter().map(|cost| json!({ "day": cost.day, "bytes": cost.bytes, "queries": cost.queries })).collect::<Vec<_>>(),
                })
            });
            return format!("{:#}\n", json!({ "checks": checks.collect::<Vec<_>>() }));
        }
        if checks.is_empty() {
            return format!("No query was billed in the last {} days.\n", self.days);
        }
        let mut table = Table::new(["CHECK", "TODAY", "OF", "QUERIES", "ALL DAYS", "ABOUT"]);
        for (check, days) in &checks {
            let (bytes, queries) = day(days);
            table.row(vec![
                (*check).to_owned(),
                text::bytes(bytes),
                budget(check).to_string(),
                queries.to_string(),
                text::bytes(all(days)),
                dollars(all(days)),
            ]);
        }
        let total: u64 = checks.values().map(|days| all(days)).sum();
        format!(
            "{}\n{} billed in the last {} days, about {} at ${DOLLARS} per TiB. Days are those of {}.\n",
            table.text(),
            text::bytes(total),
            self.days,
            dollars(total),
            config.timezone.name(),
        )
    }
}

fn dollars(bytes: u64) -> String {
    format!("${:.2}", bytes as f64 / TIB * DOLLARS)
}
