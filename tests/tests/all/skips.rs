//! Skips decided by data: `skip_when`, `skip_unless_known` and `skip_at_most`, through the built host.

use serde_json::{Value, json};

use crate::{
    bigquery::Cloud,
    support::{
        command::{Ended, Sample},
        google::bigquery::{Method, row},
        service::{Service, TOKEN, install},
    },
    tables::Shop,
};

/// 2026-02-05 has a game and no rows, 2026-02-04 has no game, and the schedule ends with 2026-02-06.
const TABLES: &str = "CREATE TABLE orders (day DATE, id INTEGER);\
                      CREATE TABLE games (day DATE, game INTEGER, off BOOLEAN);\
                      INSERT INTO games VALUES ('2026-02-05', 1, 0), ('2026-02-06', 2, NULL), ('2026-02-06', 3, NULL);";
const NO_GAMES: &str = "SELECT COUNT(*) = 0 FROM shop.games WHERE day = @date";
const LOADED: &str = "SELECT COUNT(*) > 0 FROM shop.games WHERE day >= @date";

/// A check that fails without rows, with these lines of its own.
fn check(own: &str) -> String {
    format!(
        "[slack]\ndeliver = \"console\"\n[checks.orders]\nplugin = \"canary-sql\"\nchannel = \"#data\"\n{own}\n\
         [checks.orders.settings]\nsql = \"SELECT COUNT(*) AS orders FROM shop.orders WHERE day = @date\"\n\
         thresholds.orders.min = 1\n"
    )
}

fn at(shop: &Shop, date: &str) -> Ended {
    shop.host(&["run", "--once", "--output", "json", "--at", &format!("{date}T12:00:00Z")])
}

/// The run about the day before.
fn run(shop: &Shop, own: &str, date: &str) -> Value {
    shop.configure(&check(own));
    at(shop, date).run("orders")
}

#[test]
fn a_date_is_skipped_if_the_query_says_so_and_the_reason_is_recorded() {
    let shop = Shop::new(TABLES);
    let own = format!("skip_when = {{ sql = \"{NO_GAMES}\", why = \"no games are scheduled\" }}");
    let skipped = run(&shop, &own, "2026-02-05");
    assert_eq!(
        (&skipped["status"], &skipped["summary"]),
        (&"skip".into(), &"skipped: no games are scheduled (skip_when)".into()),
        "{skipped}"
    );
    // The query is a call of the run, and the plugin asked nothing.
    let calls = skipped["calls"].as_array().unwrap();
    assert_eq!((calls.len(), &calls[0]["name"], &calls[0]["asked"]), (1, &"warehouse.query".into(), &NO_GAMES.into()));
    let judged = run(&shop, &own, "2026-02-06");
    assert_eq!((&judged["status"], judged["calls"].as_array().unwrap().len()), (&"fail".into(), 3), "{judged}");
    let history = shop.command().args(["history", "orders"]).output().unwrap();
    let history = String::from_utf8(history.stdout).unwrap();
    assert!(history.contains("skipped: no games are scheduled (skip_when)"), "{history}");
    // A query alone has a reason too.
    let plain = run(&shop, &format!("skip_when = \"{NO_GAMES}\""), "2026-02-05");
    assert_eq!(plain["summary"], "skipped: skip_when is TRUE for 2026-02-04", "{plain}");
    // The plan shows the setting.
    shop.configure(&check(&format!("{own}\nskip_unless_known = \"{LOADED}\"\nskip_at_most = \"7d\"")));
    let plan = shop.host(&["plan"]);
    let said = format!("orders: is skipped if `{NO_GAMES}` (no games are scheduled), for at most 7d\n");
    assert!(plan.out.contains(&said) && plan.out.contains(&format!("and only if `{LOADED}`")), "{plan:?}");
    let plan = shop.host(&["plan", "--output", "json"]).json();
    let expected = json!({ "when": { "sql": NO_GAMES, "why": "no games are scheduled" }, "unless_known": { "sql": LOADED, "why": null }, "at_most": "7d" });
    assert_eq!(plan["checks"][0]["skip"], expected);
}

