//! The contract is kept: what was released is still there, of the same type, and a plugin that was built against it runs.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use host_tests::HOST_TOML;
use serde_json::{Value, json};
use wit_parser::{Function, Resolve, Type, TypeDefKind, TypeId};

use crate::support::{
    AT,
    command::{Sample, binary, ended, guest, repository},
};

/// The released versions of the contract.
const RELEASED: [&str; 3] = ["v0.1.0", "v0.1.1", "v0.1.2"];

#[test]
fn a_plugin_of_the_released_contract_runs_on_this_host() {
    let case = r#"date = 2026-02-05
[tables."d.t"]
rows = [{ day = 2026-02-05 }, { day = 2026-02-05 }]
[[commits]]
name = "first"
time = 2026-02-01T10:00:00Z
paths = ["a"]
[[deployments]]
service = "service"
deployed = 2026-02-02T10:00:00Z
[expect]
verdict = "pass"
summary = "2 rows, 1 tables, latest first, 1 changes, missing b, revision service-00001"
alert = "info to #canary-alerts: Frozen\nStill here"
"#;
    runs("frozen", case);
}

#[test]
fn a_plugin_of_the_release_that_added_types_to_parameters_runs_on_this_host() {
    let case = r#"date = 2026-02-05
[tables."d.t"]
rows = [{ day = 2026-02-05 }, { day = 2026-02-04 }]
[expect]
verdict = "pass"
summary = "1 rows; query refused: parameter @day is DATE, but its value is STRING"
"#;
    runs("frozen-0-1-1", case);
}

#[test]
fn a_plugin_of_the_release_that_added_evidence_runs_on_this_host() {
    let case = r#"date = 2026-02-05
due = 2026-02-08T12:00:00Z
deadline = 2026-02-06T12:00:00Z
good_dates = [2026-02-01, 2026-02-04, 2026-02-06, 2026-02-02]
[expect]
verdict = "warn"
summary = "2880 min after the deadline; good: 2026-02-04 2026-02-02; add refused: columns: 2, but values in a row: 1"
"#;
    runs("frozen-0-1-2", case);
}

/// A date has one deadline, however late it is asked about; what passed or warned before is good. No grant is needed.
#[test]
fn a_plugin_is_told_the_deadline_of_its_date_and_the_dates_that_were_good() {
    let sample = Sample::new(None).unwrap();
    let check = |name: &str| format!("[checks.{name}]\nplugin = \"frozen-0-1-2\"\nchannel = \"#canary-alerts\"\n");
    let checks = format!("{}{}dates = \"now\"\n", check("dated"), check("present"));
    // These dates do not get too old for this test.
    let toml = HOST_TOML.replace("keep = \"90d\"", "keep = \"40000d\"");
    sample.configure(&format!("{toml}\n{checks}")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = sample.command();
        command.args(["run", "--once", "--output", "json", "--check", "dated", "--check", "present"]);
        let ended = ended(command.args(arguments).arg(guest("frozen-0-1-2"))).unwrap();
        let summary = |check: &str| ended.run(check)["summary"].as_str().unwrap_or_default().to_owned();
        let [dated, present] = ["dated", "present"]
            .map(|check| summary(check).replace("; add refused: columns: 2, but values in a row: 1", ""));
        let evidence = json!([{ "metric": "twice", "columns": ["id", "day"], "rows": [[7, ended.run("dated")["data_date"]]], "total": 2 }]);
        assert_eq!(ended.run("dated")["evidence"], evidence);
        (dated, present)
    };
    assert_eq!(run(&["--date", "2026-02-03", "--at", "2026-02-04T05:00:00Z"]).0, "0 min after the deadline; good: ");
    assert_eq!(
        run(&["--date", "2026-02-04", "--at", "2026-02-05T05:00:00Z"]).0,
        "0 min after the deadline; good: 2026-02-03"
    );
    // The date ends at 05:00 UTC, and the check is due every hour.
    let good = "good: 2026-02-04 2026-02-03";
    let (dated, present) = run(&["--at", AT]);
    assert_eq!(dated, format!("390 min after the deadline; {good}"));
    assert_eq!(present, "0 min after the deadline; good: ", "it has no dates");
    let (dated, present) = run(&["--date", "2026-02-05", "--at", "2026-02-08T12:00:00Z"]);
    assert_eq!(dated, format!("3300 min after the deadline; {good}"));
    assert_eq!(present, "0 min after the deadline; good: ", "it has no dates");
}

/// Each check of the file, with what it is about, or why it cannot run.
fn planned(checks: &str) -> BTreeMap<String, (Value, String)> {
    let sample = Sample::new(None).unwrap();
    sample.configure(&format!("{HOST_TOML}\n{checks}")).unwrap();
    let mut command = sample.command();
    command.args(["plan", "--output", "json"]);
    let ended = ended(command.args([guest("frozen-0-1-1"), guest("frozen-0-1-2")])).unwrap().json();
    let planned = ended["checks"].as_array().unwrap().iter();
    let entry = |check: &Value| {
        let wrong = check["wrong"].as_str().unwrap_or_default().to_owned();
        (check["check"].as_str().unwrap().to_owned(), (check["dates"].clone(), wrong))
    };
    planned.map(entry).collect()
}

