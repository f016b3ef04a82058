//! The examples of README.md and docs/, taken from there and run.

use std::{fs, path::Path, process::Command};

use host_tests::{Fault, HOST_TOML};

use crate::{
    explain::words,
    support::{
        command::{Ended, Sample, binary, ended, repository, shipped},
        service::{Service, TOKEN, install},
    },
};

/// The examples of a page in one language.
pub(crate) fn examples(page: &str, language: &str) -> Vec<String> {
    blocks(&fs::read_to_string(repository().join("docs").join(page)).unwrap(), language)
}

/// README.md and the pages of docs/, by their path; host.toml's reference is held against the code elsewhere.
pub(crate) fn pages() -> Vec<(String, String)> {
    let docs = fs::read_dir(repository().join("docs")).unwrap().flatten();
    let names = docs.map(|entry| format!("docs/{}", entry.file_name().to_string_lossy()));
    let names = names.filter(|name| name.ends_with(".md") && !name.ends_with("/configuration.md"));
    let names = names.chain(["README.md".to_owned()]);
    names.map(|name| (name.clone(), fs::read_to_string(repository().join(&name)).unwrap())).collect()
}

/// The lines of a page's blocks in one language.
pub(crate) fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| format!("{}\n", rest.split("\n```").next().unwrap())).collect()
}

/// Each `host …` in a console block. `--help` at the end keeps it from being done, and what comes before is read first.
#[test]
fn the_host_takes_every_command_of_the_documents() {
    let mut taken = 0;
    for (page, text) in pages() {
        let blocks = blocks(&text, "console");
        for line in blocks.iter().flat_map(|block| block.lines()) {
            let line = line.strip_prefix("$ ").unwrap_or(line).split(" #").next().unwrap();
            for command in line.split(" && ").filter_map(|command| command.trim().strip_prefix("host ")) {
                let tried = ended(Command::new(binary("host")).args(words(command)).arg("--help")).unwrap();
                assert_eq!(tried.code, 0, "{page}: host {command}: {}", tried.err);
                taken += 1;
            }
        }
    }
    assert!(taken > 50, "{taken}");
}

/// Cases have a form of their own; everything else in TOML is host.toml.
#[test]
fn every_piece_of_configuration_in_the_documents_is_valid() {
    let mut valid = 0;
    for (page, text) in pages() {
        for block in blocks(&text, "toml").into_iter().filter(|block| !block.contains("[expect]")) {
            let parsed = host::config::Config::parse(&block);
            assert!(parsed.is_ok(), "{page}: {:#}\n{block}", parsed.unwrap_err());
            valid += 1;
        }
    }
    assert!(valid >= 5, "{valid}");
}

/// README's last steps, as a shell does them, with a plugin that was built as README says.
pub(crate) fn readme_is_followed(directory: &Path, language: &str) {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let steps = readme.split("### Run it\n").nth(1).unwrap();
    let steps = blocks(steps, "console").swap_remove(0);
    let bin = directory.join("bin");
    fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(binary("host"), bin.join("host")).unwrap();
    let sqlite3 =
        "#!/usr/bin/env python3\nimport sqlite3, sys\nsqlite3.connect(sys.argv[1]).executescript(sys.argv[2])\n";
    fs::write(bin.join("sqlite3"), sqlite3).unwrap();
    Command::new("chmod").arg("+x").arg(bin.join("sqlite3")).status().unwrap();
    let (commands, shown): (Vec<&str>, Vec<&str>) = steps.lines().partition(|line| line.starts_with("$ "));
    let wanted = commands.iter().filter(|line| language == "rust" || !line.ends_with("# Rust only"));
    let script: Vec<&str> = wanted.filter_map(|line| line.strip_prefix("$ ")).collect();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script.join("\n")).current_dir(directory).env("PATH", path).env("HOME", directory);
    let ended = ended(shell.env("XDG_CACHE_HOME", binary("").join("test-cache"))).unwrap();
    assert_eq!((ended.code, ended.out.trim_end()), (2, shown.join("\n").as_str()), "{ended:?}");
    for made in ["bin", "warehouse", "state"] {
        fs::remove_dir_all(directory.join(made)).unwrap();
    }
    fs::remove_file(directory.join("host.toml")).unwrap();
}

