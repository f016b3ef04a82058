//! GoogleSQL's functions, by name: what each becomes in the embedded engine, and the type it gives.

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, WindowFrame, WindowType,
};

use super::{
    dates::Part,
    dialect::{Translator, start, unsupported},
    expression::{Typed, common, literal, no_signature, together},
    kind::Kind,
    scope::Scope,
};
use crate::contract::Error;

type Result<T> = std::result::Result<T, Error>;

/// Functions whose answer depends on when or where they run: the same question would have another answer tomorrow.
const UNREPEATABLE: [&str; 8] = [
    "CURRENT_DATE",
    "CURRENT_TIMESTAMP",
    "CURRENT_DATETIME",
    "CURRENT_TIME",
    "RAND",
    "GENERATE_UUID",
    "SESSION_USER",
    "NOW",
];

/// Functions over the rows of a group, or of a window.
const AGGREGATES: [&str; 12] = [
    "COUNT",
    "COUNTIF",
    "SUM",
    "AVG",
    "MIN",
    "MAX",
    "ANY_VALUE",
    "STRING_AGG",
    "LOGICAL_AND",
    "LOGICAL_OR",
    "APPROX_COUNT_DISTINCT",
    "ARRAY_AGG",
];

/// Functions over a window only.
const WINDOW: [&str; 11] = [
    "ROW_NUMBER",
    "RANK",
    "DENSE_RANK",
    "PERCENT_RANK",
    "CUME_DIST",
    "NTILE",
    "LAG",
    "LEAD",
    "FIRST_VALUE",
    "LAST_VALUE",
    "NTH_VALUE",
];

