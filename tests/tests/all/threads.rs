//! The threads of Slack's bot: which message goes where, and what the first message of an incident says later.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::bot::{POST, Shop, error, text};
use crate::support::{
    command::{ended, shipped},
    slack::{Post, Reply},
};

const UPDATE: &str = "chat.update";

/// A reminder is in the thread, a change and the end are in the channel too, and the first message says how it ended.
#[test]
fn what_follows_is_in_the_thread() {
    let mut shop = Shop::new();
    shop.set("users", 0);
    assert_eq!(shop.round().code, 2);
    shop.reminder();
    shop.set("users", 3);
    assert_eq!(shop.round().code, 2);
    shop.set("users", 1);
    assert_eq!(shop.round().code, 0);
    let posts = shop.posts();
    let [first, reminder, change, end] = posts.as_slice() else { panic!("{posts:#?}") };
    let places: Vec<_> = posts.iter().map(|post| (post.thread.as_deref(), post.broadcast)).collect();
    let ts = Some(first.ts.as_str());
    assert_eq!(places, [(None, false), (ts, false), (ts, true), (ts, true)]);
    assert!(text(reminder).contains("Ongoing for 4 h"), "{}", text(reminder));
    assert!(text(change).contains("New: "), "{}", text(change));
    assert!(text(end).starts_with("✅ users recovered"), "{}", text(end));
    let now = text(first);
    assert!(now.starts_with("✅ Resolved: ") && now.contains(" Now ✅ users: recovered after 5 h: "), "{now}");
    assert!(now.contains("(2026-02-06 12:00 EST)"), "{now}");
    assert!(now.contains("row_count is below its minimum: 0 < 1"), "what it said is still there: {now}");
    let incident = now.rsplit("incident ").next().unwrap();
    assert!(incident.len() == 12 && posts.iter().all(|post| text(post).ends_with(incident)), "{incident}");
    assert!(first.message["text"].as_str().unwrap().starts_with("✅ Resolved: "), "{}", first.message);
    // One for each: the first reminder says that it is still so.
    assert_eq!(first.updates, 3, "{now}");

    // The next failure is another incident.
    shop.set("users", 0);
    shop.round();
    assert_eq!(shop.posts()[4].thread, None);
    assert!(!text(&shop.posts()[4]).contains(incident));
}

/// What is new is in the channel, with what else there is; several incidents go on in the thread of the oldest.
#[test]
fn a_message_about_several_incidents_has_one_place() {
    let mut shop = Shop::new();
    shop.set("orders", 0);
    shop.round();
    // The message tells of a new incident.
    shop.set("users", 0);
    shop.round();
    // It tells only of known ones, which have different threads.
    shop.set("orders", 1);
    shop.set("users", 1);
    assert_eq!(shop.round().code, 0);
    let posts = shop.posts();
    let places: Vec<_> = posts.iter().map(|post| post.thread.as_deref()).collect();
    assert_eq!(places, [None, None, Some(posts[0].ts.as_str())], "{posts:#?}");
    assert!(posts[2].broadcast, "the channel sees what is over");
    assert!(text(&posts[0]).starts_with("✅ Resolved: ") && text(&posts[0]).contains("✅ orders: recovered after 1 h"));
    assert!(
        text(&posts[1]).starts_with("✅ Resolved: ") && text(&posts[1]).contains("✅ users: recovered after 30 min")
    );
    assert!(!text(&posts[0]).contains("✅ users"));

    // Two that began in one message share its thread. It is resolved when both are.
    shop.set("orders", 0);
    shop.set("users", 0);
    shop.round();
    shop.set("orders", 1);
    shop.round();
    let half = text(&shop.posts()[3]);
    assert!(half.contains(" Now ✅ orders: recovered") && !half.contains("Resolved:"), "{half}");
    shop.set("users", 1);
    shop.round();
    let posts = shop.posts();
    let ts = Some(posts[3].ts.as_str());
    assert_eq!((posts[4].thread.as_deref(), posts[5].thread.as_deref()), (ts, ts));
    assert!(text(&posts[3]).starts_with("✅ Resolved: "), "{}", text(&posts[3]));

    // A message with a new incident and the end of another: in the channel, and the thread's first message says the end.
    shop.set("orders", 0);
    shop.round();
    shop.set("orders", 1);
    shop.set("users", 0);
    shop.round();
    let posts = shop.posts();
    assert_eq!(posts[7].thread, None);
    assert!(text(&posts[7]).contains("Resolved orders: recovered after 30 min"), "{}", text(&posts[7]));
    assert!(text(&posts[6]).starts_with("✅ Resolved: "), "{}", text(&posts[6]));
}

