//! GoogleSQL's functions, by name: the SQL for the embedded engine, and the result type.

use host_contract::Error;
use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, WindowFrame, WindowType,
};

use super::{
    allow_list::{self, Engines, Form},
    dialect::Translator,
    kind::Kind,
    scope::Scope,
    typed::{Result, Typed, common, no_signature, start, together, unsupported},
};

impl Translator<'_> {
    /// A call as the parser found it.
    pub(super) fn function(&mut self, function: &Function, scope: &Scope) -> Result<Typed> {
        let name = function.name.to_string().to_ascii_uppercase();
        let form = match allow_list::find(&name) {
            Some(listed) if listed.name == "IEEE_DIVIDE" => {
                return Err(unsupported("IEEE_DIVIDE: the engine has neither NaN nor infinities; write SAFE_DIVIDE"));
            }
            Some(listed) if listed.engines == Engines::Both => listed.form,
            _ => return Err(unsupported(format!("the function {name}"))),
        };
        if function.filter.is_some() || !function.within_group.is_empty() || function.null_treatment.is_some() {
            return Err(unsupported(format!("`{}`", start(function))));
        }
        let empty = FunctionArgumentList { duplicate_treatment: None, args: Vec::new(), clauses: Vec::new() };
        let list = match &function.args {
            FunctionArguments::List(list) => list,
            FunctionArguments::None => &empty,
            FunctionArguments::Subquery(_) => return Err(unsupported(format!("`{}`", start(function)))),
        };
        if matches!(form, Form::Aggregate | Form::Window) {
            return self.over_rows((name.as_str(), form), list, function.over.as_ref(), scope);
        }
        if function.over.is_some() || !list.clauses.is_empty() || list.duplicate_treatment.is_some() {
            return Err(unsupported(format!("`{}`", start(function))));
        }
        self.call(&name, &expressions(list)?, scope)
    }

    fn over_rows(
        &mut self,
        (name, form): (&str, Form),
        list: &FunctionArgumentList,
        over: Option<&WindowType>,
        scope: &Scope,
    ) -> Result<Typed> {
        let window = over.map(|over| self.window(over, scope)).transpose()?;
        if window.is_none() && form == Form::Window {
            return Err(Error::Invalid(format!("query failed: {name} needs an OVER clause")));
        }
        let bare = self.bare.len();
        let typed = self.rows_function(name, list, window.is_some(), scope)?;
        match window {
            None => {
                // The arguments of an aggregate need not be grouped.
                self.bare.truncate(bare);
                self.aggregates += 1;
                Ok(typed)
            }
            Some(window) => Ok(Typed::new(format!("{} OVER ({window})", typed.sql), typed.kind)),
        }
    }

    fn rows_function(
        &mut self,
        name: &str,
        list: &FunctionArgumentList,
        windowed: bool,
        scope: &Scope,
    ) -> Result<Typed> {
        let distinct = match list.duplicate_treatment {
            Some(DuplicateTreatment::Distinct) => "DISTINCT ",
            _ => "",
        };
        if let ("COUNT", [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)], "") = (name, list.args.as_slice(), distinct)
        {
            return Ok(Typed::new("COUNT(*)", Kind::Int64));
        }
        if windowed && !distinct.is_empty() {
            return Err(unsupported(format!("{name}(DISTINCT …) OVER")));
        }
        let nested = self.aggregates;
        let arguments: Vec<Typed> =
            expressions(list)?.into_iter().map(|expr| self.expression(expr, scope)).collect::<Result<_>>()?;
        if !windowed && self.aggregates > nested {
            return Err(Error::Invalid("query failed: Aggregations of aggregations are not allowed".to_owned()));
        }
        if !list.clauses.is_empty() && name != "STRING_AGG" {
            return Err(unsupported(format!("clauses in {name}")));
        }
        let wrong = || no_signature(&format!("aggregate function {name}"), &arguments.iter().collect::<Vec<_>>());
        let plain = |kind: Kind| {
            let list: Vec<&str> = arguments.iter().map(|typed| typed.sql.as_str()).collect();
            Ok(Typed::new(format!("{name}({distinct}{})", list.join(", ")), kind))
        };
        match (name, arguments.as_slice()) {
            ("COUNT", [_]) => plain(Kind::Int64),
            ("COUNTIF", [one]) if one.is_bool() && distinct.is_empty() => {
                Ok(Typed::new(format!("COUNT(CASE WHEN {} THEN 1 END)", one.sql), Kind::Int64))
            }
            ("APPROX_COUNT_DISTINCT", [one]) => Ok(Typed::new(format!("COUNT(DISTINCT {})", one.sql), Kind::Int64)),
            ("SUM", [one]) if one.kind.is_numeric() => plain(one.kind),
            ("AVG", [one]) if one.kind.is_numeric() => plain(Kind::Float64),
            ("MIN" | "MAX", [one]) => plain(one.kind),
            ("ANY_VALUE", [one]) => Ok(Typed::new(format!("MAX({})", one.sql), one.kind)),
            ("LOGICAL_AND", [one]) if one.is_bool() => Ok(Typed::new(format!("MIN({})", one.sql), Kind::Bool)),
            ("LOGICAL_OR", [one]) if one.is_bool() => Ok(Typed::new(format!("MAX({})", one.sql), Kind::Bool)),
            ("STRING_AGG", [one, rest @ ..]) if one.is_text() && rest.len() < 2 && distinct.is_empty() => {
                let separator = rest.first().map_or("','", |typed| typed.sql.as_str());
                let order = match list.clauses.as_slice() {
                    [] => String::new(),
                    [FunctionArgumentClause::OrderBy(keys)] => format!(" ORDER BY {}", self.sort_keys(keys, scope)?),
                    _ => return Err(unsupported("clauses in STRING_AGG besides ORDER BY")),
                };
                Ok(Typed::new(format!("group_concat({}, {separator}{order})", one.sql), Kind::String))
            }
            ("ROW_NUMBER" | "RANK" | "DENSE_RANK", []) => plain(Kind::Int64),
            ("PERCENT_RANK" | "CUME_DIST", []) => plain(Kind::Float64),
            ("NTILE", [one]) if one.kind == Kind::Int64 => plain(Kind::Int64),
            ("FIRST_VALUE" | "LAST_VALUE", [one]) => plain(one.kind),
            ("NTH_VALUE", [one, _]) => plain(one.kind),
            ("LAG" | "LEAD", [one] | [one, _]) => plain(one.kind),
            ("LAG" | "LEAD", [one, _, default]) if one.kind.common(default.kind).is_some() => plain(one.kind),
            _ => Err(wrong()),
        }
    }

    fn window(&mut self, over: &WindowType, scope: &Scope) -> Result<String> {
        let WindowType::WindowSpec(window) = over else { return Err(unsupported("named windows")) };
        if window.window_name.is_some() {
            return Err(unsupported("named windows"));
        }
        let mut parts = Vec::new();
        if !window.partition_by.is_empty() {
            let keys: Vec<String> = window
                .partition_by
                .iter()
                .map(|expr| self.expression(expr, scope).map(|typed| typed.sql))
                .collect::<Result<_>>()?;
            parts.push(format!("PARTITION BY {}", keys.join(", ")));
        }
        if !window.order_by.is_empty() {
            parts.push(format!("ORDER BY {}", self.sort_keys(&window.order_by, scope)?));
        }
        if let Some(WindowFrame { units, start_bound, end_bound }) = &window.window_frame {
            let frame = match end_bound {
                Some(end) => format!("{units} BETWEEN {start_bound} AND {end}"),
                None => format!("{units} {start_bound}"),
            };
            // Bounds are CURRENT ROW or a number; anything else would be an unchecked expression.
            let known = frame.split_whitespace().all(|word| {
                let word = word.to_ascii_uppercase();
                word.parse::<u32>().is_ok()
                    || ["ROWS", "RANGE", "BETWEEN", "AND", "UNBOUNDED", "PRECEDING", "FOLLOWING", "CURRENT", "ROW"]
                        .contains(&word.as_str())
            });
            if !known {
                return Err(unsupported(format!("the window frame `{frame}`")));
            }
            parts.push(frame);
        }
        Ok(parts.join(" "))
    }

    /// A function of values.
    pub(super) fn call(&mut self, name: &str, expressions: &[&Expr], scope: &Scope) -> Result<Typed> {
        if let Some(typed) = self.date_call(name, expressions, scope)? {
            return Ok(typed);
        }
        let arguments: Vec<Typed> =
            expressions.iter().map(|expr| self.expression(expr, scope)).collect::<Result<_>>()?;
        let sql = |at: usize| arguments.get(at).map(|typed| typed.sql.as_str()).unwrap_or_default();
        let list = arguments.iter().map(|typed| typed.sql.as_str()).collect::<Vec<_>>().join(", ");
        // All arguments, converted to their common type.
        let alike = |function: &str| {
            let kind = common(&format!("function {name}"), arguments.iter())?;
            let list =
                arguments.iter().map(|typed| typed.clone().coerced(kind).map(|typed| typed.sql).unwrap_or_default());
            Ok(Typed::new(format!("{function}({})", list.collect::<Vec<_>>().join(", ")), kind))
        };
        let texts = arguments.iter().all(Typed::is_text);
        let numbers = arguments.iter().all(|typed| typed.kind.is_numeric());
        let plain = |function: &str, kind: Kind| Ok(Typed::new(format!("{function}({list})"), kind));
        match (name, arguments.as_slice()) {
            ("IF", [test, _, _]) if test.is_bool() => {
                let branches = arguments.iter().skip(1);
                let kind = common("function IF", branches.clone())?;
                let branches: Vec<String> = branches
                    .map(|typed| typed.clone().coerced(kind).map(|typed| typed.sql).unwrap_or_default())
                    .collect();
                Ok(Typed::new(format!("(CASE WHEN {} THEN {} END)", test.sql, branches.join(" ELSE ")), kind))
            }
            ("IFNULL", [_, _]) => alike("IFNULL"),
            ("COALESCE", [only]) => Ok(only.clone()),
            ("COALESCE", [_, _, ..]) => alike("COALESCE"),
            ("NULLIF", [one, other]) => {
                let kind = one.kind;
                let (one, other) = together("function NULLIF", one.clone(), other.clone())?;
                Ok(Typed::new(format!("NULLIF({}, {})", one.sql, other.sql), kind))
            }
            ("GREATEST" | "LEAST", [only]) => Ok(only.clone()),
            ("GREATEST", [_, _, ..]) => alike("max"),
            ("LEAST", [_, _, ..]) => alike("min"),
            ("SAFE_DIVIDE", [_, _]) if numbers => {
                Ok(Typed::new(format!("(CAST({} AS REAL) / {})", sql(0), sql(1)), Kind::Float64))
            }
            ("DIV", [_, _]) if numbers => plain("g_div", Kind::Int64),
            ("MOD", [_, _]) if numbers => plain("g_mod", Kind::Int64),
            ("ABS", [one]) if numbers => plain("abs", one.kind),
            ("SIGN", [one]) if numbers => plain("sign", one.kind),
            ("ROUND", [_]) if numbers => Ok(Typed::new(format!("g_round({list}, 0)"), Kind::Float64)),
            ("ROUND", [_, _]) if numbers => plain("g_round", Kind::Float64),
            ("TRUNC", [_]) if numbers => plain("g_trunc", Kind::Float64),
            ("FLOOR", [_]) if numbers => plain("g_floor", Kind::Float64),
            ("CEIL" | "CEILING", [_]) if numbers => plain("g_ceil", Kind::Float64),
            ("SQRT", [_]) if numbers => plain("g_sqrt", Kind::Float64),
            ("POW" | "POWER", [_, _]) if numbers => plain("g_pow", Kind::Float64),
            ("EXP", [_]) if numbers => plain("g_exp", Kind::Float64),
            ("LN", [_]) if numbers => plain("g_ln", Kind::Float64),
            ("CONCAT", [_, ..]) if texts => plain("g_concat", Kind::String),
            ("LENGTH" | "CHAR_LENGTH" | "CHARACTER_LENGTH", [_]) if texts => plain("length", Kind::Int64),
            ("LOWER", [_]) if texts => plain("g_lower", Kind::String),
            ("UPPER", [_]) if texts => plain("g_upper", Kind::String),
            ("TRIM" | "LTRIM" | "RTRIM", [_] | [_, _]) if texts => {
                plain(&format!("g_{}", name.to_ascii_lowercase()), Kind::String)
            }
            ("REPLACE", [_, _, _]) if texts => plain("g_replace", Kind::String),
            ("REVERSE", [_]) if texts => plain("g_reverse", Kind::String),
            ("SUBSTR" | "SUBSTRING", [text, at]) if text.is_text() && at.kind.is_numeric() => {
                plain("g_substr", Kind::String)
            }
            ("SUBSTR" | "SUBSTRING", [text, at, length])
                if text.is_text() && at.kind.is_numeric() && length.kind.is_numeric() =>
            {
                plain("g_substr", Kind::String)
            }
            ("STARTS_WITH", [_, _]) if texts => plain("g_starts_with", Kind::Bool),
            ("ENDS_WITH", [_, _]) if texts => plain("g_ends_with", Kind::Bool),
            ("CONTAINS_SUBSTR", [_, _]) if texts => plain("g_contains_substr", Kind::Bool),
            ("STRPOS", [_, _]) if texts => plain("g_strpos", Kind::Int64),
            (
                "IF" | "IFNULL" | "COALESCE" | "NULLIF" | "GREATEST" | "LEAST" | "SAFE_DIVIDE" | "DIV" | "MOD" | "ABS"
                | "SIGN" | "ROUND" | "TRUNC" | "FLOOR" | "CEIL" | "CEILING" | "SQRT" | "POW" | "POWER" | "EXP" | "LN"
                | "CONCAT" | "LENGTH" | "CHAR_LENGTH" | "CHARACTER_LENGTH" | "LOWER" | "UPPER" | "TRIM" | "LTRIM"
                | "RTRIM" | "REPLACE" | "REVERSE" | "SUBSTR" | "SUBSTRING" | "STARTS_WITH" | "ENDS_WITH"
                | "CONTAINS_SUBSTR" | "STRPOS",
                arguments,
            ) => Err(no_signature(&format!("function {name}"), &arguments.iter().collect::<Vec<_>>())),
            _ => Err(unsupported(format!("the function {name}"))),
        }
    }
}

fn expressions(list: &FunctionArgumentList) -> Result<Vec<&Expr>> {
    list.args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
            other => Err(unsupported(format!("the argument `{other}`"))),
        })
        .collect()
}
