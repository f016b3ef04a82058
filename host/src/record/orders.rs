//! What people ask of dates: to look again, to know of them, to give them up. A host that runs on the record carries the
//! orders out, so that two processes never change one state.

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use sqlx::AnyConnection;

use super::sql::{commit, query, query_as, query_scalar, storable};
use super::{
    Record,
    dates::{key, parsed},
};

/// An order that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its number.
    pub id: i64,
    /// The check.
    pub check: String,
    /// The data date; `None` for a check about now, or for all open dates.
    pub date: Option<Date>,
    /// The order, as JSON.
    pub wanted: String,
    /// Who gave it.
    pub who: String,
}

impl Record {
    /// Adds an order, and returns its number.
    pub async fn order(
        &self,
        check: &str,
        date: Option<Date>,
        wanted: &str,
        (who, at): (&str, Timestamp),
    ) -> Result<i64> {
        let mut write = self.write().await?;
        let sql =
            "INSERT INTO orders (check_name, data_date, wanted, who, at) VALUES ($1, $2, $3, $4, $5) RETURNING id";
        let id: i64 = query_scalar(sql)
            .bind(check)
            .bind(key(date))
            .bind(wanted)
            .bind(storable(who))
            .bind(at.as_millisecond())
            .fetch_one(&mut write)
            .await
            .map_err(|error| self.explain(error))?;
        commit(write).await.map_err(|error| self.explain(error))?;
        Ok(id)
    }

    /// The orders that wait, the oldest first.
    pub async fn orders(&self) -> Result<Vec<Order>> {
        let sql = "SELECT id, check_name, data_date, wanted, who FROM orders WHERE answer IS NULL ORDER BY id";
        let rows: Vec<(i64, String, String, String, String)> =
            query_as(sql).fetch_all(&mut *self.read().await?).await.map_err(|error| self.explain(error))?;
        let order = |(id, check, date, wanted, who): (_, _, String, _, _)| {
            Ok(Order { id, check, date: parsed(&date).map_err(|error| self.explain(error))?, wanted, who })
        };
        rows.into_iter().map(order).collect()
    }

    /// What came of an order; `None` while it waits.
    pub async fn answer(&self, id: i64) -> Result<Option<String>> {
        let sql = "SELECT answer FROM orders WHERE id = $1";
        let answer: Option<Option<String>> = query_scalar(sql)
            .bind(id)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(answer.flatten())
    }
}

/// Records what came of orders.
pub(super) async fn answer_orders(write: &mut AnyConnection, answers: &[(i64, String)]) -> sqlx::Result<()> {
    for (id, answer) in answers {
        let answered = query("UPDATE orders SET answer = $2 WHERE id = $1");
        answered.bind(id).bind(storable(answer)).execute(&mut *write).await?;
    }
    Ok(())
}
