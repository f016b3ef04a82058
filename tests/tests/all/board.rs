//! The board, the page of a data date, and what people do there: by forms, by the API, and on the command line.

use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use crate::support::{
    command::{Ended, Sample, shipped},
    service::{Answered, Service, TOKEN},
    slack::words,
};

/// A table with a row for each date, and a check of it that is due at midnight.
struct Loads {
    sample: Sample,
}

impl Loads {
    fn new() -> Self {
        let sample = Sample::new(None).unwrap();
        sample.sql("nba_raw", "CREATE TABLE loads (d DATE, n INTEGER)").unwrap();
        std::fs::create_dir_all(sample.path().join("plugins")).unwrap();
        let plugin = shipped().unwrap().into_iter().find(|file| file.ends_with("canary-sql.wasm")).unwrap();
        std::fs::copy(plugin, sample.path().join("plugins/canary-sql.wasm")).unwrap();
        Self { sample }
    }

    fn toml(more: &str) -> String {
        let check = |name: &str, sql: &str, more: &str| {
            format!(
                "[checks.{name}]\nplugin = 'canary-sql'\nschedule = '0 0 * * *'\nchannel = '#canary-alerts'\n\
                 settings = {{ sql = '{sql}', thresholds = {{ n = {{ min = 1 }} }} }}\n{more}\n"
            )
        };
        let dated = "SELECT COUNT(*) AS n FROM nba_raw.loads WHERE d = @date";
        let loads = check("loads", dated, more);
        let report = check("a-report", dated, "depends_on = ['loads']");
        let now = check("present", "SELECT COUNT(*) AS n FROM nba_raw.loads", "dates = 'now'");
        format!(
            "timezone = 'UTC'\nvalidate_schedule = 'never'\n[scheduler]\nmissed = 'skip'\n[warehouse]\nkind = 'sqlite'\n\
             path = 'warehouse'\n[grants.canary-sql]\nwarehouse = ['nba_raw']\n{loads}{report}{now}"
        )
    }

    fn load(&self, date: Date) {
        self.sample.sql("nba_raw", &format!("INSERT INTO loads VALUES ('{date}', 1)")).unwrap();
    }

    /// A round for the data of a date, at its due time.
    fn judge(&self, date: Date, check: &str) -> Ended {
        let at = format!("{}T00:00:00Z", date.tomorrow().unwrap());
        self.sample.host(&["run", "--once", "--at", &at, "--check", check, "plugins"]).unwrap()
    }

    /// The last `count` dates before today, the oldest first, of which one is not loaded; `loads` has judged all of them.
    fn judged(count: i64, missing: Date) -> Self {
        let loads = Self::new();
        loads.sample.configure(&Self::toml("")).unwrap();
        for back in (1..=count).rev() {
            let date = days_ago(back);
            if date != missing {
                loads.load(date);
            }
            loads.judge(date, "loads");
        }
        loads
    }

    fn serve(&self, more: &str) -> Service {
        Service::start(&self.sample, &Self::toml(more), &[]).unwrap()
    }
}

fn days_ago(back: i64) -> Date {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    today.checked_sub(Span::new().days(back)).unwrap()
}

/// The cell of a check and a date on the board.
fn cell(page: &str, check: &str, date: Date) -> String {
    let link = format!("<a href=\"/checks/{check}/dates/{date}\"");
    let grid = page.split("class=\"scroll grid\"").nth(1).unwrap_or_else(|| panic!("{page}"));
    let (before, after) = grid.split_once(&link).unwrap_or_else(|| panic!("no {link}: {grid}"));
    let begin = before.rfind("<td").unwrap();
    format!("{}{link}{}", &before[begin..], after.split("</td>").next().unwrap())
}

/// Fills in a form.
fn form(service: &Service, path: &str, fields: &str, headers: &[(&str, &str)]) -> Answered {
    let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
    all.extend(headers);
    service.ask("POST", path, &all, fields).unwrap()
}

/// The page that an answer leads to.
fn followed(service: &Service, answer: &Answered) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    let place = answer.head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().trim();
    service.get(place).body
}

fn state(service: &Service, date: Date) -> Value {
    let dates = service.get("/api/v1/dates?check=loads").json();
    let found = dates["dates"].as_array().unwrap().iter().find(|one| one["data_date"] == json!(date.to_string()));
    found.unwrap_or_else(|| panic!("{date}: {dates}")).clone()
}