/// A plugin says it in an export that it may leave out; host.toml has the last word.
#[test]
fn a_check_is_about_a_date_or_about_now() {
    let found = planned(
        r##"[grants.frozen-0-1-1]
slack = ["#canary-alerts"]
[grants.frozen-0-1-2]
slack = ["#canary-alerts"]
[checks.older]
plugin = "frozen-0-1-1"
[checks.older-now]
plugin = "frozen-0-1-1"
dates = "now"
[checks.silent]
plugin = "frozen-0-1-2"
[checks.present]
plugin = "frozen-0-1-2"
settings = { about = "now" }
[checks.overruled]
plugin = "frozen-0-1-2"
dates = "dated"
settings = { about = "now" }
[checks.not-asked]
plugin = "frozen-0-1-2"
dates = "now"
settings = { about = "trap" }
"##,
    );
    for (check, dates) in [
        ("older", "dated"),
        ("older-now", "now"),
        ("silent", "dated"),
        ("present", "now"),
        ("overruled", "dated"),
        ("not-asked", "now"),
    ] {
        assert_eq!(found[check], (dates.into(), String::new()), "{check}");
    }
}

/// Its plugin's refusal, trap or endless work makes one check unable to run, and no other.
#[test]
fn a_plugin_that_cannot_say_what_a_check_is_about_stops_that_check_only() {
    let mut toml = "[grants.frozen-0-1-2]\nslack = [\"#canary-alerts\"]\n".to_owned();
    for about in ["refuse", "trap", "spin", "call", "fine"] {
        toml += &format!("[checks.{about}]\nplugin = \"frozen-0-1-2\"\nsettings = {{ about = \"{about}\" }}\n");
    }
    let found = planned(&toml);
    let advice = |check: &str| {
        format!("; mend the plugin, or add `dates = \"dated\"` or `\"now\"` to [checks.{check}] in host.toml")
    };
    assert_eq!(found["fine"], ("dated".into(), String::new()));
    assert_eq!(found["refuse"].1, "host.toml: checks.refuse.settings: about is neither now nor a date");
    for (check, why) in [
        ("trap", "its plugin's `kind` failed: panicked at "),
        ("spin", "its plugin's `kind` computed for more than 1 s"),
        ("call", "its plugin's `kind` trapped: host calls are not allowed in `describe` and `kind`"),
    ] {
        let (dates, wrong) = &found[check];
        // On a busy machine its time may be over before a second of computing is.
        let is_so =
            wrong.starts_with(why) || check == "spin" && wrong.starts_with("its plugin's `kind` timed out after 5 s");
        assert!(dates.is_null() && is_so && wrong.ends_with(&advice(check)), "{wrong}");
    }
}

/// Runs a case of a guest, which must be as expected.
fn runs(name: &str, case: &str) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("case.toml"), case).unwrap();
    let mut host = Command::new(binary("host"));
    host.env("XDG_CACHE_HOME", binary("").join("test-cache")).current_dir(directory.path());
    let ended = ended(host.arg("test").arg(guest(name)).arg("case.toml")).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// All items of a contract: functions and types by name, each in full. The release within a version does not count.
fn items(directory: &Path) -> BTreeMap<String, String> {
    let mut resolve = Resolve::default();
    resolve.push_path(directory).unwrap();
    let mut items = BTreeMap::new();
    for (_, interface) in &resolve.interfaces {
        let name = interface.name.clone().unwrap_or_default();
        for (function, found) in &interface.functions {
            items.insert(format!("{name}.{function}"), signature(&resolve, found));
        }
        for (kind, id) in &interface.types {
            items.insert(format!("{name}.{kind}"), definition(&resolve, *id));
        }
    }
    for (_, world) in &resolve.worlds {
        let keys = |items: Vec<String>| items.join(", ");
        let named = |key| resolve.name_world_key(key).split('@').next().unwrap_or_default().to_owned();
        let imports = keys(world.imports.keys().map(named).collect());
        let exports = keys(world.exports.keys().map(named).collect());
        items.insert(format!("world {}: imports", world.name), imports);
        items.insert(format!("world {}: exports", world.name), exports);
    }
    items
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let parameters: Vec<String> = function
        .params
        .iter()
        .map(|parameter| format!("{}: {}", parameter.name, shown(resolve, &parameter.ty)))
        .collect();
    let result = function.result.as_ref().map(|result| shown(resolve, result)).unwrap_or_default();
    format!("{:?} ({}) -> {result}", function.kind, parameters.join(", "))
}

