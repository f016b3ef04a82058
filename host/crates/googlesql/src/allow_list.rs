//! The functions that a query may call: one table for both warehouses, after BigQuery's reference:
//! <https://cloud.google.com/bigquery/docs/reference/standard-sql/functions-all>
//!
//! Left out on purpose: functions whose result depends on when the query runs or on chance, that say who asks
//! (SESSION_USER), that use keys, models, connections or other services (AEAD, KEYS, DLP, AI, ML, OBJ, EXTERNAL_QUERY,
//! ST_REGIONSTATS), and those that return tables.

use host_contract::Error;
use host_text::nearest;
use sqlparser::ast::{ObjectName, ObjectNamePart};

/// How a function is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Of values.
    Scalar,
    /// Over the rows of a group, or of a window.
    Aggregate,
    /// Over the rows of a window only.
    Window,
    /// Only inside something else: `array[OFFSET(0)]`, `DATE_TRUNC(day, WEEK(MONDAY))`.
    Inner,
}

/// The warehouses that have a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engines {
    Both,
    BigQuery,
}

/// What the table says of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) engines: Engines,
}

use Engines::{BigQuery, Both};
use Form::{Aggregate, Inner, Scalar, Window};

/// The table, by topics of the reference.
const FUNCTIONS: &[(Form, Engines, &str)] = &[
    (
        Aggregate,
        Both,
        "ANY_VALUE APPROX_COUNT_DISTINCT AVG COUNT COUNTIF LOGICAL_AND LOGICAL_OR MAX MIN STRING_AGG SUM",
    ),
    (
        Aggregate,
        BigQuery,
        "APPROX_QUANTILES APPROX_TOP_COUNT APPROX_TOP_SUM ARRAY_AGG ARRAY_CONCAT_AGG BIT_AND BIT_OR BIT_XOR CORR
         COVAR_POP COVAR_SAMP GROUPING MAX_BY MIN_BY STDDEV STDDEV_POP STDDEV_SAMP VARIANCE VAR_POP VAR_SAMP",
    ),
    (Window, Both, "CUME_DIST DENSE_RANK FIRST_VALUE LAG LAST_VALUE LEAD NTH_VALUE NTILE PERCENT_RANK RANK ROW_NUMBER"),
    (Window, BigQuery, "PERCENTILE_CONT PERCENTILE_DISC"),
    (Inner, BigQuery, "OFFSET ORDINAL SAFE_OFFSET SAFE_ORDINAL"),
    (Inner, Both, "WEEK"),
    // Conditions.
    (Scalar, Both, "COALESCE IF IFNULL NULLIF"),
    // Numbers.
    (Scalar, Both, "ABS CEIL CEILING DIV EXP FLOOR GREATEST LEAST LN MOD POW POWER ROUND SAFE_DIVIDE SIGN SQRT TRUNC"),
    (
        Scalar,
        BigQuery,
        "ACOS ACOSH ASIN ASINH ATAN ATAN2 ATANH BIT_COUNT CBRT COS COSH COSINE_DISTANCE COT COTH CSC CSCH
         EUCLIDEAN_DISTANCE IEEE_DIVIDE IS_INF IS_NAN LOG LOG10 PARSE_BIGNUMERIC PARSE_NUMERIC RANGE_BUCKET SAFE_ADD
         SAFE_MULTIPLY SAFE_NEGATE SAFE_SUBTRACT SEC SECH SIN SINH TAN TANH",
    ),
    // Texts and bytes.
    (
        Scalar,
        Both,
        "CHARACTER_LENGTH CHAR_LENGTH CONCAT CONTAINS_SUBSTR ENDS_WITH LENGTH LOWER LTRIM REPLACE REVERSE RTRIM
         STARTS_WITH STRPOS SUBSTR SUBSTRING TRIM UPPER",
    ),
    (
        Scalar,
        BigQuery,
        "ASCII BYTE_LENGTH CHR CODE_POINTS_TO_BYTES CODE_POINTS_TO_STRING COLLATE EDIT_DISTANCE FARM_FINGERPRINT FORMAT
         FROM_BASE32 FROM_BASE64 FROM_HEX INITCAP INSTR LEFT LPAD MD5 NORMALIZE NORMALIZE_AND_CASEFOLD OCTET_LENGTH
         REGEXP_CONTAINS REGEXP_EXTRACT REGEXP_EXTRACT_ALL REGEXP_INSTR REGEXP_REPLACE REGEXP_SUBSTR REPEAT RIGHT RPAD
         SAFE_CONVERT_BYTES_TO_STRING SHA1 SHA256 SHA512 SOUNDEX SPLIT TO_BASE32 TO_BASE64 TO_CODE_POINTS TO_HEX
         TRANSLATE UNICODE",
    ),
    // Dates and times.
    (
        Scalar,
        Both,
        "DATE DATE_ADD DATE_DIFF DATE_SUB DATE_TRUNC FORMAT_DATE FORMAT_TIMESTAMP LAST_DAY PARSE_DATE TIMESTAMP
         TIMESTAMP_ADD TIMESTAMP_DIFF TIMESTAMP_MICROS TIMESTAMP_MILLIS TIMESTAMP_SECONDS TIMESTAMP_SUB TIMESTAMP_TRUNC
         UNIX_MICROS UNIX_MILLIS UNIX_SECONDS",
    ),
    (
        Scalar,
        BigQuery,
        "DATETIME DATETIME_ADD DATETIME_BUCKET DATETIME_DIFF DATETIME_SUB DATETIME_TRUNC DATE_BUCKET
         DATE_FROM_UNIX_DATE FORMAT_DATETIME FORMAT_TIME JUSTIFY_DAYS JUSTIFY_HOURS JUSTIFY_INTERVAL MAKE_INTERVAL
         PARSE_DATETIME PARSE_TIME PARSE_TIMESTAMP RANGE RANGE_CONTAINS RANGE_END RANGE_INTERSECT RANGE_OVERLAPS
         RANGE_START TIME TIMESTAMP_BUCKET TIME_ADD TIME_DIFF TIME_SUB TIME_TRUNC UNIX_DATE",
    ),
    // Arrays.
    (
        Scalar,
        BigQuery,
        "ARRAY ARRAY_CONCAT ARRAY_FIRST ARRAY_LAST ARRAY_LENGTH ARRAY_REVERSE ARRAY_SLICE ARRAY_TO_STRING
         GENERATE_ARRAY GENERATE_DATE_ARRAY GENERATE_RANGE_ARRAY GENERATE_TIMESTAMP_ARRAY",
    ),
    // JSON and conversions.
    (
        Scalar,
        BigQuery,
        "BOOL ERROR FLOAT64 INT64 JSON_ARRAY JSON_ARRAY_APPEND JSON_ARRAY_INSERT JSON_EXTRACT JSON_EXTRACT_ARRAY
         JSON_EXTRACT_SCALAR JSON_EXTRACT_STRING_ARRAY JSON_KEYS JSON_OBJECT JSON_QUERY JSON_QUERY_ARRAY JSON_REMOVE
         JSON_SET JSON_STRIP_NULLS JSON_TYPE JSON_VALUE JSON_VALUE_ARRAY LAX_BOOL LAX_FLOAT64 LAX_INT64 LAX_STRING
         PARSE_JSON STRING TO_JSON TO_JSON_STRING TYPEOF",
    ),
    // Places.
    (
        Scalar,
        BigQuery,
        "ST_AREA ST_ASGEOJSON ST_ASTEXT ST_CENTROID ST_CONTAINS ST_COVEREDBY ST_COVERS ST_DISTANCE ST_DWITHIN ST_EQUALS
         ST_GEOGFROMGEOJSON ST_GEOGFROMTEXT ST_GEOGPOINT ST_GEOHASH ST_INTERSECTS ST_ISEMPTY ST_LENGTH ST_NUMPOINTS
         ST_WITHIN ST_X ST_Y",
    ),
];

