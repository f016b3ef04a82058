//! `for_each`: one definition in host.toml for many checks, through the built host.

use std::fs;

use serde_json::Value;

use crate::tables::Shop;

const TABLES: &str = "CREATE TABLE orders (day DATE, id INTEGER); INSERT INTO orders VALUES ('2026-02-05', 1);\
                      CREATE TABLE returns (day DATE, id INTEGER);";

/// Two checks, each with its own table, limit, schedule and channel.
const SOURCES: &str = r##"
[slack]
deliver = "console"
[checks."source-{table}"]
plugin = "canary-sql"
for_each = [
  { table = "orders", rows = 1, hour = 6, group = "sales", ids = ["id", "day, id"] },
  { table = "returns", rows = 2, hour = 7, group = "service", ids = ["id"] },
]
schedule = "30 {hour} * * *"
channel = "#{group}"
alerts = { confirm = "{rows}" }
[checks."source-{table}".settings]
table = "shop.{table}"
where = "day = @date"
row_count = { min = "{rows}" }
unique = "{ids}"
help = "see {{table}}, or ^\\d{4}$"
"##;

#[test]
fn each_element_is_a_check_with_its_own_name_limits_schedule_and_channel() {
    let shop = Shop::new(TABLES);
    shop.configure(SOURCES);
    let plan = shop.host(&["plan", "--output", "json"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    let plan = plan.json();
    let planned = |name: &str| -> Value {
        plan["checks"].as_array().unwrap().iter().find(|check| check["check"] == name).unwrap().clone()
    };
    for (name, schedule, channel, element) in [
        (
            "source-orders",
            "30 6 * * *",
            "#sales",
            "table = \"orders\", rows = 1, hour = 6, group = \"sales\", ids = […]",
        ),
        ("source-returns", "30 7 * * *", "#service", "table = \"returns\", rows = 2, hour = 7"),
    ] {
        let check = planned(name);
        assert_eq!((&check["schedule"], &check["channel"]), (&schedule.into(), &channel.into()), "{check}");
        let made_by = check["made_by"].as_str().unwrap();
        assert!(made_by.starts_with(&format!("checks.\"source-{{table}}\" with {element}")), "{made_by}");
    }
    let plan = shop.host(&["plan"]);
    let said = "  source-orders: made by checks.\"source-{table}\" with table = \"orders\", rows = 1";
    assert!(plan.out.contains(said), "{plan:?}");
    let run = shop.host(&["run", "--once", "--output", "json", "--at", "2026-02-06T12:00:00Z"]);
    let (orders, returns) = (run.run("source-orders"), run.run("source-returns"));
    assert_eq!((&orders["status"], &returns["status"]), (&"pass".into(), &"fail".into()), "{run:?}");
    assert!(returns["summary"].as_str().unwrap().contains("0 < 2"), "{returns}");
    // `confirm = 2` is a number, so the first failure is not sent yet.
    assert!(!run.err.contains("source-returns failed"), "{run:?}");
    let again = shop.host(&["run", "--once", "--at", "2026-02-06T13:00:00Z"]);
    assert!(again.err.contains("#service") && again.err.contains("see {table}, or ^\\d{4}$"), "{again:?}");
    // Every command knows the names.
    let history = shop.host(&["validate", "--check", "source-orders"]);
    assert!(history.code == 0 && history.out.contains("source-orders"), "{history:?}");
}

/// Lists are combined; the name of a definition elsewhere means all its checks.
#[test]
fn lists_are_combined_and_the_definition_names_all_its_checks() {
    let shop = Shop::new(TABLES);
    let settings = "settings = { sql = \"SELECT COUNT(*) AS n FROM shop.{table} WHERE day > DATE_SUB(@date, INTERVAL {days} DAY)\" }";
    shop.configure(&format!(
        "[slack]\ndeliver = \"console\"\n\
         [checks.\"{{table}}-{{days}}\"]\nplugin = \"canary-sql\"\nchannel = \"#data\"\n\
         for_each = {{ table = [\"orders\", \"returns\"], days = [1, 7] }}\n{settings}\n\
         [checks.all]\nplugin = \"canary-sql\"\nchannel = \"#data\"\ndepends_on = [\"{{table}}-{{days}}\"]\n\
         settings = {{ sql = \"SELECT COUNT(*) AS n FROM shop.orders\" }}\n\
         [checks.\"all-{{of}}\"]\nplugin = \"canary-sql\"\nchannel = \"#data\"\nfor_each = {{ of = [\"orders\"] }}\n\
         depends_on = [\"{{of}}-1\", \"all\", \"{{table}}-{{days}}\"]\n\
         settings = {{ sql = \"SELECT COUNT(*) AS n FROM shop.{{of}}\" }}\n\
         [calendars.holiday]\neffect = \"skip\"\nwhy = \"a holiday\"\ndates = [\"12-25\"]\nchecks = [\"{{table}}-{{days}}\"]\n"
    ));
    let plan = shop.host(&["plan"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    let all = "orders-1, orders-7, returns-1, returns-7";
    for line in [
        format!("  all: depends on {all}\n"),
        format!("  all-orders: depends on orders-1, all, {all}\n"),
        "  returns-7: is skipped by calendars.holiday, for data of 12-25: a holiday\n".to_owned(),
    ] {
        assert!(plan.out.contains(&line), "{line}: {plan:?}");
    }
    assert!(!plan.out.contains("  all: is skipped"), "{plan:?}");
}

/// Grants are those of a plugin, so they are made for plugins.
#[test]
fn grants_are_made_for_each_plugin() {
    let shop = Shop::new(TABLES);
    shop.configure(
        "[slack]\ndeliver = \"console\"\n[grants.\"phase{n}-{name}\"]\n\
         for_each = [{ n = 2, name = \"raw\" }, { n = 3, name = \"analytics\" }]\nwarehouse = [\"nba_{name}\"]\nslack = [\"#canary-alerts\"]\n",
    );
    let mut command = shop.command();
    command.args(["plan", "--output", "json"]);
    for name in ["phase2-raw", "phase3-analytics"] {
        command.arg(crate::support::watched::plugin(name));
    }
    let plan = crate::support::command::ended(&mut command).unwrap();
    let plan = plan.json();
    let granted = |at: usize| plan["checks"][at]["grants"]["warehouse"][0].clone();
    assert_eq!((granted(0), granted(1)), ("nba_raw".into(), "nba_analytics".into()), "{plan}");
}

/// Each mistake names the definition and the element, shows the line and says what to do; its twin is accepted.
#[test]
fn mistakes_name_the_element_and_show_the_line() {
    let shop = Shop::new(TABLES);
    let many: String = (0..100).map(|at| format!("\"t{at}\",")).collect();
    let product = format!("for_each = {{ table = [{many}], b = [{many}] }}");
    let huge = format!("for_each = {{ table = [{}] }}", "\"x\",".repeat(2001));
    let wide: String = (0..1000).map(|at| format!("\"{at}\",")).collect();
    let long = format!("for_each = {{ table = [{wide}] }}\ntimezone = \"{{table}}{}\"", "x".repeat(20_000));
    // The lines of a definition, the element in its message, and further words.
    let cases: &[(&str, &str, &[&str])] = &[
        ("for_each = { table = [\"a\", \"a\"] }", " with table = \"a\"", &["the name source-a is that of", "too"]),
        (&product, "", &["makes 10000;", "at most 2000 checks and grants", "line 15, column"]),
        (&huge, "", &["makes 2001;"]),
        (&long, " with table = \"", &["at most 16 MiB of text"]),
        (
            "for_each = { table = [\"a\"] }\nchannel = \"#{tabel}\"",
            " with table = \"a\"",
            &["there is no `tabel` in for_each; did you mean `table`?", "channel = \"#{tabel}\"\n", "^^^^^^^^^^"],
        ),
        (
            "for_each = { table = [\"a\"] }\nchannel = \"#{x}\"",
            " with table = \"a\"",
            &["write {{x}} for the text {x}"],
        ),
        (
            "for_each = { table = [\"a\"], rows = [1] }",
            "",
            &["nothing uses {rows}", "remove it from for_each", "rows = [1]"],
        ),
        ("for_each = {}", "", &["for_each is empty"]),
        ("for_each = []", "", &["for_each is empty"]),
        ("for_each = { table = [] }", "", &["for_each.table is empty"]),
        ("for_each = 3", "", &["neither a table of lists nor a list of tables", "for_each = 3\n"]),
        ("for_each = { table = \"a\" }", "", &["for_each.table is not a list; write `table = [\"a\", \"b\"]`"]),
        ("for_each = [\"a\"]", "", &["has no name; write `for_each = { table = [\"a\", \"b\"] }`"]),
        (
            "for_each = [{ table = \"a\", rows = 1 }, { table = \"b\" }]\njitter = \"{rows}s\"",
            "",
            &["table = \"b\" has no `rows`", "the same keys"],
        ),
        (
            "for_each = [{ table = \"a\" }, { table = \"b\", rows = 1 }]",
            "",
            &["table = \"b\", rows = 1 is the first with `rows`"],
        ),
        (
            "for_each = { table = [\"a\"], \"a-b\" = [1] }",
            "",
            &["`a-b` cannot be a placeholder; use letters, digits and _"],
        ),
        (
            "for_each = { table = [\"a\", \"b c\"] }",
            " with table = \"b c\"",
            &["`source-b c` is not a valid name", "[checks.\"source-{table}\"]"],
        ),
        (
            "for_each = [{ table = \"a\", when = \"often\" }]\nschedule = \"{when}\"",
            " with table = \"a\", when = \"often\"",
            &["`often` is not a valid schedule", "schedule = \"{when}\"\n"],
        ),
        (
            "for_each = [{ table = \"a\", many = \"x\" }]\nretries = \"{many}\"",
            " with table = \"a\", many = \"x\"",
            &["wrong type: string \"x\", expected a whole number", "retries = \"{many}\"\n"],
        ),
        ("for_each = { table = [\"a\"] }\nschedul = \"x\"", " with table = \"a\"", &["did you mean `schedule`?"]),
        (
            "for_each = { table = [\"a\", [1]] }",
            " with table = […]",
            &["`table` is array, which has no place within a text"],
        ),
        (
            "for_each = { table = [\"a\"] }\nchannel = \"{table}\"",
            " with table = \"a\"",
            &["channel: `a` is not a channel name; write \"#a\""],
        ),
        (
            "for_each = { table = [\"a\"] }\nsettings = { \"{table}\" = 1, a = 2 }",
            " with table = \"a\"",
            &["the key `a` is there twice"],
        ),
        (
            "for_each = { table = [\"x\", \"y\"] }",
            " with table = \"x\"",
            &["the name source-x is that of [checks.source-x] too"],
        ),
        (
            "channel = \"#data\"",
            "",
            &["its name has {table}, but it has no for_each", "for_each = { table = [\"…\"] }"],
        ),
    ];
    for (lines, element, expected) in cases {
        let other = "[checks.source-x]\nplugin = \"canary-sql\"\nchannel = \"#data\"\n";
        shop.configure(&format!("{other}[checks.\"source-{{table}}\"]\n{lines}\nplugin = \"canary-sql\"\n"));
        let refused = shop.host(&["plan"]);
        let shown = lines.chars().take(100).collect::<String>();
        assert_eq!(refused.code, 64, "{shown}: {refused:?}");
        let place = format!("host.toml: refused: checks.\"source-{{table}}\"{element}");
        assert!(refused.err.contains(&place), "{shown}: {}", refused.err);
        for part in *expected {
            assert!(refused.err.contains(part), "{shown}: {part}: {}", refused.err);
        }
    }
    // A mistake that only the plugin's schema shows is an error of that check alone.
    shop.configure(&SOURCES.replace("row_count = { min = \"{rows}\" }", "row_cuont = { min = \"{rows}\" }"));
    let plan = shop.host(&["plan"]);
    let said = "source-orders: host.toml: checks.\"source-{table}\" with table = \"orders\"";
    assert!(plan.code == 3 && plan.out.contains(said) && plan.out.contains("row_cuont"), "{plan:?}");
    // In a file with definitions, other mistakes are shown as before.
    shop.configure(&format!("{SOURCES}[checks.b]\nschedul = \"x\"\n"));
    let refused = shop.host(&["plan"]);
    assert!(refused.code == 64 && refused.err.contains("did you mean `schedule`?"), "{refused:?}");
    assert!(refused.err.contains("host.toml: refused: TOML parse error at line"), "{refused:?}");
}

/// Two thousand checks are the most, and they are made.
#[test]
fn as_many_as_the_limit_are_made() {
    let shop = Shop::new(TABLES);
    let values: String = (0..2000).map(|at| format!("\"t{at}\",")).collect();
    shop.configure(&format!(
        "[slack]\ndeliver = \"console\"\n[checks.\"{{t}}\"]\nplugin = \"canary-sql\"\nchannel = \"#data\"\nfor_each = {{ t = [{values}] }}\n\
         settings = {{ sql = \"SELECT COUNT(*) AS n FROM shop.orders\" }}\n"
    ));
    let plan = shop.host(&["plan", "--output", "json", "--count", "1"]);
    assert_eq!((plan.code, plan.json()["checks"].as_array().unwrap().len()), (0, 2000));
}

/// The schema for editors accepts what the host accepts, also placeholders where a number belongs.
#[test]
fn the_schema_knows_definitions() {
    let shop = Shop::new(TABLES);
    let schema = crate::support::command::ended(shop.command().args(["schema"])).unwrap().json();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let accepts = |text: &str| {
        let value: toml::Table = toml::from_str(text).unwrap();
        validator.is_valid(&serde_json::to_value(value).unwrap())
    };
    assert!(accepts(SOURCES));
    assert!(accepts("[grants.\"a-{t}\"]\nfor_each = { t = [1] }\nbudgets = { rows = \"{t}\" }"));
    for wrong in [
        SOURCES.replace("for_each", "for_eech"),
        SOURCES.replace("schedule =", "schedul ="),
        SOURCES.replace("confirm = \"{rows}\"", "confirm = \"rows\""),
        "[checks.a]\nfor_each = { t = [] }".to_owned(),
        "[checks.a]\nfor_each = 3".to_owned(),
        "[checks.a]\nalerts = { confirm = \"{rows}\" }".to_owned(),
    ] {
        assert!(!accepts(&wrong), "{wrong}");
    }
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md")).unwrap();
    assert_eq!(page.matches("| `for_each` | a table of lists, or a list of tables |").count(), 2);
}
