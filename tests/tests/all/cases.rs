//! `host test`: the shipped plugins on their cases, what a case that fails looks like, and a thousand generated ones.

use std::{fs, path::PathBuf, process::Command};

use crate::support::{
    command::{Ended, binary, ended, repository, shipped},
    sized,
};

/// Runs `host test` outside any pipeline.
fn host_test(directory: &std::path::Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(binary("host"));
    command.env_clear().env("HOME", directory).env("XDG_CACHE_HOME", binary("").join("test-cache"));
    ended(command.current_dir(directory).arg("test").args(arguments)).unwrap()
}

fn plugin(name: &str) -> String {
    let found = shipped().unwrap().into_iter().find(|path| path.file_stem().is_some_and(|stem| stem == name));
    found.unwrap().display().to_string()
}

#[test]
fn every_shipped_plugin_passes_its_cases() {
    let directory = tempfile::tempdir().unwrap();
    for plugin in shipped().unwrap() {
        let ended = host_test(directory.path(), &[plugin.to_str().unwrap()]);
        assert_eq!(ended.code, 0, "{}: {ended:?}", plugin.display());
    }
}

/// Each canary has cases that pass and cases that fail.
#[test]
fn cases_go_both_ways() {
    for plugin in shipped().unwrap() {
        let name = plugin.file_stem().unwrap().to_str().unwrap();
        let cases = fs::read_dir(repository().join("plugins").join(name).join("cases")).unwrap();
        let texts: Vec<String> = cases
            .map(|case| case.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        for verdict in ["pass", "fail", "error"] {
            let with = texts.iter().any(|text| text.contains(&format!("\nverdict = \"{verdict}\"")));
            assert!(with, "{name} has no case that ends in {verdict}");
        }
    }
}

const CASE: &str = r#"date = 2026-02-05
[settings]
min_games = 1
min_player_records = 2
[tables."nba_raw.nbac_player_boxscore"]
rows = [{ game_date = 2026-02-05, game_id = "1", player_name = "Ann", team_abbr = "BOS" }]
"#;

#[test]
fn a_case_that_fails_shows_what_differs_and_can_be_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let phase2 = plugin("phase2-raw");
    fs::create_dir(directory.path().join("cases")).unwrap();
    let case = directory.path().join("cases").join("one-record.toml");
    let expected = "\n[expect]\nverdict = \"pass\" # as ever\n\n[expect.metrics]\ngames = 2\n";
    fs::write(&case, format!("# A remark.\n{CASE}{expected}")).unwrap();

    let failed = host_test(directory.path(), &[&phase2]);
    assert_eq!(failed.code, 1, "{failed:?}");
    for line in ["- verdict = \"pass\"", "+ verdict = \"fail\"", "- games = 2", "+ games = 1", "1 not as expected"] {
        assert!(failed.out.contains(line), "{line}: {}", failed.out);
    }
    assert!(
        !failed.out.contains("null_player_names"),
        "values without an expectation are not compared: {}",
        failed.out
    );

    let junit = host_test(directory.path(), &[&phase2, "--output", "junit"]);
    assert!(junit.out.contains("failures=\"1\" errors=\"0\""), "{}", junit.out);
    assert!(junit.out.contains("<failure message=\"not as expected\">"), "{}", junit.out);

    let updated = host_test(directory.path(), &[&phase2, "--update"]);
    assert_eq!((updated.code, updated.out.contains("1 updated")), (0, true), "{updated:?}");
    let accepted = "\n[expect]\nverdict = \"fail\"\n\n[expect.metrics]\ngames = 1\n";
    assert_eq!(fs::read_to_string(&case).unwrap(), format!("# A remark.\n{CASE}{accepted}"));
    let json = host_test(directory.path(), &[&phase2, "cases/one-record.toml", "--output", "json"]);
    assert_eq!((json.code, &json.json()[0]["as_expected"]), (0, &true.into()), "{json:?}");
}

