//! The SQL guard for both warehouses: a single SELECT, with explicit table names. The parser decides here; the engine
//! checks again.

use std::{
    collections::{BTreeSet, HashSet},
    ops::ControlFlow,
    sync::{Arc, OnceLock},
};

use sqlparser::{
    ast::{
        Cte, Expr, FunctionArguments, ObjectName, ObjectNamePart, Query, SetExpr, Statement, TableFactor, Value,
        ValueWithSpan, Visit, Visitor,
    },
    dialect::BigQueryDialect,
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::{Location, Token, Tokenizer},
};

use host_contract::Error;

use super::{
    allow_list::{Called, RoutinePath, called, unrepeatable},
    literals,
    position::{self, located},
    zones,
};

/// The maximum number of SELECTs. A SELECT takes longer to parse than anything else of its length: ten microseconds.
/// BigQuery has the same limit for the tables of a query: <https://cloud.google.com/bigquery/quotas#query_jobs>
const SELECTS: usize = 1000;

/// A SELECT that may run if its datasets are granted.
#[derive(Debug)]
pub struct Select {
    /// The parsed query.
    pub query: Box<Query>,
    /// Every dataset that a table in it belongs to.
    pub datasets: BTreeSet<String>,
    /// Every table in it.
    pub tables: BTreeSet<TablePath>,
    /// Every parameter in it, in lower case and without the `@`.
    pub parameters: BTreeSet<String>,
    /// Every function in it that is not one of the warehouse's own.
    pub routines: BTreeSet<RoutinePath>,
    text: OnceLock<Arc<str>>,
}

impl Select {
    /// The query as it was parsed, whatever its spaces and comments were.
    pub fn text(&self) -> Arc<str> {
        self.text.get_or_init(|| self.query.to_string().into()).clone()
    }
}

/// A table, by its path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TablePath {
    /// The dataset's name.
    pub dataset: String,
    /// The table's name in it.
    pub table: String,
}

/// Parses SQL; `project` is the project that table names may begin with.
pub fn read(sql: &str, project: Option<&str>) -> Result<Select, Error> {
    let statements = parsed(sql)?;
    let query = match <[Statement; 1]>::try_from(statements) {
        Ok([Statement::Query(query)]) => query,
        Ok([other]) => return Err(refused(&format!("this is `{}`", first_word(&other.to_string())))),
        Err(none) if none.is_empty() => return Err(refused("this is empty")),
        Err(_) => return Err(refused("these are several statements")),
    };
    let mut names = Names { project, ..Names::default() };
    match query.visit(&mut names) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => {
            let Names { datasets, paths: tables, parameters, routines, .. } = names;
            Ok(Select { query, datasets, tables, parameters, routines, text: OnceLock::new() })
        }
    }
}

/// The statements of a text, unless it is too large to parse.
fn parsed(sql: &str) -> Result<Vec<Statement>, Error> {
    let wrong =
        |error: ParserError| Error::Invalid(format!("query failed: syntax error: {}", plain(&error.to_string())));
    let dialect = BigQueryDialect {};
    // Literals stay as they are written: the parser does not know all escapes.
    let tokens = Tokenizer::new(&dialect, sql).with_unescape(false).tokenize_with_location();
    let tokens = tokens.map_err(|error| wrong(error.into()))?;
    let selects =
        tokens.iter().filter(|token| matches!(&token.token, Token::Word(word) if word.keyword == Keyword::SELECT));
    if selects.count() > SELECTS {
        return Err(Error::Invalid(format!("query refused: too large: more than {SELECTS} SELECTs")));
    }
    let tokens = literals::normalised(tokens)?;
    Parser::new(&dialect).with_tokens_with_locations(tokens).parse_statements().map_err(wrong)
}

