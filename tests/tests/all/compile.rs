//! Plugins whose bytes make the compiler, or the validator of the settings' schema, work without end. Both are an error
//! of that plugin, which names the limit, and do not slow down the others.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use host::plugin::Digest;
use host_tests::HOST_TOML;

use crate::support::{
    AT,
    command::{Ended, Sample, binary, ended, shipped},
    text::{Text, component},
    watched::plugin,
};

/// Nested loops over the same values: 5 KB that take five seconds, and four times as much takes a minute.
fn looping_function(depth: usize) -> String {
    const VALUES: usize = 50;
    let mut text = String::from("(func (param i32) (result i32) (local");
    text += &" i32".repeat(VALUES);
    text += ")\n";
    text += &"loop\n".repeat(depth);
    for at in 1..=VALUES {
        let _ = writeln!(text, "(local.set {at} (i32.add (local.get {at}) (local.get 0)))");
    }
    for at in 0..depth {
        let _ = writeln!(text, "(br_if 0 (local.get {})) end", at % VALUES + 1);
    }
    text += "i32.const 0\n";
    for at in 1..=VALUES {
        let _ = writeln!(text, "local.get {at} i32.add");
    }
    text + ")"
}

/// Blocks in blocks, each left from the innermost one with its own value.
fn deep_function(depth: usize) -> String {
    let mut text = String::from("(func (param i32) (result i32)\n");
    text.extend(std::iter::repeat_n("block (result i32)\n", depth));
    text += "i32.const 1 local.get 0 br_table";
    for at in 0..depth {
        let _ = write!(text, " {at}");
    }
    text.push('\n');
    text.extend(std::iter::repeat_n("end i32.const 3 i32.mul\n", depth));
    text + ")"
}

fn many_functions(count: usize) -> String {
    "(func (param i32) (result i32) (i32.mul (local.get 0) (i32.add (local.get 0) (i32.const 7))))\n".repeat(count)
}

/// A plugin that would pass, with more in it.
fn with(name: &str, items: String) -> Vec<u8> {
    component(name, Text { items: items.leak(), ..Text::default() })
}

fn written(sample: &Sample, name: &str, bytes: &[u8]) -> PathBuf {
    let path = sample.path().join(format!("{name}.wasm"));
    fs::write(&path, bytes).unwrap();
    path
}

/// A host that has compiled nothing yet.
fn fresh(sample: &Sample) -> Command {
    let mut command = sample.command();
    command.env("XDG_CACHE_HOME", sample.path().join("cache"));
    command
}

fn once(mut command: Command, files: &[PathBuf]) -> Ended {
    command.args(["run", "--once", "--at", AT, "--output", "json"]).args(files);
    ended(&mut command).unwrap()
}

/// Fills the cache of a fresh host with the shipped plugins' code, out of what the hosts of all tests share.
fn compile_shipped(sample: &Sample) {
    let kept = |cache: &Path| cache.join("host/compiled");
    let (from, to) = (kept(&binary("").join("test-cache")), kept(&sample.path().join("cache")));
    // Whatever is missing there is compiled now.
    assert_eq!(once(sample.command(), &shipped().unwrap()).code, 0);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&to).unwrap();
    for file in shipped().unwrap() {
        let digits = Digest::of(&fs::read(file).unwrap()).digits();
        for code in fs::read_dir(&from).unwrap().map(|entry| entry.unwrap().path()) {
            let name = code.file_name().unwrap();
            if name.to_string_lossy().starts_with(&digits) {
                fs::copy(&code, to.join(name)).unwrap();
            }
        }
    }
}

/// The confined processes of a host, by their command line.
fn confined(host: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        arguments.get(1) == Some(&&b"--confined"[..]) && arguments.get(3) == Some(&host.to_string().as_bytes())
    })
    .collect()
}

/// The nineteenth field of /proc/PID/stat; the name before it has no spaces.
fn nice(process: u32) -> Option<i32> {
    fs::read_to_string(format!("/proc/{process}/stat")).ok()?.split(' ').nth(18)?.parse().ok()
}