/// Each date has a cell with its state, which leads to the runs about it; what is open stands above, and upstream checks
/// come first.
#[test]
fn the_board_has_each_date_of_each_check() {
    let bad = days_ago(3);
    let loads = Loads::judged(5, bad);
    loads.judge(days_ago(1), "present");
    let service = loads.serve("");
    let page = service.get("/").body;
    assert!(page.contains("<h1>1 open incident</h1>"), "{page}");
    let open = page.split("<ul class=\"incidents\">").nth(1).unwrap().split("</ul>").next().unwrap();
    assert!(open.contains(&format!("href=\"/checks/loads/dates/{bad}\"")) && open.contains("since <time"), "{open}");
    assert!(open.contains("n is below its minimum: 0 &lt; 1"), "{open}");
    let found = cell(&page, "loads", bad);
    assert!(found.starts_with("<td class=\"bad\">") && found.ends_with("><i>bad</i></a>"), "{found}");
    assert!(!found.contains("tabindex"), "{found}");
    let found = cell(&page, "loads", days_ago(2));
    assert!(found.starts_with("<td class=\"good\">") && found.contains("tabindex=\"-1\""), "{found}");
    let place = |name: &str| page.find(&format!("<th scope=\"row\"><a href=\"/checks/{name}\"")).unwrap();
    assert!(place("loads") < place("a-report"), "upstream first");
    assert!(page[place("present")..].contains("about now, not about one date"), "{page}");
    assert_eq!(page.matches("<th scope=\"col\"><i>").count(), 30);
    for (asked, shown) in [("14", 14), ("60", 60), ("3", 14), ("9999999", 60), ("x", 30)] {
        let page = service.get(&format!("/?dates={asked}")).body;
        assert_eq!(page.matches("<th scope=\"col\"><i>").count(), shown, "{asked}");
    }
    let filtered = service.get("/?show=bad&name=loads").body;
    assert!(filtered.contains("1 of 3 checks") && filtered.contains("/checks/loads/dates/"), "{filtered}");
    assert!(service.get("/?name=pres").body.contains("1 of 3 checks"));
    assert!(service.get("/?refresh=60").head.contains("refresh: 60"));

    let page = service.get(&format!("/checks/loads/dates/{bad}")).body;
    assert!(page.contains("Bad since") && page.contains("n is below its minimum"), "{page}");
    let runs = page.split("id=\"runs\"").nth(1).unwrap();
    assert!(
        runs.contains(&format!("<td>{bad}</td>")) && !runs.contains(&format!("<td>{}</td>", days_ago(2))),
        "{runs}"
    );
    let runs = service.get(&format!("/api/v1/runs?check=loads&date={bad}")).json();
    let runs = runs["runs"].as_array().unwrap();
    assert!(!runs.is_empty() && runs.iter().all(|run| run["data_date"] == json!(bad.to_string())), "{runs:?}");
    for (path, status) in
        [("loads/dates/soon", 404), ("nothing/dates/2026-02-05", 404), ("loads/dates/2026-02-30", 404)]
    {
        assert_eq!(service.get(&format!("/checks/{path}")).status, status, "{path}");
    }
    let check = service.get("/checks/loads").body;
    let dates = check.split("id=\"dates\"").nth(1).unwrap().split("<h2").next().unwrap();
    assert!(dates.contains(&format!("/checks/loads/dates/{bad}\"")) && dates.contains("Acknowledge"), "{dates}");
    assert!(service.get("/checks/present").body.contains("It is well."));
    assert!(service.get("/checks").body.contains("Open alerts"), "the list of checks is still there");
    service.host.end("TERM").unwrap();
}

/// Expected dates without a result are on the board, and counted from the first moment on.
#[test]
fn dates_that_nobody_judged_are_on_the_board() {
    let loads = Loads::judged(2, days_ago(1));
    // As the host starts, before it looks at them.
    let service = loads.serve(&format!("since = '{}'", days_ago(45)));
    let metrics = service.get("/metrics").body;
    assert!(metrics.contains("host_check_dates_open{check=\"loads\"} 1"), "{metrics}");
    let line = metrics.lines().find_map(|line| line.strip_prefix("host_check_dates_unjudged{check=\"loads\"} "));
    assert!(line.unwrap().parse::<u32>().unwrap() > 20, "{metrics}");
    let page = service.get("/?dates=60").body;
    assert!(page.contains("dates are not judged"), "{page}");
    let found = cell(&page, "loads", days_ago(44));
    assert!(found.contains("class=\"unjudged\"") && found.contains("<i>not judged</i>"), "{found}");
    assert!(!page.contains(&format!("/checks/loads/dates/{}", days_ago(46))), "before that nothing is expected");
    // Removed checks are counted no more.
    let without = Loads::toml("").replace("depends_on = ['loads']", "").replace("[checks.loads]", "[checks.others]");
    loads.sample.configure(&format!("{without}\n[web]\nlisten = \"127.0.0.1:0\"\n")).unwrap();
    service
        .wait_until("it is gone", 30, |service| !service.get("/metrics").body.contains("dates_open{check=\"loads\"}"));
    service.host.end("TERM").unwrap();
}

