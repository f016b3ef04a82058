//! Grants of views. BigQuery says which tables a query reads, also through views, but not through which view. So a query
//! may read more than the granted datasets only if every view that it names is granted.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::{BigQuery, estimate::Read};
use crate::{
    capability::{calls::Calls, grant::Wish, warehouse::allowed::Allowed},
    contract::Error,
    google::Fault,
    googlesql::TablePath,
};

/// The type of a resource that has rows of its own: <https://cloud.google.com/bigquery/docs/reference/rest/v2/tables>
const WITH_ROWS: [&str; 3] = ["TABLE", "EXTERNAL", "SNAPSHOT"];

impl BigQuery {
    /// Checks the tables that BigQuery says a query would read.
    pub(super) async fn may_read(&self, calls: &Calls, allowed: &Allowed, reads: &BTreeSet<Read>) -> Result<(), Error> {
        let refused = reads.iter().find_map(|read| self.readable(calls, read).err());
        let Some(refused) = refused else { return Ok(()) };
        // A function that the query itself calls may read tables too.
        if !allowed.routines.is_empty() {
            return Err(refused);
        }
        let others: Vec<&TablePath> = allowed.not_views(calls).collect();
        if others.len() == allowed.tables.len() {
            return Err(refused);
        }
        for table in others {
            let found = self.0.client.table(&table.dataset, &table.table, calls.deadline()).await;
            let found = found.map_err(|fault| self.explained(calls, fault))?;
            if !found.r#type.is_some_and(|kind| WITH_ROWS.contains(&kind.as_str())) {
                let TablePath { dataset, table } = table;
                return Err(refused.reworded(|refused| {
                    format!(
                        "{refused}; {dataset}.{table}, which the query names too, is a view that is not granted by name"
                    )
                }));
            }
        }
        Ok(())
    }

    /// Whether a table that BigQuery names is granted with its dataset.
    fn readable(&self, calls: &Calls, read: &Read) -> Result<(), Error> {
        let Read { project, dataset, table } = read;
        if project != self.0.project() {
            return Err(Error::Invalid(format!(
                "query refused: it reads {project}.{dataset}.{table}, which is in another project"
            )));
        }
        calls.allow("query", Wish::Dataset(dataset)).map_err(|denied| {
            let key = format!("grants.{}.views", calls.plugin());
            denied.reworded(|denied| format!("{denied}, or the view that reads {dataset}.{table} to {key}"))
        })
    }

    /// Whether a view can be queried, by a dry run, which is free. BigQuery may ask for a filter on its partitions.
    pub(super) async fn probe_view(&self, view: &TablePath, deadline: Instant) -> Result<String, Fault> {
        let TablePath { dataset, table } = view;
        let sql = format!("SELECT * FROM `{}`.`{dataset}`.`{table}`", self.0.project());
        let question = self.own(sql, dataset);
        match self.dry(&question, deadline).await {
            Err(fault) if !super::filter::is_missing(&fault.message) => Err(fault),
            _ => Ok(question.location),
        }
    }
}