fn shown(resolve: &Resolve, kind: &Type) -> String {
    match kind {
        Type::Id(id) => match &resolve.types[*id].name {
            Some(name) => name.clone(),
            None => definition(resolve, *id),
        },
        plain => format!("{plain:?}"),
    }
}

fn definition(resolve: &Resolve, id: TypeId) -> String {
    let of = |kind: &Type| shown(resolve, kind);
    let maybe = |kind: &Option<Type>| kind.as_ref().map(of).unwrap_or_default();
    match &resolve.types[id].kind {
        TypeDefKind::Record(record) => {
            let fields: Vec<String> =
                record.fields.iter().map(|field| format!("{}: {}", field.name, of(&field.ty))).collect();
            format!("record {{ {} }}", fields.join(", "))
        }
        TypeDefKind::Variant(variant) => {
            let cases: Vec<String> =
                variant.cases.iter().map(|case| format!("{}({})", case.name, maybe(&case.ty))).collect();
            format!("variant {{ {} }}", cases.join(", "))
        }
        TypeDefKind::Enum(kind) => {
            let cases: Vec<&str> = kind.cases.iter().map(|case| case.name.as_str()).collect();
            format!("enum {{ {} }}", cases.join(", "))
        }
        TypeDefKind::Option(kind) => format!("option<{}>", of(kind)),
        TypeDefKind::List(kind) => format!("list<{}>", of(kind)),
        TypeDefKind::Tuple(tuple) => format!("tuple<{}>", tuple.types.iter().map(of).collect::<Vec<_>>().join(", ")),
        TypeDefKind::Result(result) => format!("result<{}, {}>", maybe(&result.ok), maybe(&result.err)),
        TypeDefKind::Type(kind) => of(kind),
        other => format!("{other:?}"),
    }
}

/// Items that the current contract lacks or has changed. New functions of imported interfaces are allowed.
fn broken(released: &BTreeMap<String, String>, current: &BTreeMap<String, String>) -> Vec<String> {
    let lost = released.iter().filter_map(|(name, was)| match current.get(name) {
        Some(is) if is == was => None,
        // More may be imported.
        Some(is)
            if name.ends_with(": imports") && was.split(", ").all(|import| is.split(", ").any(|one| one == import)) =>
        {
            None
        }
        Some(is) => Some(format!("{name}: was {was}, is {is}")),
        None => Some(format!("{name}: is gone")),
    });
    // Older plugins cannot export new items.
    let asked = current.keys().filter(|name| name.starts_with("plugin.") && !released.contains_key(*name));
    lost.chain(asked.map(|name| format!("{name}: older plugins do not export it"))).collect()
}

#[test]
fn what_was_released_is_still_there() {
    let current = items(&repository().join("wit/v0.1"));
    for version in RELEASED {
        let released = items(&repository().join("tests/contract").join(version));
        assert!(released.len() > 30, "{version}: {released:#?}");
        let broken = broken(&released, &current);
        assert_eq!(broken, Vec::<String>::new(), "{version}: make a new folder beside wit/v0.1 instead");
    }
}

/// Nothing is added to the contract without a new version, and a copy and a guest of it.
#[test]
fn the_newest_release_is_the_contract() {
    let newest = RELEASED[RELEASED.len() - 1];
    let released = items(&repository().join("tests/contract").join(newest));
    assert_eq!(released, items(&repository().join("wit/v0.1")), "raise the package's version, and add a frozen copy");
}

#[test]
fn what_would_break_plugins_is_noticed() {
    let released = repository().join("tests/contract").join(RELEASED[0]);
    for (file, from, to, complaint) in [
        ("warehouse.wit", "bytes-processed: u64,", "bytes-processed: u32,", "warehouse.rows: was record"),
        ("warehouse.wit", "tables: async func", "tables: func", "warehouse.tables: was"),
        ("types.wit", "not-found(string),", "not-found(string), other(string),", "types.error: was variant"),
        ("git.wit", "latest: async func", "newest: async func", "git.latest: is gone"),
        (
            "plugin.wit",
            "describe: func() -> descriptor;",
            "describe: func() -> descriptor; more: func();",
            "plugin.more",
        ),
        ("plugin.wit", "    import slack;\n", "", "world check: imports"),
    ] {
        let changed = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(&released).unwrap().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap();
            let name = entry.file_name();
            let text = if name == file { text.replacen(from, to, 1) } else { text };
            fs::write(changed.path().join(name), text).unwrap();
        }
        let found = broken(&items(&released), &items(changed.path()));
        assert!(found.iter().any(|line| line.starts_with(complaint)), "{complaint}: {found:?}");
    }
    // Additions are allowed.
    let changed = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(&released).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap();
        let text =
            text.replacen("    tables: async func", "    count: async func() -> u64;\n    tables: async func", 1);
        fs::write(changed.path().join(entry.file_name()), text).unwrap();
    }
    assert_eq!(broken(&items(&released), &items(changed.path())), Vec::<String>::new());
}
