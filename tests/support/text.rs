//! Plugins written as WebAssembly text, for things that Rust cannot express: broken values, endless tables, traps
//! before the first call.

use std::fmt::Write;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use super::command::repository;

/// The parts of a plugin, as bodies of functions.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// Before `describe` answers.
    pub describe: &'static str,
    /// Gives an i32: 0 when it is done. `$return` hands a result over, by its address; memory below 4096 is zero, which
    /// is a report that passes.
    pub run: &'static str,
    /// More imports of the module.
    pub imports: &'static str,
    /// More items of the module.
    pub items: &'static str,
    /// Of its settings.
    pub schema: &'static str,
    /// Its wishes: group, schedule, time zone and channel.
    pub group: &'static str,
    pub cron: &'static str,
    pub timezone: Option<&'static str>,
    pub channel: &'static str,
}

/// The `run` of a plugin that fails, with one violation.
pub const FAILS: &str = "(i32.store8 (i32.const 8) (i32.const 2))
    (i32.store (i32.const 36) (i32.const 2000)) (i32.store (i32.const 40) (i32.const 1))
    (i32.store (i32.const 2012) (i32.const 4096)) (i32.store (i32.const 2016) (i32.const 4))
    (call $return (i32.const 0)) (i32.const 0)";

impl Default for Text {
    /// It passes.
    fn default() -> Self {
        Self {
            describe: "",
            run: "(call $return (i32.const 0)) (i32.const 0)",
            imports: "",
            items: "",
            schema: r#"{"type":"object"}"#,
            group: "text",
            cron: "0 * * * *",
            timezone: None,
            channel: "#canary-alerts",
        }
    }
}

/// The end of the strings and the descriptor, where free memory begins.
const DATA: u32 = 4096;
const HEAP: u32 = 16 << 10;

/// A component of this name, version 1.0.0.
pub fn component(name: &str, text: Text) -> Vec<u8> {
    component_in("", name, text)
}

/// The same in another world: the last one of some WIT, which may include the contract's.
pub fn component_in(wit: &str, name: &str, text: Text) -> Vec<u8> {
    let (data, descriptor) = descriptor(name, text);
    let Text { describe, run, imports, items, .. } = text;
    let text = format!(
        r#"(module
  (import "[export]pipeline:check/plugin@0.1.2" "[task-return]run" (func $return (param i32)))
  {imports}
  (memory (export "memory") 4)
  (global $free (mut i32) (i32.const {HEAP}))
  (data (i32.const {DATA}) "{data}")
  {items}
  (func (export "pipeline:check/plugin@0.1.2#describe") (result i32)
    {describe}
    (i32.const {descriptor}))
  (func (export "[async-lift]pipeline:check/plugin@0.1.2#run")
    (param i32 i32 i32 i32 i64 i64 i64 i32 i32 i32 i32 i32) (result i32)
    {run})
  (func (export "[callback][async-lift]pipeline:check/plugin@0.1.2#run") (param i32 i32 i32) (result i32)
    unreachable)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.get $free)
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 15)) (i32.const -16)))))"#
    );
    let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(repository().join("wit/v0.1")).unwrap();
    let (package, world) = match wit {
        "" => (package, Some("check")),
        wit => (resolve.push_str("own.wit", wit).unwrap(), None),
    };
    let world = resolve.select_world(&[package], world).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut component = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    // The standard sections: the name in the first subsection of `component-name`, the version as it is.
    let length = u8::try_from(name.len()).unwrap();
    custom(&mut component, "component-name", &[&[0, length + 1, length], name.as_bytes()].concat());
    custom(&mut component, "version", b"1.0.0");
    component
}

/// Appends a custom section of less than 128 bytes.
fn custom(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    let length = |of: usize| u8::try_from(of).ok().filter(|length| *length < 128).unwrap();
    component.extend([0, length(1 + name.len() + data.len()), length(name.len())]);
    component.extend(name.as_bytes());
    component.extend(data);
}

/// The data segment, and where in memory the descriptor is.
fn descriptor(name: &str, wishes: Text) -> (String, u32) {
    let mut strings = Vec::new();
    let mut record: Vec<u32> = Vec::new();
    let mut string = |record: &mut Vec<u32>, text: &str| {
        record.push(DATA + u32::try_from(strings.len()).unwrap());
        record.push(u32::try_from(text.len()).unwrap());
        strings.extend(text.as_bytes());
    };
    for text in [name, "1.0.0", "Written as text.", wishes.group, wishes.cron] {
        string(&mut record, text);
    }
    match wishes.timezone {
        Some(zone) => {
            record.push(1);
            string(&mut record, zone);
        }
        None => record.extend([0, 0, 0]),
    }
    string(&mut record, wishes.channel);
    // No needs.
    record.extend([0, 0]);
    string(&mut record, wishes.schema);
    string(&mut record, "");
    while strings.len() % 4 != 0 {
        strings.push(0);
    }
    let at = DATA + u32::try_from(strings.len()).unwrap();
    strings.extend(record.into_iter().flat_map(u32::to_le_bytes));
    let mut data = String::new();
    for byte in strings {
        let _ = write!(data, "\\{byte:02x}");
    }
    (data, at)
}
