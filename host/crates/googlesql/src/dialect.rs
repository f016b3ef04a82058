//! Translates GoogleSQL to SQLite's SQL. Each supported construct is rewritten for the embedded engine, with its names
//! and types checked; any other construct is an error that names it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use host_contract::Error;
use sqlparser::ast::{
    Distinct, ExceptSelectItem, Expr, GroupByExpr, LimitClause, OrderBy, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, Value, WildcardAdditionalOptions,
};

use super::{
    guard::TablePath,
    kind::Kind,
    room::{self, Room},
    scope::{Column, Columns, Scope, quoted, same},
    typed::{Result, Typed, start, unsupported},
};

/// Gives a table's columns.
pub type Schema<'a> = dyn Fn(&TablePath) -> std::result::Result<Vec<Column>, Error> + 'a;

/// A query for the embedded engine.
#[derive(Debug)]
pub struct Translated {
    /// SQL that uses only tables, registered functions and the functions of [`super::ENGINE`].
    pub sql: String,
    /// The columns of the result.
    pub columns: Vec<Column>,
}

/// One translation.
pub(super) struct Translator<'a> {
    pub(super) schema: &'a Schema<'a>,
    /// The columns of the tables that the query uses.
    pub(super) known: HashMap<TablePath, Columns>,
    pub(super) project: Option<&'a str>,
    pub(super) parameters: HashMap<String, Kind>,
    /// The WITH names in scope, the innermost last.
    pub(super) ctes: Vec<Cte>,
    /// Columns used outside of aggregates since the list was last cleared.
    pub(super) bare: Vec<String>,
    /// The expressions of GROUP BY.
    pub(super) grouped: Vec<String>,
    /// The number of aggregates of the current SELECT so far.
    pub(super) aggregates: usize,
    /// Limits of its size.
    pub(super) room: Room,
}

/// A name from WITH.
pub(super) struct Cte {
    pub(super) name: String,
    pub(super) columns: Columns,
    /// The number of tables and SELECTs that each use of it adds.
    pub(super) tables: usize,
}

/// Translates a query; `parameters` by lower-case name.
pub fn translate(
    query: &Query,
    schema: &Schema<'_>,
    project: Option<&str>,
    parameters: HashMap<String, Kind>,
) -> std::result::Result<Translated, Error> {
    let mut translator = Translator {
        schema,
        known: HashMap::new(),
        project,
        parameters,
        ctes: Vec::new(),
        bare: Vec::new(),
        grouped: Vec::new(),
        aggregates: 0,
        room: Room::default(),
    };
    translator.query(query, None)
}

