//! The commands that messages suggest: each is run in a shell as it stands, where it was suggested, with names that a
//! shell would take apart.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{
    AT,
    command::{Ended, Sample, binary, ended, shipped},
    registry::Registry,
    service::{Client, TOKEN},
};

/// A plugin's file with a name that must be quoted.
const FILE: &str = "my plugins/it's $HOME.wasm";
const QUOTED: &str = r"'my plugins/it'\''s $HOME.wasm'";

/// A place in which something is wrong.
struct Place {
    sample: Sample,
    registry: Option<Registry>,
}

impl Place {
    fn new() -> Self {
        let sample = Sample::new(None).unwrap();
        fs::create_dir(sample.path().join("my plugins")).unwrap();
        fs::create_dir(sample.path().join("plugins")).unwrap();
        fs::create_dir(sample.path().join("my files")).unwrap();
        fs::copy(phase2(), sample.path().join(FILE)).unwrap();
        fs::copy(phase2(), sample.path().join("plugins/phase2-raw.wasm")).unwrap();
        Self { sample, registry: None }
    }

    /// A registry with phase2-raw in it.
    fn with_registry() -> Self {
        let mut place = Self::new();
        let registry = Registry::start(false).unwrap();
        let oci = format!("oci://{}/phase2-raw", registry.host());
        place.registry = Some(registry);
        assert_eq!(place.sh(&format!("host push {QUOTED} {oci}")).code, 0);
        place
    }

    /// Runs a line in a shell; `OCI` is the plugin in the registry.
    fn sh(&self, line: &str) -> Ended {
        let oci = self.registry.as_ref().map(|registry| format!("oci://{}/phase2-raw", registry.host()));
        let path = format!("{}:{}", binary("").display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-c", &line.replace("OCI", &oci.unwrap_or_default()).replace("--at AT", &format!("--at {AT}"))]);
        for (name, value) in self.sample.command().get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        ended(shell.env("PATH", path).stdin(Stdio::null()).current_dir(self.sample.path())).unwrap()
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.sample.path().join(file), text).unwrap();
    }

    /// The same plugin in other bytes.
    fn rebuild(&self, file: &str) {
        let path = self.sample.path().join(file);
        let mut bytes = fs::read(phase2()).unwrap();
        // A custom section named x.
        bytes.extend([0, 2, 1, b'x']);
        fs::write(path, bytes).unwrap();
    }
}

fn phase2() -> std::path::PathBuf {
    shipped().unwrap().into_iter().find(|file| file.ends_with("phase2-raw.wasm")).unwrap()
}

/// A place whose configuration has another name than the usual one.
fn elsewhere() -> Place {
    let place = Place::new();
    let gate = shipped().unwrap().into_iter().find(|file| file.ends_with("phase2-gate.wasm")).unwrap();
    fs::copy(gate, place.sample.path().join("plugins/phase2-gate.wasm")).unwrap();
    let toml = fs::read_to_string(place.sample.path().join("host.toml")).unwrap();
    let toml = toml.replace("[checks.phase2-gate]", "[checks.phase2-gate]\nexpect_consult = \"0 6 * * *\"");
    place.write("other.toml", &format!("{toml}\n[web]\nlisten = \"127.0.0.1:0\"\n"));
    fs::remove_file(place.sample.path().join("host.toml")).unwrap();
    place
}

/// The commands in a message: between backticks, or on lines of their own.
fn commands(said: &str) -> Vec<String> {
    let programs = ["host", "git", "chmod", "cd"];
    let ours = |command: &&str| programs.iter().any(|program| command.split(' ').next() == Some(program));
    let quoted = said.split('`').skip(1).step_by(2);
    let lines = said.lines().filter_map(|line| line.strip_prefix("  ")?.split("  ").next());
    // What a new plugin is tested with needs its build; tests/tests/all/templates.rs follows those steps.
    quoted.chain(lines).filter(ours).filter(|command| !command.starts_with("host test")).map(str::to_owned).collect()
}

/// What is done in a place before, the command that goes wrong or says what is next, and what it suggests.
type Situation = (&'static str, fn() -> Place, fn(&Place), &'static str, &'static [&'static str]);

