//! Small things that a reader takes at its word: what `host plan` shows, what a date is called, who is told under which
//! name, and which command is suggested.

use std::{fs, process::Command};

use host_tests::{Fault, HOST_TOML};
use serde_json::Value;

use crate::{
    support::{
        command::{Sample, binary, ended},
        google::{
            asking,
            bigquery::{BigQueryDouble, row},
        },
        service::{Service, TOKEN, install},
        slack::words,
    },
    tables::Shop,
};

const ORDERS: &str = "CREATE TABLE orders (day DATE, id INTEGER); INSERT INTO orders VALUES ('2026-02-05', 1);";
const CONSOLE: &str = "[slack]\ndeliver = \"console\"\n";

/// A check of canary-sql with its own lines and its settings.
fn check(name: &str, own: &str, settings: &str) -> String {
    format!(
        "[checks.{name}]\nplugin = \"canary-sql\"\nchannel = \"#data\"\n{own}\n[checks.{name}.settings]\n{settings}\n"
    )
}

/// A query about the number of orders, which must be at least this.
fn at_least(min: u32) -> String {
    format!("sql = \"SELECT COUNT(*) AS orders FROM shop.orders WHERE day = @date\"\nthresholds.orders.min = {min}")
}

#[test]
fn a_date_is_called_what_it_is() {
    let shop = Shop::new(ORDERS);
    shop.configure(&format!("{CONSOLE}{}", check("shop", "", &at_least(1))));
    for (date, code, said) in [
        ("2026-02-01", 2, "2026-02-01 is a past date: recorded, and alerts are sent\n"),
        ("2026-02-06", 64, "2026-02-06 is after the newest date of shop, which is 2026-02-05 in UTC"),
        ("2026-03-01", 64, "2026-03-01 is after the newest date of shop, which is 2026-02-05 in UTC"),
    ] {
        let run = shop.host(&["run", "--once", "--at", "2026-02-06T12:00:00Z", "--date", date]);
        assert!(run.code == code && run.err.contains(said), "{date}: {run:?}");
    }
    // Yesterday is the usual date: nothing to say.
    let run = shop.host(&["run", "--once", "--at", "2026-02-06T12:00:00Z", "--date", "2026-02-05"]);
    assert!(run.code == 0 && !run.err.contains("judged like"), "{run:?}");
}

/// A webhook posts to one channel, so two names for one variable would send messages to the wrong place.
#[test]
fn two_channels_do_not_share_a_webhook_unnoticed() {
    let shop = Shop::new(ORDERS);
    let checks = check("shop", "", &at_least(1)).replace("#data", "#data-quality")
        + &check("other", "", &at_least(1)).replace("#data", "#data_quality");
    let run = || {
        let mut command = shop.command();
        command.env("SLACK_WEBHOOK_URL_DATA", "https://127.0.0.1:1/data");
        command.env("SLACK_WEBHOOK_URL_DATA_QUALITY", "https://127.0.0.1:1/x").env("OTHER", "https://127.0.0.1:1/y");
        ended(command.args(["plan"]).arg(crate::support::watched::plugin("canary-sql"))).unwrap()
    };
    shop.configure(&checks);
    let refused = run();
    let why = "channels #data-quality and #data_quality would both use the webhook in SLACK_WEBHOOK_URL_DATA_QUALITY";
    assert!(refused.code == 3 && refused.out.contains(why), "{refused:?}");
    let doctor = ended(shop.command().args(["doctor"])).unwrap();
    assert!(doctor.out.contains(why), "{doctor:?}");
    // With a variable of its own each has its webhook.
    shop.configure(&format!("{checks}[slack.channels.\"#data_quality\"]\nwebhook_env = \"OTHER\"\n"));
    let planned = run();
    assert!(planned.code == 0 && !planned.out.contains("would both use"), "{planned:?}");
}