/// All parameters of the moment; two checks of one definition each have their own query.
#[test]
fn the_query_has_the_moments_parameters() {
    let shop = Shop::new(TABLES);
    let bounds = "SELECT @due = TIMESTAMP '2026-02-06 12:00:00+00' AND @day_start = TIMESTAMP '2026-02-05 00:00:00+00' \
                  AND @day_end = TIMESTAMP '2026-02-06 00:00:00+00' AND @date = DATE '2026-02-05'";
    let skipped = run(&shop, &format!("skip_when = \"{bounds}\""), "2026-02-06");
    assert_eq!(skipped["status"], "skip", "{skipped}");
    let text = check(
        "for_each = { day = [5, 4] }\nskip_when = \"SELECT COUNT(*) = 0 AND EXTRACT(DAY FROM @date) = {day} FROM shop.games WHERE day = @date\"",
    );
    shop.configure(&text.replace("[checks.orders", "[checks.\"orders-{day}\""));
    let ended = at(&shop, "2026-02-05");
    let status = |name: &str| ended.run(name)["status"].clone();
    assert_eq!((status("orders-4"), status("orders-5")), ("skip".into(), "fail".into()), "{ended:?}");
}

/// Whatever is not TRUE or FALSE is an error that says what to do; the plugin does not run.
#[test]
fn an_answer_that_is_not_true_or_false_is_an_error() {
    let shop = Shop::new(TABLES);
    for (sql, expected) in [
        (
            "SELECT off FROM shop.games WHERE game = 2",
            "skip_when gave NULL, which is neither TRUE nor FALSE; use COALESCE(…, FALSE)",
        ),
        ("SELECT off FROM shop.games WHERE game = 9", "skip_when gave no row; it must give one, as COUNT(*) = 0"),
        ("SELECT off FROM shop.games", "skip_when gave 3 rows; it must give one"),
        ("SELECT COUNT(*) = 0 AS a, TRUE AS b FROM shop.games", "skip_when gave 2 columns (a, b); select one"),
        ("SELECT COUNT(*) FROM shop.games", "skip_when gave INT64, not BOOL; compare it, as in COUNT(*) = 0"),
        ("SELECT 'TRUE'", "skip_when gave STRING, not BOOL"),
        (
            "SELECT COUNT(*) = 0 FROM shop.gamez",
            "skip_when: query failed: there is no table shop.gamez; did you mean `games`?",
        ),
        (
            "SELECT COUNT(*) = 0 FROM raw.games",
            "skip_when: query denied: dataset raw is not granted; add \"raw\" to grants.canary-sql.warehouse",
        ),
        ("DELETE FROM shop.games", "skip_when: query refused: only a single SELECT is allowed"),
        ("SELECT CURRENT_DATE() = @date", "skip_when: "),
        ("SELECT COUNT(*) = 0 FROM shop.games WHERE day = @dat", "skip_when: "),
    ] {
        let run = run(&shop, &format!("skip_when = \"{sql}\""), "2026-02-05");
        let error = run["error"].as_str().unwrap_or_default();
        assert!(run["status"] == "error" && error.contains(expected), "{sql}: {expected}: {run}");
        assert_eq!(run["calls"].as_array().unwrap().len(), 1, "{sql}: {run}");
    }
    // A grant that is missing is told at once, as no retry mends it.
    shop.configure(&check("skip_when = \"SELECT COUNT(*) = 0 FROM raw.games\""));
    let told = at(&shop, "2026-02-07");
    assert!(told.err.contains("dataset raw is not granted"), "{told:?}");
}