/// `cargo xtask pictures` makes it anew when words change.
#[test]
fn the_picture_of_a_message_has_the_words_of_the_message() {
    let sample = Sample::new(Some(Fault::NullNames)).unwrap();
    let page = "[web]\nlisten = \"127.0.0.1:0\"\nurl = \"https://host.example.com\"\n";
    let toml = fs::read_to_string(repository().join("tests/sample/host.toml")).unwrap();
    fs::write(sample.path().join("host.toml"), format!("{toml}\n{page}")).unwrap();
    let printed = sample.once(&[]).unwrap().err;
    let message = printed.split("┌─ ").nth(1).unwrap().split("└─").next().unwrap().replace('│', " ");
    let picture = fs::read_to_string(repository().join("docs/pictures/slack.svg")).unwrap();
    let texts =
        picture.split("<text ").skip(1).map(|rest| rest.split('>').nth(1).unwrap().split("</text").next().unwrap());
    let drawn = texts.collect::<Vec<_>>().join(" ");
    let drawn = drawn.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&drawn), words(&message), "run `cargo xtask pictures`");
}

/// The same for the page: each of the picture's texts is on the page of the same pipeline after the same rounds.
#[test]
fn the_picture_of_the_page_has_the_words_of_the_page() {
    let sample = Sample::new(Some(Fault::NullNames)).unwrap();
    let toml = HOST_TOML.replace("keep = \"90d\"", "keep = \"36500d\"") + "\n[scheduler]\nmissed = \"skip\"\n";
    sample.configure(&toml).unwrap();
    install(&sample, &[]).unwrap();
    for at in ["2026-02-06T10:30:00Z", "2026-02-06T11:00:00Z", "2026-02-06T11:30:00Z"] {
        sample.host(&["run", "--once", "--at", at, "plugins"]).unwrap();
    }
    let service = Service::start(&sample, &toml, &[]).unwrap();
    let page = service.get("/checks").body;
    let texts = |markup: &str| -> Vec<String> {
        // How long something has gone on is another time each day.
        let timeless = |text: &str| match text.split_once("ongoing for ") {
            Some((before, rest)) => format!("{before}ongoing{}", rest.find(": ").map_or("", |at| &rest[at..])),
            None => text.to_owned(),
        };
        let after = markup.split('<').skip(1).filter_map(|tag| Some(timeless(tag.split_once('>')?.1.trim())));
        after.filter(|text| !text.is_empty()).collect()
    };
    let picture = fs::read_to_string(repository().join("docs/pictures/page.svg")).unwrap();
    let drawn = texts(picture.split("class=\"page\">").nth(1).unwrap());
    let shown = texts(&page).join("\n");
    assert!(drawn.len() > 50, "{drawn:?}");
    let missing: Vec<&String> = drawn.iter().filter(|text| !shown.contains(text.as_str())).collect();
    assert!(missing.is_empty(), "run `cargo xtask pictures`: {missing:?}");
    service.host.end("TERM").unwrap();
}

/// The same example where the gate says yes, no, and nothing at all.
fn at_three_gates(run: impl Fn(&Sample, &Service) -> Ended, expected: [(&str, i32); 3]) {
    for (fault, (words, code)) in
        [None, Some(Fault::HalfNullNames), Some(Fault::EmptySchedule)].into_iter().zip(expected)
    {
        let sample = Sample::now(fault).unwrap();
        install(&sample, &[]).unwrap();
        let service = Service::start(&sample, HOST_TOML, &[]).unwrap();
        let ended = run(&sample, &service);
        assert_eq!(ended.code, code, "{fault:?}: {ended:?}");
        assert!(format!("{}{}", ended.out, ended.err).contains(words), "{fault:?}: {ended:?}");
        let asked = service.get("/api/v1/consultations").json()["consultations"][0]["caller"].to_string();
        assert!(
            ["\"run-phase3.sh\"", "\"airflow phase3\"", "\"workflow phase3\""].contains(&asked.as_str()),
            "{asked}"
        );
        service.host.end("TERM").unwrap();
    }
}

