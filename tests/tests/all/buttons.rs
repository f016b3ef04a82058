//! The buttons in the bot's messages: what a press does, and which requests are not presses.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use ring::hmac;
use serde_json::{Value, json};

use crate::support::{
    command::{Ended, Sample},
    service::{Answered, Service, install},
    slack::{Post, words},
};

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const WEB: &str = "listen = \"127.0.0.1:0\"\nurl = \"https://host.example.com\"";
const PATH: &str = "/slack/actions";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A table without rows, whose check fails daily.
struct Shop {
    sample: Sample,
}

impl Shop {
    fn new() -> Self {
        let shop = Self { sample: Sample::now(None).unwrap() };
        shop.sample.sql("shop", "CREATE TABLE orders (d DATE)").unwrap();
        install(&shop.sample, &[]).unwrap();
        std::fs::write(shop.sample.path().join("signing"), format!("{SECRET}\n")).unwrap();
        shop
    }

    fn toml(&self, slack: &str) -> String {
        let api = self.sample.slack.api();
        format!(
            "timezone = 'UTC'\n[slack]\nendpoint = '{api}'\n{slack}\n[scheduler]\nmissed = 'skip'\n\
             [warehouse]\nkind = 'sqlite'\npath = 'warehouse'\n\
             [grants.canary-sql]\nwarehouse = ['shop']\nslack = ['#data-quality']\n\
             [checks.orders]\nplugin = 'canary-sql'\nschedule = '0 6 * * *'\nchannel = '#data-quality'\n\
             settings = {{ sql = 'SELECT COUNT(*) AS n FROM shop.orders WHERE d = @date', thresholds = {{ n = {{ min = 1 }} }} }}\n"
        )
    }

    /// Runs the check once, so that its first message is there.
    fn once(&self, slack: &str, web: &str) -> Ended {
        self.sample.configure(&format!("{}\n[web]\n{web}\n", self.toml(slack))).unwrap();
        self.sample.host(&["run", "--once", "plugins", "--check", "orders"]).unwrap()
    }

    /// A running host with buttons, and its first message.
    fn serve(&self) -> (Service, Post) {
        let slack = "deliver = 'bot'\nsigning_secret_file = 'signing'";
        let ended = self.once(slack, WEB);
        assert_eq!(ended.code, 2, "{ended:?}");
        let service = Service::start_with(&self.sample, &self.toml(slack), &[], WEB).unwrap();
        (service, self.sample.slack.posts()[0].clone())
    }

    fn audit(&self) -> String {
        self.sample.host(&["audit"]).unwrap().out
    }

    fn whispers(&self) -> Vec<[String; 3]> {
        let mut whispers = Vec::new();
        self.sample.slack.workspace(|workspace| whispers = std::mem::take(&mut workspace.whispers));
        whispers
    }
}

/// What Slack sends when a user presses a button, as a form.
fn payload(post: &Post, action: &Value) -> Value {
    json!({
        "type": "block_actions",
        "team": { "id": "T012AB3CD", "domain": "sample" },
        "user": { "id": "U012AB3CD", "username": "ana", "name": "ana", "team_id": "T012AB3CD" },
        "channel": { "id": post.channel, "name": "data-quality" },
        "container": { "type": "message", "channel_id": post.channel, "message_ts": post.ts, "is_ephemeral": false },
        "message": post.message,
        "response_url": "https://hooks.slack.com/actions/T012AB3CD/1/x",
        "actions": [{ "type": "button", "action_id": action["action_id"], "value": action["value"], "block_id": "x" }],
    })
}

fn form(payload: &Value) -> String {
    let encoded = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    format!("payload={}", payload.to_string().bytes().map(encoded).collect::<String>())
}