/// An empty schedule proves nothing.
#[test]
fn a_skip_counts_only_if_the_data_behind_it_is_known() {
    let shop = Shop::new(TABLES);
    let own = |known: &str| format!("skip_when = \"{NO_GAMES}\"\nskip_unless_known = {known}");
    let skipped = run(&shop, &own(&format!("\"{LOADED}\"")), "2026-02-05");
    assert_eq!(skipped["status"], "skip", "{skipped}");
    assert_eq!(skipped["calls"].as_array().unwrap().len(), 2, "{skipped}");
    let unknown =
        run(&shop, &own(&format!("{{ sql = \"{LOADED}\", why = \"the schedule is not loaded yet\" }}")), "2026-02-08");
    assert_eq!(
        (&unknown["status"], &unknown["error"]),
        (
            &"error".into(),
            &"the schedule is not loaded yet: skip_when is TRUE for 2026-02-07, but skip_unless_known is FALSE, so it is unknown whether to skip it".into()
        ),
        "{unknown}"
    );
    let plain = run(&shop, &own(&format!("\"{LOADED}\"")), "2026-02-08");
    assert!(plain["error"].as_str().unwrap().starts_with("its data is not loaded yet: skip_when is TRUE"), "{plain}");
    // It is not asked about a date that is judged anyway.
    let judged = run(&shop, &own("\"SELECT broken\""), "2026-02-06");
    assert_eq!(judged["status"], "fail", "{judged}");
    let broken = run(&shop, &own("\"SELECT NULL = 1\""), "2026-02-05");
    assert!(broken["error"].as_str().unwrap().starts_with("skip_unless_known gave NULL"), "{broken}");
}

/// A check that does nothing but skip is told, once, and again as other errors are.
#[test]
fn a_check_that_only_skips_for_too_long_is_told() {
    let shop = Shop::new(TABLES);
    let own = "skip_when = { sql = \"SELECT @date <> DATE '2026-01-10'\", why = \"no games\" }\nskip_at_most = \"3d\"\nalerts = { confirm_errors = 1 }";
    shop.configure(&check(own));
    let status_at = |moment: &str| {
        let ended = shop.host(&["run", "--once", "--output", "json", "--at", moment]);
        (ended.run("orders"), ended)
    };
    let status = |day: u32| status_at(&format!("2026-01-{day:02}T12:00:00Z"));
    for day in 5..=8 {
        assert_eq!(status(day).0["status"], "skip", "{day}");
    }
    let (over, told) = status(9);
    let said = "has skipped since 2026-01-04 (4 days; skip_at_most = \"3d\"): no games (skip_when)";
    assert!(over["error"].as_str().unwrap().starts_with(said) && told.err.contains(said), "{told:?}");
    let (over, again) = status_at("2026-01-09T13:00:00Z");
    assert!(over["status"] == "error" && !again.err.contains("no games (skip_when)"), "told once: {again:?}");
    let (over, reminder) = status(10);
    assert!(over["error"].as_str().unwrap().contains("(5 days;"), "{over}");
    assert!(reminder.err.contains("Reminder: orders could not be evaluated"), "{reminder:?}");
    // For how long it skips is counted by the dates that are due; another one is only skipped.
    let past =
        shop.host(&["run", "--once", "--output", "json", "--at", "2026-01-10T13:00:00Z", "--date", "2026-01-08"]);
    assert_eq!(past.run("orders")["status"], "skip", "{past:?}");
    // A longer limit ends the error, although nothing was judged.
    shop.configure(&check(&own.replace("\"3d\"", "\"20d\"")));
    let (_, over) = status_at("2026-01-10T14:00:00Z");
    assert!(over.code == 0 && over.err.contains("can be evaluated again"), "{over:?}");
    shop.configure(&check(own));
    assert_eq!(status_at("2026-01-10T15:00:00Z").0["status"], "error");
    // A date that is judged begins a new count, and ends the error.
    assert_eq!(status(11).0["status"], "fail");
    assert_eq!(status(12).0["status"], "skip");
    assert_eq!(status(15).0["status"], "skip");
    assert_eq!(status(16).0["status"], "error");
    // A calendar is a decision of a person, so its dates do not count, and the count begins after them.
    shop.configure(
        &(check(own)
            + "[calendars.break]\neffect = \"skip\"\nwhy = \"the break\"\ndates = [\"2026-01-16..2026-01-20\"]\n"),
    );
    for day in [17, 20, 21, 22, 25] {
        assert_eq!(status(day).0["status"], "skip", "{day}");
    }
    assert_eq!(status(26).0["status"], "error");
    shop.configure(&check(&own.replace("\"3d\"", "\"never\"")));
    assert_eq!(status(27).0["status"], "skip");
}