/// Functions whose result depends on when the query runs or on chance, also of other dialects, with what to write instead.
/// A run could not be repeated with them, for a past date or tomorrow.
const UNREPEATABLE: &[(&str, &str)] = &[
    ("CURRENT_DATE", OF_DAY),
    ("CURRENT_DATETIME", "DATETIME(@due, 'America/New_York') for the time of the run"),
    ("CURRENT_TIME", "TIME(@due, 'America/New_York') for the time of day of the run"),
    ("CURRENT_TIMESTAMP", OF_RUN),
    ("GETDATE", OF_RUN),
    ("LOCALTIME", OF_RUN),
    ("LOCALTIMESTAMP", OF_RUN),
    ("NOW", OF_RUN),
    ("SYSDATE", OF_DAY),
    ("GENERATE_UUID", "a key of the table"),
    ("RAND", "a condition on a key, MOD(id, 100) = 0, to choose some of the rows"),
];
const OF_DAY: &str = "@date for the data date, or DATE(@due, 'America/New_York') for the day of the run";
const OF_RUN: &str = "@due for the time of the run";

/// Functions with an argument that is a word, not a value: the position of that argument, and its words.
const WORDS: &[(&str, usize, &[&str])] = &[
    ("DATE_DIFF", 2, PARTS),
    ("DATETIME_DIFF", 2, PARTS),
    ("TIMESTAMP_DIFF", 2, PARTS),
    ("TIME_DIFF", 2, PARTS),
    ("DATE_TRUNC", 1, PARTS),
    ("DATETIME_TRUNC", 1, PARTS),
    ("TIMESTAMP_TRUNC", 1, PARTS),
    ("TIME_TRUNC", 1, PARTS),
    ("LAST_DAY", 1, PARTS),
    ("WEEK", 0, WEEKDAYS),
    ("NORMALIZE", 1, &["NFC", "NFD", "NFKC", "NFKD"]),
    ("NORMALIZE_AND_CASEFOLD", 1, &["NFC", "NFD", "NFKC", "NFKD"]),
];