fn signed(secret: &str, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("v0:{timestamp}:{body}").as_bytes());
    format!("v0={}", tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn now(after: i64) -> String {
    (Timestamp::now().as_second() + after).to_string()
}

/// A request as Slack signs it, at a time, with another content type or secret.
fn sent(service: &Service, (secret, timestamp): (&str, &str), kind: (&str, &str), body: &str) -> Answered {
    let signature = signed(secret, timestamp, body);
    let headers = [kind, ("x-slack-request-timestamp", timestamp), ("x-slack-signature", &signature)];
    service.ask("POST", PATH, &headers, body).unwrap()
}

fn press(service: &Service, payload: &Value) -> Answered {
    sent(service, (SECRET, &now(0)), FORM, &form(payload))
}

fn buttons(post: &Post) -> Vec<Value> {
    let blocks = post.message["blocks"].as_array().unwrap();
    let actions = blocks.iter().filter(|block| block["type"] == "actions");
    actions.flat_map(|block| block["elements"].as_array().unwrap().clone()).collect()
}

fn labels(post: &Post) -> Vec<String> {
    buttons(post).iter().map(|button| button["text"]["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_press_acknowledges_and_the_first_message_says_who() {
    let shop = Shop::new();
    let (service, first) = shop.serve();
    assert_eq!(labels(&first), ["Acknowledge", "Open"]);
    let [acknowledge, open] = buttons(&first).try_into().unwrap();
    assert_eq!(open["url"], "https://host.example.com/checks/orders#runbook");

    // Slack reports a press of a link too.
    let answer = press(&service, &payload(&first, &open));
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer:?}");
    assert!(!shop.audit().contains("acknowledged"), "{}", shop.audit());

    let mut pressed = payload(&first, &acknowledge);
    pressed["user"]["username"] = json!(format!("ana\u{202e}\n<!here>{}", "x".repeat(100)));
    let (began, timestamp, body) = (Instant::now(), now(0), form(&pressed));
    let answer = sent(&service, (SECRET, &timestamp), FORM, &body);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(3));
    let who = format!("ana <!here>{} (Slack user U012AB3CD)", "x".repeat(29));
    let audit = shop.audit();
    let line = audit.lines().find(|line| line.contains("acknowledged until")).unwrap_or_else(|| panic!("{audit}"));
    assert!(line.contains(&who) && line.contains("the button in Slack"), "{audit}");
    let until = Timestamp::now() + jiff::SignedDuration::from_hours(72);
    let day = until.to_string();
    assert!(line.contains(&day[..10]), "three days: {line}");
    service.wait_until("the first message says so", 20, |_| {
        let now = words(&shop.sample.slack.posts()[0].message);
        now.contains(&format!("acknowledged by {who} until {}", &day[..10]))
    });
    assert_eq!(labels(&shop.sample.slack.posts()[0]), ["Open"], "it is acknowledged");
    assert_eq!(shop.whispers(), [[""; 3]; 0]);

    // The same request again, as somebody would send it who has read it on its way.
    let again = sent(&service, (SECRET, &timestamp), FORM, &body);
    assert!(again.status == 401 && again.body.contains("was accepted before"), "{again:?}");
    assert_eq!(shop.audit().matches("acknowledged until").count(), 1);
}

#[test]
fn what_does_not_come_from_slack_is_refused() {
    let shop = Shop::new();
    let (service, first) = shop.serve();
    let button = buttons(&first)[0].clone();
    let good = payload(&first, &button);
    let body = form(&good);
    let huge = format!("{body}&more={}", "x".repeat(512 << 10));
    let with = |key: &str, value: Value| {
        let mut changed = good.clone();
        changed[key] = value;
        form(&changed)
    };
    let anonymous = with("user", json!({ "username": "ana" }));
    let view = with("type", json!("view_submission"));
    let mangled = with("user", json!({ "id": "<!here>", "username": "ana" }));
    let json = ("content-type", "application/json");
    for (secret, after, kind, body, status, said) in [
        ("8f742231b10e8888abcd99yyyzzz85a6", 0, FORM, &body, 401, "the signature is wrong"),
        (SECRET, -301, FORM, &body, 401, "older than five minutes"),
        (SECRET, -200, FORM, &body, 401, "older than this host's start"),
        (SECRET, 120, FORM, &body, 401, "from the future"),
        (SECRET, 0, json, &body, 415, "is a form"),
        (SECRET, 0, ("content-type", "text/plain"), &body, 415, "is a form"),
        (SECRET, 0, FORM, &huge, 413, "a body of more than"),
        (SECRET, 0, FORM, &"payload=%7B".to_owned(), 400, "not a press"),
        (SECRET, 0, FORM, &"other=1".to_owned(), 400, "not a press"),
        (SECRET, 0, FORM, &anonymous, 400, "not a press"),
        (SECRET, 0, FORM, &mangled, 400, "not a press"),
        (SECRET, 0, FORM, &view, 400, "not a press"),
    ] {
        let answer = sent(&service, (secret, &now(after)), kind, body);
        assert!(answer.status == status && answer.body.contains(said), "{said}: {answer:?}");
    }
    let timestamp = now(0);
    let signature = signed(SECRET, &timestamp, &body);
    let (at, by) = (("x-slack-request-timestamp", timestamp.as_str()), ("x-slack-signature", signature.as_str()));
    let other = body.replace("ana", "bob");
    for (headers, body, said) in [
        (vec![FORM], &body, "no valid timestamp"),
        (vec![FORM, at], &body, "no valid signature"),
        (vec![FORM, by], &body, "no valid timestamp"),
        (vec![FORM, at, ("x-slack-signature", &signature[3..])], &body, "no valid signature"),
        (vec![FORM, at, by], &other, "the signature is wrong"),
    ] {
        let answer = service.ask("POST", PATH, &headers, body).unwrap();
        assert!(answer.status == 401 && answer.body.contains(said), "{headers:?}: {answer:?}");
    }
    assert_eq!(service.ask("GET", PATH, &[FORM, at, by], "").unwrap().status, 405);
    assert!(!shop.audit().contains("acknowledged"), "{}", shop.audit());
    assert_eq!(service.ask("POST", PATH, &[FORM, at, by], &body).unwrap().status, 200, "the same, whole");
    assert!(shop.audit().contains("ana (Slack user U012AB3CD)"), "{}", shop.audit());
    assert_eq!(service.ask("POST", "/api/v1/reload", &[at, by], "").unwrap().status, 401, "it opens nothing else");
}

/// Only who pressed it hears that there is nothing to acknowledge.
#[test]
fn a_press_that_is_about_nothing_is_answered_to_its_user() {
    let shop = Shop::new();
    let (service, first) = shop.serve();
    let button = buttons(&first)[0].clone();
    let heard = |change: &dyn Fn(&mut Value)| {
        let mut pressed = payload(&first, &button);
        change(&mut pressed);
        assert_eq!(press(&service, &pressed).status, 200);
        let whispers = shop.whispers();
        let [[channel, user, text]] = whispers.as_slice() else { panic!("{whispers:?}") };
        assert_eq!(user, "U012AB3CD");
        (channel.clone(), text.clone())
    };
    let unknown = "This host does not know the message (any more).".to_owned();
    // Another channel, another workspace, another message.
    let elsewhere = heard(&|pressed| pressed["container"]["channel_id"] = json!("C0OTHER"));
    assert_eq!(elsewhere, ("C0OTHER".to_owned(), unknown.clone()));
    assert_eq!(heard(&|pressed| pressed["container"]["message_ts"] = json!("1.0")).1, unknown);
    let gone = heard(&|pressed| pressed["actions"][0]["value"] = json!("order"));
    assert_eq!(gone.1, "This host no longer has the check.");
    let audit = shop.audit();
    assert!(!audit.contains("Slack user"), "{audit}");

    let closed = shop.sample.host(&["close", "orders", "--why", "it will not come"]).unwrap();
    assert_eq!(closed.code, 0, "{closed:?}");
    service.wait_until("it is told as over", 20, |_| shop.sample.slack.posts()[0].updates > 0);
    assert_eq!(labels(&shop.sample.slack.posts()[0]), ["Open"], "nothing is left to acknowledge");
    assert_eq!(heard(&|_| ()).1, "orders: what this message tells of is over.");
    assert!(!shop.audit().contains("Slack user"), "{}", shop.audit());
}

#[test]
fn without_a_signing_secret_there_is_neither_button_nor_route() {
    let shop = Shop::new();
    let asked = |slack: &str| {
        let service = Service::start_with(&shop.sample, &shop.toml(slack), &[], WEB).unwrap();
        sent(&service, (SECRET, &now(0)), FORM, "payload=%7B%7D")
    };
    assert_eq!(shop.once("deliver = 'bot'", WEB).code, 2);
    let first = shop.sample.slack.posts()[0].clone();
    assert_eq!(labels(&first), [""; 0]);
    let answer = asked("deliver = 'bot'");
    assert!(answer.status == 404 && answer.body.contains("no buttons"), "{answer:?}");
    let webhook =
        "deliver = 'webhook'\nsigning_secret_file = 'signing'\nchannels.'#data-quality'.webhook_file = 'hook'";
    std::fs::write(shop.sample.path().join("hook"), shop.sample.slack.webhook("data-quality")).unwrap();
    assert_eq!(asked(webhook).status, 404);

    for (slack, web, said) in [
        ("signing_secret_env = 'NOT_SET'", WEB, "the Slack bot has no signing secret: set NOT_SET in the environment"),
        ("signing_secret_file = 'short'", WEB, "does not hold a signing secret, which has letters and digits only"),
        (
            "signing_secret_file = 'signing'",
            "hosts = []",
            "Slack sends presses of buttons to the page, and there is none",
        ),
        ("signing_secret_file = 'signing'\nsigning_secret_env = 'X'", WEB, "keep one of `signing_secret`"),
    ] {
        std::fs::write(shop.sample.path().join("short"), "xoxb-1-s3cret-s3cret").unwrap();
        let ended = shop.once(&format!("deliver = 'bot'\n{slack}"), web);
        assert!(ended.code == 64 && ended.err.contains(said) && !ended.err.contains("s3cret"), "{ended:?}");
    }
}