/// The dataset and table of a path, `dataset.table` or `project.dataset.table`, with any part or all of it in backticks.
pub(super) fn table_path(name: &ObjectName, project: Option<&str>) -> Result<TablePath, Error> {
    let parts = path_parts(name)?;
    let wrong = |why: &str| Error::Invalid(format!("query failed: table `{}` {why}", parts.join(".")));
    if parts.iter().any(|part| part.eq_ignore_ascii_case("INFORMATION_SCHEMA")) {
        return Err(wrong("is metadata: ask for it with `tables`, which scans nothing"));
    }
    let (found, dataset, table) = match parts.as_slice() {
        [dataset, table] => (None, dataset, table),
        [project, dataset, table] => (Some(project), dataset, table),
        [_] => return Err(wrong("has no dataset: write dataset.table")),
        _ => return Err(wrong("has too many parts: write dataset.table")),
    };
    if let Some(found) = found.filter(|found| Some(found.as_str()) != project) {
        return Err(wrong(&match project {
            Some(project) => format!("is in project {found}, but only {project} is configured"),
            None => format!("is in project {found}, but host.toml sets no warehouse.project"),
        }));
    }
    if table.contains('*') {
        return Err(wrong("is a wildcard: name one table"));
    }
    let plain = |part: &str, extra: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_' || extra.contains(c))
    };
    if !plain(dataset, "") || !plain(table, "- ") {
        return Err(wrong("is not a table name"));
    }
    Ok(TablePath { dataset: dataset.clone(), table: table.clone() })
}

fn path_parts(name: &ObjectName) -> Result<Vec<String>, Error> {
    let mut parts = Vec::new();
    for part in &name.0 {
        match part {
            ObjectNamePart::Identifier(ident) => parts.extend(ident.value.split('.').map(str::to_owned)),
            ObjectNamePart::Function(function) => {
                return Err(no_table_function(&function.name));
            }
        }
    }
    Ok(parts)
}

/// The names in a query.
#[derive(Default)]
struct Names<'p> {
    project: Option<&'p str>,
    ctes: HashSet<String>,
    datasets: BTreeSet<String>,
    paths: BTreeSet<TablePath>,
    parameters: BTreeSet<String>,
    routines: BTreeSet<RoutinePath>,
}