/// Yesterday, where the pipeline is.
pub(crate) fn yesterday() -> String {
    let zone = jiff::tz::TimeZone::get("America/New_York").unwrap();
    jiff::Timestamp::now().to_zoned(zone).date().yesterday().unwrap().to_string()
}

#[test]
fn the_shell_script_stops_at_a_closed_gate() {
    let script = &examples("gate.md", "sh")[0];
    at_three_gates(
        |sample, service| {
            fs::write(sample.path().join("run-phase3.sh"), script).unwrap();
            // The script finds `host` on its path, and this host.toml's host by its address.
            let wrapper =
                format!("#!/bin/sh\nexec {} \"$@\" --url http://{}\n", binary("host").display(), service.address);
            let bin = sample.path().join("bin");
            fs::create_dir_all(&bin).unwrap();
            fs::write(bin.join("host"), wrapper).unwrap();
            Command::new("chmod").arg("+x").arg(bin.join("host")).status().unwrap();
            let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
            let mut shell = Command::new("sh");
            shell.arg("run-phase3.sh").arg(yesterday()).current_dir(sample.path());
            ended(shell.env("PATH", path).env("HOST_TOKEN", TOKEN)).unwrap()
        },
        [("processing", 0), ("null_rate_player_name", 1), ("NOT_EVALUATED", 1)],
    );
}

/// Airflow's part is played by a module of the same names: a task is its function.
#[test]
fn the_airflow_task_fails_at_a_closed_gate() {
    let dag = &examples("gate.md", "python")[1];
    let airflow = r"
import sys, types

class AirflowFailException(Exception): pass

def dag(**options):
    return lambda function: function

def task(*function, **options):
    return function[0] if function else lambda function: function

for name, members in {'airflow': {}, 'airflow.sdk': {'dag': dag, 'task': task},
        'airflow.exceptions': {'AirflowFailException': AirflowFailException}}.items():
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module
";
    at_three_gates(
        |sample, service| {
            let dag = dag.replace("{{ macros.ds_add(ds, -1) }}", &yesterday());
            fs::write(sample.path().join("dag.py"), format!("{airflow}\n{dag}")).unwrap();
            let mut python = Command::new("python3");
            python.arg("dag.py").current_dir(sample.path());
            python.env("HOST_URL", format!("http://{}", service.address)).env("HOST_TOKEN", TOKEN);
            python.env("PYTHONPATH", repository().join("deploy/python")).env("PYTHONDONTWRITEBYTECODE", "1");
            ended(&mut python).unwrap()
        },
        [("processing", 0), ("AirflowFailException: FAIL", 1), ("GateNotEvaluated: phase2-gate was not evaluated", 1)],
    );
}

