//! Messages of Slack's bot: its token, what each error of Slack leads to, and how it can be tried.

use std::time::Duration;

use rusqlite::Connection;

use crate::support::{
    AT,
    command::{Ended, Sample, ended, shipped},
    slack::{OK, Post, Reply, TOKEN, words},
};

const CHECKS: &str = r##"
[slack]
deliver = "console"

[warehouse]
kind = "sqlite"
path = "warehouse"

[alerts]
flap_changes = 100

[checks.orders]
plugin = "canary-sql"
channel = "#data-quality"
settings = { table = "shop.orders", row_count = { min = 1 }, where = "day = @date" }

[checks.users]
plugin = "canary-sql"
channel = "#data-quality"
settings = { table = "shop.users", row_count = { min = 1, max = 2 }, where = "day = @date" }

[grants.canary-sql]
warehouse = ["shop"]
slack = ["#data-quality"]
"##;

pub(super) const POST: &str = "chat.postMessage";

/// An answer of the Web API.
pub(super) fn error(text: &'static str) -> Reply {
    Reply::Answer(200, "", text)
}

/// A shop whose checks post as a bot; a round is half an hour.
pub(super) struct Shop {
    pub(super) sample: Sample,
    round: u32,
}

impl Shop {
    pub(super) fn new() -> Self {
        let sample = Sample::new(None).unwrap();
        sample.sql("shop", "CREATE TABLE orders (day DATE); CREATE TABLE users (day DATE)").unwrap();
        let shop = Self { sample, round: 0 };
        shop.configure("");
        shop.set("orders", 1);
        shop.set("users", 1);
        shop
    }

    pub(super) fn toml(more: &str) -> String {
        format!("{CHECKS}\n[delivery]\ntimeout = \"1s\"\nbackoff = \"50ms\"\nwait = \"20s\"\n{more}\n")
    }

    pub(super) fn configure(&self, more: &str) {
        self.sample.configure_bot(&Self::toml(more)).unwrap();
    }

    /// The number of rows of a table; without one, its check fails.
    pub(super) fn set(&self, table: &str, rows: u32) {
        let insert = format!("INSERT INTO {table} VALUES ('2026-02-05');").repeat(rows as usize);
        self.sample.sql("shop", &format!("DELETE FROM {table}; {insert}")).unwrap();
    }

    /// Runs both checks in the next round; gives the exit code.
    pub(super) fn round(&mut self) -> Ended {
        let minutes = 7 * 60 + 30 * self.round;
        self.round += 1;
        let at = format!("2026-02-06T{:02}:{:02}:00-05:00", minutes / 60, minutes % 60);
        let plugin = shipped().unwrap().into_iter().find(|file| file.ends_with("canary-sql.wasm"));
        let mut command = self.sample.command();
        command.env("SLACK_WEBHOOK_URL_DATA_QUALITY", self.sample.slack.webhook("data-quality"));
        command.env("FALLBACK", self.sample.slack.webhook("fallback"));
        command.args(["run", "--once", "--output", "json", "--check", "orders", "--check", "users", "--at", &at]);
        ended(command.args(plugin)).unwrap()
    }

    /// Runs rounds without a message until the reminder is due.
    pub(super) fn reminder(&mut self) {
        let before = self.posts().len();
        for _ in 0..8 {
            if self.posts().len() > before {
                return;
            }
            self.round();
        }
        assert_eq!(self.posts().len(), before + 1, "a reminder");
    }

    pub(super) fn posts(&self) -> Vec<Post> {
        self.sample.slack.posts()
    }

    pub(super) fn record(&self) -> Connection {
        Connection::open(self.sample.path().join("state/host.db")).unwrap()
    }
}

pub(super) fn text(post: &Post) -> String {
    words(&post.message)
}