/// canary-sql has nothing to check without settings, so it is a check only where host.toml says so.
#[test]
fn canary_sql_without_a_check_is_not_a_check() {
    let shop = Shop::new(ORDERS);
    shop.configure(CONSOLE);
    let plan = shop.host(&["plan"]);
    let unused = "Not used, since no check in host.toml names them: canary-sql\n";
    assert!(plan.code == 0 && plan.out.starts_with("No checks.\n") && plan.out.contains(unused), "{plan:?}");
    let run = shop.host(&["run", "--once", "--output", "json"]);
    assert_eq!((run.code, run.json()["runs"].as_array().unwrap().len()), (0, 0), "{run:?}");
    // With a check it is used; a check of its own name is one too.
    for name in ["shop", "canary-sql"] {
        shop.configure(&format!("{CONSOLE}{}", check(name, "", &at_least(1))));
        let plan = shop.host(&["plan"]);
        assert!(plan.code == 0 && plan.out.contains(name) && !plan.out.contains("Not used"), "{plan:?}");
    }
}

/// The command under a failed check runs as it stands, and shows what the check saw.
#[test]
fn the_suggested_query_runs_on_the_embedded_warehouse() {
    let shop = Shop::new(ORDERS);
    shop.configure(&format!("{CONSOLE}{}", check("shop", "", &at_least(2))));
    let run = shop.host(&["run", "--once", "--at", "2026-02-06T12:00:00Z"]);
    assert!(run.code == 2 && !run.err.contains("bq query"), "{run:?}");
    let line = run.err.lines().find(|line| line.contains("host query")).unwrap_or_else(|| panic!("{run:?}"));
    let command = line.trim_matches(|c: char| c == '│' || c.is_whitespace());
    assert!(command.starts_with("host query --date 2026-02-05 'SELECT COUNT(*) AS orders"), "{command}");
    let path = format!("{}:{}", binary("").display(), std::env::var("PATH").unwrap());
    let shell = |command: &str| {
        let mut shell = Command::new("sh");
        ended(shell.args(["-c", command]).current_dir(shop.path()).env("PATH", &path)).unwrap()
    };
    let answer = shell(command);
    assert_eq!((answer.code, answer.out.as_str(), answer.err.as_str()), (0, "orders\n1\n", ""));
    // With every parameter that the query uses.
    let late = "sql = \"SELECT COUNTIF(TIMESTAMP(day) < @day_end AND @due > @day_end) AS orders FROM shop.orders\"\n\
        thresholds.orders.min = 2";
    shop.configure(&format!("{CONSOLE}{}", check("late", "", late)));
    let run = shop.host(&["run", "--once", "--at", "2026-02-06T13:00:00Z"]);
    let line = run.err.lines().find(|line| line.contains("host query")).unwrap_or_else(|| panic!("{run:?}"));
    let command = line.trim_matches(|c: char| c == '│' || c.is_whitespace());
    assert!(
        command.contains(" --parameter due:TIMESTAMP:2026-02-06T13:00:00Z --parameter day_end:TIMESTAMP:"),
        "{command}"
    );
    let answer = shell(command);
    assert_eq!((answer.code, answer.out.as_str(), answer.err.as_str()), (0, "orders\n1\n", ""));

    let query = |arguments: &[&str]| ended(shop.command().arg("query").args(arguments)).unwrap();
    let json = query(&["--output", "json", "SELECT id, day, NULL AS nothing FROM shop.orders"]).json();
    assert_eq!(json["rows"][0], serde_json::json!({ "id": 1, "day": "2026-02-05", "nothing": null }));
    assert_eq!(query(&["SELECT id FROM shop.orders WHERE id > 1"]).out, "No rows.\n");
    for (sql, said) in [
        ("DELETE FROM shop.orders", "only a single SELECT is allowed"),
        ("SELECT id FROM shop.ordes", "there is no table shop.ordes; did you mean `orders`?"),
        ("SELECT id FROM shop.orders WHERE day = @date", "Query parameter 'date' not found; no parameter is given"),
        ("SELECT id FROM shop.orders WHERE day = CURRENT_DATE", "write @date for the data date, or DATE(@due"),
    ] {
        let refused = query(&[sql]);
        assert!(refused.code == 64 && refused.err.contains(said), "{sql}: {refused:?}");
    }
    assert_eq!(query(&["SELECT COUNT(*) AS orders FROM shop.orders"]).out, "orders\n1\n", "nothing was deleted");
    // Other parameters are written as for `bq`.
    let typed = "SELECT DATE(@due) AS day, @name AS name, @n + 1 AS n, @x AS x, IF(@sure, 1, 0) AS sure";
    let given =
        ["due:TIMESTAMP:2026-02-06T11:30:00Z", "name:STRING:a:b", "n:INT64:1", "x:FLOAT64:0.5", "sure:BOOL:true"];
    let arguments: Vec<&str> = given.iter().flat_map(|one| ["--parameter", one]).chain([typed]).collect();
    assert_eq!(query(&arguments).out, "day         name  n  x    sure\n2026-02-06  a:b   2  0.5  1\n");
    for (parameter, said) in [
        ("due", "write it like due:TIMESTAMP:2026-02-06T11:30:00Z"),
        ("due:TIME:11:30", "`TIME` is not a type; write DATE, TIMESTAMP"),
        ("due:TIMESTAMP:noon", "`noon` is not a value of TIMESTAMP"),
    ] {
        let refused = query(&["--parameter", parameter, "SELECT 1"]);
        assert!(refused.code == 64 && refused.err.contains(said), "{parameter}: {refused:?}");
    }
}

