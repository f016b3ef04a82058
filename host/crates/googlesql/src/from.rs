//! FROM: tables, WITH names, subqueries and joins.

use std::sync::Arc;

use host_contract::Error;
use sqlparser::ast::{Join, JoinConstraint, JoinOperator, ObjectName, TableFactor, TableWithJoins};

use super::{
    dialect::{Cte, Translator},
    guard::table_path,
    position::{self, located},
    scope::{Columns, Scope, Source, quoted, same},
    typed::{Result, start, unsupported},
};

impl Translator<'_> {
    pub(super) fn from(&mut self, from: &[TableWithJoins], scope: &mut Scope) -> Result<Option<String>> {
        let mut parts = Vec::new();
        for table in from {
            let mut part = self.table(&table.relation, scope)?;
            for join in &table.joins {
                part.push_str(&self.join(join, scope)?);
            }
            parts.push(part);
        }
        Ok((!parts.is_empty()).then(|| parts.join(", ")))
    }

    fn join(&mut self, join: &Join, scope: &mut Scope) -> Result<String> {
        let (word, constraint) = match &join.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => ("JOIN", constraint),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => ("LEFT JOIN", constraint),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => ("RIGHT JOIN", constraint),
            JoinOperator::FullOuter(constraint) => ("FULL JOIN", constraint),
            JoinOperator::CrossJoin(constraint) => ("CROSS JOIN", constraint),
            _ => return Err(unsupported(format!("`{}`", join.to_string().trim()))),
        };
        let table = self.table(&join.relation, scope)?;
        let constraint = match constraint {
            JoinConstraint::None => String::new(),
            JoinConstraint::On(expr) => format!(" ON {}", self.condition(expr, scope, "ON")?),
            JoinConstraint::Using(names) => {
                let names: Vec<String> = names.iter().map(|name| name.to_string().replace('`', "")).collect();
                for name in &names {
                    self.room.work(scope.columns())?;
                    let known = scope
                        .sources
                        .iter()
                        .filter(|source| source.columns.iter().any(|column| same(&column.name, name)));
                    if known.count() < 2 {
                        return Err(Error::Invalid(format!(
                            "query failed: Column {name} in USING is not on both sides"
                        )));
                    }
                    scope.merged.push(name.clone());
                }
                format!(" USING ({})", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
            }
            JoinConstraint::Natural => return Err(unsupported("NATURAL JOIN")),
        };
        Ok(format!(" {word} {table}{constraint}"))
    }

    fn table(&mut self, factor: &TableFactor, scope: &mut Scope) -> Result<String> {
        let (sql, name, columns) = match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_hints,
                version: None,
                with_ordinality: false,
                partitions,
                json_path: None,
                sample: None,
                index_hints,
            } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
                let (sql, own, columns) =
                    self.named_table(name).map_err(|error| located(error, position::of_name(name)))?;
                (sql, alias.as_ref().map_or(own, |alias| alias.name.value.clone()), columns)
            }
            TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
                let inner = self.query(subquery, None)?;
                let name = alias
                    .as_ref()
                    .map_or_else(|| format!("_{}", scope.sources.len()), |alias| alias.name.value.clone());
                (format!("({})", inner.sql), name, Arc::new(inner.columns))
            }
            other => return Err(unsupported(format!("`{}` in FROM", start(other)))),
        };
        if scope.sources.iter().any(|source| same(&source.alias, &name)) {
            return Err(Error::Invalid(format!("query failed: Duplicate table alias {name} in the same FROM clause")));
        }
        let sql = format!("{sql} AS {}", quoted(&name));
        scope.sources.push(Source { alias: name, columns });
        Ok(sql)
    }

    /// A table of a dataset, or a WITH name: its SQL, its own name, its columns.
    fn named_table(&mut self, name: &ObjectName) -> Result<(String, String, Columns)> {
        let plain = name.to_string().replace('`', "");
        self.room.work(self.ctes.len())?;
        let cte = self.ctes.iter().rev().find(|cte| !plain.contains('.') && same(&cte.name, &plain));
        if let Some(Cte { name, columns, tables }) = cte {
            self.room.tables(*tables)?;
            return Ok((quoted(name), name.clone(), columns.clone()));
        }
        let path = table_path(name, self.project)?;
        self.room.tables(1)?;
        let columns = match self.known.get(&path) {
            Some(columns) => columns.clone(),
            None => {
                let columns = Arc::new((self.schema)(&path)?);
                self.room.work(columns.len())?;
                self.known.insert(path.clone(), columns.clone());
                columns
            }
        };
        Ok((format!("{}.{}", quoted(&path.dataset), quoted(&path.table)), path.table, columns))
    }
}
