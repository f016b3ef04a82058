//! The host's log: lines on standard error, as text or JSON, each with the check and the run that it is about.

use std::{
    fmt::Write as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use crate::text::{printable, tell};

/// The format of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// `2026-02-06T11:30:00Z error phase2-raw 2026-02-05@2026-02-06T11:30:00Z-1: …`
    Text,
    /// JSON, one object a line.
    Json,
}

/// The prefix of every line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For a command: only `error: …`.
    Command,
    /// For a running host: the time, the level, the check and the run.
    Service(Format),
}

/// The style of this process.
static STYLE: AtomicU8 = AtomicU8::new(0);

/// Starts logging in a style; the last call wins.
pub fn start(style: Style) {
    let number = match style {
        Style::Command => 0,
        Style::Service(Format::Text) => 1,
        Style::Service(Format::Json) => 2,
    };
    STYLE.store(number, Ordering::Relaxed);
    if style != Style::Command {
        WRITER.get_or_init(Writer::start);
    }
    // Tests call this several times in one process.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Lines));
}

fn style() -> Style {
    match STYLE.load(Ordering::Relaxed) {
        1 => Style::Service(Format::Text),
        2 => Style::Service(Format::Json),
        _ => Style::Command,
    }
}

/// Writes a text of several lines, such as a message for the console.
pub fn show(text: &str) {
    match style() {
        Style::Service(Format::Json) => tracing::info!("{text}"),
        _ => put(text),
    }
}

/// Lines that may wait to be written; further lines are dropped and counted.
const WAITING: usize = 10_000;

/// Orders for the writing thread.
enum Order {
    Write(String),
    /// Reply when everything before is written.
    Tell(SyncSender<()>),
}

/// Writes lines on a separate thread, so that a pipe that nobody reads does not block the host.
struct Writer {
    orders: SyncSender<Order>,
    dropped: Arc<AtomicU64>,
}

static WRITER: OnceLock<Writer> = OnceLock::new();

impl Writer {
    fn start() -> Self {
        let (orders, given) = sync_channel(WAITING);
        let dropped = Arc::<AtomicU64>::default();
        let lost = dropped.clone();
        // Without a thread, orders fail and are dropped.
        let _ = crate::lanes::thread("log", move || {
            for order in given {
                match order {
                    Order::Write(text) => tell(&text),
                    Order::Tell(done) => drop(done.send(())),
                }
                match lost.swap(0, Ordering::Relaxed) {
                    0 => {}
                    count => {
                        tell(&format!("{count} log lines were dropped because standard error was not read in time\n"))
                    }
                }
            }
        });
        Self { orders, dropped }
    }
}

/// Waits until all lines are written, up to a timeout.
pub fn finish(wait: Duration) {
    let Some(writer) = WRITER.get() else { return };
    let (done, written) = sync_channel(1);
    if writer.orders.try_send(Order::Tell(done)).is_ok() {
        let _ = written.recv_timeout(wait);
    }
}

fn put(text: &str) {
    match WRITER.get().filter(|_| style() != Style::Command) {
        None => tell(text),
        Some(writer) => {
            if writer.orders.try_send(Order::Write(text.to_owned())).is_err() {
                writer.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

struct Lines;

/// The fields of a span or an event, by name.
#[derive(Debug, Default, Clone)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::INFO && is_ours(metadata.target())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    // The machine's own clock: lines of other programs have it too.
    #[allow(clippy::disallowed_methods)]
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            fields.0.extend(span.extensions().get::<Fields>().cloned().unwrap_or_default().0);
        }
        event.record(&mut fields);
        let (level, style) = (*event.metadata().level(), style());
        // A command logs only warnings and errors.
        if style != Style::Command || level < Level::INFO {
            put(&line(level, Timestamp::now(), fields.0, style));
        }
    }
}

/// Whether the event comes from a crate of the host; events of libraries are dropped.
fn is_ours(target: &str) -> bool {
    target.split("::").next().is_some_and(|name| name == "host" || name.starts_with("host_"))
}

fn line(level: Level, at: Timestamp, mut fields: Map<String, Value>, style: Style) -> String {
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        _ => "info",
    };
    let message = fields.shift_remove("message").and_then(|message| message.as_str().map(printable));
    let message = message.unwrap_or_default();
    // One event is one line, and what follows is indented: text of a plugin within it begins no line.
    let indented = || message.trim_end().replace('\n', "\n    ");
    match style {
        Style::Command => format!("{level}: {}\n", indented()),
        Style::Service(Format::Text) => {
            let mut text = format!("{at:.3} {level}");
            for name in ["check", "run"] {
                if let Some(value) = fields.get(name).and_then(Value::as_str) {
                    let _ = write!(text, " {}", printable(value));
                }
            }
            text + ": " + &indented() + "\n"
        }
        Style::Service(Format::Json) => {
            let mut object = Map::new();
            object.insert("time".to_owned(), format!("{at:.3}").into());
            object.insert("level".to_owned(), level.into());
            object.insert("message".to_owned(), message.into());
            object.extend(fields);
            Value::Object(object).to_string() + "\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hosts_own_crates_say_is_shown() {
        for ours in ["host", "host::service::reload", "host_config", "host_package::store"] {
            assert!(is_ours(ours), "{ours}");
        }
        for theirs in ["hyper", "hostname::unix", "tracing::host", "sqlx::query"] {
            assert!(!is_ours(theirs), "{theirs}");
        }
    }

    #[test]
    fn a_line_says_which_check_and_run_it_is_about() {
        let fields = || {
            let mut fields = Map::new();
            fields.insert("check".to_owned(), "phase2-raw".into());
            fields.insert("run".to_owned(), "2026-02-05@2026-02-06T11:30:00Z-1".into());
            fields.insert("message".to_owned(), "it\nbroke \u{1b}[31m".into());
            fields
        };
        let line = |style| line(Level::ERROR, Timestamp::UNIX_EPOCH, fields(), style);
        assert_eq!(line(Style::Command), "error: it\n    broke  [31m\n");
        assert_eq!(
            line(Style::Service(Format::Text)),
            "1970-01-01T00:00:00.000Z error phase2-raw 2026-02-05@2026-02-06T11:30:00Z-1: it\n    broke  [31m\n"
        );
        let json: Value = serde_json::from_str(&line(Style::Service(Format::Json))).expect("JSON");
        assert_eq!(json["check"], "phase2-raw");
        assert_eq!(json["message"], "it\nbroke  [31m");
        assert_eq!(json["level"], "error");
    }
}
