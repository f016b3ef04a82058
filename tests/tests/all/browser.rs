//! The page in a real browser: every state it can be in, in both themes and on a phone, by keyboard alone, audited for
//! accessibility, and with hostile text in every field.

use anyhow::Result;
use fantoccini::{Locator, key::Key};
use host_tests::{Fault, HOST_TOML};
use serde_json::Value;

use crate::support::{
    browser::{Browser, LOOKS},
    command::Sample,
    service::{Service, TOKEN, install},
};

/// A host whose page shows everything: each result, a chart, problems of each kind, a question to a gate, a silence.
fn eventful() -> (Sample, Service) {
    let sample = Sample::now(Some(Fault::NullNames)).unwrap();
    install(&sample, &[]).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    let toml = format!(
        "{HOST_TOML}
[checks.warns]
plugin = \"misbehaving\"
settings = {{ behaviour = \"warn\" }}
[checks.skips]
plugin = \"misbehaving\"
settings = {{ behaviour = \"skip\" }}
[checks.traps]
plugin = \"misbehaving\"
settings = {{ behaviour = \"trap\" }}
[checks.absent]
schedule = \"0 0 1 1 *\"
[checks.waits]
plugin = \"misbehaving\"
schedule = \"0 0 1 1 *\"
[grants.misbehaving]
warehouse = [\"nba_raw\"]
slack = [\"#canary-alerts\"]
[delivery]
wait = \"2s\"
"
    )
    .replace("[checks.phase2-gate]", "[checks.phase2-gate]\nexpect_consult = \"0 10 * * *\"")
    .replace("[checks.phase4-precompute]", "[checks.phase4-precompute]\nsettings = { min_players = 0 }");
    sample.configure(&format!("validate_schedule = \"0 5 * * *\"\n{toml}")).unwrap();
    let now = jiff::Timestamp::now();
    // A morning of runs, with one message refused by Slack.
    for half_hours in (1..=6).rev() {
        let at = (now - jiff::SignedDuration::from_mins(30 * half_hours)).to_string();
        if half_hours == 3 {
            sample.sql("nba_raw", "UPDATE nbac_player_boxscore SET team_abbr = NULL WHERE rowid % 3 = 0").unwrap();
            sample.slack.answer(crate::support::slack::Reply::Answer(403, "", "invalid_token"));
        }
        let mut run = vec!["run", "--once", "--at", &at, "plugins"];
        for check in ["phase1-scrapers", "phase2-raw", "phase2-gate", "phase4-precompute", "warns", "skips", "traps"] {
            run.extend(["--check", check]);
        }
        sample.host(&run).unwrap();
        sample.slack.answer(crate::support::slack::OK);
    }
    sample.host(&["silence", "phase2-raw", "--for", "4h", "--why", "it is known"]).unwrap();
    let service = Service::start(&sample, &format!("validate_schedule = \"0 5 * * *\"\n{toml}"), &[]).unwrap();
    service.post("/api/v1/gates/phase2-gate", r#"{"caller": "airflow phase3"}"#);
    // A rejected file.
    let web = "\n[web]\nlisten = \"127.0.0.1:0\"\n";
    sample.configure(&format!("validate_schedule = \"0 5 * * *\"\n{toml}{web}[scheduler]\nrunz = 1\n")).unwrap();
    service.wait_until("all problems are shown", 60, |service| {
        let page = service.get("/").body;
        ["was rejected", "not delivered", "cannot run", "cannot be trusted"].iter().all(|words| page.contains(words))
    });
    (sample, service)
}

const PAGES: [(&str, &str); 12] = [
    ("board", "/?dates=60"),
    ("board-none", "/?name=nothing-like-this"),
    ("date", "/checks/phase2-raw/dates/DATE"),
    ("checks", "/checks"),
    ("bad", "/checks?show=bad"),
    ("none", "/checks?name=nothing-like-this"),
    ("phase2-raw", "/checks/phase2-raw"),
    ("gate", "/checks/phase2-gate"),
    ("consulted", "/checks/phase2-gate.consulted"),
    ("not-run", "/checks/waits"),
    ("gates", "/gates"),
    ("missing", "/checks/nothing"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_readable_and_accessible() {
    let (_sample, service) = tokio::task::spawn_blocking(eventful).await.unwrap();
    let dates = service.get("/api/v1/dates?check=phase2-raw&open=true").json();
    let bad = dates["dates"][0]["data_date"].as_str().unwrap().to_owned();
    for look in LOOKS {
        let browser = Browser::start(look).await.unwrap();
        for (name, path) in PAGES {
            let path = path.replace("DATE", &bad);
            browser.open(&format!("http://{}{path}", service.address)).await.unwrap();
            browser.picture(&format!("{name}-{}", look.name)).await.unwrap();
            let wrong = browser.audit().await.unwrap();
            assert!(wrong.is_empty(), "{path} {}: {wrong:#?}", look.name);
            assert!(browser.overflow().await.unwrap() <= 0, "{path} {}: it is wider than the window", look.name);
            let ground = browser.script("return getComputedStyle(document.body).backgroundColor").await.unwrap();
            assert_eq!(ground == "rgb(255, 255, 255)", !look.dark, "{path} {}: {ground}", look.name);
            assert_eq!(loaded_elsewhere(&browser, &service).await.unwrap(), Vec::<String>::new());
        }
        browser.client.clone().close().await.unwrap();
    }
    service.host.end("TERM").unwrap();
}

/// Requests of a page to other hosts.
async fn loaded_elsewhere(browser: &Browser, service: &Service) -> Result<Vec<String>> {
    let loaded = browser.script("return performance.getEntriesByType('resource').map(entry => entry.name)").await?;
    let loaded: Vec<String> = serde_json::from_value(loaded)?;
    let own = format!("http://{}/", service.address);
    Ok(loaded.into_iter().filter(|url| !url.starts_with(&own)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_can_be_used_by_keyboard_alone() {
    let (_sample, service) = tokio::task::spawn_blocking(eventful).await.unwrap();
    let browser = Browser::start(LOOKS[0]).await.unwrap();
    let press = async |key: Key| {
        let active = browser.client.active_element().await.unwrap();
        active.send_keys(&char::from(key).to_string()).await.unwrap();
    };
    let focused = async || {
        let script =
            "const e = document.activeElement; return (e.textContent || e.name || e.tagName).trim().slice(0, 60)";
        browser.script(script).await.unwrap().as_str().unwrap().to_owned()
    };
    browser.open(&format!("http://{}/", service.address)).await.unwrap();
    press(Key::Tab).await;
    assert_eq!(focused().await, "Skip to the content");
    let shown = browser.script("return document.activeElement.getBoundingClientRect().left >= 0").await.unwrap();
    assert_eq!(shown, Value::from(true), "the focused element is visible");
    press(Key::Enter).await;
    // After the navigation, the next element is in the content.
    press(Key::Tab).await;
    let inside =
        browser.script("return document.querySelector('main').contains(document.activeElement)").await.unwrap();
    assert_eq!(inside, Value::from(true), "{}", focused().await);

    // Everything clickable can be reached, in reading order.
    let all = browser
        .script(
            "return [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex=\"0\"]')]
                .filter(e => e.tabIndex >= 0 && e.type !== 'hidden' && e.checkVisibility()).length",
        )
        .await
        .unwrap();
    browser.open(&format!("http://{}/", service.address)).await.unwrap();
    let mut reached = Vec::new();
    for _ in 0..all.as_u64().unwrap() {
        press(Key::Tab).await;
        reached.push(browser.script("const e = document.activeElement; const r = e.getBoundingClientRect(); return getComputedStyle(e).outlineStyle !== 'none' && r.width > 0").await.unwrap());
    }
    assert!(reached.iter().all(|seen| *seen == true), "the focus is visible everywhere: {reached:?}");

    // Search for a name and open it without a mouse.
    browser.open(&format!("http://{}/checks", service.address)).await.unwrap();
    let search = browser.client.find(Locator::Css("input[type=search]")).await.unwrap();
    search.send_keys("phase2-raw").await.unwrap();
    press(Key::Enter).await;
    let link = browser.client.wait().for_element(Locator::LinkText("phase2-raw")).await.unwrap();
    assert_eq!(browser.client.find_all(Locator::Css("ul.checks > li")).await.unwrap().len(), 1);
    link.send_keys(&char::from(Key::Enter).to_string()).await.unwrap();
    browser.client.wait().for_element(Locator::Css("#runbook")).await.unwrap();
    let summary = browser.client.find(Locator::Css("td details > summary")).await.unwrap();
    summary.send_keys(&char::from(Key::Enter).to_string()).await.unwrap();
    let open = browser.script("return document.querySelector('td details').open").await.unwrap();
    assert_eq!(open, Value::from(true));
    browser.client.clone().close().await.unwrap();
    service.host.end("TERM").unwrap();
}

/// A form uses the token that the browser asked for, and another site cannot submit it.
#[tokio::test(flavor = "multi_thread")]
async fn forms_act_with_the_token_only() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    // Beyond loopback the first page asks for the token, and the browser keeps it.
    let service = Service::start_at(&sample, HOST_TOML, &[], "0.0.0.0:0").unwrap();
    let token = format!("Bearer {TOKEN}");
    let get = |path: &str| service.ask("GET", path, &[("authorization", &token)], "").unwrap();
    let silences = || get("/api/v1/silences").json()["silences"].as_array().unwrap().clone();
    let elsewhere = format!(
        "<form method=post action='http://{}/checks/phase2-raw/silences'><input name=for value=4h><input name=why value=evil></form>",
        service.address
    );
    let other = crate::support::http::serve(move |_| {
        crate::support::http::Reply::With(200, "content-type: text/html\r\n".to_owned(), elsewhere.clone())
    })
    .unwrap();
    let browser = Browser::start(LOOKS[0]).await.unwrap();
    let own = format!("http://any:{TOKEN}@{}", service.address);
    browser.open(&format!("{own}/checks/phase2-raw")).await.unwrap();
    let why = browser.client.wait().for_element(Locator::Css("input[name=why]")).await.unwrap();
    why.send_keys("it is loaded again").await.unwrap();
    browser.client.find(Locator::XPath("//button[text()='Silence']")).await.unwrap().click().await.unwrap();
    let end = Locator::XPath("//button[starts-with(text(), 'End silence')]");
    if browser.client.wait().for_element(end).await.is_err() {
        panic!(
            "no silence: {}: {}",
            browser.client.current_url().await.unwrap(),
            browser.client.source().await.unwrap()
        );
    }
    assert_eq!(silences()[0]["why"], "it is loaded again");
    // The browser now has the token, and would send it for the other site too.
    browser.open(&other.url()).await.unwrap();
    browser.script("document.forms[0].submit()").await.unwrap();
    service.wait_until("it was refused", 10, |_| {
        get("/metrics").body.contains("route=\"/checks/{name}/silences\",code=\"403\"")
    });
    // The answer has replaced the other page: it comes over nothing that is opened after it.
    let refused = format!("http://{}/checks/phase2-raw/silences", service.address).parse().unwrap();
    browser.client.wait().for_url(&refused).await.unwrap();
    assert_eq!(silences().len(), 1);
    browser.open(&format!("{own}/checks/phase2-raw")).await.unwrap();
    browser.client.wait().for_element(end).await.unwrap().click().await.unwrap();
    service.wait_until("it is over", 10, |_| silences().is_empty());
    browser.client.clone().close().await.unwrap();
    service.host.end("TERM").unwrap();
}

/// Everything that a plugin, its data, host.toml or a caller writes is shown as text.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_is_text() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    let hostile = "<script>document.title='owned'</script>";
    sample
        .sql(
            "nba_raw",
            &format!("CREATE TABLE names (name TEXT); INSERT INTO names VALUES ('{}')", hostile.replace('\'', "''")),
        )
        .unwrap();
    // Names cannot be hostile: host.toml with such a name is refused.
    let name = "\"a.b-c_d\"";
    let toml = format!(
        "timezone = \"America/New_York\"\n[slack]\ndeliver = \"webhook\"\n[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n\
         [checks.{name}]\nplugin = \"misbehaving\"\nsettings = {{ behaviour = \"say hostile things\", sql = \"SELECT name FROM nba_raw.names\" }}\n\
         [grants.misbehaving]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\n"
    );
    sample.configure(&toml).unwrap();
    sample.slack.answer(crate::support::slack::Reply::Answer(403, "", hostile));
    let ended = sample.host(&["run", "--once", "plugins"]).unwrap();
    assert!(ended.code >= 2, "{ended:?}");
    let check = name.trim_matches('"');
    sample.host(&["silence", check, "--for", "4h", "--why", hostile]).unwrap();
    let service = Service::start(&sample, &toml, &[]).unwrap();
    let encoded: String = check.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let asked =
        service.post(&format!("/api/v1/gates/{encoded}"), &serde_json::json!({ "caller": hostile }).to_string());
    assert_eq!(asked.json()["status"], "FAIL", "{asked:?}");
    let browser = Browser::start(LOOKS[0]).await.unwrap();
    browser.open(&format!("http://{}/checks", service.address)).await.unwrap();
    let link = browser.client.find(Locator::Css("ul.checks h2 a")).await.unwrap();
    assert_eq!(link.text().await.unwrap(), check);
    link.click().await.unwrap();
    browser.client.wait().for_element(Locator::Css("#runbook")).await.unwrap();
    browser.picture("hostile").await.unwrap();
    let pages = [
        "/".to_owned(),
        "/checks".to_owned(),
        format!("/checks/{encoded}"),
        "/gates".to_owned(),
        format!("/?name={encoded}"),
        format!("/checks?name={encoded}"),
        format!("/{encoded}"),
    ];
    for path in pages {
        browser.open(&format!("http://{}{path}", service.address)).await.unwrap();
        let title = browser.client.title().await.unwrap();
        assert!(!title.starts_with("owned"), "{path}");
        let markup = browser
            .script("return document.querySelectorAll('main script, main img, main b b, [onerror]').length")
            .await
            .unwrap();
        assert_eq!(markup, Value::from(0), "{path}");
        let links = browser
            .script("return [...document.querySelectorAll('a')].filter(a => a.protocol === 'javascript:').length + (/[\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]/.test(document.body.textContent) ? 1 : 0)")
            .await
            .unwrap();
        assert_eq!(links, Value::from(0), "{path}");
        assert_eq!(loaded_elsewhere(&browser, &service).await.unwrap(), Vec::<String>::new(), "{path}");
        let wrong = browser.audit().await.unwrap();
        assert!(wrong.is_empty(), "{path}: {wrong:#?}");
    }
    let badge = service.get(&format!("/api/v1/checks/{encoded}/badge.svg")).body;
    assert!(badge.contains(&format!(">{check}<")), "{badge}");
    browser.client.clone().close().await.unwrap();
    service.host.end("TERM").unwrap();
}