/// On BigQuery its own command stays.
#[test]
fn the_suggested_query_of_bigquery_stays() {
    let sample = Sample::new(None).unwrap();
    let bigquery = BigQueryDouble::start().unwrap();
    sample.configure(&asking(&format!("[google]\ncredentials = \"none\"\n{}", bigquery.warehouse()))).unwrap();
    let fields = [
        ("games", "INTEGER"),
        ("player_records", "INTEGER"),
        ("null_player_names", "INTEGER"),
        ("null_team_abbrs", "INTEGER"),
    ];
    bigquery.holds(&fields, vec![row(&["5", "120", "3", "0"].map(Value::from))], 10);
    let ended = sample.once(&["--check", "phase2-raw"]).unwrap();
    assert_eq!(ended.code, 2, "{ended:?}");
    let told = words(&sample.slack.received()[0].1);
    assert!(told.contains("bq query --use_legacy_sql=false --parameter=date:DATE:2026-02-05 'SELECT"), "{told}");
    let refused = sample.host(&["query", "SELECT 1"]).unwrap();
    assert!(refused.code == 64 && refused.err.contains("the warehouse is BigQuery; use `bq query"), "{refused:?}");
}

#[test]
fn a_check_without_a_title_is_named_once() {
    let sample = Sample::new(None).unwrap();
    let ask = |name: &str, title: &str| {
        format!(
            "[checks.{name}]\nplugin = \"canary-sql\"\nchannel = \"#canary-alerts\"\n[checks.{name}.settings]\n{title}\n\
             sql = \"SELECT COUNT(*) AS games FROM nba_predictions.daily_prediction_signals WHERE game_date = @date\"\nthresholds.games.min = 9999\n"
        )
    };
    sample.configure(&format!("{HOST_TOML}\n{}{}", ask("raw", ""), ask("named", "title = \"Box scores\""))).unwrap();
    let ended = sample.once(&["--check", "raw", "--check", "named"]).unwrap();
    assert_eq!(ended.code, 2, "{ended:?}");
    let [(_, message)] = sample.slack.received().try_into().unwrap();
    let told = message.to_string();
    assert!(told.contains("*raw*\\n") && !told.contains("*raw* (raw)"), "{told}");
    assert!(told.contains("*Box scores* (named)\\n"), "{told}");
}

/// Cron programs differ over a day of month together with a day of week.
#[test]
fn plan_says_how_days_of_both_kinds_are_read() {
    let shop = Shop::new(ORDERS);
    let plan = |schedule: &str| {
        let own = format!("schedule = \"{schedule}\"");
        shop.configure(&format!("{CONSOLE}{}", check("shop", &own, &at_least(1))));
        shop.host(&["plan"]).out
    };
    for (schedule, said) in [
        (
            "0 6 */2 * MON",
            "shop: is due on each day that matches day of month */2, and on each that matches day of week MON",
        ),
        ("0 6 13 * +FRI", "shop: is due only on days that match both day of month 13 and day of week FRI"),
    ] {
        let out = plan(schedule);
        assert!(out.contains(said), "{schedule}: {out}");
    }
    for schedule in ["0 6 * * MON", "0 6 */2 * *", "*/30 * * * *"] {
        let out = plan(schedule);
        assert!(!out.contains("is due o"), "{schedule}: {out}");
    }
}