#[test]
fn what_slack_says_decides_what_follows() {
    let mut shop = Shop::new();
    shop.configure("[fallback]\nwebhook_env = \"FALLBACK\"");
    shop.set("orders", 0);
    let refused = |said| (1, 3, Some(said));
    for (replies, (requests, code, problem)) in [
        (vec![OK], (1, 2, None)),
        (vec![error(r#"{"ok":false,"error":"internal_error"}"#), OK], (2, 2, None)),
        (vec![error(r#"{"ok":false,"error":"fatal_error"}"#), OK], (2, 2, None)),
        (vec![Reply::Answer(429, "retry-after: 1\r\n", r#"{"ok":false,"error":"ratelimited"}"#), OK], (2, 2, None)),
        (vec![Reply::Answer(503, "", "<html>"), OK], (2, 2, None)),
        (vec![error("<html>log in</html>"), OK], (2, 2, None)),
        (vec![Reply::Truncated, OK], (2, 2, None)),
        (vec![Reply::Reset, OK], (2, 2, None)),
        (vec![Reply::Hang, OK], (2, 2, None)),
        (vec![error(r#"{"ok":false,"error":"invalid_blocks"}"#), OK], (2, 2, None)),
        (vec![error(r#"{"ok":false,"error":"msg_too_long"}"#), OK], (2, 2, None)),
        (vec![error(r#"{"ok":false,"error":"not_yet_known"}"#), OK], (2, 2, None)),
        (
            vec![
                error(r#"{"ok":false,"error":"invalid_blocks","response_metadata":{"messages":["must be shorter"]}}"#),
                error(r#"{"ok":false,"error":"no_text"}"#),
            ],
            (2, 3, Some("no_text")),
        ),
        (
            vec![error(r#"{"ok":false,"error":"not_in_channel"}"#)],
            refused("not_in_channel: invite the app to #data-quality (`/invite @NAME` there)"),
        ),
        (
            vec![error(r#"{"ok":false,"error":"channel_not_found"}"#)],
            refused("channel_not_found: Slack knows no #data-quality, or it is private"),
        ),
        (vec![error(r#"{"ok":false,"error":"is_archived"}"#)], refused("is_archived: #data-quality is archived")),
        (
            vec![error(r#"{"ok":false,"error":"missing_scope","needed":"chat:write","provided":"incoming-webhook"}"#)],
            refused("missing_scope: the token has no scope chat:write, only incoming-webhook; add it"),
        ),
        (
            vec![error(r#"{"ok":false,"error":"token_revoked"}"#)],
            refused("token_revoked: the bot token is not accepted"),
        ),
        (vec![error(r#"{"ok":false,"error":"invalid_auth"}"#)], refused("invalid_auth: the bot token is not accepted")),
    ] {
        let _ = std::fs::remove_dir_all(shop.sample.path().join("state"));
        shop.sample.slack.clear();
        shop.sample.slack.answer_method(POST, &replies);
        shop.round = 0;
        let ended = shop.round();
        let all = shop.sample.slack.requests();
        let sent: Vec<_> = all.iter().filter(|request| request.method == POST).collect();
        assert_eq!((sent.len(), ended.code), (requests, code), "{replies:?}: {ended:?}");
        let message = &ended.json()["notifications"][0];
        let id = message["id"].as_str().unwrap();
        assert!(sent.iter().all(|request| request.message.to_string().contains(id)), "{replies:?}");
        assert!(sent.iter().all(|request| request.token == TOKEN && request.message["channel"] == "#data-quality"));
        assert_eq!(message["delivered"].as_bool(), Some(problem.is_none()), "{replies:?}");
        match problem {
            Some(problem) => {
                let said = message["problem"].as_str().unwrap();
                assert!(said.starts_with(problem), "{said}");
                assert!(ended.err.contains(problem) && !ended.err.contains(TOKEN), "{}", ended.err);
                assert!(all.iter().any(|request| request.channel == "fallback"), "the fallback is told: {all:?}");
            }
            None => assert!(message["problem"].is_null()),
        }
        if format!("{replies:?}").contains("invalid_blocks") {
            assert!(sent[0].message["blocks"].is_array() && sent[1].message["blocks"].is_null(), "{replies:?}");
        }
    }
}

#[test]
fn slack_is_asked_again_when_it_said() {
    let mut shop = Shop::new();
    shop.set("orders", 0);
    let limited = Reply::Answer(429, "retry-after: 3\r\n", r#"{"ok":false,"error":"ratelimited"}"#);
    shop.sample.slack.answer_method(POST, &[limited, OK]);
    assert_eq!(shop.round().code, 2);
    let sent = shop.sample.slack.requests();
    assert!(sent[1].at - sent[0].at >= Duration::from_secs(3));
}

#[test]
fn a_bot_needs_its_token_at_the_start() {
    let shop = Shop::new();
    let start = |token: Option<&str>| {
        let mut command = shop.sample.command();
        match token {
            Some(token) => command.env("SLACK_BOT_TOKEN", token),
            None => command.env_remove("SLACK_BOT_TOKEN"),
        };
        let plugin = shipped().unwrap().into_iter().find(|file| file.ends_with("canary-sql.wasm"));
        ended(command.args(["run", "--once", "--at", AT]).args(plugin)).unwrap()
    };
    let missing = start(None);
    let words =
        "the Slack bot has no bot token: set SLACK_BOT_TOKEN in the environment, or slack.deliver = \"webhook\"";
    assert!(missing.code == 64 && missing.err.contains(words), "{missing:?}");
    let user = start(Some("xoxp-1-s3cret"));
    assert!(user.code == 64 && user.err.contains("SLACK_BOT_TOKEN holds a user's token; the bot token begins with"));
    assert!(!user.err.contains("s3cret"), "{}", user.err);
    assert_eq!(start(Some(TOKEN)).code, 0);
    std::fs::write(shop.sample.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let bot = format!("deliver = \"bot\"\ntoken_file = \"token\"\nendpoint = \"{}\"", shop.sample.slack.api());
    shop.sample.configure(&CHECKS.replace("deliver = \"console\"", &bot)).unwrap();
    assert_eq!(start(None).code, 0);
}

/// Doctor, `receivers test` and `plan` know the bot.
#[test]
fn the_bot_can_be_tried() {
    let shop = Shop::new();
    let doctor = || {
        let ended = shop.sample.host(&["doctor", "--output", "json"]).unwrap();
        let findings = ended.json()["findings"].as_array().cloned().unwrap();
        move |what: &str| {
            let found = findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("{what}"));
            format!("{}: {}", found["result"].as_str().unwrap(), found["detail"].as_str().unwrap())
        }
    };
    assert_eq!(doctor()("Slack bot"), "ok: accepted as host in Sample; private channels must invite the app");
    assert!(doctor()("channel #data-quality").starts_with("note: gets the bot's messages; `host receivers test`"));
    shop.sample.slack.workspace(|workspace| workspace.scopes = Some("chat:write"));
    assert!(doctor()("Slack bot").starts_with("ok: accepted as host in Sample; each channel must invite the app"));
    shop.sample.slack.workspace(|workspace| workspace.scopes = Some("incoming-webhook"));
    assert!(doctor()("Slack bot").contains("wrong: accepted as host in Sample, without the scope chat:write"));
    shop.sample.slack.answer_method("auth.test", &[error(r#"{"ok":false,"error":"account_inactive"}"#)]);
    assert!(doctor()("Slack bot").starts_with("wrong: account_inactive: the bot token is not accepted"));
    assert!(shop.posts().is_empty(), "nothing is sent");

    let test = || shop.sample.host(&["receivers", "test"]).unwrap();
    let tried = test();
    assert_eq!((tried.code, tried.out.as_str()), (0, "RECEIVER       ANSWER\n#data-quality  accepted\n"));
    assert_eq!(shop.posts().len(), 1);
    shop.sample.slack.answer_method(POST, &[error(r#"{"ok":false,"error":"not_in_channel"}"#)]);
    let tried = test();
    assert!(tried.code == 3 && tried.out.contains("not_in_channel: invite the app to #data-quality"), "{tried:?}");

    let plan = |token: &str| {
        let plugin = shipped().unwrap().into_iter().find(|file| file.ends_with("canary-sql.wasm"));
        ended(shop.sample.command().env("SLACK_BOT_TOKEN", token).arg("plan").args(plugin)).unwrap()
    };
    let planned = plan("https://hooks.slack.com/services/T0/B0/s3cret");
    let words = "the Slack bot: SLACK_BOT_TOKEN holds an address, such as a webhook";
    assert!(planned.code == 3 && planned.out.contains(words) && !planned.out.contains("s3cret"), "{planned:?}");
    assert_eq!(plan(TOKEN).code, 0);
}