impl Translator<'_> {
    /// A call as the parser found it.
    pub(super) fn function(&mut self, function: &Function, scope: &Scope) -> Result<Typed> {
        let name = function.name.to_string().to_ascii_uppercase();
        if UNREPEATABLE.contains(&name.as_str()) {
            return Err(Error::Invalid(format!(
                "query failed: {name} depends on when the query runs; pass the run's date or time as a parameter"
            )));
        }
        if function.filter.is_some() || !function.within_group.is_empty() || function.null_treatment.is_some() {
            return Err(unsupported(format!("`{}`", start(function))));
        }
        let empty = FunctionArgumentList { duplicate_treatment: None, args: Vec::new(), clauses: Vec::new() };
        let list = match &function.args {
            FunctionArguments::List(list) => list,
            FunctionArguments::None => &empty,
            FunctionArguments::Subquery(_) => return Err(unsupported(format!("`{}`", start(function)))),
        };
        if AGGREGATES.contains(&name.as_str()) || WINDOW.contains(&name.as_str()) {
            return self.over_rows(&name, list, function.over.as_ref(), scope);
        }
        if function.over.is_some() || !list.clauses.is_empty() || list.duplicate_treatment.is_some() {
            return Err(unsupported(format!("`{}`", start(function))));
        }
        self.call(&name, &expressions(list)?, scope)
    }

    fn over_rows(
        &mut self,
        name: &str,
        list: &FunctionArgumentList,
        over: Option<&WindowType>,
        scope: &Scope,
    ) -> Result<Typed> {
        let window = over.map(|over| self.window(over, scope)).transpose()?;
        if window.is_none() && WINDOW.contains(&name) {
            return Err(Error::Invalid(format!("query failed: {name} needs an OVER clause")));
        }
        let bare = self.bare.len();
        let typed = self.rows_function(name, list, window.is_some(), scope)?;
        match window {
            None => {
                // What an aggregate reads need not be grouped.
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
            ("COUNTIF", [one]) if is_bool(one) && distinct.is_empty() => {
                Ok(Typed::new(format!("COUNT(CASE WHEN {} THEN 1 END)", one.sql), Kind::Int64))
            }
            ("APPROX_COUNT_DISTINCT", [one]) => Ok(Typed::new(format!("COUNT(DISTINCT {})", one.sql), Kind::Int64)),
            ("SUM", [one]) if one.kind.is_numeric() => plain(one.kind),
            ("AVG", [one]) if one.kind.is_numeric() => plain(Kind::Float64),
            ("MIN" | "MAX", [one]) => plain(one.kind),
            ("ANY_VALUE", [one]) => Ok(Typed::new(format!("MAX({})", one.sql), one.kind)),
            ("LOGICAL_AND", [one]) if is_bool(one) => Ok(Typed::new(format!("MIN({})", one.sql), Kind::Bool)),
            ("LOGICAL_OR", [one]) if is_bool(one) => Ok(Typed::new(format!("MAX({})", one.sql), Kind::Bool)),
            ("STRING_AGG", [one, rest @ ..]) if is_text(one) && rest.len() < 2 && distinct.is_empty() => {
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
            ("ARRAY_AGG", _) => Err(unsupported("ARRAY_AGG")),
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
            // Bounds are CURRENT ROW or a number; anything else in them would be an expression that nobody checked.
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
        // All arguments as the type that they have in common.
        let alike = |function: &str| {
            let kind = common(&format!("function {name}"), arguments.iter())?;
            let list =
                arguments.iter().map(|typed| typed.clone().coerced(kind).map(|typed| typed.sql).unwrap_or_default());
            Ok(Typed::new(format!("{function}({})", list.collect::<Vec<_>>().join(", ")), kind))
        };
        let texts = arguments.iter().all(is_text);
        let numbers = arguments.iter().all(|typed| typed.kind.is_numeric());
        let plain = |function: &str, kind: Kind| Ok(Typed::new(format!("{function}({list})"), kind));
        match (name, arguments.as_slice()) {
            ("IF", [test, _, _]) if is_bool(test) => {
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
                let (one, other) = together(one.clone(), other.clone())
                    .map_err(|(one, other)| no_signature("function NULLIF", &[&one, &other]))?;
                Ok(Typed::new(format!("NULLIF({}, {})", one.sql, other.sql), kind))
            }
            ("GREATEST" | "LEAST", [only]) => Ok(only.clone()),
            ("GREATEST", [_, _, ..]) => alike("max"),
            ("LEAST", [_, _, ..]) => alike("min"),
            ("SAFE_DIVIDE", [_, _]) if numbers => {
                Ok(Typed::new(format!("(CAST({} AS REAL) / {})", sql(0), sql(1)), Kind::Float64))
            }
            ("IEEE_DIVIDE", _) => {
                Err(unsupported("IEEE_DIVIDE: the engine has neither NaN nor infinities; write SAFE_DIVIDE"))
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
            ("TRIM" | "LTRIM" | "RTRIM", [_] | [_, _]) if texts => plain(name, Kind::String),
            ("REPLACE", [_, _, _]) if texts => plain("replace", Kind::String),
            ("REVERSE", [_]) if texts => plain("g_reverse", Kind::String),
            ("SUBSTR" | "SUBSTRING", [text, at]) if is_text(text) && at.kind.is_numeric() => {
                plain("g_substr", Kind::String)
            }
            ("SUBSTR" | "SUBSTRING", [text, at, length])
                if is_text(text) && at.kind.is_numeric() && length.kind.is_numeric() =>
            {
                plain("g_substr", Kind::String)
            }
            ("STARTS_WITH", [_, _]) if texts => plain("g_starts_with", Kind::Bool),
            ("ENDS_WITH", [_, _]) if texts => plain("g_ends_with", Kind::Bool),
            ("CONTAINS_SUBSTR", [_, _]) if texts => plain("g_contains_substr", Kind::Bool),
            ("STRPOS", [_, _]) if texts => plain("instr", Kind::Int64),
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

    /// Functions of dates and moments; none when `name` is not one.
    fn date_call(&mut self, name: &str, expressions: &[&Expr], scope: &Scope) -> Result<Option<Typed>> {
        let typed = match (name, expressions) {
            ("DATE_ADD" | "DATE_SUB" | "TIMESTAMP_ADD" | "TIMESTAMP_SUB", [expr, Expr::Interval(interval)]) => {
                let typed = self.shift(expr, name.ends_with("SUB"), interval, scope)?;
                let wanted = if name.starts_with("DATE") { Kind::Date } else { Kind::Timestamp };
                if typed.kind.common(wanted).is_none() {
                    return Err(no_signature(&format!("function {name}"), &[&typed]));
                }
                typed
            }
            ("DATE_DIFF", [one, other, unit]) => {
                let (one, other) =
                    (self.dated(name, one, Kind::Date, scope)?, self.dated(name, other, Kind::Date, scope)?);
                Typed::new(format!("g_date_diff({one}, {other}, {})", part(unit)?), Kind::Int64)
            }
            ("TIMESTAMP_DIFF", [one, other, unit]) => {
                let one = self.dated(name, one, Kind::Timestamp, scope)?;
                let other = self.dated(name, other, Kind::Timestamp, scope)?;
                Typed::new(format!("g_timestamp_diff({one}, {other}, {})", part(unit)?), Kind::Int64)
            }
            ("DATE_TRUNC", [date, unit]) => Typed::new(
                format!("g_date_trunc({}, {})", self.dated(name, date, Kind::Date, scope)?, part(unit)?),
                Kind::Date,
            ),
            ("LAST_DAY", [date, unit @ ..]) if unit.len() < 2 => {
                let unit = unit.first().map(|unit| part(unit)).transpose()?.unwrap_or_else(|| literal("MONTH"));
                Typed::new(format!("g_last_day({}, {unit})", self.dated(name, date, Kind::Date, scope)?), Kind::Date)
            }
            ("TIMESTAMP_TRUNC", [moment, unit, zone @ ..]) if zone.len() < 2 => {
                let moment = self.dated(name, moment, Kind::Timestamp, scope)?;
                let zone = self.zone(zone, scope)?;
                Typed::new(format!("g_timestamp_trunc({moment}, {}, {zone})", part(unit)?), Kind::Timestamp)
            }
            ("DATE", [year, month, day]) => {
                let parts = [year, month, day].map(|expr| self.expression(expr, scope));
                let [year, month, day] = parts;
                let (year, month, day) = (year?, month?, day?);
                if ![&year, &month, &day].iter().all(|typed| matches!(typed.kind, Kind::Int64 | Kind::Null)) {
                    return Err(no_signature("function DATE", &[&year, &month, &day]));
                }
                Typed::new(format!("g_date_from({}, {}, {})", year.sql, month.sql, day.sql), Kind::Date)
            }
            ("DATE", [expr, zone @ ..]) if zone.len() < 2 => {
                let typed = self.expression(expr, scope)?;
                let typed = if typed.literal().is_some() {
                    typed.clone().coerced(Kind::Timestamp).unwrap_or(typed)
                } else {
                    typed
                };
                match typed.kind {
                    Kind::Date if zone.is_empty() => typed,
                    Kind::Timestamp => {
                        Typed::new(format!("g_date_of({}, {})", typed.sql, self.zone(zone, scope)?), Kind::Date)
                    }
                    _ => return Err(no_signature("function DATE", &[&typed])),
                }
            }
            ("TIMESTAMP", [expr, zone @ ..]) if zone.len() < 2 => {
                let typed = self.expression(expr, scope)?;
                let zone = self.zone(zone, scope)?;
                match typed.kind {
                    Kind::Timestamp => typed,
                    Kind::String | Kind::Date | Kind::Null => {
                        Typed::new(format!("g_timestamp({}, {zone})", typed.sql), Kind::Timestamp)
                    }
                    _ => return Err(no_signature("function TIMESTAMP", &[&typed])),
                }
            }
            ("TIMESTAMP_SECONDS" | "TIMESTAMP_MILLIS" | "TIMESTAMP_MICROS", [expr]) => {
                let typed = self.expression(expr, scope)?;
                let factor = match name {
                    "TIMESTAMP_SECONDS" => 1_000_000,
                    "TIMESTAMP_MILLIS" => 1_000,
                    _ => 1,
                };
                if typed.kind.common(Kind::Int64) != Some(Kind::Int64) {
                    return Err(no_signature(&format!("function {name}"), &[&typed]));
                }
                Typed::new(format!("g_multiply({}, {factor})", typed.sql), Kind::Timestamp)
            }
            ("UNIX_SECONDS" | "UNIX_MILLIS" | "UNIX_MICROS", [expr]) => {
                let unit = match name {
                    "UNIX_SECONDS" => "SECOND",
                    "UNIX_MILLIS" => "MILLISECOND",
                    _ => "MICROSECOND",
                };
                let moment = self.dated(name, expr, Kind::Timestamp, scope)?;
                Typed::new(
                    format!("g_timestamp_diff(g_timestamp_trunc({moment}, '{unit}', 'UTC'), 0, '{unit}')"),
                    Kind::Int64,
                )
            }
            ("FORMAT_DATE", [format, date]) => {
                let format = self.expression(format, scope)?.sql;
                Typed::new(
                    format!("g_format_date({format}, {})", self.dated(name, date, Kind::Date, scope)?),
                    Kind::String,
                )
            }
            ("FORMAT_TIMESTAMP", [format, moment, zone @ ..]) if zone.len() < 2 => {
                let format = self.expression(format, scope)?.sql;
                let moment = self.dated(name, moment, Kind::Timestamp, scope)?;
                Typed::new(format!("g_format_timestamp({format}, {moment}, {})", self.zone(zone, scope)?), Kind::String)
            }
            ("PARSE_DATE", [format, text]) => {
                let (format, text) = (self.expression(format, scope)?, self.expression(text, scope)?);
                if !is_text(&format) || !is_text(&text) {
                    return Err(no_signature("function PARSE_DATE", &[&format, &text]));
                }
                Typed::new(format!("g_parse_date({}, {})", format.sql, text.sql), Kind::Date)
            }
            _ => return Ok(None),
        };
        Ok(Some(typed))
    }

    /// An argument that must be a DATE or TIMESTAMP.
    fn dated(&mut self, function: &str, expr: &Expr, kind: Kind, scope: &Scope) -> Result<String> {
        let typed = self.expression(expr, scope)?;
        match typed.clone().coerced(kind) {
            Some(typed) => Ok(typed.sql),
            None => Err(no_signature(&format!("function {function}"), &[&typed])),
        }
    }

    /// The time zone among the last arguments; UTC when there is none.
    fn zone(&mut self, rest: &[&Expr], scope: &Scope) -> Result<String> {
        match rest.first() {
            None => Ok(literal("UTC")),
            Some(expr) => {
                let zone = self.expression(expr, scope)?;
                if is_text(&zone) { Ok(zone.sql) } else { Err(no_signature("a time zone", &[&zone])) }
            }
        }
    }
}

/// The name of a part of a date, as text.
fn part(expr: &Expr) -> Result<String> {
    let name = expr.to_string().replace(' ', "").to_ascii_uppercase();
    match Part::new(&name) {
        Some(_) => Ok(literal(&name)),
        None => Err(unsupported(format!("`{expr}` as a part of a date"))),
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

fn is_text(typed: &Typed) -> bool {
    matches!(typed.kind, Kind::String | Kind::Null | Kind::Any)
}

fn is_bool(typed: &Typed) -> bool {
    matches!(typed.kind, Kind::Bool | Kind::Null | Kind::Any)
}