impl Translator<'_> {
    /// `outer` is the scope of the query around a subquery.
    pub(super) fn query(&mut self, query: &Query, outer: Option<&Scope>) -> Result<Translated> {
        for (met, what) in [
            (query.fetch.is_some(), "FETCH"),
            (!query.locks.is_empty(), "FOR UPDATE"),
            (query.for_clause.is_some(), "FOR"),
            (query.settings.is_some(), "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT"),
            (!query.pipe_operators.is_empty(), "pipe syntax"),
        ] {
            if met {
                return Err(unsupported(what));
            }
        }
        // A subquery's aggregates and columns do not count here.
        let around = (std::mem::take(&mut self.bare), std::mem::take(&mut self.grouped), self.aggregates);
        let known = self.ctes.len();
        let translated = self.whole(query, outer);
        self.ctes.truncate(known);
        (self.bare, self.grouped, self.aggregates) = around;
        translated
    }

    fn whole(&mut self, query: &Query, outer: Option<&Scope>) -> Result<Translated> {
        let mut with = Vec::new();
        if let Some(clause) = &query.with {
            if clause.recursive {
                return Err(unsupported("WITH RECURSIVE"));
            }
            for cte in &clause.cte_tables {
                if !cte.alias.columns.is_empty() {
                    return Err(unsupported("column lists in WITH"));
                }
                let around = self.room.aside();
                let inner = self.query(&cte.query, None)?;
                let tables = self.room.back(around);
                let name = cte.alias.name.value.clone();
                with.push(format!("{} AS ({})", quoted(&name), inner.sql));
                self.ctes.push(Cte { name, columns: Arc::new(inner.columns), tables });
            }
        }
        let (body, columns, mut scope) = self.set(&query.body, outer)?;
        scope.aliases = columns.iter().map(|column| (column.name.clone(), quoted(&column.name), column.kind)).collect();
        let order = query.order_by.as_ref().map(|order| self.order(order, &scope)).transpose()?.unwrap_or_default();
        let limit = query.limit_clause.as_ref().map(limit).transpose()?.unwrap_or_default();
        let with = if with.is_empty() { String::new() } else { format!("WITH {} ", with.join(", ")) };
        let sql = format!("{with}{body}{order}{limit}");
        room::written(&sql)?;
        Ok(Translated { sql, columns })
    }

    /// The body of a query, its columns, and the scope that ORDER BY sees.
    fn set(&mut self, body: &SetExpr, outer: Option<&Scope>) -> Result<(String, Vec<Column>, Scope)> {
        match body {
            SetExpr::Select(select) => self.select(select, outer),
            SetExpr::Query(query) => {
                let inner = self.query(query, outer)?;
                Ok((format!("SELECT * FROM ({})", inner.sql), inner.columns, Scope::default()))
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let (left, columns, _) = self.set(left, outer)?;
                let (right, others, _) = self.set(right, outer)?;
                if columns.len() != others.len() {
                    return Err(Error::Invalid(format!(
                        "query failed: Queries in {op} have mismatched column count; one has {}, the other {}",
                        columns.len(),
                        others.len()
                    )));
                }
                let columns: Vec<Column> = columns
                    .into_iter()
                    .zip(others)
                    .map(|(one, other)| match one.kind.common(other.kind) {
                        Some(kind) => Ok(Column { kind, ..one }),
                        None => Err(Error::Invalid(format!(
                            "query failed: Column {} in {op} has incompatible types: {}, {}",
                            one.name,
                            one.kind.name(),
                            other.kind.name()
                        ))),
                    })
                    .collect::<Result<_>>()?;
                let operator = match (op, set_quantifier) {
                    (SetOperator::Union, SetQuantifier::All) => "UNION ALL",
                    (SetOperator::Union, SetQuantifier::Distinct) => "UNION",
                    (SetOperator::Intersect, SetQuantifier::Distinct) => "INTERSECT",
                    (SetOperator::Except, SetQuantifier::Distinct) => "EXCEPT",
                    (op, quantifier) => return Err(unsupported(format!("{op} {quantifier}"))),
                };
                Ok((format!("SELECT * FROM ({left}) {operator} SELECT * FROM ({right})"), columns, Scope::default()))
            }
            other => Err(unsupported(format!("`{}`", start(other)))),
        }
    }

    fn select(&mut self, select: &Select, outer: Option<&Scope>) -> Result<(String, Vec<Column>, Scope)> {
        for (met, what) in [
            (select.top.is_some(), "TOP"),
            (select.exclude.is_some(), "EXCLUDE"),
            (select.into.is_some(), "INTO"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW"),
            (select.prewhere.is_some(), "PREWHERE"),
            (!select.connect_by.is_empty(), "CONNECT BY"),
            (
                !select.cluster_by.is_empty() || !select.distribute_by.is_empty() || !select.sort_by.is_empty(),
                "CLUSTER BY",
            ),
            (!select.named_window.is_empty(), "WINDOW"),
            (select.qualify.is_some(), "QUALIFY"),
            (select.value_table_mode.is_some(), "SELECT AS STRUCT"),
            (select.select_modifiers.is_some(), "select modifiers"),
        ] {
            if met {
                return Err(unsupported(what));
            }
        }
        self.room.tables(1)?;
        self.room.work(outer.map_or(0, Scope::columns))?;
        // Those of the other side of a UNION, or of the query around this one, do not count.
        self.aggregates = 0;
        let mut scope = Scope { outer: outer.cloned().map(Box::new), ..Scope::default() };
        let from = self.from(&select.from, &mut scope)?;
        let condition = select.selection.as_ref().map(|expr| self.condition(expr, &scope, "WHERE")).transpose()?;
        if self.aggregates > 0 {
            return Err(Error::Invalid("query failed: Aggregate function not allowed in WHERE clause".to_owned()));
        }

        let grouping = self.group_keys(select, &scope)?;
        self.grouped.clone_from(&grouping);
        self.bare.clear();
        let mut items = Vec::new();
        for item in &select.projection {
            self.item(item, &scope, &mut items)?;
        }
        let columns: Vec<Column> = named(&items)?;
        scope.aliases = columns.iter().map(|column| (column.name.clone(), quoted(&column.name), column.kind)).collect();
        let having = select.having.as_ref().map(|expr| self.condition(expr, &scope, "HAVING")).transpose()?;
        if let (true, Some(bare)) = (self.aggregates > 0 || !grouping.is_empty(), self.bare.first()) {
            return Err(Error::Invalid(format!(
                "query failed: SELECT list expression references column {bare} which is neither grouped nor aggregated"
            )));
        }

        let distinct = match &select.distinct {
            None | Some(Distinct::All) => "",
            Some(Distinct::Distinct) => "DISTINCT ",
            Some(Distinct::On(_)) => return Err(unsupported("DISTINCT ON")),
        };
        let list: Vec<String> = items
            .iter()
            .zip(&columns)
            .map(|((_, typed), column)| format!("{} AS {}", typed.sql, quoted(&column.name)))
            .collect();
        let clause = |word: &str, text: Option<String>| text.map(|text| format!(" {word} {text}")).unwrap_or_default();
        let sql = format!(
            "SELECT {distinct}{}{}{}{}{}",
            list.join(", "),
            clause("FROM", from),
            clause("WHERE", condition),
            clause("GROUP BY", (!grouping.is_empty()).then(|| grouping.join(", "))),
            clause("HAVING", having),
        );
        Ok((sql, columns, scope))
    }

    /// The expressions of GROUP BY: an ordinal or an alias stands for its item of the SELECT list.
    fn group_keys(&mut self, select: &Select, scope: &Scope) -> Result<Vec<String>> {
        let expressions = match &select.group_by {
            GroupByExpr::Expressions(expressions, modifiers) if modifiers.is_empty() => expressions,
            _ => return Err(unsupported("this form of GROUP BY")),
        };
        let mut keys = Vec::new();
        for expression in expressions {
            let item = match expression {
                Expr::Value(value) => match &value.value {
                    Value::Number(number, _) => number
                        .parse::<usize>()
                        .ok()
                        .and_then(|ordinal| select.projection.get(ordinal.checked_sub(1)?))
                        .and_then(item_expression),
                    _ => None,
                },
                Expr::Identifier(name) if scope.column(None, &name.value).is_err() => {
                    select.projection.iter().find_map(|item| match item {
                        SelectItem::ExprWithAlias { expr, alias } if same(&alias.value, &name.value) => Some(expr),
                        _ => None,
                    })
                }
                _ => None,
            };
            let aggregates = self.aggregates;
            keys.push(self.expression(item.unwrap_or(expression), scope)?.sql);
            if self.aggregates > aggregates {
                return Err(Error::Invalid("query failed: Aggregate function not allowed in GROUP BY".to_owned()));
            }
        }
        Ok(keys)
    }

    fn item(&mut self, item: &SelectItem, scope: &Scope, items: &mut Vec<(Option<String>, Typed)>) -> Result<()> {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = match expr {
                    Expr::Identifier(name) => Some(name.value.clone()),
                    Expr::CompoundIdentifier(path) => path.last().map(|name| name.value.clone()),
                    _ => None,
                };
                items.push((name, self.expression(expr, scope)?));
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                items.push((Some(alias.value.clone()), self.expression(expr, scope)?));
            }
            SelectItem::Wildcard(options) => self.star(None, options, scope, items)?,
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table), options) => {
                self.star(Some(&table.to_string().replace('`', "")), options, scope, items)?;
            }
            other => return Err(unsupported(format!("`{other}` in SELECT"))),
        }
        Ok(())
    }

    fn star(
        &mut self,
        table: Option<&str>,
        options: &WildcardAdditionalOptions,
        scope: &Scope,
        items: &mut Vec<(Option<String>, Typed)>,
    ) -> Result<()> {
        let odd = options.opt_ilike.is_some()
            || options.opt_exclude.is_some()
            || options.opt_replace.is_some()
            || options.opt_rename.is_some()
            || options.opt_alias.is_some();
        if odd {
            return Err(unsupported("`*` with anything but EXCEPT"));
        }
        let except: Vec<&str> = match &options.opt_except {
            None => Vec::new(),
            Some(ExceptSelectItem { first_element, additional_elements }) => {
                std::iter::once(first_element).chain(additional_elements).map(|name| name.value.as_str()).collect()
            }
        };
        let sources = scope.sources.iter().filter(|source| table.is_none_or(|table| same(table, &source.alias)));
        let mut merged: Vec<&str> = Vec::new();
        for (source, column) in sources.flat_map(|source| source.columns.iter().map(move |column| (source, column))) {
            self.room.work(1 + except.len() + merged.len())?;
            if except.iter().any(|name| same(name, &column.name)) || merged.iter().any(|name| same(name, &column.name))
            {
                continue;
            }
            let is_merged = table.is_none() && scope.is_merged(&column.name);
            if is_merged {
                merged.push(&column.name);
            }
            let found = source.found(column, !is_merged);
            self.bare.push(column.name.clone());
            items.push((Some(column.name.clone()), Typed::column(found.sql, found.kind, found.unchecked)));
            room::columns(items.len())?;
        }
        Ok(())
    }

    fn order(&mut self, order: &OrderBy, scope: &Scope) -> Result<String> {
        let OrderByKind::Expressions(expressions) = &order.kind else { return Err(unsupported("ORDER BY ALL")) };
        Ok(format!(" ORDER BY {}", self.sort_keys(expressions, scope)?))
    }
}

