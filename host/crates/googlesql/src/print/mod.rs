//! Prints a parsed query again, for BigQuery. BigQuery gets this text, never the author's, so it reads what the guard
//! read: names in backticks, string literals in a single form, no comments, no hints. A construct that is not printed
//! here is refused.

mod clauses;
mod expression;
mod function;
mod values;

use host_contract::Error;
use sqlparser::{
    ast::{Ident, Query, SetExpr, SetOperator, SetQuantifier},
    tokenizer::Location,
};

use super::{
    guard::{self, Select},
    typed::{Result, start},
};

/// The maximum nesting. Chains of operators do not count.
const DEPTH: usize = 400;

/// A query as it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Printed {
    /// The SQL, in one line.
    pub sql: String,
    /// Columns of the SQL, counted in characters from 1, each with the author's line and column.
    marks: Vec<(u64, Location)>,
}

impl Printed {
    /// Prints a query that the guard has read; `project` is the project that names may begin with.
    ///
    /// # Errors
    /// If it has a construct that is not printed, or would be read differently.
    pub fn new(select: &Select, project: Option<&str>) -> Result<Self> {
        let printed = Self::once(select, project)?;
        let again = guard::read(&printed.sql, project)?;
        let same = again.datasets == select.datasets
            && again.tables == select.tables
            && again.parameters == select.parameters
            && again.routines == select.routines
            && Self::once(&again, project)?.sql == printed.sql;
        match same {
            true => Ok(printed),
            false => Err(Error::Invalid("query refused: it would be read differently when it is sent".to_owned())),
        }
    }

    /// A query of the host's own, as it is.
    pub fn own(sql: String) -> Self {
        Self { sql, marks: Vec::new() }
    }

    fn once(select: &Select, project: Option<&str>) -> Result<Self> {
        let mut printer = Printer { sql: String::new(), columns: 0, marks: Vec::new(), depth: 0, select, project };
        printer.query(&select.query)?;
        Ok(Self { sql: printer.sql, marks: printer.marks })
    }

    /// A message of BigQuery, with its positions, `[line:column]`, turned into the author's.
    pub fn located(&self, message: &str) -> String {
        let mut told = String::new();
        let mut rest = message;
        while let Some((before, after)) = rest.split_once("[1:") {
            told += before;
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let (column, more) = after.split_at(digits);
            match (column.parse().ok().and_then(|column| self.location(column)), more.strip_prefix(']')) {
                (Some(Location { line, column }), Some(more)) => {
                    told += &format!("[{line}:{column}]");
                    rest = more;
                }
                _ => {
                    told += "[1:";
                    rest = after;
                }
            }
        }
        told + rest
    }

    /// The author's place of the name or value at a column, or of the last one before it.
    fn location(&self, column: u64) -> Option<Location> {
        let after = self.marks.partition_point(|(marked, _)| *marked <= column);
        self.marks.get(after.checked_sub(1)?).map(|(_, location)| *location)
    }
}

/// A query while it is printed.
struct Printer<'p> {
    sql: String,
    /// Characters so far.
    columns: u64,
    marks: Vec<(u64, Location)>,
    depth: usize,
    /// The tables and functions that the guard has seen: no others are printed.
    select: &'p Select,
    project: Option<&'p str>,
}

impl Printer<'_> {
    fn put(&mut self, text: &str) {
        self.sql += text;
        self.columns += text.chars().count() as u64;
    }

    /// What comes next has this place in the author's text.
    fn mark(&mut self, location: Location) {
        // 0 is unknown.
        if location.line > 0 {
            self.marks.push((self.columns + 1, location));
        }
    }

    /// A name, in backticks.
    fn name(&mut self, name: &Ident) -> Result<()> {
        let Ident { value, quote_style, span } = name;
        let odd = |c: char| matches!(c, '`' | '\\' | '.') || c.is_control() || !c.is_ascii() && c.is_whitespace();
        let written = matches!(quote_style, Some('`')) || quote_style.is_none() && !value.starts_with('@');
        if !written || value.is_empty() || value.chars().any(odd) {
            return Err(refused(format_args!("`{value}` as a name")));
        }
        self.mark(span.start);
        self.put(&format!("`{value}`"));
        Ok(())
    }

    fn names<'n>(&mut self, names: impl IntoIterator<Item = &'n Ident>, between: &str) -> Result<()> {
        self.list(names, between, Self::name)
    }

    /// Each of a list, with something between them.
    fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        between: &str,
        mut print: impl FnMut(&mut Self, T) -> Result<()>,
    ) -> Result<()> {
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.put(between);
            }
            print(self, item)?;
        }
        Ok(())
    }

    /// Something nested.
    fn deeper(&mut self, print: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.depth >= DEPTH {
            return Err(Error::Invalid(format!("query refused: nested more than {DEPTH} levels deep")));
        }
        self.depth += 1;
        let printed = print(self);
        self.depth -= 1;
        printed
    }

    /// A query in parentheses.
    fn subquery(&mut self, query: &Query) -> Result<()> {
        self.put("(");
        self.query(query)?;
        self.put(")");
        Ok(())
    }

    fn query(&mut self, query: &Query) -> Result<()> {
        self.deeper(|printer| printer.whole(query))
    }

    fn whole(&mut self, query: &Query) -> Result<()> {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch: None,
            locks,
            for_clause: None,
            settings: None,
            format_clause: None,
            pipe_operators,
        } = query
        else {
            return Err(refused(format_args!("`{}`", start(query))));
        };
        if !locks.is_empty() || !pipe_operators.is_empty() {
            return Err(refused(format_args!("`{}`", start(query))));
        }
        if let Some(with) = with {
            self.with(with)?;
        }
        self.set(body)?;
        if let Some(order) = order_by {
            self.order_by(order)?;
        }
        match limit_clause {
            Some(limit) => self.limit(limit),
            None => Ok(()),
        }
    }

    /// The body of a query; chains of UNION are long and not nested.
    fn set(&mut self, body: &SetExpr) -> Result<()> {
        let mut first = body;
        let mut rest = Vec::new();
        while let SetExpr::SetOperation { left, op, set_quantifier, right } = first {
            rest.push((op, set_quantifier, right.as_ref()));
            first = left;
        }
        self.body(first)?;
        for (op, quantifier, right) in rest.into_iter().rev() {
            self.put(match (op, quantifier) {
                (SetOperator::Union, SetQuantifier::All) => " UNION ALL ",
                (SetOperator::Union, SetQuantifier::Distinct) => " UNION DISTINCT ",
                (SetOperator::Intersect, SetQuantifier::Distinct) => " INTERSECT DISTINCT ",
                (SetOperator::Except, SetQuantifier::Distinct) => " EXCEPT DISTINCT ",
                (op, quantifier) => return Err(refused(format_args!("{op} {quantifier}"))),
            });
            self.deeper(|printer| printer.set(right))?;
        }
        Ok(())
    }

    fn body(&mut self, body: &SetExpr) -> Result<()> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.subquery(query),
            other => Err(refused(format_args!("`{}`", start(other)))),
        }
    }
}

/// The refusal of a construct that cannot be sent as it was read.
fn refused(what: impl std::fmt::Display) -> Error {
    let what: String = what.to_string().chars().take(120).collect();
    Error::Invalid(format!("query refused: the host does not send {what} to BigQuery"))
}
