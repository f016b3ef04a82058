//! Two teams and an operator: each team ships from a folder of its own, and the operator decides what runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    command::{Ended, binary, ended, repository},
    registry::Registry,
    watched::plugin,
};

/// Somebody with a folder, and the host on the path.
struct Person {
    folder: PathBuf,
}

impl Person {
    fn new(place: &Path, name: &str) -> Self {
        let folder = place.join(name);
        fs::create_dir(&folder).unwrap();
        Self { folder }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = format!("{}:{}", binary("").display(), std::env::var("PATH").unwrap());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CARGO_") && name != "CARGO_HOME" {
                command.env_remove(name);
            }
        }
        command
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("XDG_CACHE_HOME", binary("").join("test-cache"))
            // What cargo builds is kept from one run of the tests to the next.
            .env("CARGO_TARGET_DIR", binary("").parent().unwrap().join("template-rust"));
        command
    }

    fn host(&self, arguments: &[&str]) -> Ended {
        ended(self.command("host").args(arguments)).unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> Ended {
        let ended = self.host(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap()
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).unwrap();
    }

    /// Runs the CI of a plugin in this folder, as a release if there is a registry.
    fn ci(&self, plugin: &str, release: Option<(&str, &str)>) -> Ended {
        let mut shell = self.command("sh");
        shell.arg("ci.sh").current_dir(self.folder.join(plugin));
        if let Some((registry, key)) = release {
            shell.arg("publish").env("HOST_REGISTRY", registry).env("HOST_KEY", key);
        }
        ended(&mut shell).unwrap()
    }
}