/// The parts of a date or time.
pub(super) const PARTS: &[&str] = &[
    "MICROSECOND",
    "MILLISECOND",
    "SECOND",
    "MINUTE",
    "HOUR",
    "DAY",
    "DAYOFWEEK",
    "DAYOFYEAR",
    "WEEK",
    "ISOWEEK",
    "MONTH",
    "QUARTER",
    "YEAR",
    "ISOYEAR",
    "DATE",
    "DATETIME",
    "TIME",
];

/// The days that a week can begin with.
pub(super) const WEEKDAYS: &[&str] = &["SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"];

/// Every function of the table.
pub(super) fn all() -> impl Iterator<Item = Function> {
    FUNCTIONS.iter().flat_map(|&(form, engines, names)| {
        names.split_ascii_whitespace().map(move |name| Function { name, form, engines })
    })
}

/// A function of the table, by its name in any case.
pub(super) fn find(name: &str) -> Option<Function> {
    all().find(|function| function.name.eq_ignore_ascii_case(name))
}

/// The error for a function that is refused because its result could not be had again, by its name in any case.
pub(super) fn unrepeatable(name: &str) -> Option<Error> {
    let (name, instead) = UNREPEATABLE.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    let why = match *name {
        "GENERATE_UUID" | "RAND" => "gives another result each time",
        _ => "depends on when the query runs",
    };
    Some(Error::Invalid(format!("query refused: {name} {why}, so a run could not be repeated; write {instead}")))
}

/// The words that an argument of a function may be, if that argument is a word.
pub(super) fn words(function: &str, at: usize) -> Option<&'static [&'static str]> {
    WORDS.iter().find(|(name, position, _)| *name == function && *position == at).map(|(.., words)| *words)
}