#[test]
fn a_check_is_silenced_before_its_first_run() {
    let shop = Shop::new(ORDERS);
    shop.configure(&format!("{CONSOLE}{}", check("shop", "", &at_least(2))));
    let silence = |name: &str| ended(shop.command().args(["silence", name, "--for", "4h", "--why", "set up"])).unwrap();
    // A mistake makes no record.
    let unknown = silence("shpo");
    assert!(
        unknown.code == 64 && unknown.err.contains("there is no check `shpo`; did you mean `shop`?"),
        "{unknown:?}"
    );
    assert!(!shop.path().join("state").exists());
    let silenced = silence("shop");
    assert!(silenced.code == 0 && silenced.out.starts_with("silence 1: no new alerts of shop until "), "{silenced:?}");
    let run = shop.host(&["run", "--once"]);
    assert!(run.code == 2 && !run.err.contains("#data"), "{run:?}");
    // Without a silence the same run tells.
    ended(shop.command().args(["silences", "--expire", "1"])).unwrap();
    fs::remove_dir_all(shop.path().join("state")).unwrap();
    let run = shop.host(&["run", "--once"]);
    assert!(run.code == 2 && run.err.contains("#data"), "{run:?}");
}

/// Everything that decides whether a check runs, and whom it tells.
#[test]
fn plan_shows_dependencies_calendars_silences_routes_and_limits() {
    let shop = Shop::new(ORDERS);
    let plain = format!("{CONSOLE}{}", check("orders", "", &at_least(1)));
    shop.configure(&plain);
    let out = shop.host(&["plan"]).out;
    let rules = out.split("Rules:\n").nth(1).unwrap();
    assert_eq!(rules, "  every check: limits timeout 60 s, cpu 10 s, memory 64 MiB, query_bytes 10 GiB\n", "{out}");

    let more = "[budgets]\ncalls = 500\n[grants.canary-sql.budgets]\ntimeout = \"20s\"\n\
        [alerts.routes]\ncritical = [\"#on-call\"]\nwarning = [\"#data\"]\n\
        [calendars.summer]\neffect = \"skip\"\nchecks = [\"revenue\"]\ndates = [\"01-01..06-30\", \"07-01..12-31\"]\nwhy = \"no season\"\n\
        [calendars.nights]\neffect = \"silence\"\nwindows = [{ cron = \"0 22 * * *\", for = \"8h\" }]\nwhy = \"nobody is up\"\n";
    let depends = check("revenue", "depends_on = [\"orders\"]", &at_least(1));
    shop.configure(&format!("{plain}{depends}{more}"));
    let silence = ["silence", "orders", "--for", "4h", "--why", "reload"];
    assert_eq!(ended(shop.command().args(silence)).unwrap().code, 0);
    let out = shop.host(&["plan"]).out;
    for line in [
        "  orders: is silent by calendars.nights, for 8 h from `0 22 * * *` UTC: nobody is up\n",
        "  orders: silence 1, ",
        ": reload\n",
        "  revenue: depends on orders\n",
        "  revenue: is skipped by calendars.summer, for data of 01-01..06-30, 07-01..12-31: no season\n",
        "  orders: limits timeout 20 s\n",
        "  every check: critical alerts also go to #on-call\n",
        "  every check: warning alerts, and errors (not evaluated), also go to #data\n",
        "  every check: limits timeout 60 s, cpu 10 s, memory 64 MiB, query_bytes 10 GiB; not the default: calls 500\n",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let dues = |name: &str, out: &str| {
        let own = out.lines().skip_while(|line| !line.starts_with(name));
        own.take(3).map(|line| line.contains(" (skipped)")).collect::<Vec<_>>()
    };
    assert_eq!((dues("orders ", &out), dues("revenue ", &out)), (vec![false; 3], vec![true; 3]), "{out}");
    assert!(!out.contains("orders: is skipped") && !out.contains("orders: depends on"), "{out}");
    let json = shop.host(&["plan", "--output", "json"]).json();
    let of = |name: &str| json["checks"].as_array().unwrap().iter().find(|one| one["check"] == name).unwrap().clone();
    assert_eq!(of("revenue")["depends_on"][0], "orders");
    let names: Vec<Value> =
        of("revenue")["calendars"].as_array().unwrap().iter().map(|calendar| calendar["name"].clone()).collect();
    assert_eq!(names, ["nights", "summer"]);
    assert_eq!(of("orders")["silences"][0]["why"], "reload");
    assert_eq!((&of("orders")["limits"]["timeout"], &of("orders")["limits"]["calls"]), (&"20 s".into(), &"500".into()));
    assert_eq!(json["routes"]["critical"][0], "#on-call");
}

/// A sample with a failing check and one that warns, recorded, and its page.
fn page(url: &str) -> (Sample, Service) {
    let sample = Sample::now(Some(Fault::NullNames)).unwrap();
    install(&sample, &[]).unwrap();
    let warns = "[checks.few]\nplugin = \"canary-sql\"\nchannel = \"#canary-alerts\"\n[checks.few.settings]\n\
        sql = \"SELECT COUNT(*) AS games FROM nba_predictions.daily_prediction_signals WHERE game_date = @date\"\n\
        thresholds.games = { min = 1, warn_min = 9999 }\n";
    let toml = format!("{HOST_TOML}\n{warns}");
    sample.configure(&toml).unwrap();
    let ended = sample.host(&["run", "--once", "plugins"]).unwrap();
    assert_eq!(ended.code, 2, "{ended:?}");
    let service = Service::start_with(&sample, &toml, &[], &format!("listen = \"127.0.0.1:0\"\n{url}")).unwrap();
    (sample, service)
}

#[test]
fn the_page_lists_open_alerts_and_charts_the_limits_of_warnings() {
    let (sample, service) = page("");
    let first = service.get("/checks").body;
    let open = first.split("Open alerts").nth(1).unwrap_or_else(|| panic!("{first}"));
    let open = open.split("</ul>").next().unwrap();
    for part in ["/checks/phase2-raw", "null_player_names is above its maximum", "ongoing for", "/checks/few"] {
        assert!(open.contains(part), "{part}: {open}");
    }
    assert!(!open.contains("/checks/phase3-analytics"), "{open}");
    let list = first.replace("</span>", "").replace("<span class=\"asked\">", "");
    assert!(list.contains("≥ 1 warns below 9999"), "the limit that warned: {first}");
    // The limit of the failure, and that of the warning.
    let few = service.get("/checks/few").body;
    assert!(few.contains("limits: at least 1, warns below 9999\""), "{few}");
    assert!(!service.get("/checks/phase2-raw").body.contains("warns below"));
    drop(service);

    // Without alerts there is no list.
    fs::remove_dir_all(sample.path().join("state")).unwrap();
    let service = Service::start(&sample, HOST_TOML, &["--check", "phase4-precompute"]).unwrap();
    assert!(!service.get("/checks").body.contains("Open alerts"));
}

/// Behind a proxy at a path, each link leads below that path, whether the proxy takes the path off or keeps it.
#[test]
fn links_lead_below_the_path_of_the_page() {
    let (_sample, service) = page("url = \"https://ops.example.com/watch/\"");
    for path in ["/", "/checks", "/gates", "/checks/phase2-raw", "/nowhere"] {
        let page = service.get(path).body;
        let links: Vec<&str> = ["href=\"", "action=\""]
            .iter()
            .flat_map(|attribute| page.split(attribute).skip(1))
            .map(|rest| rest.split('"').next().unwrap())
            .filter(|link| link.starts_with('/'))
            .collect();
        assert!(links.len() > 5, "{path}: {links:?}");
        let outside: Vec<_> = links.iter().filter(|link| !link.starts_with("/watch/")).collect();
        assert!(outside.is_empty(), "{path}: {outside:?}");
        for link in links.iter().filter(|link| {
            !["/silences", "/recheck", "/ack", "/close", "/label", "#"].iter().any(|part| link.contains(part))
        }) {
            for followed in [link, link.strip_prefix("/watch").unwrap()] {
                assert_eq!(service.get(followed).status, 200, "{path}: {followed}");
            }
        }
    }
    // A form leads back below the path too.
    let token = format!("Bearer {TOKEN}");
    let headers = [("authorization", token.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let silenced = service.ask("POST", "/watch/checks/phase2-raw/silences", &headers, "for=4h&why=x").unwrap();
    assert!(silenced.head.contains("location: /watch/checks/phase2-raw#silences"), "{silenced:?}");
    // Access is the same below the path.
    let refused = service.ask("POST", "/watch/checks/phase2-raw/silences", &headers[1..], "for=4h&why=x").unwrap();
    let plain = service.ask("POST", "/checks/phase2-raw/silences", &headers[1..], "for=4h&why=x").unwrap();
    assert_eq!((refused.status, refused.status >= 400), (plain.status, true), "{refused:?} {plain:?}");
}