fn signal(name: &str, process: u32) {
    assert!(Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap().success());
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_never_compiles_is_an_error_of_its_plugin() {
    let sample = Sample::new(None).unwrap();
    let cases = [
        (
            "loops",
            looping_function(600),
            "compile_cpu = '1s'",
            "needs more CPU time to compile than 1 s; raise budgets.compile_cpu, or grants.loops.budgets.compile_cpu, in host.toml",
        ),
        ("many", many_functions(30_000), "compile_cpu = '1s'", "needs more CPU time to compile than 1 s"),
        (
            "deep",
            deep_function(3_000),
            "compile_memory = '48 MiB'",
            "needs more memory to compile than 48 MiB; raise budgets.compile_memory, or grants.deep.budgets.compile_memory, in host.toml",
        ),
    ];
    let mut toml = HOST_TOML.to_owned();
    let mut files = vec![plugin("phase2-raw"), plugin("phase4-precompute")];
    for (name, items, budget, _) in &cases {
        let _ = write!(toml, "\n[grants.{name}]\nslack = ['#canary-alerts']\nbudgets = {{ {budget} }}\n");
        files.push(written(&sample, name, &with(name, items.clone())));
    }
    sample.configure(&toml).unwrap();
    let ended = once(fresh(&sample), &files);
    assert_eq!(ended.code, 3, "{ended:?}");
    for (name, _, _, words) in cases {
        let error = ended.run(name)["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(words), "{name}: {error}");
    }
    let passed = ended.json()["runs"].as_array().unwrap().iter().filter(|run| run["status"] == "pass").count();
    assert_eq!(passed, 2, "{ended:?}");
}

/// The second start compiles nothing: with the memory that it now has it could not.
#[test]
fn compiled_code_is_kept() {
    let sample = Sample::new(None).unwrap();
    let run = |memory: &str| {
        let budgets = format!("[budgets]\ncompile_memory = '{memory}'");
        sample.configure(&HOST_TOML.replace("[budgets]", &budgets)).unwrap();
        let mut command = fresh(&sample);
        command.args(["run", "--once", "--at", AT, "--output", "json", "--check", "phase2-raw"]);
        ended(command.arg(plugin("phase2-raw"))).unwrap().run("phase2-raw")["status"].clone()
    };
    assert_eq!(run("4 MiB"), "error");
    assert_eq!(run("1 GiB"), "pass");
    assert_eq!(run("4 MiB"), "pass");
    fs::remove_dir_all(sample.path().join("cache")).unwrap();
    assert_eq!(run("4 MiB"), "error");
}

/// The rights of the compiling process, seen from outside.
#[test]
fn the_compiler_has_nothing_and_ends_with_the_host() {
    let sample = Sample::new(None).unwrap();
    sample.configure(&(HOST_TOML.to_owned() + "\n[grants.loops]\nslack = ['#canary-alerts']\n")).unwrap();
    let file = written(&sample, "loops", &with("loops", looping_function(2_000)));
    let start = || {
        let mut command = fresh(&sample);
        command.env("SECRET", "of the host").args(["run", "--once", "--at", AT]).arg(&file);
        sample.stay_with(command).unwrap()
    };
    let compiler = |host: u32| {
        eventually("no compiler started", || {
            let id = confined(host).pop()?;
            let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
            // The last step before it reads.
            status.contains("Seccomp:\t2").then_some((id, status))
        })
    };
    let gone =
        |id: u32| eventually("the compiler goes on", || (!Path::new(&format!("/proc/{id}")).exists()).then_some(()));

    let host = start();
    let (id, status) = compiler(host.id());
    for line in ["NoNewPrivs:\t1", "Threads:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert_eq!(fs::read(format!("/proc/{id}/environ")).unwrap_or_default(), b"", "no environment");
    assert_eq!(fs::read_link(format!("/proc/{id}/cwd")).unwrap(), Path::new("/"));
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    for (name, soft) in
        [("Max file size", "0"), ("Max open files", "0"), ("Max core file size", "0"), ("Max cpu time", "60")]
    {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(line.split_whitespace().nth(name.split(' ').count()), Some(soft), "{line}");
    }
    let mut files: Vec<PathBuf> = fs::read_dir(format!("/proc/{id}/fd"))
        .unwrap()
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap())
        .collect();
    files.retain(|file| file != Path::new("/dev/null"));
    assert!(files.len() <= 2 && files.iter().all(|file| file.to_str().unwrap().starts_with("pipe:")), "{files:?}");
    // It lowers its priority when it takes long.
    let own = nice(std::process::id());
    eventually("it does not give way", || (nice(id)? == (own? + 10).min(19)).then_some(()));

    // Asked to go, and killed.
    let (code, _) = host.end("TERM").unwrap();
    assert_eq!(code, Some(143));
    gone(id);
    let host = start();
    let (id, _) = compiler(host.id());
    host.end("KILL").unwrap();
    gone(id);

    // Killed by somebody else.
    let mut command = fresh(&sample);
    command.args(["run", "--once", "--at", AT, "--output", "json"]).arg(&file).stdout(Stdio::piped());
    let host = command.spawn().unwrap();
    let (id, _) = compiler(host.id());
    signal("KILL", id);
    let out = String::from_utf8(host.wait_with_output().unwrap().stdout).unwrap();
    let words = "cannot be compiled: the confined process ended unexpectedly (signal: 9 (SIGKILL))";
    assert!(out.contains(words), "{out}");
}

/// The other checks do not wait for a slow plugin.
#[test]
fn checks_that_are_ready_run_while_another_is_compiled() {
    let sample = Sample::new(None).unwrap();
    let own = |budget: &str| {
        let toml = format!("\n[grants.slow]\nslack = ['#canary-alerts']\nbudgets = {{ {budget} }}\n");
        sample.configure(&(HOST_TOML.to_owned() + &toml + "[checks.slow]\nschedule = '* * * * *'\n")).unwrap();
    };
    let mut files = shipped().unwrap();
    files.push(written(&sample, "slow", &with("slow", looping_function(400))));
    let start = |arguments: &[&str]| {
        let mut command = sample.command();
        command.env("XDG_CACHE_HOME", sample.path().join("cache")).arg("run").args(arguments).args(&files);
        sample.stay_with(command).unwrap()
    };
    compile_shipped(&sample);

    // It stands still, however fast the machine is, until the host has lost its patience.
    let stopped = |host: u32| {
        let id = eventually("no compiler started", || confined(host).pop());
        signal("STOP", id);
        id
    };

    own("compile_cpu = '1s'");
    let mut host = start(&["--once", "--at", AT, "--output", "json"]);
    let compiler = stopped(host.id());
    host.wait_for("phase2-raw: pass: ").unwrap();
    host.wait_for("still compiling the plugins of slow").unwrap();
    assert_eq!(confined(host.id()), [compiler], "what is ready ran before the other was compiled");
    signal("CONT", compiler);
    assert_eq!(host.ended().unwrap(), Some(3));
    let history = sample.host(&["history", "slow"]).unwrap();
    assert!(history.out.contains("needs more CPU time to compile than 1 s"), "{history:?}");

    own("");
    let mut host = start(&[]);
    let compiler = stopped(host.id());
    host.wait_for("waits: its plugin is still being compiled").unwrap();
    host.wait_for("next: ").unwrap();
    assert_eq!(confined(host.id()), [compiler]);
    signal("CONT", compiler);
    host.wait_for("compiled: slow is 1.0.0").unwrap();
    host.wait_for("next: slow at").unwrap();
    let (code, said) = host.interrupt().unwrap();
    assert_eq!(code, Some(0), "{said}");
}

/// The program may be replaced while it runs.
#[test]
fn a_host_whose_file_is_gone_compiles() {
    let sample = Sample::new(None).unwrap();
    sample.configure(&(HOST_TOML.to_owned() + "\n[grants.late]\nslack = ['#canary-alerts']\n")).unwrap();
    let program = sample.path().join("program");
    fs::copy(binary("host"), &program).unwrap();
    let plugins = sample.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::write(plugins.join("early.wasm"), with("early", String::new())).unwrap();
    let mut command = Command::new(&program);
    let inherited = fresh(&sample);
    command.current_dir(sample.path()).env_clear().arg("run").arg(&plugins);
    command.envs(inherited.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut host = sample.stay_with(command).unwrap();
    host.wait_for("next: ").unwrap();
    fs::remove_file(&program).unwrap();
    fs::write(plugins.join("late.wasm"), with("late", String::new())).unwrap();
    let line = host.wait_for("reloaded: ").unwrap();
    assert!(line.contains("late is new"), "{line}");
    assert_eq!(fs::read_dir(sample.path().join("cache/host/compiled")).unwrap().count(), 2, "both were compiled");
}

/// Each definition doubles the one before: to look at all of it would take years.
#[test]
fn a_schema_that_never_ends_is_an_error_of_its_plugin() {
    let sample = Sample::new(None).unwrap();
    let mut endless = String::from(r##"{"$ref":"#/$defs/a40","$defs":{"a0":{"type":"object"}"##);
    for at in 1..=40 {
        let before = at - 1;
        let _ = write!(
            endless,
            r##","a{at}":{{"allOf":[{{"$ref":"#/$defs/a{before}"}},{{"$ref":"#/$defs/a{before}"}}]}}"##
        );
    }
    endless += "}}";
    // Too large for evaluation by the host itself, but valid.
    let odd = r##"{"type":"object","patternProperties":{"^(?=a)":{"type":"string"}},"unevaluatedProperties":false}"##;
    let with_schema = |name: &str, schema: &str| {
        let text = Text { schema: schema.to_owned().leak(), ..Text::default() };
        written(&sample, name, &component(name, text))
    };
    let mut files = shipped().unwrap();
    files.extend([with_schema("endless", &endless), with_schema("odd", odd)]);
    let mut toml = HOST_TOML.to_owned();
    toml += "\n[grants.endless]\nslack = ['#canary-alerts']\n[grants.odd]\nslack = ['#canary-alerts']\n";
    for at in 0..5 {
        let _ = writeln!(toml, "[checks.endless{at}]\nplugin = 'endless'");
    }
    sample.configure(&(toml.clone() + "[checks.odd]\nsettings = { a = 'x' }\n")).unwrap();
    let ended = once(sample.command(), &files);
    for at in 0..5 {
        let error = ended.run(&format!("endless{at}"))["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains("the plugin's settings schema takes longer than 2 s"), "{error}");
    }
    let passed = ended.json()["runs"].as_array().unwrap().iter().filter(|run| run["status"] == "pass").count();
    assert_eq!(passed, 10, "{ended:?}");
    sample.configure(&(toml + "[checks.odd]\nsettings = { b = 'x' }\n")).unwrap();
    let refused = once(sample.command(), &files);
    let error = refused.run("odd")["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("host.toml: checks.odd.settings: "), "{refused:?}");
    let passed = refused.json()["runs"].as_array().unwrap().iter().filter(|run| run["status"] == "pass").count();
    assert_eq!(passed, 9, "{refused:?}");
}