/// Only a person with the token, on this page, changes anything; what they write is text; and twice is as once.
#[test]
fn people_act_on_dates_by_forms() {
    let bad = days_ago(2);
    let loads = Loads::judged(3, bad);
    loads.sample.slack.clear();
    let service = loads.serve("");
    let at = format!("/checks/loads/dates/{bad}");
    let token = format!("Bearer {TOKEN}");
    let own = ("authorization", token.as_str());
    let close = format!("{at}/close");
    assert_eq!(service.get(&close).status, 405, "a link changes nothing");
    assert_eq!(form(&service, &close, "why=x", &[]).status, 401);
    assert_eq!(form(&service, &close, "why=x", &[own, ("sec-fetch-site", "cross-site")]).status, 403);
    assert_eq!(form(&service, &close, "why=x", &[own, ("origin", "http://evil.example")]).status, 403);
    assert_eq!(state(&service, bad)["state"], "bad");

    let tomorrow = days_ago(-1);
    for (path, fields, status, words) in [
        (close.clone(), "why=+", 400, "give a reason"),
        (close.clone(), &format!("why={}", "x".repeat(501)), 400, "501 characters; write at most 500"),
        (format!("{at}/ack"), "why=x&for=soon", 400, "is not a duration"),
        (format!("{at}/ack"), "why=x&for=4000000000d", 400, "that is too long"),
        (format!("{at}/burn"), "why=x", 404, "here is no order `burn`"),
        ("/checks/loads/dates/soon/recheck".to_owned(), "", 400, "is not a date"),
        ("/checks/present/dates/2026-02-05/recheck".to_owned(), "", 400, "is about now"),
        ("/checks/nothing/dates/open/recheck".to_owned(), "", 404, "here is no check `nothing`"),
    ] {
        let answer = form(&service, &path, fields, &[own]);
        assert!(answer.status == status && answer.body.contains(words), "{path} {fields}: {answer:?}");
    }
    let future = form(&service, &format!("/checks/loads/dates/{tomorrow}/recheck"), "", &[own]);
    let refused = match future.status {
        303 => followed(&service, &future),
        _ => future.body,
    };
    assert!(refused.contains("future") || refused.contains("newest date"), "{refused}");

    // `<script>`, a mention of everybody, and a name that the browser was given beside the token.
    let hostile = "why=%3Cscript%3E+%3C%21channel%3E+%26&for=2d";
    let ana = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("ana:{TOKEN}"));
    let basic = format!("Basic {ana}");
    let ana = [("authorization", basic.as_str()), ("sec-fetch-site", "same-origin")];
    for _ in 0..2 {
        let page = followed(&service, &form(&service, &format!("{at}/ack"), hostile, &ana));
        assert!(page.contains("acknowledged by ana (the page)") && page.contains("role=\"status\""), "{page}");
        assert!(page.contains("&lt;script&gt; &lt;!channel&gt; &amp;") && !page.contains("<script>"), "{page}");
    }
    let found = cell(&service.get("/").body, "loads", bad);
    assert!(found.contains("class=\"acked\"") && found.contains("<i>acknowledged</i>"), "{found}");
    assert_eq!(state(&service, bad)["acknowledged"]["who"], "ana (the page)");

    let page = followed(&service, &form(&service, &close, hostile.trim_end_matches("&for=2d"), &ana));
    assert!(page.contains("given up by ana (the page)") && !page.contains("Refused"), "{page}");
    let page = followed(&service, &form(&service, &close, "why=again", &ana));
    assert!(page.contains("Refused: ") && page.contains("is given up, not bad"), "{page}");
    assert_eq!(state(&service, bad)["state"], "given_up");
    assert!(cell(&service.get("/").body, "loads", bad).contains("class=\"given-up\""));
    // The look at the start may have reminded of it.
    let given_up = || {
        let received = loads.sample.slack.received().into_iter();
        received.filter(|(_, message)| words(message).contains("given up")).collect::<Vec<_>>()
    };
    service.wait_until("Slack has it", 20, |_| !given_up().is_empty());
    let received = given_up();
    assert_eq!(received.len(), 1, "{received:?}");
    let sent = received[0].1.to_string();
    assert!(sent.contains("given up by ana (the page)") && !sent.contains("<!channel>"), "{sent}");
    assert!(sent.contains("&lt;!channel&gt;") && words(&received[0].1).contains("given up"), "{sent}");
    let audit = loads.sample.host(&["audit"]).unwrap().out;
    assert!(audit.contains("ana (the page)") && audit.contains("given up: <script>"), "{audit}");
    service.host.end("TERM").unwrap();
}

