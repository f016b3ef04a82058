//! What a plugin says of itself is a wish: channel, group, schedule and time zone hold only where they disturb nobody, and
//! whatever comes from a plugin stops its own check at most.

use std::{fs, path::PathBuf, process::Command, time::Instant};

use host_tests::HOST_TOML;
use serde_json::Value;

use crate::support::{
    AT, an_hour_ago,
    command::{Ended, Sample, ended, guest, shipped},
    http::{Reply, serve},
    say,
    service::{Service, install},
    text::{FAILS, Text, component},
};

fn written(sample: &Sample, name: &str, text: Text) -> PathBuf {
    let path = sample.path().join(format!("{name}.wasm"));
    fs::write(&path, component(name, text)).unwrap();
    path
}

/// The shipped plugins and some more.
fn with(sample: &Sample, arguments: &[&str], more: &[PathBuf]) -> Command {
    let mut command = sample.command();
    command.env("SLACK_WEBHOOK_URL_ON_CALL", sample.slack.webhook("on-call"));
    command.args(arguments).args(["--output", "json"]).args(shipped().unwrap()).args(more);
    command
}

fn once(sample: &Sample, more: &[PathBuf]) -> Ended {
    ended(&mut with(sample, &["run", "--once", "--at", AT], more)).unwrap()
}

fn plan(sample: &Sample, more: &[PathBuf]) -> Value {
    ended(&mut with(sample, &["plan"], more)).unwrap().json()
}

fn of<'p>(plan: &'p Value, check: &str) -> &'p Value {
    plan["checks"].as_array().unwrap().iter().find(|one| one["check"] == check).unwrap()
}

/// The shipped checks of the sample pass, whatever is beside them.
fn others_pass(ended: &Ended, why: &str) {
    let json = ended.json();
    let passed = json["runs"].as_array().unwrap().iter().filter(|run| run["status"] == "pass").count();
    assert!(passed >= 9, "{why}: {ended:?}");
}

/// The channels that were posted to since the last time.
fn told(sample: &Sample) -> Vec<String> {
    let told = sample.slack.received().into_iter().map(|(channel, _)| channel).collect();
    sample.slack.clear();
    // Each step starts over.
    let _ = fs::remove_dir_all(sample.path().join("state"));
    told
}