const RUN: &str = r#"host run --once --dry-run --output json "my plugins/it's \$HOME.wasm""#;

const SITUATIONS: &[Situation] = &[
    (
        "nothing said",
        Place::new,
        |place| fs::remove_file(place.sample.path().join("host.toml")).unwrap(),
        "host",
        &["host init", "host new raw-events", "host doctor"],
    ),
    (
        "no configuration",
        Place::new,
        |place| fs::remove_file(place.sample.path().join("host.toml")).unwrap(),
        "host plan",
        &["host init"],
    ),
    (
        "no plugin",
        Place::new,
        |place| fs::remove_dir_all(place.sample.path().join("plugins")).unwrap(),
        "host plan",
        &["host new --help", "host add --help"],
    ),
    ("nothing pinned", Place::new, |_| (), RUN, &["host pin 'my plugins/it'\\''s $HOME.wasm'"]),
    ("nothing pinned, nothing named", Place::new, |_| (), "host run --once --at AT", &["host pin plugins/"]),
    (
        "another lock file",
        Place::new,
        |_| (),
        "host plan --lock 'my files/plugins.lock'",
        &["host pin --lock 'my files/plugins.lock' plugins/"],
    ),
    ("a directory", Place::new, |_| (), "host run --once --dry-run 'my plugins'", &["host pin 'my plugins/'"]),
    (
        "a new configuration",
        Place::new,
        |_| (),
        r#"host init --config "my files/host.toml" "my plugins/it's \$HOME.wasm""#,
        &["host run --once --config 'my files/host.toml' 'my plugins/it'\\''s $HOME.wasm'"],
    ),
    (
        "a configuration that exists",
        Place::new,
        |_| (),
        r#"host init "my plugins/it's \$HOME.wasm""#,
        &["host init --config - 'my plugins/it'\\''s $HOME.wasm'"],
    ),
    (
        "other bytes than pinned",
        Place::new,
        |place| {
            place.sh(&format!("host pin {QUOTED}"));
            place.rebuild(FILE);
        },
        RUN,
        &["host pin phase2-raw@0.1.0 'my plugins/it'\\''s $HOME.wasm'"],
    ),
    (
        "other bytes than pinned, seen by doctor",
        Place::new,
        |place| {
            place.sh(&format!("host pin {QUOTED}"));
            place.rebuild(FILE);
        },
        "host doctor",
        &["host pin phase2-raw@0.1.0 'my plugins/it'\\''s $HOME.wasm'"],
    ),
    (
        "not pinned",
        Place::new,
        |place| place.write("plugins.lock", "format = 1\n"),
        RUN,
        &["host pin phase2-raw@0.1.0 'my plugins/it'\\''s $HOME.wasm'"],
    ),
    (
        "two files of one name",
        Place::new,
        |place| place.rebuild("plugins/phase2-raw.wasm"),
        r#"host run --once --dry-run --output json plugins/ "my plugins/""#,
        &["host pin phase2-raw@0.1.0 "],
    ),
    (
        "two files of one name to pin",
        Place::new,
        |place| place.rebuild("plugins/phase2-raw.wasm"),
        "host pin plugins/ 'my plugins/'",
        &["host pin phase2-raw@0.1.0 "],
    ),
    (
        "a pinned file that is gone",
        Place::new,
        |place| {
            place.sh(&format!("host pin {QUOTED}"));
            fs::remove_file(place.sample.path().join(FILE)).unwrap();
        },
        "host doctor",
        &["host pin --prune"],
    ),
    ("nothing to pin", Place::new, |_| (), "host pin", &["host pin plugins/*.wasm"]),
    (
        "nothing to verify",
        Place::new,
        |_| (),
        "host pin --verify --lock 'my files/plugins.lock'",
        &["host pin --lock 'my files/plugins.lock' plugins/*.wasm"],
    ),
    (
        "not signed",
        Place::new,
        |place| {
            let key = place.sh("host keygen").out;
            let toml = fs::read_to_string(place.sample.path().join("host.toml")).unwrap();
            place.write("host.toml", &format!("{toml}\n[trust]\nkeys = [\"{}\"]\n", key.trim()));
        },
        RUN,
        &["host sign 'my plugins/it'\\''s $HOME.wasm'"],
    ),
    (
        "no key",
        Place::new,
        |_| (),
        "host sign --key 'my files/a key' plugins/phase2-raw.wasm",
        &["host keygen 'my files/a key'"],
    ),
    (
        "a key that others can read",
        Place::new,
        |place| {
            place.sh("host keygen 'my files/a key'");
            let key = place.sample.path().join("my files/a key");
            fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
        },
        "host sign --key 'my files/a key' plugins/phase2-raw.wasm",
        &["chmod 600 'my files/a key'"],
    ),
    (
        "a plugin that everyone can write",
        Place::new,
        |place| {
            place.sh(&format!("host pin {QUOTED}"));
            fs::set_permissions(place.sample.path().join(FILE), fs::Permissions::from_mode(0o666)).unwrap();
        },
        "host doctor",
        &["chmod o-w 'my plugins/it'\\''s $HOME.wasm'"],
    ),
    ("no run yet", Place::new, |_| (), "host history", &["host run --once"]),
    (
        "a silence",
        Place::new,
        |place| {
            place.sh("host run --once --at AT");
        },
        "host silence phase2-raw --for 1h --why testing",
        &["host silences --expire 1"],
    ),
    (
        "no such silence",
        Place::new,
        |place| {
            place.sh("host run --once --at AT");
        },
        "host silences --expire 7",
        &["host silences"],
    ),
    (
        "a shallow clone",
        Place::new,
        |place| {
            place.sh("git clone --quiet --depth=2 \"file://$PWD/repository\" 'my clone'");
            let toml = fs::read_to_string(place.sample.path().join("host.toml")).unwrap();
            place.write("host.toml", &toml.replace("path = \"repository\"", "path = \"my clone\""));
        },
        "host doctor",
        &["git -C 'my clone' fetch --unshallow"],
    ),
    ("a new plugin", Place::new, |_| (), "host new raw-events --dir 'my files/new'", &["cd 'my files/new'"]),
    ("a plugin from a registry", Place::with_registry, |_| (), "host add OCI", &["host inspect plugins.store/"]),
    (
        "a plugin that was not fetched",
        Place::with_registry,
        |place| {
            place.sh("host add --lock 'my files/plugins.lock' OCI");
            fs::remove_dir_all(place.sample.path().join("my files/plugins.store")).unwrap();
        },
        "host plan --lock 'my files/plugins.lock'",
        &["host pull --lock 'my files/plugins.lock'"],
    ),
    (
        "a plugin that was not fetched, seen by doctor",
        Place::with_registry,
        |place| {
            place.sh("host add OCI");
            fs::remove_dir_all(place.sample.path().join("plugins.store")).unwrap();
        },
        "host doctor",
        &["host pull"],
    ),
    (
        "no run of another configuration",
        elsewhere,
        |_| (),
        "host history --config other.toml",
        &["host run --config other.toml --once"],
    ),
    (
        "a silence in another configuration",
        elsewhere,
        |place| {
            place.sh("host run --once --at AT --config other.toml");
        },
        "host silence phase2-raw --for 1h --why testing --config other.toml",
        &["host silences --config other.toml --expire 1"],
    ),
    (
        "no such silence in another configuration",
        elsewhere,
        |place| {
            place.sh("host run --once --at AT --config other.toml");
        },
        "host silences --expire 7 --config other.toml",
        &["host silences --config other.toml"],
    ),
    (
        "channels of another configuration",
        elsewhere,
        |_| (),
        "host doctor --config other.toml",
        &["host receivers test --config other.toml"],
    ),
    ("no lock file to pull", Place::with_registry, |_| (), "host pull", &["host add --help"]),
];