/// Slack shows a reply to a deleted message in the channel, and does not refuse it. Then that is the first message.
#[test]
fn a_thread_that_was_deleted_begins_again() {
    let mut shop = Shop::new();
    shop.set("users", 0);
    shop.round();
    let first = shop.posts()[0].ts.clone();
    shop.sample.slack.workspace(|workspace| workspace.delete(&first));
    shop.reminder();
    shop.set("users", 1);
    shop.round();
    let posts = shop.posts();
    assert_eq!((posts[1].thread.as_deref(), posts[2].thread.as_deref()), (None, Some(posts[1].ts.as_str())));
    assert!(text(&posts[1]).starts_with("✅ Resolved: "), "{}", text(&posts[1]));

    // The same where Slack says so.
    for said in [
        r#"{"ok":false,"error":"thread_not_found"}"#,
        r#"{"ok":false,"error":"message_not_found"}"#,
        r#"{"ok":false,"error":"restricted_action_thread_locked"}"#,
    ] {
        shop.set("users", 0);
        shop.round();
        shop.sample.slack.answer_method(POST, &[error(said)]);
        shop.set("users", 3);
        let ended = shop.round();
        assert_eq!(ended.code, 2, "{ended:?}");
        shop.set("users", 1);
        shop.round();
        let posts = shop.posts();
        let [.., begun, change, end] = posts.as_slice() else { panic!() };
        assert_eq!((begun.thread.as_deref(), change.thread.as_deref()), (None, None), "{said}");
        assert_eq!(end.thread.as_deref(), Some(change.ts.as_str()), "{said}");
        assert_eq!(begun.updates, 0, "{said}: its thread is given up");
    }

    // A message that is gone, when it is to be updated.
    shop.set("users", 0);
    shop.round();
    let begun = shop.posts().last().unwrap().ts.clone();
    shop.set("users", 3);
    shop.sample.slack.answer_method(UPDATE, &[error(r#"{"ok":false,"error":"message_not_found"}"#)]);
    shop.round();
    shop.set("users", 1);
    shop.round();
    let posts = shop.posts();
    let [.., change, end] = posts.as_slice() else { panic!() };
    assert_eq!((change.thread.as_deref(), end.thread.as_deref()), (Some(begun.as_str()), None), "{posts:#?}");
}

/// A channel that was renamed, and one that is gone while another has its name.
#[test]
fn a_renamed_channel_is_found_by_its_id() {
    let mut shop = Shop::new();
    shop.set("users", 0);
    shop.round();
    let renamed = |name: Option<&str>| {
        let name = name.map(str::to_owned);
        shop.sample.slack.workspace(|workspace| drop(workspace.renamed.insert("#data-quality".to_owned(), name)));
    };
    renamed(Some("#quality"));
    shop.set("orders", 0);
    let ended = shop.round();
    assert_eq!(ended.code, 2, "{ended:?}");
    let hint = "#data-quality: Slack knows no channel of this name; posted to CDATA0QUALITY, which had it";
    assert!(ended.err.contains(hint), "{}", ended.err);
    shop.set("users", 1);
    let ended = shop.round();
    assert!(ended.code == 2 && !ended.err.contains("Slack knows no"), "the thread is in the channel: {}", ended.err);
    let posts = shop.posts();
    assert_eq!((posts.len(), posts[2].thread.as_deref()), (3, Some(posts[0].ts.as_str())));

    // With its id in host.toml, the name does not matter.
    shop.configure("[slack.channels.\"#data-quality\"]\nid = \"C0OTHER\"");
    shop.set("users", 0);
    let ended = shop.round();
    assert!(ended.code == 2 && !ended.err.contains("Slack knows no"), "{}", ended.err);
    assert_eq!(shop.posts().last().unwrap().channel, "C0OTHER");

    // The thread's channel is gone, and there is another.
    shop.sample.slack.workspace(|workspace| drop(workspace.renamed.insert("#data-quality".to_owned(), None)));
    shop.set("orders", 1);
    assert_eq!(shop.round().code, 2);
    let last = shop.posts().last().unwrap().clone();
    assert_eq!((last.channel.as_str(), last.thread.as_deref()), ("C0OTHER", None));
    assert!(text(&last).contains("orders recovered"), "{}", text(&last));
}

/// What the bot's messages say is kept up to date, also while webhooks deliver.
#[test]
fn webhooks_and_the_bot_can_take_turns() {
    let mut shop = Shop::new();
    let by_webhook = |shop: &Shop| shop.sample.configure(&Shop::toml("")).unwrap();
    // It begins by webhook, which says no place: what follows begins a thread.
    by_webhook(&shop);
    shop.set("users", 0);
    shop.round();
    assert_eq!((shop.posts().len(), shop.sample.slack.requests().len()), (0, 1));
    assert!(!shop.sample.slack.requests()[0].message.to_string().contains("incident"), "webhooks are as they were");
    shop.configure("");
    shop.set("users", 3);
    shop.round();
    // It ends by webhook.
    by_webhook(&shop);
    shop.set("users", 1);
    shop.round();
    let webhooks = || shop.sample.slack.requests().iter().filter(|request| request.method.is_empty()).count();
    assert_eq!((shop.posts().len(), webhooks()), (1, 2));
    assert!(!text(&shop.posts()[0]).contains("Resolved:"));
    // The bot is back, and says so in its message.
    shop.configure("");
    shop.round();
    let posts = shop.posts();
    assert_eq!((posts.len(), posts[0].thread.as_deref()), (1, None));
    assert!(text(&posts[0]).starts_with("✅ Resolved: "), "{}", text(&posts[0]));
}

/// An update delays no message, and the next start tries it again.
#[test]
fn an_update_that_fails_is_tried_again() {
    let mut shop = Shop::new();
    shop.set("users", 0);
    shop.round();
    shop.set("users", 3);
    shop.sample.slack.answer_method(UPDATE, &[Reply::Hang]);
    let ended = shop.round();
    assert!(ended.code == 2 && shop.posts().len() == 2, "{ended:?}");
    assert_eq!(shop.posts()[0].updates, 0);
    let waits = |shop: &Shop| -> i64 {
        shop.record().query_row("SELECT attempts FROM threads WHERE state <> shown", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(waits(&shop), 1);
    // Slack wants to be left alone; messages go on.
    let limited = Reply::Answer(429, "retry-after: 30\r\n", r#"{"ok":false,"error":"ratelimited"}"#);
    shop.sample.slack.answer_method(UPDATE, &[limited]);
    let started = Instant::now();
    shop.set("users", 1);
    assert_eq!(shop.round().code, 0);
    assert!(started.elapsed() < Duration::from_secs(25), "nothing waits for it");
    assert_eq!((shop.posts().len(), shop.posts()[0].updates), (3, 0));
    // When its time has come, also by a clock that was set back.
    shop.record().execute("UPDATE threads SET next_attempt = next_attempt + 86400000", []).unwrap();
    shop.round();
    assert!(text(&shop.posts()[0]).starts_with("✅ Resolved: "), "{}", text(&shop.posts()[0]));
    // One that cannot be updated is left as it is.
    shop.set("users", 0);
    shop.round();
    shop.sample.slack.answer_method(UPDATE, &[error(r#"{"ok":false,"error":"edit_window_closed"}"#)]);
    shop.set("users", 1);
    let ended = shop.round();
    assert!(ended.code == 0 && ended.err.contains("cannot be updated: edit_window_closed"), "{ended:?}");
    let before = shop.sample.slack.requests().len();
    shop.round();
    assert_eq!(shop.sample.slack.requests().len(), before);
    // Blocks that Slack refuses are replaced by text.
    shop.set("users", 0);
    shop.round();
    shop.sample.slack.answer_method(UPDATE, &[error(r#"{"ok":false,"error":"invalid_blocks"}"#)]);
    shop.set("users", 1);
    shop.round();
    let posts = shop.posts();
    let first = &posts[posts.len() - 2].message;
    assert_eq!(first["blocks"], Value::Array(Vec::new()));
    let said = first["text"].as_str().unwrap();
    assert!(said.starts_with("✅ Resolved: ") && said.contains("\nNow: ✅ users: recovered"), "{said}");
}

/// The host ends between Slack's answer and its own record of it: the message comes twice, and the second one counts.
#[test]
fn a_message_that_came_twice_has_one_thread() {
    let mut shop = Shop::new();
    shop.round();
    let refusing = "CREATE TRIGGER refuse BEFORE INSERT ON receipts BEGIN SELECT RAISE(ABORT, 'no room'); END";
    shop.record().execute_batch(refusing).unwrap();
    shop.configure("");
    shop.sample.configure_bot(&Shop::toml("").replace("wait = \"20s\"", "wait = \"2s\"")).unwrap();
    shop.set("users", 0);
    assert_eq!(shop.round().code, 3);
    assert_eq!(shop.posts().len(), 1);
    shop.record().execute_batch("DROP TRIGGER refuse").unwrap();
    shop.configure("");
    shop.set("users", 1);
    shop.round();
    let posts = shop.posts();
    let [lost, first, end] = posts.as_slice() else { panic!("{posts:#?}") };
    let id = |post: &Post| text(post).rsplit("Message ").next().unwrap().to_owned();
    assert_eq!(id(lost), id(first));
    assert_eq!((first.thread.as_deref(), end.thread.as_deref()), (None, Some(first.ts.as_str())));
    assert!(text(first).starts_with("✅ Resolved: "), "{}", text(first));
}

/// Who works on it is said under the first message, without a message of its own; and who gave it up.
#[test]
fn the_first_message_says_who_works_on_it() {
    let mut shop = Shop::new();
    shop.set("users", 0);
    shop.round();
    let order = |words: &[&str]| {
        let ended = shop.sample.host(words).unwrap();
        assert_eq!(ended.code, 0, "{ended:?}");
    };
    order(&["ack", "users", "--date", "2026-02-05", "--why", "a loader is broken"]);
    shop.round();
    let posts = shop.posts();
    let now = text(&posts[0]);
    assert!(posts.len() == 1 && now.contains(" Now users: acknowledged by "), "{now}");
    assert!(now.contains(": a loader is broken") && !now.contains("Resolved:"), "{now}");
    let order = |words: &[&str]| assert_eq!(shop.sample.host(words).unwrap().code, 0);
    order(&["close", "users", "--date", "2026-02-05", "--why", "it stays so"]);
    shop.round();
    let posts = shop.posts();
    assert_eq!((posts.len(), posts[1].thread.as_deref()), (2, Some(posts[0].ts.as_str())), "{posts:#?}");
    let now = text(&posts[0]);
    assert!(now.starts_with("🔵 Ended: ") && now.contains("given up by "), "{now}");
}

/// A check that is removed ends its incident without being well.
#[test]
fn the_first_message_of_a_removed_check_says_so() {
    let mut shop = Shop::new();
    shop.set("users", 0);
    shop.round();
    let removed = Shop::toml("");
    let (before, after) = removed.split_once("[checks.users]").unwrap();
    let (_, after) = after.split_once("[grants").unwrap();
    shop.sample.configure_bot(&format!("{before}[grants{after}")).unwrap();
    let plugin = shipped().unwrap().into_iter().find(|file| file.ends_with("canary-sql.wasm"));
    ended(shop.sample.command().args(["run", "--once", "--at", "2026-02-06T09:00:00-05:00"]).args(plugin)).unwrap();
    let posts = shop.posts();
    assert_eq!(posts[1].thread.as_deref(), Some(posts[0].ts.as_str()), "{posts:#?}");
    let now = text(&posts[0]);
    assert!(now.starts_with("🔵 Ended: ") && now.contains(" Now 🔵 users: removed from host.toml; not well"), "{now}");
}