/// Mistakes in host.toml.
#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let shop = Shop::new(TABLES);
    let when = "skip_when = \"SELECT TRUE\"";
    for (own, expected) in [
        ("skip_when = \" \"".to_owned(), "checks.orders.skip_when: the query is empty"),
        ("skip_when = 3".to_owned(), "expected a query, or { sql = \"…\", why = \"…\" }"),
        ("skip_when = { why = \"x\" }".to_owned(), "missing field `sql`"),
        ("skip_when = { sql = \"SELECT TRUE\", wy = \"x\" }".to_owned(), "did you mean `why`?"),
        ("skip_when = { sql = \"SELECT TRUE\", why = \"\" }".to_owned(), "checks.orders.skip_when.why: give a reason"),
        (
            "skip_unless_known = \"SELECT TRUE\"".to_owned(),
            "checks.orders.skip_unless_known: has no effect without skip_when",
        ),
        ("skip_at_most = \"3d\"".to_owned(), "checks.orders.skip_at_most: has no effect without skip_when"),
        (
            format!("{when}\nskip_at_most = \"40000d\""),
            "checks.orders.skip_at_most: 40000d is never reached, since the record keeps runs for 40000d",
        ),
        (format!("{when}\nskip_at_most = \"soon\""), "`soon` is not a duration"),
        (
            "for_each = { t = [1] }\nskip_when = { sql = \"SELECT {t}\", why = \" \" }".to_owned(),
            "checks.\"{t}\" with t = 1: skip_when.why",
        ),
    ] {
        let text = check(&own);
        shop.configure(&if own.starts_with("for_each") {
            text.replace("[checks.orders", "[checks.\"{t}\"")
        } else {
            text
        });
        let refused = shop.host(&["plan"]);
        assert!(refused.code == 64 && refused.err.contains(expected), "{own}: {refused:?}");
    }
    shop.configure(&check(&format!("{when}\nskip_at_most = \"89d\"")));
    assert_eq!(shop.host(&["plan"]).code, 0);
}

/// Validation prepares the queries, and asks about the latest dates.
#[test]
fn validation_rehearses_the_queries() {
    let shop = Shop::new(TABLES);
    let findings = |own: &str| {
        shop.configure(&check(own));
        let ended = shop.host(&["validate", "--output", "json"]);
        let json = ended.json();
        let found = json["checks"][0]["findings"].as_array().unwrap().clone();
        (
            ended.code,
            found
                .iter()
                .map(|one| format!("{}: {}", one["kind"].as_str().unwrap(), one["text"].as_str().unwrap()))
                .collect::<Vec<_>>(),
        )
    };
    for (own, kind) in [
        (
            "skip_when = \"SELECT COUNT(*) = 0 FROM raw.games\"",
            "refused: skip_when: query denied: dataset raw is not granted",
        ),
        (
            "skip_when = \"SELECT COUNT(gam) = 0 FROM shop.games\"",
            "refused: skip_when: query failed: Unrecognized name: gam",
        ),
        ("skip_when = \"SELECT COUNT(*) FROM shop.games\"", "refused: skip_when gives INT64, not BOOL"),
        ("skip_when = \"SELECT TRUE AS a, TRUE AS b\"", "refused: skip_when gives 2 columns (a, b); select one"),
        ("skip_when = \"SELECT FALSE\"\nskip_unless_known = \"SELECT 1\"", "refused: skip_unless_known gives INT64"),
    ] {
        let (code, found) = findings(own);
        assert!(code == 2 && found.iter().any(|found| found.starts_with(kind)), "{own}: {found:?}");
    }
    for (own, expected) in [
        ("skip_when = \"SELECT FALSE\"", vec![]),
        ("skip_when = \"SELECT EXTRACT(DAYOFWEEK FROM @date) = 1\"", vec![]),
        ("skip_when = \"SELECT COUNT(*) > 9 FROM shop.games\"\nskip_unless_known = \"SELECT TRUE\"", vec![]),
        (
            "skip_when = \"SELECT COUNT(*) > 9 FROM shop.games\"",
            vec![
                "remark: skip_when cannot tell a date with nothing to do from a table that is not loaded yet; add skip_unless_known",
            ],
        ),
        (
            "skip_when = \"SELECT TRUE\"",
            vec!["remark: skip_when is TRUE for each of the last 30 dates, so the check would have judged none"],
        ),
        (
            "skip_when = \"SELECT DATE_ADD(DATE '2026-01-01', INTERVAL 1 DAY) = @date FROM shop.games\"\nskip_unless_known = \"SELECT TRUE\"",
            vec!["remark: skip_when may give no row or several"],
        ),
    ] {
        let (code, found) = findings(own);
        assert_eq!((code, found.len()), (0, expected.len()), "{own}: {found:?}");
        assert!(found.iter().zip(&expected).all(|(found, expected)| found.starts_with(expected)), "{own}: {found:?}");
    }
}

