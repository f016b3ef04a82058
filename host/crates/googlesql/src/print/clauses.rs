//! The clauses of a SELECT.

use sqlparser::ast::{
    Cte, Distinct, ExceptSelectItem, Expr, GroupByExpr, Join, JoinConstraint, JoinOperator, LimitClause,
    NamedWindowDefinition, NamedWindowExpr, ObjectName, ObjectNamePart, Offset, OffsetRows, OrderBy, OrderByExpr,
    OrderByKind, OrderByOptions, OrderBySort, ReplaceSelectElement, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, TableAlias, TableFactor, TableVersion, TableWithJoins, ValueTableMode,
    WildcardAdditionalOptions, With,
};

use super::{Printer, refused};
use crate::{
    guard::table_path,
    typed::{Result, start},
};

impl Printer<'_> {
    pub(super) fn with(&mut self, with: &With) -> Result<()> {
        let With { with_token: _, recursive, cte_tables } = with;
        self.put(if *recursive { "WITH RECURSIVE " } else { "WITH " });
        self.list(cte_tables, ", ", |printer, cte| {
            let Cte { alias, query, from: None, materialized: None, closing_paren_token: _ } = cte else {
                return Err(refused(format_args!("`{}`", start(cte))));
            };
            let TableAlias { explicit: _, name, columns, at: None } = alias else {
                return Err(refused(format_args!("`{alias}`")));
            };
            if !columns.is_empty() {
                return Err(refused("a column list in WITH"));
            }
            printer.name(name)?;
            printer.put(" AS ");
            printer.subquery(query)
        })?;
        self.put(" ");
        Ok(())
    }

    pub(super) fn select(&mut self, select: &Select) -> Result<()> {
        let Select {
            select_token,
            // Hints are comments to BigQuery.
            optimizer_hints: _,
            distinct,
            select_modifiers: None,
            top: None,
            top_before_distinct: _,
            projection,
            exclude: None,
            into: None,
            from,
            lateral_views,
            prewhere: None,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify,
            value_table_mode,
            flavor: SelectFlavor::Standard,
        } = select
        else {
            return Err(refused(format_args!("`{}`", start(select))));
        };
        let foreign = !lateral_views.is_empty()
            || !connect_by.is_empty()
            || !cluster_by.is_empty()
            || !distribute_by.is_empty()
            || !sort_by.is_empty()
            || *window_before_qualify && qualify.is_some() && !named_window.is_empty();
        if foreign {
            return Err(refused(format_args!("`{}`", start(select))));
        }
        self.mark(select_token.0.span.start);
        self.put("SELECT ");
        match distinct {
            None => {}
            Some(Distinct::All) => self.put("ALL "),
            Some(Distinct::Distinct) => self.put("DISTINCT "),
            Some(Distinct::On(_)) => return Err(refused("DISTINCT ON")),
        }
        self.put(match value_table_mode {
            None => "",
            Some(ValueTableMode::AsStruct) => "AS STRUCT ",
            Some(ValueTableMode::AsValue) => "AS VALUE ",
            Some(ValueTableMode::DistinctAsStruct) => "DISTINCT AS STRUCT ",
            Some(ValueTableMode::DistinctAsValue) => "DISTINCT AS VALUE ",
        });
        self.list(projection, ", ", Self::item)?;
        if !from.is_empty() {
            self.put(" FROM ");
            self.list(from, ", ", Self::joined)?;
        }
        self.clause(" WHERE ", selection.as_ref())?;
        match group_by {
            GroupByExpr::Expressions(keys, modifiers) if modifiers.is_empty() && keys.is_empty() => {}
            GroupByExpr::Expressions(keys, modifiers) if modifiers.is_empty() => {
                self.put(" GROUP BY ");
                self.list(keys, ", ", Self::expression)?;
            }
            GroupByExpr::All(modifiers) if modifiers.is_empty() => self.put(" GROUP BY ALL"),
            other => return Err(refused(format_args!("`{other}`"))),
        }
        self.clause(" HAVING ", having.as_ref())?;
        self.clause(" QUALIFY ", qualify.as_ref())?;
        if !named_window.is_empty() {
            self.put(" WINDOW ");
            self.list(named_window, ", ", |printer, NamedWindowDefinition(name, window)| {
                printer.name(name)?;
                printer.put(" AS ");
                match window {
                    NamedWindowExpr::NamedWindow(other) => printer.name(other),
                    NamedWindowExpr::WindowSpec(window) => printer.window(window),
                }
            })?;
        }
        Ok(())
    }

    fn clause(&mut self, word: &str, expr: Option<&Expr>) -> Result<()> {
        match expr {
            None => Ok(()),
            Some(expr) => {
                self.put(word);
                self.expression(expr)
            }
        }
    }

    fn item(&mut self, item: &SelectItem) -> Result<()> {
        match item {
            SelectItem::UnnamedExpr(expr) => self.expression(expr),
            SelectItem::ExprWithAlias { expr, alias } => {
                self.expression(expr)?;
                self.put(" AS ");
                self.name(alias)
            }
            SelectItem::Wildcard(options) => {
                self.put("*");
                self.star(options)
            }
            SelectItem::QualifiedWildcard(of, options) => {
                match of {
                    SelectItemQualifiedWildcardKind::ObjectName(name) => self.path(name)?,
                    SelectItemQualifiedWildcardKind::Expr(expr) => self.expression(expr)?,
                }
                self.put(".*");
                self.star(options)
            }
            SelectItem::ExprWithAliases { .. } => Err(refused(format_args!("`{}`", start(item)))),
        }
    }

    fn star(&mut self, options: &WildcardAdditionalOptions) -> Result<()> {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike: None,
            opt_exclude: None,
            opt_except,
            opt_replace,
            opt_rename: None,
            opt_alias: None,
        } = options
        else {
            return Err(refused(format_args!("`*{options}`")));
        };
        if let Some(ExceptSelectItem { first_element, additional_elements }) = opt_except {
            self.put(" EXCEPT (");
            self.names(std::iter::once(first_element).chain(additional_elements), ", ")?;
            self.put(")");
        }
        if let Some(replace) = opt_replace {
            self.put(" REPLACE (");
            self.list(&replace.items, ", ", |printer, item| {
                let ReplaceSelectElement { expr, column_name, as_keyword: _ } = item.as_ref();
                printer.expression(expr)?;
                printer.put(" AS ");
                printer.name(column_name)
            })?;
            self.put(")");
        }
        Ok(())
    }

    /// A path of names.
    pub(super) fn path(&mut self, name: &ObjectName) -> Result<()> {
        self.list(&name.0, ".", |printer, part| match part {
            ObjectNamePart::Identifier(name) => printer.name(name),
            ObjectNamePart::Function(_) => Err(refused(format_args!("`{name}`"))),
        })
    }

    fn joined(&mut self, table: &TableWithJoins) -> Result<()> {
        let TableWithJoins { relation, joins } = table;
        self.table(relation)?;
        for join in joins {
            let Join { relation, global: false, join_operator } = join else {
                return Err(refused(format_args!("`{}`", start(join))));
            };
            let (word, constraint) = match join_operator {
                JoinOperator::Join(constraint) => (" JOIN ", constraint),
                JoinOperator::Inner(constraint) => (" INNER JOIN ", constraint),
                JoinOperator::Left(constraint) => (" LEFT JOIN ", constraint),
                JoinOperator::LeftOuter(constraint) => (" LEFT OUTER JOIN ", constraint),
                JoinOperator::Right(constraint) => (" RIGHT JOIN ", constraint),
                JoinOperator::RightOuter(constraint) => (" RIGHT OUTER JOIN ", constraint),
                JoinOperator::FullOuter(constraint) => (" FULL OUTER JOIN ", constraint),
                JoinOperator::CrossJoin(constraint) => (" CROSS JOIN ", constraint),
                _ => return Err(refused(format_args!("`{}`", start(join)))),
            };
            self.put(word);
            self.table(relation)?;
            match constraint {
                JoinConstraint::None => {}
                JoinConstraint::On(expr) => self.clause(" ON ", Some(expr))?,
                JoinConstraint::Using(names) => {
                    self.put(" USING (");
                    self.list(names, ", ", Self::path)?;
                    self.put(")");
                }
                JoinConstraint::Natural => return Err(refused("NATURAL JOIN")),
            }
        }
        Ok(())
    }

    fn table(&mut self, factor: &TableFactor) -> Result<()> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_hints,
                version,
                with_ordinality: false,
                partitions,
                json_path: None,
                sample: None,
                index_hints,
            } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
                // A single name is from WITH: nothing else that the guard lets through has one.
                if name.0.len() > 1 && !self.select.tables.contains(&table_path(name, self.project)?) {
                    return Err(refused(format_args!("the table `{name}` here")));
                }
                self.path(name)?;
                self.alias(alias.as_ref())?;
                match version {
                    None => Ok(()),
                    Some(TableVersion::ForSystemTimeAsOf(moment)) if alias.is_none() => {
                        self.clause(" FOR SYSTEM_TIME AS OF ", Some(moment))
                    }
                    Some(_) => Err(refused("FOR SYSTEM_TIME AS OF with an alias")),
                }
            }
            TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
                self.subquery(subquery)?;
                self.alias(alias.as_ref())
            }
            TableFactor::UNNEST { alias, array_exprs, with_offset, with_offset_alias, with_ordinality: false } => {
                self.put("UNNEST(");
                self.list(array_exprs, ", ", Self::expression)?;
                self.put(")");
                self.alias(alias.as_ref())?;
                if *with_offset {
                    self.put(" WITH OFFSET");
                }
                match with_offset_alias {
                    None => Ok(()),
                    Some(name) => {
                        self.put(" AS ");
                        self.name(name)
                    }
                }
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.put("(");
                self.deeper(|printer| printer.joined(table_with_joins))?;
                self.put(")");
                Ok(())
            }
            other => Err(refused(format_args!("`{}` in FROM", start(other)))),
        }
    }

    fn alias(&mut self, alias: Option<&TableAlias>) -> Result<()> {
        match alias {
            None => Ok(()),
            Some(TableAlias { explicit: _, name, columns, at: None }) if columns.is_empty() => {
                self.put(" AS ");
                self.name(name)
            }
            Some(other) => Err(refused(format_args!("the alias `{other}`"))),
        }
    }

    pub(super) fn order_by(&mut self, order: &OrderBy) -> Result<()> {
        match order {
            OrderBy { kind: OrderByKind::Expressions(keys), interpolate: None } => {
                self.put(" ORDER BY ");
                self.keys(keys)
            }
            other => Err(refused(format_args!("`{other}`"))),
        }
    }

    pub(super) fn keys(&mut self, keys: &[OrderByExpr]) -> Result<()> {
        self.list(keys, ", ", |printer, key| {
            let OrderByExpr { expr, options: OrderByOptions { sort, nulls_first }, with_fill: None } = key else {
                return Err(refused(format_args!("`{key}`")));
            };
            printer.expression(expr)?;
            printer.put(match sort {
                None => "",
                Some(OrderBySort::Asc) => " ASC",
                Some(OrderBySort::Desc) => " DESC",
                Some(OrderBySort::Using(_)) => return Err(refused("ORDER BY USING")),
            });
            printer.put(match nulls_first {
                None => "",
                Some(true) => " NULLS FIRST",
                Some(false) => " NULLS LAST",
            });
            Ok(())
        })
    }

    pub(super) fn limit(&mut self, limit: &LimitClause) -> Result<()> {
        match limit {
            LimitClause::LimitOffset { limit: Some(count), offset, limit_by } if limit_by.is_empty() => {
                self.clause(" LIMIT ", Some(count))?;
                match offset {
                    None => Ok(()),
                    Some(Offset { value, rows: OffsetRows::None }) => self.clause(" OFFSET ", Some(value)),
                    Some(other) => Err(refused(format_args!("`{other}`"))),
                }
            }
            other => Err(refused(format_args!("`{other}`"))),
        }
    }
}