fn limit(limit: &LimitClause) -> Result<String> {
    let LimitClause::LimitOffset { limit, offset, limit_by } = limit else {
        return Err(unsupported("LIMIT with a comma"));
    };
    if !limit_by.is_empty() {
        return Err(unsupported("LIMIT BY"));
    }
    let count = |expr: &Expr| match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.parse::<u64>().ok(),
            _ => None,
        },
        _ => None,
    };
    let number = |expr: &Expr| count(expr).ok_or_else(|| unsupported(format!("LIMIT {expr}: write a number")));
    let limit = limit.as_ref().map(number).transpose()?;
    let offset = offset.as_ref().map(|offset| number(&offset.value)).transpose()?;
    Ok(match (limit, offset) {
        (None, None) => String::new(),
        (limit, offset) => format!(
            " LIMIT {} OFFSET {}",
            limit.map_or("-1".to_owned(), |limit| limit.to_string()),
            offset.unwrap_or(0)
        ),
    })
}

/// The columns of a SELECT list; unnamed ones are `f0_`, `f1_`, … as in BigQuery.
fn named(items: &[(Option<String>, Typed)]) -> Result<Vec<Column>> {
    room::columns(items.len())?;
    let mut columns: Vec<Column> = Vec::new();
    let mut names = HashSet::new();
    let mut nameless = 0;
    for (name, typed) in items {
        let name = name.clone().unwrap_or_else(|| {
            nameless += 1;
            format!("f{}_", nameless - 1)
        });
        if !names.insert(name.to_lowercase()) {
            return Err(Error::Invalid(format!("query failed: Duplicate column names in the result: {name}")));
        }
        columns.push(Column { name, kind: typed.kind, stored: None });
    }
    Ok(columns)
}

fn item_expression(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}