#[test]
fn every_suggested_command_runs_as_it_stands() {
    for (name, place, before, line, expected) in SITUATIONS {
        let place = place();
        before(&place);
        let said = place.sh(line);
        let errors = serde_json::from_str::<serde_json::Value>(&said.out).ok().and_then(|json| {
            let runs = json["runs"].as_array()?;
            Some(runs.iter().filter_map(|run| run["error"].as_str()).collect::<Vec<_>>().join("\n"))
        });
        let text = format!("{}\n{}", errors.unwrap_or_else(|| said.out.clone()), said.err);
        let suggested = commands(&text);
        for wanted in *expected {
            assert!(suggested.iter().any(|command| command.starts_with(wanted)), "{name}: no `{wanted}` in {text}");
        }
        for command in suggested {
            let done = place.sh(&command);
            assert!((0..=3).contains(&done.code), "{name}: `{command}` ended with {}: {}", done.code, done.err);
        }
    }
}

/// The commands of the host in the steps of alerts and on its pages name the configuration that it runs with.
#[test]
fn what_messages_and_pages_suggest_runs_with_another_configuration() {
    let place = elsewhere();
    // A running host that chose its port itself cannot be asked about a gate.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let toml = fs::read_to_string(place.sample.path().join("other.toml")).unwrap();
    place.write("other.toml", &toml.replace("127.0.0.1:0", &free.to_string()));
    place.sample.sql("nba_raw", "UPDATE nbac_player_boxscore SET player_name = NULL WHERE rowid % 40 = 0").unwrap();
    let ran = place.sh("host run --once --at AT --config other.toml --check phase2-raw --check phase2-gate.consulted");
    assert_eq!(ran.code, 2, "{ran:?}");
    let messages = place.sample.slack.received();
    let blocks = messages.iter().flat_map(|(_, message)| message["blocks"].as_array().unwrap());
    let texts: String = blocks.filter_map(|block| block["text"]["text"].as_str()).collect();
    let mut suggested: Vec<String> = texts.split("```").skip(1).step_by(2).map(plain).collect();

    let mut command = place.sample.command();
    command.env("HOST_TOKEN", TOKEN).args(["run", "--config", "other.toml"]);
    let mut host = place.sample.stay_with(command).unwrap();
    let line = host.wait_for("the page is at http://").unwrap();
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap().to_owned();
    let client = Client::at(address);
    for page in ["/checks/phase2-raw", "/checks/phase2-gate", "/gates"] {
        let page = client.get(page).body;
        suggested.extend(page.split("<code>").skip(1).filter_map(|rest| Some(plain(rest.split("</code>").next()?))));
    }
    suggested.retain(|command| command.starts_with("host "));
    for expected in [
        "host query --config other.toml --date 2026-02-05 'SELECT ",
        "host history --config other.toml phase2-gate",
        "host gate --config other.toml phase2-gate --date 2026-02-05",
        "host silence --config other.toml phase2-raw --for 4h",
        "host silence --config other.toml phase2-gate --for 4h",
        "host gate --config other.toml phase2-gate",
    ] {
        assert!(suggested.iter().any(|command| command.starts_with(expected)), "no `{expected}`: {suggested:#?}");
    }
    for command in suggested {
        let done = place.sh(&format!("HOST_TOKEN={TOKEN} {command}"));
        assert!((0..=3).contains(&done.code), "`{command}` ended with {}: {}", done.code, done.err);
    }
    host.end("TERM").unwrap();
}