#[test]
fn two_teams_ship_and_an_operator_decides() {
    let place = tempfile::tempdir().unwrap();
    let registry = Registry::start(false).unwrap();
    let [a, b, operator] = ["a", "b", "operator"].map(|name| Person::new(place.path(), name));
    let published = |plugin: &str| format!("oci://{}/data/{plugin}", registry.host());

    // Each team makes a plugin and a key; CI of a change tests, CI of a release ships.
    let mut keys = Vec::new();
    for (team, plugin) in [(&a, "a-events"), (&b, "b-events")] {
        team.ok(&["new", plugin]);
        keys.push(team.ok(&["keygen", "team.key"]).out.trim().to_owned());
        let tested = team.ci(plugin, None);
        assert_eq!(tested.code, 0, "{tested:?}");
        assert!(tested.out.contains("3 cases: 3 as expected") && tested.out.contains("To publish it"), "{tested:?}");
        let unsigned = {
            let mut shell = team.command("sh");
            shell.args(["ci.sh", "publish"]).current_dir(team.folder.join(plugin));
            ended(shell.env("HOST_REGISTRY", published(plugin))).unwrap()
        };
        assert!(unsigned.code != 0 && unsigned.err.contains("HOST_KEY"), "nothing is published unsigned: {unsigned:?}");
        let exposed = {
            let mut shell = team.command("sh");
            shell.arg("ci.sh").current_dir(team.folder.join(plugin)).env("HOST_KEY", "secret");
            ended(&mut shell).unwrap()
        };
        assert!(exposed.code == 64 && exposed.err.contains("the build could read it"), "{exposed:?}");
        let shipped = team.ci(plugin, Some((&published(plugin), &team.read("team.key"))));
        assert_eq!(shipped.code, 0, "{shipped:?}");
        assert!(
            shipped.out.contains(":0.1.0 is sha256:") && shipped.out.contains("with its signatures"),
            "{shipped:?}"
        );
    }

    // The operator trusts both, grants each its own dataset, and pins.
    let grants = "[grants.a-events]\nwarehouse = [\"raw\"]\nslack = [\"#a\"]\n\n\
                  [grants.b-events]\nwarehouse = [\"raw\"]\nslack = [\"#b\"]\n";
    let checks = "[checks.a-events]\nchannel = \"#a\"\n[checks.b-events]\nchannel = \"#b\"\n";
    let toml = format!(
        "validate_schedule = \"never\"\n[slack]\ndeliver = \"console\"\n[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n\
         [trust]\nkeys = [\"{}\", \"{}\"]\n\n{checks}\n{grants}",
        keys[0], keys[1]
    );
    operator.write("host.toml", &toml);
    fs::create_dir(operator.folder.join("warehouse")).unwrap();
    let data = "CREATE TABLE events (day DATE, id TEXT); INSERT INTO events VALUES ('2026-02-05', 'a')";
    rusqlite::Connection::open(operator.folder.join("warehouse/raw.db")).unwrap().execute_batch(data).unwrap();
    for plugin in ["a-events", "b-events"] {
        operator.ok(&["add", &published(plugin)]);
    }
    let once = ["run", "--once", "--date", "2026-02-05", "--output", "json"];
    let versions = |ended: &Ended| {
        ["a-events", "b-events"].map(|check| ended.run(check)["plugin"]["version"].as_str().unwrap().to_owned())
    };
    assert_eq!(versions(&operator.ok(&once)), ["0.1.0", "0.1.0"]);

    // Team B ships a new version: nothing moves by itself.
    let before = operator.read("plugins.lock");
    let manifest = fs::read_to_string(b.folder.join("b-events/Cargo.toml")).unwrap();
    let next = manifest.replacen("version = \"0.1.0\"", "version = \"0.2.0\"", 1);
    fs::write(b.folder.join("b-events/Cargo.toml"), next).unwrap();
    assert_eq!(b.ci("b-events", None).code, 0);
    let shipped = b.ci("b-events", Some((&published("b-events"), &b.read("team.key"))));
    assert!(shipped.code == 0 && shipped.out.contains(":0.2.0 is sha256:"), "{shipped:?}");
    assert_eq!(versions(&operator.ok(&once)), ["0.1.0", "0.1.0"]);
    assert_eq!(operator.host(&["outdated"]).code, 2);

    // The operator takes it on a branch, with another grant, and sees both in the review.
    fs::create_dir(operator.folder.join("main")).unwrap();
    for file in ["host.toml", "plugins.lock"] {
        fs::copy(operator.folder.join(file), operator.folder.join("main").join(file)).unwrap();
    }
    assert_eq!(operator.ok(&["plan", "--diff", "main/host.toml"]).out, "The rights are the same.\n");
    operator.ok(&["update", "b-events"]);
    let wider = toml.replace("[\"raw\"]\nslack = [\"#b\"]", "[\"raw\", \"ops\"]\nslack = [\"#b\"]");
    operator.write("host.toml", &wider);
    let review = operator.host(&["plan", "--diff", "main/host.toml"]);
    assert_eq!(review.code, 2, "{review:?}");
    let shown: Vec<Vec<&str>> = review.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(shown.contains(&vec!["gives", "grants.b-events.warehouse", "ops"]), "{}", review.out);
    assert!(review.out.contains("changes  plugins.lock b-events"), "{}", review.out);
    assert!(review.out.contains("0.1.0 sha256:") && review.out.contains(" → 0.2.0 sha256:"), "{}", review.out);
    assert!(review.out.contains("these bytes may: warehouse raw, ops; slack #b"), "{}", review.out);
    assert!(!review.out.contains("a-events"), "{}", review.out);
    let program = operator.host(&["plan", "--diff", "main/host.toml", "--output", "json"]);
    assert_eq!(program.json()["changes"].as_array().unwrap().len(), 2, "{program:?}");
    // A's pin is untouched.
    let block = |text: &str| text.split("\n\n").find(|block| block.contains("[plugin.a-events]")).unwrap().to_owned();
    assert_eq!(block(&operator.read("plugins.lock")), block(&before));
    assert_eq!(versions(&operator.ok(&once)), ["0.1.0", "0.2.0"]);

    // 0.2.0 is bad. Nothing brings the old version back by itself; the operator does, by name.
    let older = operator.host(&["add", &format!("{}@<0.2", published("b-events"))]);
    assert_eq!(older.code, 64, "{older:?}");
    assert!(older.err.contains("older than the pinned 0.2.0; to roll back, run `host add "), "{}", older.err);
    let back = operator.ok(&["add", &format!("{}:0.1.0", published("b-events"))]);
    assert!(back.err.contains("rolled back from 0.2.0"), "{}", back.err);
    assert_eq!(versions(&operator.ok(&once)), ["0.1.0", "0.1.0"]);

    // And the record says who did what.
    operator.ok(&["silence", "b-events", "--for", "1h", "--why", "a bad release"]);
    operator.ok(&["silences", "--expire", "1"]);
    operator.write("host.toml", &toml.replace(&format!(", \"{}\"", keys[1]), ""));
    let refused = operator.host(&once);
    assert_eq!(refused.code, 3, "{refused:?}");
    let audit = operator.ok(&["audit", "--output", "json"]).json()["audit"].as_array().unwrap().clone();
    let told: Vec<String> = audit
        .iter()
        .rev()
        .map(|entry| format!("{}: {}", entry["place"].as_str().unwrap(), entry["change"].as_str().unwrap()))
        .collect();
    let expected = [
        "host.toml: first seen: pins: 2, plugins with grants: 2, trusted keys: 2",
        "grants.b-events.warehouse: gives ops",
        "plugins.lock b-events: changes 0.1.0 sha256:",
        "plugins.lock b-events: changes 0.2.0 sha256:",
        "silence 1: no new alerts of b-events until ",
        "silence 1: ended early",
        "grants.b-events.warehouse: takes ops",
        "trust.keys: takes ed25519:",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{expected}: {told}");
    }
    assert!(told[3].ends_with("(rolled back)"), "{}", told[3]);
    assert!(audit.iter().all(|entry| !entry["who"].as_str().unwrap().is_empty()), "{audit:#?}");
    assert!(audit[0]["who"].as_str().unwrap().starts_with("host.toml of "), "{audit:#?}");
    let table = operator.ok(&["audit", "--limit", "1"]);
    assert!(table.out.contains("takes ed25519:") && !table.out.contains("silence 1"), "{}", table.out);
}