/// A date is looked at again at once; one that was repaired is good, and was late.
#[test]
fn a_repaired_date_is_looked_at_from_the_page() {
    let bad = days_ago(3);
    let loads = Loads::judged(4, bad);
    let service = loads.serve("");
    let token = format!("Bearer {TOKEN}");
    let api = |path: &str, body: &str| service.ask("POST", path, &[("authorization", &token)], body).unwrap();
    let at = format!("/api/v1/checks/loads/dates/{bad}");
    let acked = api("/api/v1/checks/loads/dates/open/ack", r#"{"why": "it is loaded again", "for": "4h"}"#);
    assert_eq!(acked.status, 200, "{acked:?}");
    assert!(acked.json()["answer"].as_str().unwrap().contains("acknowledged by the API"), "{acked:?}");
    let open = service.get("/api/v1/dates?open=true").json();
    assert_eq!(open["dates"].as_array().unwrap().len(), 1, "{open}");
    assert_eq!(open["dates"][0]["acknowledged"]["why"], "it is loaded again", "{open}");
    let history = loads.sample.host(&["history", "--dates"]).unwrap().out;
    assert!(history.contains(&bad.to_string()) && history.contains("acknowledged by the API until"), "{history}");
    let only = loads.sample.host(&["history", "--dates", "--output", "json"]).unwrap().json();
    assert_eq!((only["dates"].as_array().map(Vec::len), only.get("runs")), (Some(1), None), "{only}");
    let json = loads.sample.host(&["history", "loads", "--output", "json"]).unwrap().json();
    assert_eq!(json["dates"][0]["data_date"], json!(bad.to_string()), "{json}");
    let alerts = loads.sample.host(&["history", "loads"]).unwrap().out;
    let alert = alerts.lines().skip_while(|line| !line.starts_with("ALERT SINCE")).nth(1).unwrap();
    assert!(alert.contains(&bad.to_string()), "{alerts}");

    loads.load(bad);
    let looked = api(&format!("{at}/recheck"), "");
    assert!(looked.status == 200 && looked.body.contains("looked at again now"), "{looked:?}");
    service.wait_until("it is good", 30, |service| state(service, bad)["state"] == "good");
    assert!(state(&service, bad)["late_seconds"].as_i64().unwrap() > 0);
    let page = service.get("/").body;
    assert!(cell(&page, "loads", bad).contains("<i>good, late</i>"), "{page}");
    assert!(page.contains("<h1>No open incidents</h1>"), "{page}");
    assert!(service.get("/metrics").body.contains("host_check_dates_open{check=\"loads\"} 0"));
    let refused = api(&format!("{at}/ack"), r#"{"why": "x"}"#);
    assert!(refused.status == 409 && refused.body.contains("is good, not bad"), "{refused:?}");
    service.host.end("TERM").unwrap();
}

/// A check about now is looked at again too.
#[test]
fn a_check_about_now_is_looked_at_again() {
    let loads = Loads::new();
    loads.sample.configure(&Loads::toml("")).unwrap();
    loads.judge(days_ago(1), "present");
    let service = loads.serve("");
    let page = service.get("/").body;
    let open = page.split("<ul class=\"incidents\">").nth(1).unwrap().split("</ul>").next().unwrap();
    assert!(open.contains("/checks/present/dates/open/recheck"), "{open}");
    loads.load(days_ago(1));
    let token = format!("Bearer {TOKEN}");
    let asked = form(&service, "/checks/present/dates/open/recheck", "", &[("authorization", &token)]);
    assert!(followed(&service, &asked).contains("present: looked at again now"));
    let good = |service: &Service| service.get("/api/v1/dates?check=present").json()["dates"][0]["state"] == "good";
    service.wait_until("it is good", 30, good);
    service.host.end("TERM").unwrap();
}