/// Whether a function, by its name in capitals, is an aggregate, on any warehouse.
pub fn is_aggregate(name: &str) -> bool {
    find(name).is_some_and(|function| function.form == Aggregate)
}

/// The functions that a query may call on BigQuery, in alphabetical order, and whether the embedded warehouse has each.
pub fn functions() -> Vec<(&'static str, bool)> {
    let mut names: Vec<_> = all().map(|function| (function.name, function.engines == Both)).collect();
    names.sort_unstable();
    names
}

/// A function that somebody made, by its path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutinePath {
    /// The dataset that it is in.
    pub dataset: String,
    /// Its name in it.
    pub name: String,
}

/// `dataset.name`
impl std::fmt::Display for RoutinePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.dataset, self.name)
    }
}

/// What a query calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Called {
    /// A function of the table; with `SAFE.` before it, an error in it becomes NULL.
    Listed { function: Function, safe: bool },
    /// `dataset.name`, with the parts as written; it must be granted.
    Routine { path: RoutinePath, parts: Vec<String> },
}

/// Finds what a call's name means; `project` is the project that names may begin with.
pub(super) fn called(name: &ObjectName, project: Option<&str>) -> Result<Called, Error> {
    let mut parts: Vec<&str> = Vec::new();
    for part in &name.0 {
        match part {
            ObjectNamePart::Identifier(ident) => parts.push(&ident.value),
            ObjectNamePart::Function(_) => return Err(not_listed(&name.to_string())),
        }
    }
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let routine = |dataset: &str, called: &str| match plain(dataset) && plain(called) {
        true => Ok(Called::Routine {
            path: RoutinePath { dataset: dataset.to_owned(), name: called.to_owned() },
            parts: parts.iter().map(|part| (*part).to_owned()).collect(),
        }),
        false => Err(Error::Invalid(format!("query refused: `{}` is not a function name", parts.join(".")))),
    };
    match parts.as_slice() {
        [only] => match find(only) {
            Some(function) => Ok(Called::Listed { function, safe: false }),
            None => Err(not_listed(only)),
        },
        [prefix, name] if prefix.eq_ignore_ascii_case("SAFE") => match find(name) {
            Some(function) if function.form == Scalar => Ok(Called::Listed { function, safe: true }),
            Some(_) => {
                Err(Error::Invalid(format!("query refused: SAFE.{name}: only a function of values can be SAFE")))
            }
            None => Err(not_listed(name)),
        },
        [dataset, name] => routine(dataset, name),
        [found, dataset, name] if Some(*found) == project => routine(dataset, name),
        [found, ..] => Err(Error::Invalid(format!(
            "query refused: the function {} is in {found}, which is not the configured project",
            parts.join(".")
        ))),
        [] => Err(not_listed("")),
    }
}

fn not_listed(name: &str) -> Error {
    if let Some(refused) = unrepeatable(name) {
        return refused;
    }
    let name: String = name.chars().take(100).collect();
    let near = nearest(&name.to_ascii_uppercase(), all().map(|function| function.name));
    Error::Invalid(format!(
        "query refused: the function {name} is not allowed; docs/warehouses.md lists those that are{near}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_in_the_table_once() {
        let names: Vec<&str> = all().map(|function| function.name).collect();
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(names.len(), once.len());
        for name in names {
            assert!(name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'), "{name:?}");
        }
        for (name, ..) in WORDS {
            assert!(find(name).is_some(), "{name}");
        }
        for (name, _) in UNREPEATABLE {
            assert!(find(name).is_none() && unrepeatable(&name.to_lowercase()).is_some(), "{name}");
        }
    }

    /// Functions that tell who asks, or that reach keys, models, connections and services.
    #[test]
    fn some_functions_are_never_in_it() {
        for name in ["SESSION_USER", "EXTERNAL_QUERY", "ST_REGIONSTATS", "VECTOR_SEARCH", "DLP_DETERMINISTIC_ENCRYPT"] {
            assert_eq!(find(name), None, "{name}");
        }
    }
}