impl Visitor for Names<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        // WITH names have one part, tables at least two, so they cannot be confused.
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.extend(ctes.map(|Cte { alias, .. }| alias.name.value.to_lowercase()));
        if !query.pipe_operators.is_empty() {
            return ControlFlow::Break(Error::Invalid(
                "query refused: pipe syntax (|>) is not supported; write a SELECT".to_owned(),
            ));
        }
        match query.body.as_ref() {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                ControlFlow::Break(refused("this would change data"))
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Error> {
        ControlFlow::Break(refused(&format!("this contains the statement `{}`", first_word(&statement.to_string()))))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
        if let Some((error, place)) = bare(expr) {
            return ControlFlow::Break(located(error, place));
        }
        let name = match expr {
            Expr::Identifier(name) if name.quote_style.is_none() => Some(name.value.as_str()),
            Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) => Some(name.as_str()),
            _ => None,
        };
        self.parameters.extend(name.and_then(|name| name.strip_prefix('@')).map(str::to_lowercase));
        let mut zone = match expr {
            Expr::AtTimeZone { time_zone, .. } => Some(time_zone.as_ref()),
            _ => None,
        };
        if let Expr::Function(function) = expr {
            match called(&function.name, self.project) {
                Ok(Called::Listed { function: listed, .. }) => zone = zones::argument(listed.name, function),
                Ok(Called::Routine { path, .. }) => {
                    self.routines.insert(path);
                }
                Err(error) => return ControlFlow::Break(located(error, position::of_name(&function.name))),
            }
        }
        if let Some(zone) = zone
            && let Err(error) = zones::check(zone)
        {
            return ControlFlow::Break(located(error, position::of(zone)));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Error> {
        match factor {
            TableFactor::Table { name, args: None, .. } => match self.add(name) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(located(error, position::of_name(name))),
            },
            TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => {
                ControlFlow::Break(located(no_table_function(name), position::of_name(name)))
            }
            TableFactor::TableFunction { expr, .. } => ControlFlow::Break(no_table_function(expr)),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Names<'_> {
    fn add(&mut self, name: &ObjectName) -> Result<(), Error> {
        let parts = path_parts(name)?;
        if let [only] = parts.as_slice()
            && self.ctes.contains(&only.to_lowercase())
        {
            return Ok(());
        }
        let path = table_path(name, self.project)?;
        self.datasets.insert(path.dataset.clone());
        self.paths.insert(path);
        Ok(())
    }
}

/// The error for a function without parentheses that is refused, and its place; a column may have such a name too.
fn bare(expr: &Expr) -> Option<(Error, Option<Location>)> {
    let (name, place) = match expr {
        Expr::Function(function) if matches!(function.args, FunctionArguments::None) => {
            let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
            (name, position::of_name(&function.name))
        }
        // The parser does not know it without parentheses.
        Expr::Identifier(name) if name.value.eq_ignore_ascii_case("CURRENT_DATETIME") => (name, position::of(expr)),
        _ => return None,
    };
    let error = unrepeatable(&name.value).filter(|_| name.quote_style.is_none())?;
    Some((error.reworded(|why| format!("{why}; a column of this name needs backticks: `{}`", name.value)), place))
}

fn no_table_function(called: &impl std::fmt::Display) -> Error {
    Error::Invalid(format!("query refused: table functions are not supported: {called}"))
}

fn refused(why: &str) -> Error {
    Error::Invalid(format!("query refused: only a single SELECT is allowed; {why}"))
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default()
}

fn plain(message: &str) -> String {
    message.trim_start_matches("sql parser error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_select_on_written_out_tables_is_read() {
        let cases: &[(&str, &[&str])] = &[
            ("SELECT 1", &[]),
            ("SELECT * FROM nba_raw.games", &["nba_raw"]),
            ("SELECT * FROM `nba_raw.games`", &["nba_raw"]),
            ("SELECT * FROM `nba_raw`.`games`", &["nba_raw"]),
            ("SELECT * FROM `my-project.nba_raw.games`", &["nba_raw"]),
            ("SELECT * FROM my-project.nba_raw.games", &["nba_raw"]),
            ("SELECT * FROM a.b JOIN c.d USING (x)", &["a", "c"]),
            ("SELECT (SELECT MAX(x) FROM a.b) FROM c.d WHERE x IN (SELECT x FROM e.f)", &["a", "c", "e"]),
            ("WITH games AS (SELECT * FROM a.b) SELECT * FROM games", &["a"]),
            ("WITH games AS (SELECT * FROM a.b) SELECT * FROM Games UNION ALL SELECT * FROM c.d", &["a", "c"]),
            ("SELECT * FROM a.b -- FROM c.d\n", &["a"]),
            ("SELECT 'FROM c.d' FROM a.b /* FROM e.f */", &["a"]),
            ("SELECT 1;", &[]),
            // Strings and comments that look like more.
            ("SELECT \"FROM c.d\" FROM a.b", &["a"]),
            ("SELECT '''x' FROM c.d''' FROM a.b", &["a"]),
            (r"SELECT 'it\'s FROM c.d' FROM a.b", &["a"]),
            (r"SELECT r'\n FROM c.d' FROM a.b", &["a"]),
            ("SELECT '; DROP TABLE a.b; --' FROM a.b", &["a"]),
            ("SELECT /* ; DROP TABLE a.b; */ 1 FROM a.b # FROM c.d", &["a"]),
            ("SELECT * FROM a.b WHERE x = '\\' OR y IN (SELECT y FROM c.d) -- '", &["a"]),
            // Wherever a table can stand.
            ("SELECT * FROM (SELECT * FROM (SELECT * FROM a.b))", &["a"]),
            ("SELECT CASE WHEN EXISTS (SELECT 1 FROM a.b) THEN 1 END", &["a"]),
            ("SELECT 1 ORDER BY (SELECT MAX(x) FROM a.b)", &["a"]),
            ("SELECT 1 LIMIT 1 OFFSET 0", &[]),
            ("SELECT COUNT(*) FROM a.b GROUP BY x HAVING COUNT(*) > (SELECT 1 FROM c.d)", &["a", "c"]),
            ("SELECT * FROM a.b, c.d CROSS JOIN e.f LEFT JOIN g.h ON TRUE", &["a", "c", "e", "g"]),
            ("(SELECT * FROM a.b) UNION ALL (SELECT * FROM c.d)", &["a", "c"]),
            ("SELECT SUM(x) OVER (PARTITION BY (SELECT 1 FROM a.b)) FROM c.d", &["a", "c"]),
        ];
        for (sql, datasets) in cases {
            let select = read(sql, Some("my-project")).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            assert!(
                select.datasets.iter().map(String::as_str).eq(datasets.iter().copied()),
                "{sql}: {:?}",
                select.datasets
            );
        }
    }

    #[test]
    fn parameters_are_found_wherever_they_stand() {
        let sql = "SELECT @A, `@quoted` FROM a.b WHERE x IN (SELECT y FROM c.d WHERE z = @b) AND '@text' = (@a)";
        let select = read(sql, None).expect("a SELECT");
        assert_eq!(select.parameters, ["a", "b"].map(str::to_owned).into());
    }

    /// A WITH name that equals a dataset does not give access to the dataset's tables.
    #[test]
    fn a_cte_never_stands_for_a_table_with_a_dataset() {
        let select = read("WITH nba_raw AS (SELECT 1 AS x) SELECT * FROM nba_raw.games", None).expect("a SELECT");
        assert!(select.datasets.contains("nba_raw"));
        assert!(read("SELECT * FROM (WITH t AS (SELECT 1 AS x) SELECT * FROM t), `t.u`", None).is_ok());
    }

    #[test]
    fn everything_else_is_refused_with_the_reason() {
        let cases = [
            ("", "this is empty"),
            ("   -- nothing", "this is empty"),
            ("SELEC 1", "syntax error"),
            ("SELECT * FROM a.b; SELECT 2", "several statements"),
            ("SELECT * FROM a.b; DROP TABLE a.b", "several statements"),
            ("DELETE FROM a.b WHERE TRUE", "this is `DELETE`"),
            ("INSERT INTO a.b VALUES (1)", "this is `INSERT`"),
            ("UPDATE a.b SET x = 1 WHERE TRUE", "this is `UPDATE`"),
            ("CREATE TABLE a.b AS SELECT 1", "this is `CREATE`"),
            ("EXECUTE IMMEDIATE 'SELECT 1'", "this is `EXECUTE`"),
            ("DECLARE x INT64", "this is `DECLARE`"),
            ("DECLARE x INT64; SELECT x", "several statements"),
            ("BEGIN SELECT 1; END", "this is `BEGIN`"),
            ("BEGIN TRANSACTION", "this is `BEGIN`"),
            ("IF TRUE THEN SELECT 1; END IF", "this is `IF`"),
            ("CALL a.p()", "this is `CALL`"),
            ("MERGE a.b USING c.d ON TRUE WHEN MATCHED THEN DELETE", "this is `MERGE`"),
            ("TRUNCATE TABLE a.b", "this is `TRUNCATE`"),
            ("EXPLAIN SELECT 1", "this is `EXPLAIN`"),
            ("SELECT 1 /* unclosed", "syntax error"),
            ("SELECT 'unclosed", "syntax error"),
            ("EXPORT DATA OPTIONS() AS SELECT 1", "syntax error"),
            ("SELECT * FROM games", "has no dataset"),
            ("SELECT * FROM `other.nba_raw.games`", "is in project other"),
            ("SELECT * FROM a.b.c.d", "too many parts"),
            ("SELECT * FROM `a.games_*`", "is a wildcard"),
            ("SELECT * FROM a.INFORMATION_SCHEMA.TABLES", "ask for it with `tables`"),
            ("SELECT * FROM `a.information_schema.tables`", "ask for it with `tables`"),
            ("SELECT * FROM EXTERNAL_QUERY('connection', 'SELECT 1')", "table functions"),
            ("SELECT * FROM a.f(1)", "table functions"),
        ];
        for (sql, expected) in cases {
            let error = read(sql, Some("my-project")).expect_err(sql);
            assert!(error.message().contains(expected), "{sql}: {error:?}");
        }
    }
}
