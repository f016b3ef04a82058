//! Calls of functions, and windows. A name comes from the allow-list, or is that of a granted function.

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, HavingBound, HavingBoundKind, Ident, NullTreatment, WindowFrame,
    WindowFrameBound, WindowFrameUnits, WindowSpec, WindowType,
};

use super::{Printer, refused};
use crate::{
    allow_list::{Called, called, words},
    literals::is_name,
    typed::{Result, start},
};

impl Printer<'_> {
    pub(super) fn function(&mut self, function: &Function) -> Result<()> {
        let Function {
            name,
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args,
            within_group,
            filter: None,
            null_treatment: None,
            over,
        } = function
        else {
            return Err(refused(format_args!("`{}`", start(function))));
        };
        if !within_group.is_empty() {
            return Err(refused("WITHIN GROUP"));
        }
        if let Some(first) = name.0.first().and_then(|part| part.as_ident()) {
            self.mark(first.span.start);
        }
        let listed = match called(name, self.project)? {
            Called::Listed { function, safe } => {
                self.put(if safe { "SAFE." } else { "" });
                self.put(function.name);
                function.name
            }
            Called::Routine { path, parts } => {
                if !self.select.routines.contains(&path) {
                    return Err(refused(format_args!("the function {path} here")));
                }
                let names: Vec<String> = parts.iter().map(|part| format!("`{part}`")).collect();
                self.put(&names.join("."));
                ""
            }
        };
        match args {
            FunctionArguments::None => return Err(refused(format_args!("`{name}` without parentheses"))),
            FunctionArguments::Subquery(query) => self.subquery(query)?,
            FunctionArguments::List(list) => self.arguments(listed, list)?,
        }
        match over {
            None => Ok(()),
            Some(WindowType::NamedWindow(name)) => {
                self.put(" OVER ");
                self.name(name)
            }
            Some(WindowType::WindowSpec(window)) => {
                self.put(" OVER ");
                self.window(window)
            }
        }
    }

    fn arguments(&mut self, function: &str, list: &FunctionArgumentList) -> Result<()> {
        let FunctionArgumentList { duplicate_treatment, args, clauses } = list;
        self.put("(");
        match duplicate_treatment {
            None => {}
            Some(DuplicateTreatment::Distinct) => self.put("DISTINCT "),
            Some(DuplicateTreatment::All) => return Err(refused(format_args!("{function}(ALL …)"))),
        }
        self.list(args.iter().enumerate(), ", ", |printer, (at, argument)| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => match words(function, at) {
                Some(words) => printer.word(expr, words),
                None => printer.expression(expr),
            },
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if function == "COUNT" => {
                printer.put("*");
                Ok(())
            }
            FunctionArg::Named {
                name: Ident { value, quote_style: None, span: _ },
                arg: FunctionArgExpr::Expr(expr),
                operator: FunctionArgOperator::RightArrow,
            } if is_name(value) => printer.enclosed(&format!("{value} => "), expr, ""),
            other => Err(refused(format_args!("the argument `{other}`"))),
        })?;
        for clause in clauses {
            match clause {
                FunctionArgumentClause::IgnoreOrRespectNulls(NullTreatment::IgnoreNulls) => self.put(" IGNORE NULLS"),
                FunctionArgumentClause::IgnoreOrRespectNulls(NullTreatment::RespectNulls) => self.put(" RESPECT NULLS"),
                FunctionArgumentClause::OrderBy(keys) => {
                    self.put(" ORDER BY ");
                    self.keys(keys)?;
                }
                FunctionArgumentClause::Limit(count) => self.enclosed(" LIMIT ", count, "")?,
                FunctionArgumentClause::Having(HavingBound(HavingBoundKind::Min, expr)) => {
                    self.enclosed(" HAVING MIN ", expr, "")?;
                }
                FunctionArgumentClause::Having(HavingBound(HavingBoundKind::Max, expr)) => {
                    self.enclosed(" HAVING MAX ", expr, "")?;
                }
                other => return Err(refused(format_args!("`{other}` in {function}"))),
            }
        }
        self.put(")");
        Ok(())
    }

    /// A window in parentheses.
    pub(super) fn window(&mut self, window: &WindowSpec) -> Result<()> {
        let WindowSpec { window_name, partition_by, order_by, window_frame } = window;
        self.put("(");
        let mut between = "";
        if let Some(name) = window_name {
            self.name(name)?;
            between = " ";
        }
        if !partition_by.is_empty() {
            self.put(between);
            self.put("PARTITION BY ");
            self.list(partition_by, ", ", Self::expression)?;
            between = " ";
        }
        if !order_by.is_empty() {
            self.put(between);
            self.put("ORDER BY ");
            self.keys(order_by)?;
            between = " ";
        }
        if let Some(WindowFrame { units, start_bound, end_bound }) = window_frame {
            self.put(between);
            self.put(match units {
                WindowFrameUnits::Rows => "ROWS ",
                WindowFrameUnits::Range => "RANGE ",
                WindowFrameUnits::Groups => return Err(refused("GROUPS in a window")),
            });
            match end_bound {
                None => self.bound(start_bound)?,
                Some(end) => {
                    self.put("BETWEEN ");
                    self.bound(start_bound)?;
                    self.put(" AND ");
                    self.bound(end)?;
                }
            }
        }
        self.put(")");
        Ok(())
    }

    fn bound(&mut self, bound: &WindowFrameBound) -> Result<()> {
        let (expr, word): (&Option<Box<Expr>>, _) = match bound {
            WindowFrameBound::CurrentRow => {
                self.put("CURRENT ROW");
                return Ok(());
            }
            WindowFrameBound::Preceding(expr) => (expr, " PRECEDING"),
            WindowFrameBound::Following(expr) => (expr, " FOLLOWING"),
        };
        match expr {
            None => self.put("UNBOUNDED"),
            Some(expr) => self.expression(expr)?,
        }
        self.put(word);
        Ok(())
    }
}