/// A text without the escapes of Slack and of a page.
fn plain(text: &str) -> String {
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (escape, character)| text.replace(escape, character))
}

/// Errors name files that are there.
#[test]
fn an_error_names_no_file_that_is_gone() {
    let place = Place::with_registry();
    let sample = place.sample.path();
    // The registry has a plugin that nobody signed.
    let toml = fs::read_to_string(sample.join("host.toml")).unwrap();
    place.write("host.toml", &format!("{toml}\n[trust]\nkeys = [\"ed25519:{}\"]\n", "ab".repeat(32)));
    let refused = place.sh("host add OCI");
    assert_eq!(refused.code, 64, "{refused:?}");
    assert!(refused.err.contains("the registry has no signature of it"), "{}", refused.err);
    assert!(!refused.err.contains(".tmp") && !refused.err.contains("arrived"), "{}", refused.err);
}

/// What a file is that is no plugin, and only advice that helps.
#[test]
fn a_file_that_is_no_plugin_is_described() {
    let place = Place::new();
    let whole = fs::read(phase2()).unwrap();
    let mut damaged = whole.clone();
    // A core module within begins with something else.
    let inner = damaged.windows(4).skip(4).position(|bytes| bytes == b"\0asm").unwrap() + 4;
    damaged[inner + 1] = b'x';
    let files: [(&str, &[u8], &str); 7] = [
        ("empty", b"", "is not a valid WebAssembly component: the file is empty"),
        ("text", b"SELECT 1", "is not a valid WebAssembly component: it is a text file"),
        ("picture", b"\x89PNG\r\n\x1a\n\0", "is not a valid WebAssembly component: it is another kind of file"),
        (
            "pointer",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "is not a valid WebAssembly component: it is a pointer of Git LFS; `git lfs pull` fetches the file",
        ),
        (
            "cut",
            &whole[..whole.len() / 2],
            "is not a valid WebAssembly component: it is damaged or incomplete; build or fetch it again",
        ),
        (
            "damaged",
            &damaged,
            "is not a valid WebAssembly component: it is damaged or incomplete; build or fetch it again",
        ),
        (
            "module",
            b"\0asm\x01\0\0\0",
            "is a WebAssembly module, not a component; build it with the SDK, as `host new --help` shows",
        ),
    ];
    for (name, bytes, words) in files {
        let file = format!("{name}.wasm");
        fs::write(place.sample.path().join(&file), bytes).unwrap();
        let inspected = place.sh(&format!("host inspect {file}"));
        assert_eq!((inspected.code, inspected.err.as_str()), (64, format!("error: {file}: {words}\n").as_str()));
    }
    assert!(Path::new(&place.sample.path().join("module.wasm")).exists());
}