fn error(ended: &Ended, check: &str) -> String {
    ended.run(check)["error"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_channel_that_only_the_plugin_names_must_be_granted() {
    let sample = Sample::new(None).unwrap();
    let evil = [written(&sample, "evil", Text { channel: "#on-call", run: FAILS, ..Text::default() })];
    let line = "it posts to #on-call, which is not granted; add \"#on-call\" to grants.evil.slack in host.toml: `slack = [\"#on-call\"]`";

    // Not granted, with or without a table of its own; the webhook exists, and is not even looked up.
    for toml in ["", "\n[checks.evil]\n"] {
        sample.configure(&format!("{HOST_TOML}{toml}")).unwrap();
        let ended = once(&sample, &evil);
        assert_eq!((ended.code, error(&ended, "evil")), (3, line.to_owned()));
        others_pass(&ended, toml);
        assert!(told(&sample).is_empty());
        let plan = plan(&sample, &evil);
        assert_eq!((&of(&plan, "evil")["channel"], &of(&plan, "evil")["wrong"]), (&Value::Null, &Value::from(line)));
    }
    // Another channel is granted: its errors go there, and nothing to #on-call.
    sample
        .configure(
            &format!("{HOST_TOML}\n[grants.evil]\nslack = ['#deployment-alerts']\n[alerts]\nconfirm_errors = 1\n")
                .replace("[alerts]\nrepeat_interval = \"4h\"\n", ""),
        )
        .unwrap();
    let ended = once(&sample, &evil);
    assert!(error(&ended, "evil").ends_with("`slack = [\"#deployment-alerts\", \"#on-call\"]`"), "{ended:?}");
    assert_eq!(told(&sample), ["deployment-alerts"]);
    // With the line, it posts there.
    sample.configure(&format!("{HOST_TOML}\n[grants.evil]\nslack = [\"#on-call\"]\n")).unwrap();
    assert_eq!(
        (once(&sample, &evil).run("evil")["status"].clone(), told(&sample)),
        ("fail".into(), vec!["on-call".to_owned()])
    );
    // The operator's word holds without a grant, and the plan says so.
    sample.configure(&format!("{HOST_TOML}\n[checks.evil]\nchannel = '#canary-alerts'\n")).unwrap();
    assert_eq!(
        (once(&sample, &evil).run("evil")["status"].clone(), told(&sample)),
        ("fail".into(), vec!["canary-alerts".to_owned()])
    );
    let plan = plan(&sample, &evil);
    assert_eq!(of(&plan, "evil")["channel"], "#canary-alerts");
    assert_eq!(of(&plan, "evil")["grants"]["slack"], serde_json::json!(["#canary-alerts"]));
}

/// A plugin that posts by itself may post to the channel that host.toml gives its check, and to no other.
#[test]
fn the_channel_of_a_check_in_host_toml_is_granted_to_it() {
    let sample = Sample::new(None).unwrap();
    let toml = |channel: &str, behaviour: &str| {
        format!(
            "{HOST_TOML}\n[checks.misbehaving]\nchannel = '{channel}'\nsettings = {{ behaviour = '{behaviour}' }}\n"
        )
    };
    sample.configure(&toml("#deployment-alerts", "post elsewhere")).unwrap();
    assert_eq!(once(&sample, &[guest("misbehaving")]).run("misbehaving")["status"], "pass");
    assert_eq!(told(&sample), ["deployment-alerts"]);
    sample.configure(&toml("#canary-alerts", "post elsewhere")).unwrap();
    let denied = error(&once(&sample, &[guest("misbehaving")]), "misbehaving");
    assert!(denied.contains("post denied: channel #deployment-alerts is not granted"), "{denied}");
    assert_eq!(told(&sample), ["canary-alerts"], "no retry mends it");
}

#[test]
fn no_plugin_addresses_the_fallback() {
    let sample = Sample::new(None).unwrap();
    let alarms = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
    let heard = alarms.clone();
    let fallback = serve(move |request| {
        heard.lock().unwrap().push(request.body.clone());
        Reply::Answer(200, String::new())
    })
    .unwrap();
    let address = sample.path().join("fallback");
    fs::write(&address, fallback.url()).unwrap();
    let wishes = ["fallback", "", "#", "on-call", "#on call", "#on\n-call", "#c\u{202e}od"];
    let mut toml = format!("{HOST_TOML}\n[fallback]\nwebhook_file = \"fallback\"\n");
    let files: Vec<PathBuf> = wishes
        .iter()
        .enumerate()
        .map(|(at, channel)| {
            toml += &format!("[grants.evil{at}]\nslack = ['#canary-alerts']\n");
            written(&sample, &format!("evil{at}"), Text { channel, run: FAILS, ..Text::default() })
        })
        .collect();
    sample.configure(&toml).unwrap();
    let ended = once(&sample, &files);
    others_pass(&ended, "reserved names");
    for (at, channel) in wishes.iter().enumerate() {
        let said = error(&ended, &format!("evil{at}"));
        let line = format!("add `channel = \"#…\"` to [checks.evil{at}] in host.toml");
        assert!(said.starts_with("its own channel: ") && said.contains(&line), "{channel:?}: {said}");
    }
    assert_eq!(told(&sample), ["canary-alerts"], "their plugins may post there");
    assert!(alarms.lock().unwrap().is_empty(), "{alarms:?}");
}

/// Each wish for a schedule, a time zone or a group is followed or refused with the line to write; the line holds.
#[test]
fn a_plugin_that_disturbs_others_needs_the_operators_word() {
    let sample = Sample::new(None).unwrap();
    let cases = [
        (
            "often",
            Text { cron: "* * * * *", ..Text::default() },
            "`* * * * *` is due more often than every 5 minutes, which only host.toml may ask for; add `schedule = \"* * * * *\"` to [checks.often] in host.toml",
        ),
        (
            "bursts",
            Text { cron: "0,2 6 * * *", ..Text::default() },
            "add `schedule = \"0,2 6 * * *\"` to [checks.bursts]",
        ),
        (
            "seconds",
            Text { cron: "* * * * * *", ..Text::default() },
            "its own schedule: `* * * * * *` is not a valid schedule",
        ),
        ("never", Text { cron: "0 0 30 2 *", ..Text::default() }, "is never due"),
        (
            "mars",
            Text { timezone: Some("Mars/North"), ..Text::default() },
            "its own time zone: `Mars/North` is not an IANA time zone",
        ),
        (
            "grouped",
            Text { group: "canaries: 1 failed\nx", ..Text::default() },
            "its own group: `canaries: 1 failed\\nx` is not a valid name",
        ),
        ("fine", Text { cron: "*/5 * * * *", timezone: Some("Europe/Berlin"), ..Text::default() }, ""),
    ];
    let mut toml = HOST_TOML.to_owned();
    let mut files = Vec::new();
    for (name, text, _) in &cases {
        toml += &format!("\n[grants.{name}]\nslack = ['#canary-alerts']\n");
        files.push(written(&sample, name, *text));
    }
    sample.configure(&toml).unwrap();
    let ended = once(&sample, &files);
    others_pass(&ended, "schedules");
    let planned = plan(&sample, &files);
    for (name, _, words) in &cases {
        let said = error(&ended, name);
        assert!(said.contains(words) && said.is_empty() == words.is_empty(), "{name}: {said}");
        assert_eq!(of(&planned, name)["wrong"].as_str().unwrap_or_default(), said, "{name}");
    }
    assert_eq!(
        (&of(&planned, "fine")["schedule"], &of(&planned, "fine")["timezone"]),
        (&"*/5 * * * *".into(), &"Europe/Berlin".into())
    );
    assert_eq!(of(&planned, "often")["schedule"], "0 * * * *");
    // The operator's word.
    toml += "\n[checks.often]\nschedule = \"* * * * *\"\n[checks.seconds]\nschedule = \"* * * * *\"\n[checks.mars]\ntimezone = \"UTC\"\n";
    sample.configure(&toml).unwrap();
    let planned = plan(&sample, &files);
    for name in ["often", "seconds", "mars"] {
        assert_eq!(of(&planned, name)["wrong"], Value::Null, "{name}");
    }
    assert_eq!(of(&planned, "often")["schedule"], "* * * * *");
}

/// `host init` writes the line of each channel, also of a plugin that says it needs nothing; a wish that cannot be granted is
/// a comment.
#[test]
fn init_grants_the_channel_of_a_plugin_that_names_no_need() {
    let sample = Sample::new(None).unwrap();
    let files = [
        written(&sample, "quiet", Text { channel: "#on-call", ..Text::default() }),
        written(&sample, "evil", Text { channel: "fallback", cron: "* * * * *", ..Text::default() }),
        written(&sample, "often", Text { channel: "#on-call", cron: "*/1 * * * *", ..Text::default() }),
    ];
    fs::remove_file(sample.path().join("host.toml")).unwrap();
    let init = ended(sample.command().arg("init").args(&files)).unwrap();
    assert_eq!(init.code, 0, "{init:?}");
    let text = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    assert!(text.contains("[grants.quiet]\n# to post to #on-call\nslack = [\"#on-call\"]\n"), "{text}");
    assert!(
        text.contains("[grants.evil]\n# not granted: to post to fallback: `fallback` is not a channel name"),
        "{text}"
    );
    let planned = ended(sample.command().args(["plan", "--output", "json"]).args(&files)).unwrap().json();
    let often = planned["checks"].as_array().unwrap().iter().find(|check| check["check"] == "often").unwrap();
    assert_eq!((&often["wrong"], &often["schedule"]), (&Value::Null, &"*/1 * * * *".into()), "{often}");
    let schedule = "# More often than plugins may ask for; allowed by this line. Without one, the check cannot run.\n\
                    schedule = \"* * * * *\"\n";
    assert!(text.contains(schedule), "{text}");
    let refused =
        "Not granted: the channel of evil, which needs a `channel` in [checks.evil]: `fallback` is not a channel";
    assert!(init.err.contains(refused) && !init.err.contains("each granted what it asks for"), "{}", init.err);
    let mut command = sample.command();
    command.args(["run", "--once", "--at", AT, "--output", "json"]).args(&files);
    let run = ended(&mut command).unwrap();
    assert_eq!(
        (run.run("quiet")["status"].as_str(), run.run("evil")["status"].as_str()),
        (Some("pass"), Some("error")),
        "{run:?}"
    );
    let shown = ended(sample.command().arg("inspect").arg(&files[0])).unwrap();
    assert!(shown.out.contains("post to #on-call") && shown.out.contains("granted"), "{}", shown.out);
}

/// A schema that no settings match, a channel without a webhook, and a name nearly that of another plugin's grants: each stops
/// its own check at most.
#[test]
fn whatever_comes_from_a_plugin_stops_its_own_check_at_most() {
    let sample = Sample::new(None).unwrap();
    let cases = [
        (
            "nothing-fits",
            Text { schema: r#"{"not":{}}"#, ..Text::default() },
            "host.toml: checks.nothing-fits.settings: ",
        ),
        ("false", Text { schema: "false", ..Text::default() }, "checks.false.settings: "),
        ("wants", Text { schema: r#"{"required":["a"]}"#, ..Text::default() }, "checks.wants.settings: "),
        ("no-schema", Text { schema: "{", ..Text::default() }, "the plugin's settings schema is not JSON"),
        (
            "stricter",
            Text { schema: r#"{"properties":{"a":false}}"#, ..Text::default() },
            "checks.stricter.settings: a: ",
        ),
        ("no-webhook", Text { channel: "#nowhere", ..Text::default() }, "it posts to #nowhere, which is not granted"),
        ("phase9-rav", Text::default(), "it posts to #canary-alerts, which is not granted"),
    ];
    let mut toml = format!(
        "{HOST_TOML}\n[checks.stricter]\nsettings = {{ a = 1 }}\n[grants.phase9-raw]\nwarehouse = ['nba_raw']\n"
    );
    let mut files = Vec::new();
    for (name, text, _) in &cases {
        if !["no-webhook", "phase9-rav"].contains(name) {
            toml += &format!("\n[grants.{name}]\nslack = ['#canary-alerts']\n");
        }
        files.push(written(&sample, name, *text));
    }
    sample.configure(&toml).unwrap();
    let ended = once(&sample, &files);
    assert_eq!(ended.code, 3, "{ended:?}");
    others_pass(&ended, "their own");
    for (name, _, words) in cases {
        let said = error(&ended, name);
        assert!(said.contains(words), "{name}: {said}");
    }
}

#[test]
fn names_are_plain_and_those_of_the_host_are_its_own() {
    let sample = Sample::new(None).unwrap();
    for (name, words) in [
        ("\"evil\\nfine\"", "checks: `evil\\nfine` is not a valid name: use up to 100 letters, digits, -, _ and ."),
        ("\"evil\\u001b[31m\"", "checks: `evil\\u{1b}[31m` is not a valid name"),
        ("\"evil\\u202egood\"", "checks: `evil\\u{202e}good` is not a valid name"),
        ("\"evil.consulted\"", "checks: `evil.consulted` ends with .consulted, which only the host adds to names"),
        ("\"\"", "checks: `` is not a valid name"),
    ] {
        for (table, words) in [
            ("checks", words.to_owned()),
            ("grants", "is not a plugin name: use up to 64 lower-case letters".to_owned()),
        ] {
            sample.configure(&format!("{HOST_TOML}\n[{table}.{name}]\n")).unwrap();
            let ended = sample.once(&[]).unwrap();
            assert_eq!(ended.code, 64, "{name}: {ended:?}");
            assert!(ended.err.contains(&words) && ended.err.trim_end().lines().count() == 1, "{name}: {}", ended.err);
        }
    }
    sample.configure(&format!("{HOST_TOML}\n[checks.\"good.v2_x\"]\nplugin = \"phase2-raw\"\n")).unwrap();
    assert_eq!(once(&sample, &[]).run("good.v2_x")["status"], "pass");
    // A name with a dot is shown as the key that it is in host.toml.
    let odd = "plugin = \"phase2-raw\"\nsettings = { odd = 1 }";
    sample.configure(&format!("{HOST_TOML}\n[checks.\"good.v2_x\"]\n{odd}\n")).unwrap();
    let wrong = error(&once(&sample, &[]), "good.v2_x");
    assert!(wrong.contains("host.toml: checks.\"good.v2_x\".settings: "), "{wrong}");

    // Names from files: of a plugin, and of a file that holds none.
    sample.configure(HOST_TOML).unwrap();
    let consulted = written(&sample, "evil.consulted", Text::default());
    let broken = sample.path().join("phase2-gate.consulted.wasm");
    fs::write(&broken, "nothing").unwrap();
    let lines = sample.path().join("a\nb\u{202e}.wasm");
    fs::write(&lines, "nothing").unwrap();
    let ended = once(&sample, &[consulted, broken, lines]);
    others_pass(&ended, "names of files");
    assert!(error(&ended, "evil-consulted").contains("`evil.consulted` is not a plugin name"), "{ended:?}");
    for name in ["phase2-gate-consulted", "a-b-"] {
        assert!(error(&ended, name).contains("is not a valid WebAssembly component"), "{name}: {ended:?}");
    }
}

/// A plugin that prints what the host would say.
#[test]
fn a_line_of_a_plugin_is_marked_as_its_own_in_every_format() {
    for format in ["text", "json"] {
        let sample = Sample::now(None).unwrap();
        install(&sample, &["misbehaving"]).unwrap();
        let forged = "pass: games 5\\n\\nhost: fail: games 5\\u2028pass: games 6";
        let toml = format!(
            "{HOST_TOML}\n[checks.misbehaving]\nsettings = {{ behaviour = \"speak\", sql = \"{forged}\" }}\n[grants.misbehaving]\nslack = [\"#canary-alerts\"]\n"
        );
        sample.configure(&toml).unwrap();
        let at = an_hour_ago();
        let before = sample.host(&["run", "--once", "--at", &at, "--check", "misbehaving", "plugins"]).unwrap();
        assert_eq!(before.code, 0, "{before:?}");
        // Due again at once.
        let service = Service::start(&sample, &toml, &["--check", "misbehaving", "--log", format]).unwrap();
        service.wait_until("it ran", 20, |service| service.ran_since("misbehaving", &at));
        let (_, said) = service.host.interrupt().unwrap();
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("games")).collect();
        assert_eq!(lines.len(), 2, "{said}");
        for line in lines {
            let message = match format {
                "json" => {
                    let line: Value = serde_json::from_str(line).unwrap();
                    assert_eq!(line["source"], "plugin", "{line}");
                    line["message"].as_str().unwrap().to_owned()
                }
                _ => line.split("-1: ").nth(1).unwrap().to_owned(),
            };
            assert!(message.starts_with("plugin: ") && !message.contains('\u{2028}'), "{line}");
        }
        let own: Vec<&str> = said.lines().filter(|line| line.contains("pass: fine")).collect();
        assert!(own.len() == 1 && !own[0].contains("plugin"), "{said}");
    }
}

/// 24 layers of two checks, each of which depends on both of the layer above: there are 2^24 ways through them.
#[test]
fn layers_of_dependencies_are_walked_once() {
    let sample = Sample::new(None).unwrap();
    let broken = written(&sample, "broken", Text { run: FAILS, ..Text::default() });
    let toml = |depends: bool| {
        let mut toml = format!("{HOST_TOML}\n[grants.broken]\nslack = ['#canary-alerts']\n");
        for layer in 0..24 {
            for side in ["a", "b"] {
                toml += &format!("[checks.{side}{layer}]\nplugin = 'broken'\n");
                if depends && layer > 0 {
                    let above = layer - 1;
                    toml += &format!("depends_on = ['a{above}', 'b{above}']\n");
                }
            }
        }
        toml
    };
    let run = |depends| {
        sample.configure(&toml(depends)).unwrap();
        let began = Instant::now();
        let mut command = sample.command();
        let ended = ended(command.args(["run", "--once", "--at", AT, "--output", "json"]).arg(&broken)).unwrap();
        let took = began.elapsed();
        assert_eq!(ended.code, 3, "the sample's own plugins are missing: {ended:?}");
        let fails = ended.json()["runs"].as_array().unwrap().iter().filter(|run| run["status"] == "fail").count();
        assert_eq!(fails, 48);
        took
    };
    run(false);
    told(&sample);
    let without = run(false);
    told(&sample);
    let with = run(true);
    say(&format!("48 checks: {without:?} without depends_on, {with:?} in 24 layers"));
    assert!(with < without + std::time::Duration::from_secs(3), "{with:?} instead of {without:?}");
    // Each of the second layer and below is listed under one of the first.
    let messages: Vec<String> = sample.slack.received().iter().map(|(_, message)| message.to_string()).collect();
    let message = messages.iter().find(|message| message.contains("a23")).unwrap();
    assert!(message.contains("Also not well downstream"), "{message}");
}