/// On BigQuery the query passes the guard and the dry run like any other, with typed parameters; an ungranted dataset is
/// denied before anything is sent.
#[test]
fn bigquery_is_asked_like_the_plugin() {
    let cloud = Cloud::new();
    let configure = |skip_when: &str| {
        cloud.configure(&format!(
            "[checks.signals]\nplugin = \"canary-sql\"\nchannel = \"#canary-alerts\"\nskip_when = \"{skip_when}\"\n\
             settings = {{ sql = \"SELECT COUNT(*) AS n FROM nba_predictions.signals\" }}\n"
        ));
    };
    let from = |table: &str| format!("SELECT COUNT(*) = 0 FROM {table} WHERE game_date = @date");
    cloud.bigquery.reads(&[("nba_predictions", "games")], 1000);
    cloud.bigquery.holds(&[("f0_", "BOOLEAN")], vec![row(&[json!("true")])], 10);
    configure(&from("nba_predictions.games"));
    let run = cloud.check("signals").run("signals");
    assert_eq!((&run["status"], run["calls"].as_array().unwrap().len()), (&"skip".into(), 1), "{run}");
    let asked = cloud.bigquery.asked(Method::Insert);
    let sent = format!("{:?}", asked.last().unwrap());
    assert!(asked.len() == 1 && sent.contains("2026-02-05"), "{sent}");
    assert_eq!(cloud.bigquery.asked(Method::DryRun).len(), 1);
    configure(&from("nba_raw.games"));
    let run = cloud.check("signals").run("signals");
    let error =
        "skip_when: query denied: dataset nba_raw is not granted; add \"nba_raw\" to grants.canary-sql.warehouse";
    assert!(run["error"].as_str().unwrap().starts_with(error), "{run}");
    assert_eq!(cloud.bigquery.asked(Method::DryRun).len(), 1);
}

/// A gate that is skipped has nothing to say: whoever asks must not proceed, and is told why. No incident begins.
#[test]
fn a_gate_that_is_skipped_is_not_evaluated() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    let skip = "[checks.phase2-gate]\nskip_when = { sql = \"SELECT TRUE\", why = \"no games are scheduled\" }\n";
    let toml = host_tests::HOST_TOML.replace("[checks.phase2-gate]\n", skip);
    let service = Service::start(&sample, &toml, &[]).unwrap();
    let answered = service.post("/api/v1/gates/phase2-gate", "");
    let decision = answered.json();
    assert_eq!(
        (answered.status, &decision["status"], &decision["can_proceed"]),
        (503, &"NOT_EVALUATED".into(), &false.into())
    );
    assert_eq!(decision["message"], "skipped: no games are scheduled (skip_when)", "{decision}");
    let page = service.ask("GET", "/checks/phase2-gate", &[("authorization", &format!("Bearer {TOKEN}"))], "").unwrap();
    assert!(format!("{page:?}").contains("no games are scheduled: "), "{page:?}");
    assert_eq!(service.get("/api/v1/dates?open=true").json()["dates"], serde_json::json!([]));
    assert_eq!(service.get("/api/v1/alerts").json()["alerts"], serde_json::json!([]));
    service.host.end("TERM").unwrap();
}
