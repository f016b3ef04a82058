//! Stacks are a pool that all runs share. A plugin made of many components can have a task in each that waits and keeps its
//! stack; that takes nothing from the others.

use std::fmt::Write;

use host_tests::HOST_TOML;

use crate::support::{
    AT,
    command::{Sample, ended, shipped},
    text::{Text, component_in},
};

/// Components in the plugin: as many as the sandbox has room for.
const COMPONENTS: usize = 58;

/// A plugin that starts a task in each of its components, all of which wait for one that never ends.
fn hoarder() -> Vec<u8> {
    let (mut interface, mut imports, mut run) = (String::new(), String::new(), String::new());
    for at in 0..COMPONENTS {
        let _ = write!(interface, "task{at}: async func(); ");
        // It waits for the last one itself, with a stack of its own.
        if at == COMPONENTS - 1 {
            let _ = write!(imports, r#"(import "test:stacks/tasks" "task{at}" (func $wait))"#);
            run += "(call $wait) (i32.const 0)";
            break;
        }
        let _ = write!(imports, r#"(import "test:stacks/tasks" "[async-lower]task{at}" (func $f{at} (result i32)))"#);
        let _ = write!(run, "(drop (call $f{at}))");
    }
    let wit = format!(
        "package test:stacks; interface tasks {{ {interface} }} world all {{ include pipeline:check/check@0.1.2; import tasks; }}"
    );
    let text = Text { imports: imports.leak(), run: run.leak(), ..Text::default() };
    let text = wasmprinter::print_bytes(component_in(&wit, "hoarder", text)).unwrap();
    // A component beside the others, which they may call; what it imports of the contract is passed on.
    let lines = text.lines().skip_while(|line| !line.contains("(type $ty-pipeline:check/types@0.1.2"));
    let types = lines.clone().position(|line| line.contains(r#"(import "pipeline:check/types@0.1.2""#)).unwrap();
    let contract: Vec<&str> = lines.take(types + 1).collect();
    let mut brought = String::from(
        r#"(component $endless
             (core module $m
               (import "" "new" (func $new (result i32)))
               (func (export "f") (result i32) (i32.or (i32.shl (call $new) (i32.const 4)) (i32.const 2)))
               (func (export "back") (param i32 i32 i32) (result i32) unreachable))
             (core func $new (canon waitable-set.new))
             (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
             (func (export "f") async (canon lift (core func $i "f") async (callback (core func $i "back")))))
           (instance $endless-one (instantiate $endless))
           (component $waiting
             (import "f" (func $f async))
             (core func $lowered (canon lower (func $f)))
             (core module $m
               (import "" "f" (func $f))
               (func (export "f") (result i32) (call $f) (i32.const 0))
               (func (export "back") (param i32 i32 i32) (result i32) unreachable))
             (core instance $i (instantiate $m (with "" (instance (export "f" (func $lowered))))))
             (func (export "f") async (canon lift (core func $i "f") async (callback (core func $i "back")))))
        "#,
    );
    for at in 0..COMPONENTS {
        let _ = writeln!(brought, r#"(instance $w{at} (instantiate $waiting (with "f" (func $endless-one "f"))))"#);
    }
    brought += "(instance $tasks";
    for at in 0..COMPONENTS {
        let _ = write!(brought, r#" (export "task{at}" (func $w{at} "f"))"#);
    }
    brought.push(')');
    let whole = format!(
        r#"(component {} {brought} {text}
           (instance $made (instantiate $hoarder
             (with "pipeline:check/types@0.1.2" (instance $pipeline:check/types@0.1.2))
             (with "test:stacks/tasks" (instance $tasks))))
           (alias export $made "pipeline:check/plugin@0.1.2" (instance $exported))
           (export "pipeline:check/plugin@0.1.2" (instance $exported)))"#,
        contract.join("\n")
    );
    wat::parse_str(&whole).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn waiting_tasks_of_one_plugin_leave_stacks_for_the_others() {
    let sample = Sample::new(None).unwrap();
    let file = sample.path().join("hoarder.wasm");
    std::fs::write(&file, hoarder()).unwrap();
    let mut toml = HOST_TOML.to_owned();
    toml += "\n[grants.hoarder]\nslack = ['#canary-alerts']\nbudgets = { timeout = '20s' }\n";
    for at in 0..20 {
        let _ = writeln!(toml, "[checks.a-hoarder{at}]\nplugin = 'hoarder'");
    }
    sample.configure(&toml).unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--at", AT, "--output", "json"]).args(shipped().unwrap()).arg(&file);
    let ended = ended(&mut command).unwrap();
    for at in 0..20 {
        let error = ended.run(&format!("a-hoarder{at}"))["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains("timed out after 20 s"), "{error}");
    }
    let passed = ended.json()["runs"].as_array().unwrap().iter().filter(|run| run["status"] == "pass").count();
    assert_eq!(passed, 9, "{ended:?}");
}
