//! The parameters of a check's SQL: the date and the times of its run.

use jiff::civil::Date;
use sdk::{Query, Request, deadline, uses};

const DAY_SECONDS: i64 = 24 * 3600;
const DAY_START: &str = "day_start";
const DAY_END: &str = "day_end";
const DEADLINE: &str = "deadline";

/// The parameters of the data date alone: they are not known for earlier dates, since clocks may change.
pub(crate) const OF_ITS_OWN: [&str; 3] = [DAY_START, DAY_END, DEADLINE];

/// The values of the parameters, the times in seconds since 1970.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    date: String,
    due: i64,
    /// Known for the data date only.
    own: Option<Own>,
}

/// The times of the data date.
#[derive(Debug, Clone, Copy)]
struct Own {
    day_start: i64,
    day_end: i64,
    deadline: i64,
}

impl Times {
    pub(crate) fn of(request: &Request) -> Self {
        let own = Own { day_start: request.day_start, day_end: request.day_end, deadline: deadline() };
        Self { date: request.data_date.clone(), due: request.due, own: Some(own) }
    }

    /// The same time of day for an earlier date.
    pub(crate) fn on(&self, date: &str) -> Self {
        let days = match (self.date.parse::<Date>(), date.parse::<Date>()) {
            (Ok(own), Ok(earlier)) => i64::from((own - earlier).get_days()),
            _ => 0,
        };
        Self { date: date.to_owned(), due: self.due - days * DAY_SECONDS, own: None }
    }

    /// A query with all of them; the host binds those that the SQL uses.
    pub(crate) fn query(&self, sql: &str) -> Query {
        self.bound(sql, |_| true)
    }

    /// The command that people can run: only with what the SQL uses, and the date.
    pub(crate) fn command(&self, sql: &str) -> String {
        self.bound(sql, |name| name == "date" || uses(sql, name)).command()
    }

    fn bound(&self, sql: &str, wanted: impl Fn(&str) -> bool) -> Query {
        let mut query = Query::new(sql);
        if wanted("date") {
            query = query.date("date", &self.date);
        }
        let own = self
            .own
            .iter()
            .flat_map(|own| [(DAY_START, own.day_start), (DAY_END, own.day_end), (DEADLINE, own.deadline)]);
        for (name, seconds) in [("due", self.due)].into_iter().chain(own).filter(|(name, _)| wanted(name)) {
            query = query.timestamp(name, seconds);
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_the_parameters_that_the_sql_uses() {
        let own = Own { day_start: 1_770_267_600, day_end: 1_770_354_000, deadline: 1_770_375_600 };
        let times = Times { date: "2026-02-05".to_owned(), due: 1_770_377_400, own: Some(own) };
        for (sql, parameters) in [
            ("SELECT 1", "--parameter=date:DATE:2026-02-05"),
            ("SELECT @due", "--parameter=date:DATE:2026-02-05 --parameter=due:TIMESTAMP:2026-02-06T11:30:00Z"),
            (
                "SELECT @deadline",
                "--parameter=date:DATE:2026-02-05 --parameter=deadline:TIMESTAMP:2026-02-06T11:00:00Z",
            ),
            (
                "SELECT @day_start, @Day_End",
                "--parameter=date:DATE:2026-02-05 --parameter=day_start:TIMESTAMP:2026-02-05T05:00:00Z \
                 --parameter=day_end:TIMESTAMP:2026-02-06T05:00:00Z",
            ),
        ] {
            let command = format!("bq query --use_legacy_sql=false {parameters} '{sql}'");
            assert_eq!(times.command(sql), command);
        }
        let earlier = times.on("2026-02-03").command("SELECT @date, @due, @day_start");
        assert!(
            earlier.contains("date:DATE:2026-02-03 --parameter=due:TIMESTAMP:2026-02-04T11:30:00Z 'SELECT"),
            "{earlier}"
        );
    }
}
