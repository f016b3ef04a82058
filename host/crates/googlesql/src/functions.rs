//! The functions that we register with SQLite for GoogleSQL, each named `g_…`, and the list of functions that a query
//! may use. All of them return NULL for a NULL argument, as in GoogleSQL.

use rusqlite::{Connection, types::Value};

use super::{
    call::{Arguments, Calls},
    dates::Answer,
    held, moment_functions, text_functions,
    watch::Watch,
};

/// SQLite's own functions that a query, or a view that it reads, may use. Each takes time in proportion to its input,
/// and its result is no longer than its input. Left out on purpose: functions that make a long value from a short one
/// (printf, hex, quote, zeroblob, randomblob), that take quadratic time (glob), or that access more than data. like,
/// replace, instr and trim are our own ([`text_functions`]).
pub const ENGINE: [&str; 47] = [
    "abs",
    "avg",
    "coalesce",
    "count",
    "cume_dist",
    "date",
    "datetime",
    "dense_rank",
    "first_value",
    "group_concat",
    "ifnull",
    "iif",
    "instr",
    "julianday",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "lower",
    "ltrim",
    "max",
    "min",
    "nth_value",
    "ntile",
    "nullif",
    "percent_rank",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "time",
    "total",
    "trim",
    "typeof",
    "unixepoch",
    "upper",
    "if",
    "unicode",
    "octet_length",
];

/// Registers all of them with a connection; they stop when `watch` says so.
pub fn register(connection: &Connection, watch: &Watch) -> rusqlite::Result<()> {
    let calls = Calls { connection, watch: watch.clone() };
    numbers(&calls)?;
    text_functions::register(&calls)?;
    moment_functions::register(&calls)?;
    held::register(&calls)
}

/// Arithmetic.
fn numbers(calls: &Calls<'_>) -> rusqlite::Result<()> {
    calls.plain("g_add", 2, |a| overflowing(a, "+", i64::checked_add))?;
    calls.plain("g_subtract", 2, |a| overflowing(a, "-", i64::checked_sub))?;
    calls.plain("g_multiply", 2, |a| overflowing(a, "*", i64::checked_mul))?;
    calls.plain("g_divide", 2, |a| match a.float(1)? {
        0.0 => Err(format!("division by zero: {} / 0", a.float(0)?)),
        divisor => Ok(Value::Real(a.float(0)? / divisor)),
    })?;
    calls.plain("g_div", 2, |a| match a.integer(1)? {
        0 => Err(format!("division by zero: DIV({}, 0)", a.integer(0)?)),
        _ => overflowing(a, "DIV", i64::checked_div),
    })?;
    calls.plain("g_mod", 2, |a| match a.integer(1)? {
        0 => Err(format!("division by zero: MOD({}, 0)", a.integer(0)?)),
        _ => overflowing(a, "MOD", i64::checked_rem),
    })?;
    calls.plain("g_round", 2, |a| {
        let scale = 10f64.powi(i32::try_from(a.integer(1)?).unwrap_or(0));
        let scaled = a.float(0)? * scale;
        Ok(Value::Real(if scaled.is_finite() { scaled.round() / scale } else { a.float(0)? }))
    })?;
    calls.plain("g_trunc", 1, |a| Ok(Value::Real(a.float(0)?.trunc())))?;
    calls.plain("g_floor", 1, |a| Ok(Value::Real(a.float(0)?.floor())))?;
    calls.plain("g_ceil", 1, |a| Ok(Value::Real(a.float(0)?.ceil())))?;
    calls.plain("g_sqrt", 1, |a| match a.float(0)? {
        negative if negative < 0.0 => Err(format!("SQRT of the negative number {negative}")),
        number => Ok(Value::Real(number.sqrt())),
    })?;
    calls.plain("g_pow", 2, |a| Ok(Value::Real(a.float(0)?.powf(a.float(1)?))))?;
    calls.plain("g_exp", 1, |a| Ok(Value::Real(a.float(0)?.exp())))?;
    calls.plain("g_ln", 1, |a| match a.float(0)? {
        number if number > 0.0 => Ok(Value::Real(number.ln())),
        number => Err(format!("LN of {number}, which is not positive")),
    })
}

fn overflowing(a: &Arguments<'_, '_>, sign: &str, compute: fn(i64, i64) -> Option<i64>) -> Answer<Value> {
    let (one, other) = (a.integer(0)?, a.integer(1)?);
    compute(one, other).map(Value::Integer).ok_or_else(|| format!("integer overflow: {one} {sign} {other}"))
}