/// A grant names a dataset, a repository, a channel; another key of host.toml says what that is. Both are reviewed.
#[test]
fn what_a_granted_name_means_is_reviewed_too() {
    let place = tempfile::tempdir().unwrap();
    let operator = Person::new(place.path(), "operator");
    fs::create_dir(operator.folder.join("main")).unwrap();
    let toml = "timezone = \"UTC\"\n[warehouse]\nkind = \"bigquery\"\nproject = \"ours\"\nlocation = \"US\"\n[git.pipeline]\npath = \".\"\n\
                [slack.channels.\"#a\"]\nwebhook_env = \"OURS\"\n[grants.odds]\nwarehouse = [\"raw\"]\n\
                [checks.odds]\nschedule = \"0 5 * * *\"\nsettings = { sql = \"SELECT  1\" }\n";
    operator.write("main/host.toml", toml);
    let cases = [
        ("project = \"ours\"", "project = \"theirs\"", "warehouse.project", "\"ours\" → \"theirs\""),
        (
            "project = \"ours\"",
            "project = \"ours\"\nendpoint = \"https://bq.example\"",
            "warehouse.endpoint",
            "not set → \"https://bq.example\"",
        ),
        ("path = \".\"", "path = \"..\"", "git.pipeline.path", "\".\" → \"..\""),
        ("\"OURS\"", "\"THEIRS\"", "slack.channels.#a.webhook_env", "\"OURS\" → \"THEIRS\""),
        ("0 5 * * *", "* * * * *", "checks.odds.schedule", "\"0 5 * * *\" → \"* * * * *\""),
        ("SELECT  1", "SELECT 1", "checks.odds.settings.sql", ""),
        ("timezone = \"UTC\"\n", "", "timezone", "\"UTC\" → not set"),
    ];
    for (from, to, key, what) in cases {
        operator.write("host.toml", &toml.replacen(from, to, 1));
        let review = operator.host(&["plan", "--diff", "main/host.toml"]);
        assert_eq!(review.code, 2, "{key}: {review:?}");
        assert!(review.out.contains(key) && review.out.contains(what), "{key}: {}", review.out);
        assert_eq!(review.out.lines().count(), 2, "{key}: {}", review.out);
    }
    operator.write("host.toml", &format!("# A comment is no right.\n{toml}"));
    assert_eq!(operator.ok(&["plan", "--diff", "main/host.toml"]).out, "The rights are the same.\n");
}

/// The commands of docs/plugins.md for a review, in the merge request that adds plugins.lock.
#[test]
fn a_review_of_the_first_pins() {
    let place = tempfile::tempdir().unwrap();
    let operator = Person::new(place.path(), "operator");
    let git = |arguments: &[&str]| {
        let mut command = operator.command("git");
        command.args(["-c", "user.name=o", "-c", "user.email=o@example.com", "-c", "commit.gpgsign=false"]);
        let ended = ended(command.args(arguments)).unwrap();
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    };
    fs::copy(plugin("phase2-raw"), operator.folder.join("phase2-raw.wasm")).unwrap();
    operator.write("host.toml", "[grants.phase2-raw]\nwarehouse = [\"nba_raw\"]\n");
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "Grant"]);
    git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    operator.ok(&["pin", "phase2-raw.wasm"]);

    let text = fs::read_to_string(repository().join("docs/plugins.md")).unwrap();
    let section = text.split("## Review a change").nth(1).unwrap().split("\n## ").next().unwrap();
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert!(commands.last().unwrap().starts_with("host plan --diff "), "{commands:?}");
    let review = ended(operator.command("sh").args(["-e", "-c", &commands.join("\n")])).unwrap();
    assert_eq!(review.code, 2, "{review:?}");
    assert!(review.err.contains("main/plugins.lock: compared as if nothing had been pinned"), "{}", review.err);
    assert!(review.out.contains("plugins.lock phase2-raw") && review.out.contains("0.1.0 sha256:"), "{}", review.out);

    // As `git show` leaves it where the file did not exist. The twin: a lock file that was cut off.
    fs::create_dir(operator.folder.join("old")).unwrap();
    fs::copy(operator.folder.join("host.toml"), operator.folder.join("old/host.toml")).unwrap();
    operator.write("old/plugins.lock", "");
    let empty = operator.host(&["plan", "--diff", "old/host.toml"]);
    assert!(empty.code == 2 && review.out.ends_with(&empty.out), "{empty:?}");
    assert!(empty.err.contains("old/plugins.lock is empty: compared as if nothing"), "{}", empty.err);
    operator.write("old/plugins.lock", "# Only");
    let broken = operator.host(&["plan", "--diff", "old/host.toml"]);
    assert!(broken.code == 64 && broken.err.contains("old/plugins.lock: refused"), "{broken:?}");

    let absent = operator.host(&["plan", "--diff", "nosuch.toml"]);
    assert_eq!(absent.code, 64, "{absent:?}");
    assert!(absent.err.contains("there is no nosuch.toml; --diff takes an older host.toml"), "{}", absent.err);
    assert!(!absent.err.contains("--config"), "{}", absent.err);
}