#[test]
fn a_case_that_cannot_be_used_says_why_and_stops_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let phase2 = plugin("phase2-raw");
    let bad = [
        ("misspelt", "date = 2026-02-05\nexpct = 1", "unknown field `expct`"),
        ("no-date", "[expect]", "missing field `date`"),
        ("setting", "date = 2026-02-05\n[settings]\nmin_game = 1", "did you mean `min_games`"),
        ("date", "date = 10:00:00", "write a date like 2026-02-05"),
        ("due", "date = 2026-02-05\ndue = 2026-02-06", "write a time like"),
        ("column", "date = 2026-02-05\n[tables.\"a.b\"]\ncolumns = { x = \"TEXT\" }", "`TEXT` is not a type"),
        ("table", "date = 2026-02-05\n[tables.ab]\nrows = [{ x = 1 }]", "write the table as dataset.table"),
        ("escape", "date = 2026-02-05\n[tables.\"../a.b\"]\nrows = [{ x = 1 }]", "write the table as dataset.table"),
        (
            "commit",
            "date = 2026-02-05\n[[deployments]]\nservice = \"a\"\ncommit = \"x\"\ndeployed = 2026-02-05T10:00:00Z",
            "this case has no commit named x",
        ),
        ("path", "date = 2026-02-05\n[[commits]]\ntime = 2026-02-05T10:00:00Z\npaths = [\"../x\"]", "commits[0].paths"),
    ];
    for (name, text, _) in &bad {
        fs::write(directory.path().join(format!("{name}.toml")), text).unwrap();
    }
    fs::write(directory.path().join("good.toml"), format!("{CASE}[expect]\nverdict = \"fail\"\n")).unwrap();
    let ended = host_test(directory.path(), &[&phase2, ".", "--output", "json"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let cases = ended.json();
    let problem = |name: &str| {
        let case = cases.as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
        case["problem"].as_str().map(str::to_owned)
    };
    for (name, _, complaint) in bad {
        let problem = problem(name).unwrap_or_default();
        assert!(problem.contains(complaint), "{name}: {problem}");
    }
    assert_eq!(problem("good"), None);

    for (arguments, complaint) in [
        (vec![phase2.as_str()], "no cases found in cases"),
        (vec![phase2.as_str(), "nowhere.toml"], "nowhere.toml"),
        (vec!["nowhere.wasm", "good.toml"], "nowhere.wasm"),
    ] {
        let empty = tempfile::tempdir().unwrap();
        let moved = tempfile::tempdir().unwrap();
        // Beside the shipped file there are cases; beside a copy there are none.
        let copy = moved.path().join("copy.wasm");
        fs::copy(&phase2, &copy).unwrap();
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|argument| if *argument == phase2 { copy.to_str().unwrap() } else { argument })
            .collect();
        let ended = host_test(empty.path(), &arguments);
        assert_ne!(ended.code, 0);
        assert!(format!("{}{}", ended.out, ended.err).contains(complaint), "{complaint}: {ended:?}");
    }
}

/// Rows of a small table, by columns.
#[derive(Clone)]
struct Row {
    days_back: i64,
    id: i64,
    name: Option<&'static str>,
    amount: Option<i64>,
    hours_old: i64,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// The settings of a case, and the expected result, computed here without SQL.
#[derive(Default)]
struct Asked {
    settings: String,
    metrics: Vec<(String, Option<f64>)>,
    broken: bool,
    warned: bool,
    unknown: bool,
    /// The days back of the dates that were good, the newest first.
    good: Vec<i64>,
}

impl Asked {
    /// A number with limits of its own.
    fn limits(&mut self, dice: &mut fastrand::Rng, key: &str, name: &str, value: Option<f64>) {
        let mut limits = Vec::new();
        let mut broken = false;
        // Limits that contradict each other are refused.
        let mut places = [(); 4].map(|()| dice.i64(-1..12) as f64);
        places.sort_by(f64::total_cmp);
        let [min, warn_min, warn_max, max] = places;
        for (limit, breaks, at, warn_at) in [
            ("min", (|value, at| value < at) as fn(f64, f64) -> bool, min, warn_min),
            ("max", |value, at| value > at, max, warn_max),
        ] {
            if dice.u8(0..3) > 0 {
                limits.push(format!("{limit} = {at}"));
                broken |= value.is_none_or(|value| breaks(value, at));
                // A warning at the same number never shows, and is refused.
                if dice.bool() && warn_at != at {
                    limits.push(format!("warn_{limit} = {warn_at}"));
                    self.warned |= value.is_some_and(|value| breaks(value, warn_at));
                }
            }
        }
        if limits.is_empty() {
            limits.push("min = 0".to_owned());
            broken |= value.is_none_or(|value| value < 0.0);
        }
        self.broken |= broken;
        self.metrics.push((name.to_owned(), value));
        self.settings += &format!("{key} = {{ {} }}\n", limits.join(", "));
    }