/// A gate is asked with the plugins that `host run` would run, and a wrong name is not about other commands.
#[test]
fn a_gate_uses_the_same_plugins_as_a_run() {
    let place = Place::new();
    let sample = place.sample.path();
    let gate = shipped().unwrap().into_iter().find(|file| file.ends_with("phase2-gate.wasm")).unwrap();
    fs::copy(gate, sample.join("my plugins/gate.wasm")).unwrap();
    let ask = "host gate phase2-gate --date 2026-02-05";
    // plugins/ has none.
    let absent = place.sh(ask);
    assert!(absent.code == 3 && absent.out.contains("no file holds the plugin phase2-gate"), "{absent:?}");
    assert_eq!(place.sh("host pin 'my plugins/gate.wasm'").code, 0);
    let pinned = place.sh(ask);
    assert!(pinned.code == 0 && pinned.out.starts_with("PROCEED: "), "{pinned:?}");
    let wrong = place.sh("host gate phase2-gat --date 2026-02-05");
    assert!(wrong.code == 64 && wrong.err.contains("did you mean `phase2-gate`?"), "{wrong:?}");
    assert!(!wrong.err.contains("--check"), "{}", wrong.err);
    // Bytes that are not pinned answer nothing.
    let mut bytes = fs::read(sample.join("my plugins/gate.wasm")).unwrap();
    bytes.extend([0, 2, 1, b'x']);
    fs::write(sample.join("my plugins/gate.wasm"), bytes).unwrap();
    let changed = place.sh(ask);
    assert!(changed.code == 3 && changed.out.contains("phase2-gate is pinned to 0.1.0"), "{changed:?}");
    // Without a pin, plugins/ beside the configuration, as for a run.
    fs::remove_file(sample.join("plugins.lock")).unwrap();
    fs::rename(sample.join("my plugins/gate.wasm"), sample.join("plugins/gate.wasm")).unwrap();
    assert_eq!(place.sh(ask).code, 0);
    let run = place.sh(&format!("host run --once --dry-run --at {AT} --check phase2-gate"));
    assert!(run.code == 0 && run.out.contains("phase2-gate"), "{run:?}");
}