/// The steps are interpreted as <https://cloud.google.com/workflows/docs/reference/syntax> says, as far as they go.
#[test]
fn the_workflow_fails_at_a_closed_gate() {
    let workflow = &examples("gate.md", "yaml")[0];
    let interpreter = r#"
import json, os, re, sys, types, urllib.error, urllib.request, yaml

def look(value):
    return types.SimpleNamespace(**{key: look(inner) for key, inner in value.items()}) if isinstance(value, dict) else value

def evaluate(value, names):
    if isinstance(value, dict):
        return {key: evaluate(inner, names) for key, inner in value.items()}
    found = re.fullmatch(r"\$\{(.*)\}", value, re.S) if isinstance(value, str) else None
    if not found:
        return value
    sys_ = types.SimpleNamespace(get_env=lambda name: os.environ[name])
    expression = re.sub(r"\btrue\b", "True", found.group(1))
    return eval(expression, {"sys": sys_, **{name: look(inner) for name, inner in names.items()}})

def run(main, argument):
    names = {main["params"][0]: argument}
    steps = [next(iter(step.items())) for step in main["steps"]]
    at = 0
    while True:
        name, step = steps[at]
        jump = step.get("next")
        if step.get("call") == "http.post":
            args = evaluate(step["args"], names)
            request = urllib.request.Request(args["url"], json.dumps(args["body"]).encode(),
                {**args["headers"], "Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=args["timeout"]) as answer:
                names[step["result"]] = {"code": answer.status, "body": json.load(answer)}
        for choice in step.get("switch", []):
            if evaluate(choice["condition"], names):
                jump = choice["next"]
                break
        if "raise" in step:
            raise SystemExit("raised: " + evaluate(step["raise"], names))
        if "return" in step:
            return evaluate(step["return"], names)
        at = [name for name, _ in steps].index(jump) if jump else at + 1

main = yaml.safe_load(open("workflow.yaml"))["main"]
print(run(main, {"date": sys.argv[1], "token": os.environ["HOST_TOKEN"]}))
"#;
    at_three_gates(
        |sample, service| {
            fs::write(sample.path().join("workflow.yaml"), workflow).unwrap();
            fs::write(sample.path().join("run.py"), interpreter).unwrap();
            // The emulator's Python has a reader of YAML.
            let mut python = Command::new(binary("").join("../bqemulator/bin/python"));
            python.arg("run.py").arg(yesterday()).current_dir(sample.path());
            python.env("HOST_URL", format!("http://{}", service.address)).env("HOST_TOKEN", TOKEN);
            ended(&mut python).unwrap()
        },
        [("processing", 0), ("raised: FAIL", 1), ("503", 1)],
    );
}

/// Each plugin says what its result means, what to look at first, how to silence it, and how to tune it.
#[test]
fn every_runbook_has_its_four_parts() {
    for plugin in fs::read_dir(repository().join("plugins")).unwrap().flatten() {
        let Ok(runbook) = fs::read_to_string(plugin.path().join("RUNBOOK.md")) else { continue };
        let name = plugin.file_name().into_string().unwrap();
        let first_three = ["**What it means.**", "**Look first at**", "\n1. ", "\n2. ", "\n3. "];
        let silence = format!("host silence {name} --for ");
        for part in first_three.into_iter().chain([silence.as_str(), "**Tune.**"]) {
            assert!(runbook.contains(part), "{name}: {part}");
        }
    }
}

/// The examples of configuration are ones that a host takes.
#[test]
fn the_checks_without_code_are_valid() {
    let sample = Sample::new(None).unwrap();
    let toml = examples("canary-sql.md", "toml").concat();
    let configure = |toml: &str| {
        let rest = "[slack]\ndeliver = \"console\"\n[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n";
        fs::write(sample.path().join("host.toml"), format!("{rest}{toml}")).unwrap();
    };
    configure(&toml);
    let plugin = shipped().unwrap().into_iter().find(|plugin| plugin.ends_with("canary-sql.wasm")).unwrap();
    let plan = ended(sample.command().arg("plan").arg(&plugin)).unwrap();
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(plan.out.contains("orders-arrived") && plan.out.contains("orders-sound"), "{}", plan.out);
    // The schema knows a misspelt setting before anything runs.
    configure(&toml.replace("row_count", "row_cuont"));
    let misspelt = ended(sample.command().arg("plan").arg(&plugin)).unwrap();
    let words = "checks.orders-sound.settings: there is no setting row_cuont; did you mean `row_count`?";
    assert!(misspelt.code == 3 && misspelt.out.contains(words), "{misspelt:?}");
}