    /// A count that must be 0.
    fn none(&mut self, setting: String, name: &str, count: usize) {
        self.settings += &setting;
        self.broken |= count > 0;
        self.metrics.push((name.to_owned(), Some(count as f64)));
    }
}

fn asked(dice: &mut fastrand::Rng, rows: &[Row], parents: &[&str]) -> Asked {
    let good = (1..22).filter(|back| dice.u8(0..if back % 7 == 0 { 4 } else { 2 }) > 0).collect();
    let mut asked = Asked { good, ..Asked::default() };
    let of = |back: i64| rows.iter().filter(move |row| row.days_back == back);
    let today: Vec<&Row> = of(0).collect();
    asked.settings += "table = \"d.t\"\nwhere = \"day = @date\"\n";
    asked.limits(dice, "row_count", "row_count", Some(today.len() as f64));
    if dice.bool() {
        let newest = today.iter().map(|row| row.hours_old).min();
        let most = dice.i64(2..30);
        let warn = dice.i64(1..most);
        asked.settings += &format!("freshness = {{ column = \"written\", max_hours = {most}, warn_hours = {warn} }}\n");
        asked.broken |= newest.is_none_or(|hours| hours > most);
        asked.warned |= newest.is_some_and(|hours| hours > warn);
        asked.metrics.push(("freshness".to_owned(), newest.map(|hours| hours as f64)));
    }
    if dice.bool() {
        let nulls = today.iter().filter(|row| row.name.is_none()).count();
        let share = (!today.is_empty()).then(|| 100.0 * nulls as f64 / today.len() as f64);
        let most = dice.i64(0..100);
        asked.settings += &format!("null_percent = {{ name = {most} }}\n");
        asked.broken |= share.is_none_or(|share| share > most as f64);
        asked.metrics.push(("null_percent_name".to_owned(), share));
    }
    if dice.bool() {
        let (key, name, both) = if dice.bool() { ("id", "id", false) } else { ("id, name", "id_name", true) };
        let mut keys: Vec<(i64, Option<&str>)> = today
            .iter()
            .filter(|row| !both || row.name.is_some())
            .map(|row| (row.id, row.name.filter(|_| both)))
            .collect();
        keys.sort_unstable();
        let mut twice: Vec<_> = keys.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        twice.dedup();
        asked.none(format!("unique = [\"{key}\"]\n"), &format!("duplicates_{name}"), twice.len());
    }
    if dice.bool() {
        let accepted: Vec<&str> = NAMES.into_iter().filter(|name| *name == "a" || dice.u8(0..4) > 0).collect();
        let others = today.iter().filter(|row| row.name.is_some_and(|name| !accepted.contains(&name))).count();
        asked.none(format!("accepted_values = {{ name = {accepted:?} }}\n"), "unaccepted_name", others);
    }
    if dice.bool() {
        let orphans = today.iter().filter(|row| row.name.is_some_and(|name| !parents.contains(&name))).count();
        asked.none("references = { name = \"d.p.name\" }\n".to_owned(), "orphans_name", orphans);
    }
    if dice.bool() {
        let kind = if dice.bool() { "INT64" } else { "STRING" };
        asked.none(format!("schema = {{ id = \"{kind}\" }}\n"), "schema_differences", usize::from(kind == "STRING"));
    }
    if dice.bool() {
        let sum = |back: i64| {
            let amounts: Vec<i64> = of(back).filter_map(|row| row.amount).collect();
            (!amounts.is_empty()).then(|| amounts.iter().sum::<i64>() as f64)
        };
        asked.settings +=
            "sql = \"SELECT SUM(amount) AS amount, COUNT(DISTINCT name) AS names FROM d.t WHERE day = @date\"\n";
        let mut names: Vec<&str> = today.iter().filter_map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        asked.limits(dice, "thresholds.names", "names", Some(names.len() as f64));
        let (drop, rise) = (dice.i64(0..100), dice.i64(0..300));
        let (word, count, apart) = if dice.bool() { ("days", 3usize, 1) } else { ("weeks", 2, 7) };
        asked.settings += &format!(
            "thresholds.amount.change = {{ {word} = {count}, max_drop_percent = {drop}, max_rise_percent = {rise} }}\n"
        );
        asked.metrics.push(("amount".to_owned(), sum(0)));
        let dates = asked.good.iter().copied().filter(|back| back % apart == 0).take(count).collect::<Vec<_>>();
        let (least, learning) = (count.div_ceil(2), dates.len() < count.div_ceil(2));
        // The oldest dates do not count without data, unless there is none at all.
        let nothing = |back: &i64| sum(*back).unwrap_or(0.0) == 0.0 && of(*back).all(|row| row.name.is_none());
        let mut dates = dates;
        if !dates.iter().all(nothing) {
            while dates.last().is_some_and(nothing) {
                dates.pop();
            }
        }
        let mut before: Vec<f64> = dates.into_iter().filter_map(sum).collect();
        before.sort_by(f64::total_cmp);
        let median = match before.len() {
            few if few < least => None,
            odd if odd % 2 == 1 => Some(before[odd / 2]),
            even => Some((before[even / 2 - 1] + before[even / 2]) / 2.0),
        };
        match (sum(0), median) {
            (None, _) => {
                asked.broken = true;
                asked.metrics.push(("amount_change".to_owned(), None));
            }
            // The number of rows has limits of its own.
            (Some(_), _) if learning => asked.metrics.push(("amount_change".to_owned(), None)),
            (Some(_), None) => asked.unknown = true,
            (Some(_), Some(0.0)) => asked.unknown = true,
            (Some(now), Some(median)) if now == median => asked.metrics.push(("amount_change".to_owned(), Some(0.0))),
            (Some(now), Some(median)) => {
                let change = 100.0 * (now - median) / median.abs();
                asked.broken |= change < -(drop as f64) || change > rise as f64;
                asked.metrics.push(("amount_change".to_owned(), Some(change)));
            }
        }
    }
    asked
}

/// Of one case: its text, and whether it fails, warns, passes or is an error.
fn generated(dice: &mut fastrand::Rng) -> (String, &'static str) {
    let rows: Vec<Row> = (0..dice.usize(0..25))
        .map(|_| Row {
            days_back: *dice.choice(&[0, 0, 0, 1, 2, 7, 14]).unwrap(),
            id: dice.i64(1..12),
            name: dice.choice(&[Some("a"), Some("b"), Some("c"), Some("d"), None]).copied().unwrap(),
            amount: (dice.u8(0..5) > 0).then(|| dice.i64(0..6)),
            hours_old: dice.i64(1..40),
        })
        .collect();
    let parents: Vec<&str> = NAMES.into_iter().filter(|_| dice.u8(0..5) > 0).collect();
    let asked = asked(dice, &rows, &parents);
    let severity = if dice.u8(0..4) == 0 { "warning" } else { "critical" };
    let verdict = match (asked.broken, asked.warned, severity) {
        (true, _, "critical") => "fail",
        _ if asked.unknown => "error",
        (false, false, _) => "pass",
        _ => "warn",
    };
    let day: jiff::civil::Date = "2026-03-10".parse().unwrap();
    let due: jiff::Timestamp = "2026-03-11T12:00:00Z".parse().unwrap();
    let csv: String = rows
        .iter()
        .map(|row| {
            let day = day.checked_sub(jiff::Span::new().days(row.days_back)).unwrap();
            let written = due.checked_sub(jiff::Span::new().hours(row.hours_old)).unwrap();
            let amount = row.amount.map(|amount| amount.to_string()).unwrap_or_default();
            format!("{day},{},{},{amount},{written}\n", row.id, row.name.unwrap_or_default())
        })
        .collect();
    let parents: String = parents.iter().map(|name| format!("{name}\n")).collect();
    let metrics: String = asked
        .metrics
        .iter()
        .map(|(name, value)| match value {
            Some(value) => format!("{name} = {value:?}\n"),
            None => format!("{name} = \"none\"\n"),
        })
        .collect();
    let good = asked.good.iter().map(|back| day.checked_sub(jiff::Span::new().days(*back)).unwrap().to_string());
    let good = good.collect::<Vec<_>>().join(", ");
    // Hand-written cases check the text of unknown items.
    let error = if asked.unknown { "error = \"unknown: amount_change\"\n" } else { "" };
    let text = format!(
        "date = {day}\ndue = {due}\ngood_dates = [{good}]\n[settings]\nseverity = \"{severity}\"\n{}[tables.\"d.t\"]\ncsv = \"\"\"\nday:DATE,id:INT64,name:STRING,amount:INT64,written:TIMESTAMP\n{csv}\"\"\"\n[tables.\"d.p\"]\ncsv = \"\"\"\nname:STRING\n{parents}\"\"\"\n[expect]\nverdict = \"{verdict}\"\n{error}[expect.metrics]\n{metrics}",
        asked.settings
    );
    (text, verdict)
}

#[test]
fn conditions_come_out_as_they_are_computed_here() {
    let all = sized(1000, 250);
    let directory = tempfile::tempdir().unwrap();
    let seed = 20_260_205;
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut verdicts = Vec::new();
    for at in 0..all {
        let (text, verdict) = generated(&mut dice);
        verdicts.push(verdict);
        fs::write(directory.path().join(format!("{at:04}.toml")), text).unwrap();
    }
    for verdict in ["pass", "warn", "fail", "error"] {
        let count = verdicts.iter().filter(|one| **one == verdict).count();
        assert!(count > all / 50, "{count} cases that end in {verdict} are too few to tell");
    }
    let ended = host_test(directory.path(), &[&plugin("canary-sql"), ".", "--output", "json"]);
    let cases = ended.json();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), all);
    let wrong: Vec<String> = cases
        .iter()
        .filter(|case| case["as_expected"] != true)
        .map(|case| {
            let path = directory.path().join(PathBuf::from(case["path"].as_str().unwrap()));
            format!("{}\n{}", fs::read_to_string(path).unwrap(), case["problem"].as_str().unwrap_or_default())
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {all} with seed {seed}; the first:\n{}", wrong.len(), wrong[0]);
}

/// A case comes with a plugin, so it reads only what comes with it.
#[test]
fn a_case_reads_only_files_below_it() {
    let directory = tempfile::tempdir().unwrap();
    let phase2 = plugin("phase2-raw");
    let cases = directory.path().join("plugin/cases");
    fs::create_dir_all(cases.join("data")).unwrap();
    let secret = directory.path().join("s.txt");
    let rows = "game_date,game_id,player_name,team_abbr\n2026-02-05,1,Ann,BOS\n";
    for file in [&secret, &cases.join("data/rows.csv")] {
        fs::write(file, rows).unwrap();
    }
    std::os::unix::fs::symlink(&secret, cases.join("link.csv")).unwrap();
    let tried = |csv: &str| {
        let table = format!("[tables.\"nba_raw.nbac_player_boxscore\"]\ncsv = \"{csv}\"\n");
        let rest = "[expect]\nverdict = \"fail\"\n";
        fs::write(cases.join("one.toml"), format!("date = 2026-02-05\n{table}{rest}")).unwrap();
        host_test(directory.path(), &[&phase2, cases.to_str().unwrap()])
    };
    let below = tried("data/rows.csv");
    assert_eq!(below.code, 0, "{below:?}");
    for outside in ["../../s.txt", secret.to_str().unwrap(), "link.csv", "data/../../../s.txt"] {
        let refused = tried(outside);
        assert_eq!(refused.code, 1, "{outside}: {refused:?}");
        let said = format!("csv: {outside} is outside the directory of the case");
        assert!(refused.out.contains(&said), "{outside}: {}", refused.out);
    }
    assert_eq!(tried("data").code, 1, "a directory");
    // What an editor leaves beside cases is not a case.
    tried("data/rows.csv");
    fs::write(cases.join(".#one.toml"), "no case").unwrap();
    assert_eq!(host_test(directory.path(), &[&phase2, cases.to_str().unwrap()]).code, 0);
}
