//! `evidence`: rows that explain a violation. It takes no grant, since it gives the host what the plugin already has.

use super::Reach;
use crate::contract::{Error, Value, evidence::Host};

impl Host for Reach {
    fn add(&mut self, metric: String, columns: Vec<String>, rows: Vec<Vec<Value>>) -> Result<(), Error> {
        let (calls, backends) = self.own()?;
        calls.add_evidence(metric, columns, rows, backends.show_rows)
    }

    fn total(&mut self, metric: String, rows: u64) -> Result<(), Error> {
        let (calls, backends) = self.own()?;
        calls.total_evidence(&metric, rows, backends.show_rows);
        Ok(())
    }
}
