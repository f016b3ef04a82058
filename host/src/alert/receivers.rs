//! The receivers of messages: Slack by webhooks or as a bot, the console, the fallback.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, bail};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Level, Notification, block_kit,
    bot::{Bot, Target},
    exchange::{Answer, Exchange},
    id,
    sources::{Secret, Sources, variable},
};
use crate::config::{Channel, Config, Deliver};

/// The receiver name of the fallback; channels begin with `#`.
pub const FALLBACK: &str = "fallback";

/// The receivers.
#[derive(Debug)]
pub struct Receivers {
    exchange: Exchange,
    way: Way,
    /// The fallback, for alarms.
    fallback: Option<Secret>,
}

/// The way of messages to their channels.
#[derive(Debug)]
enum Way {
    Console,
    /// The webhook of each channel.
    Webhooks(BTreeMap<String, Secret>),
    /// The bot, and the ids of channels that host.toml has.
    Bot(Box<Bot>, BTreeMap<String, String>),
}

impl Receivers {
    /// Finds the webhook of every channel that may be posted to, or the bot's token. A missing one is an error now, not when
    /// an alert is due.
    /// `told` are channels that messages are still owed to, or will be: without a webhook, those messages wait, and are set
    /// aside when they are late.
    pub async fn find<'c>(
        config: &'c Config,
        channels: impl IntoIterator<Item = &'c str>,
        told: &BTreeSet<String>,
    ) -> Result<Self> {
        let sources = Sources::new(config);
        let way = match config.slack.deliver {
            Deliver::Console => Way::Console,
            Deliver::Bot => Way::bot(config, &sources).await?,
            Deliver::Webhook => {
                let routed = config.alerts.routes.values().flatten().map(String::as_str);
                let configured = config.slack.channels.keys().map(String::as_str);
                let all: BTreeSet<&str> = channels.into_iter().chain(configured).chain(routed).collect();
                Self::distinct(config, &all)?;
                let found = all
                    .into_iter()
                    .map(async |channel| Ok::<_, anyhow::Error>((channel.to_owned(), sources.webhook(channel).await?)));
                let mut webhooks: BTreeMap<String, Secret> = try_join_all(found).await?.into_iter().collect();
                for channel in told.iter().filter(|channel| *channel != FALLBACK) {
                    if !webhooks.contains_key(channel)
                        && let Ok(webhook) = sources.webhook(channel).await
                    {
                        webhooks.insert(channel.clone(), webhook);
                    }
                }
                Way::Webhooks(webhooks)
            }
        };
        Ok(Self::new(way, sources.fallback().await?, config.delivery.timeout.0))
    }

    /// The receivers of every channel in host.toml.
    pub fn channels_in(config: &Config) -> BTreeSet<&str> {
        let granted = config.grants.values().flat_map(|grants| &grants.slack);
        let own = config.checks.values().filter_map(|check| check.channel.as_ref());
        let routed = config.alerts.routes.values().flatten();
        granted.chain(own).chain(routed).chain(config.slack.channels.keys()).map(String::as_str).collect()
    }

    /// Rejects two channels whose names give the same variable: a webhook posts to one channel, so the messages of the other
    /// would land there.
    pub fn distinct(config: &Config, channels: &BTreeSet<&str>) -> Result<()> {
        let mut known: BTreeMap<String, &str> = BTreeMap::new();
        for channel in channels {
            let chosen = config.slack.channels.get(*channel).cloned().unwrap_or_default();
            if matches!(chosen, Channel { webhook: None, webhook_file: None, webhook_env: None, .. }) {
                let variable = variable(channel);
                if let Some(other) = known.insert(variable.clone(), channel) {
                    bail!(
                        "channels {other} and {channel} would both use the webhook in {variable}; give one of them a variable of its own in host.toml: `webhook_env = \"…\"` under [slack.channels.\"{channel}\"]"
                    );
                }
            }
        }
        Ok(())
    }

    /// The receiver of one channel.
    pub async fn only(config: &Config, channel: &str) -> Result<Self> {
        let sources = Sources::new(config);
        let way = match config.slack.deliver {
            Deliver::Bot => Way::bot(config, &sources).await?,
            Deliver::Console | Deliver::Webhook => {
                Way::Webhooks(BTreeMap::from([(channel.to_owned(), sources.webhook(channel).await?)]))
            }
        };
        Ok(Self::new(way, None, config.delivery.timeout.0))
    }

    /// The fallback, if there is one.
    pub async fn fallback_only(config: &Config) -> Result<Option<Self>> {
        let fallback = Sources::new(config).fallback().await?;
        Ok(fallback.map(|fallback| Self::new(Way::Console, Some(fallback), config.delivery.timeout.0)))
    }

    /// Sends a test message.
    pub async fn test(&self, receiver: &str, at: Timestamp) -> Answer {
        let title = "Test: messages from host arrive here";
        let id = id(&format!("{at} {receiver} test"));
        if receiver == FALLBACK {
            return self.alarm(&id, &json!({ "event": "test", "id": id, "text": title })).await;
        }
        let notification = Notification {
            channel: receiver.to_owned(),
            level: Some(Level::Info),
            title: title.to_owned(),
            footer: format!("Sent by `host receivers test` at {at:.0}."),
            ..Notification::default()
        };
        let target = Target { channel: receiver, known: None, thread: None };
        self.send(target, &id, &block_kit::payload(&notification, &id, &[], None)).await
    }

    /// Whether the bot's token is accepted, and as whom; `None` without a bot.
    pub async fn examine_bot(config: &Config) -> Option<Result<String, String>> {
        if config.slack.deliver != Deliver::Bot {
            return None;
        }
        let way = match Way::bot(config, &Sources::new(config)).await {
            Ok(way) => way,
            Err(error) => return Some(Err(format!("{error:#}"))),
        };
        let exchange = Exchange::new(config.delivery.timeout.0);
        match way {
            Way::Bot(bot, _) => Some(bot.examine(&exchange).await),
            Way::Console | Way::Webhooks(_) => None,
        }
    }

    /// Shows everything on the console.
    pub fn console() -> Self {
        Self::new(Way::Console, None, Duration::from_secs(10))
    }

    /// Whether a receiver is configured.
    pub fn know(&self, receiver: &str) -> bool {
        match (receiver, &self.way) {
            (FALLBACK, _) | (_, Way::Console | Way::Bot(..)) => true,
            (channel, Way::Webhooks(webhooks)) => webhooks.contains_key(channel),
        }
    }

    fn new(way: Way, fallback: Option<Secret>, timeout: Duration) -> Self {
        Self { exchange: Exchange::new(timeout), way, fallback }
    }

    /// Whether messages are shown on the console.
    pub fn is_console(&self) -> bool {
        matches!(self.way, Way::Console)
    }

    /// Whether messages are sent by the bot, which can use threads and update messages.
    pub fn is_bot(&self) -> bool {
        matches!(self.way, Way::Bot(..))
    }

    /// The app's signing secret, with which the bot's messages have buttons.
    pub fn signing_secret(&self) -> Option<String> {
        match &self.way {
            Way::Bot(bot, _) => bot.signing_secret(),
            Way::Console | Way::Webhooks(_) => None,
        }
    }

    /// Tells one user of a channel something that nobody else sees.
    pub async fn whisper(&self, (channel, user): (&str, &str), text: &str) -> Answer {
        match &self.way {
            Way::Bot(bot, _) => bot.whisper(&self.exchange, (channel, user), text).await,
            Way::Console | Way::Webhooks(_) => Answer::Refused("only a bot can tell one user something".to_owned()),
        }
    }

    /// Whether there is a fallback for undelivered messages.
    pub fn has_fallback(&self) -> bool {
        self.fallback.is_some()
    }

    /// Sends a payload to a channel. A webhook knows no threads.
    pub async fn send(&self, target: Target<'_>, id: &str, payload: &Value) -> Answer {
        let channel = target.channel;
        let webhook = match &self.way {
            Way::Bot(bot, ids) => {
                let known = target.known;
                let configured = ids.get(channel).map(String::as_str);
                return bot.post(&self.exchange, Target { known, ..target }, configured, (id, payload)).await;
            }
            Way::Webhooks(webhooks) => webhooks.get(channel),
            Way::Console => None,
        };
        match webhook {
            Some(webhook) => self.post(webhook, id, payload, true).await,
            None => Answer::Refused(format!("{channel} has no webhook: set {}", variable(channel))),
        }
    }

    /// Replaces the text of a message of the bot.
    pub async fn update(&self, (channel, ts): (&str, &str), id: &str, payload: &Value) -> Answer {
        match &self.way {
            Way::Bot(bot, _) => bot.update(&self.exchange, (channel, ts), id, payload).await,
            Way::Console | Way::Webhooks(_) => Answer::Refused("only a bot can update a message".to_owned()),
        }
    }

    /// Sends plain JSON to the fallback.
    pub async fn alarm(&self, id: &str, payload: &Value) -> Answer {
        match &self.fallback {
            Some(webhook) => self.post(webhook, id, payload, false).await,
            None => Answer::Refused("no fallback is configured any more".to_owned()),
        }
    }

    /// A webhook that is gone may have been replaced: its secret may hold a new one.
    async fn post(&self, webhook: &Secret, id: &str, payload: &Value, slack: bool) -> Answer {
        let answer = self.post_to(&webhook.text(), id, payload, slack).await;
        let Answer::Refused(said) = &answer else { return answer };
        match webhook.read_again().await {
            Ok(true) => self.post_to(&webhook.text(), id, payload, slack).await,
            Ok(false) => answer,
            Err(error) => Answer::Again(format!("{said}; its secret cannot be read again: {error:#}"), None),
        }
    }

    async fn post_to(&self, webhook: &str, id: &str, payload: &Value, slack: bool) -> Answer {
        match self.exchange.post(webhook, id, None, payload).await {
            Err(answer) => answer,
            Ok(received) => match received.by_status() {
                Answer::Taken(_) if slack && received.is_page() => Answer::Again(received.said(), received.wait),
                answer => answer,
            },
        }
    }
}

impl Way {
    async fn bot(config: &Config, sources: &Sources<'_>) -> Result<Self> {
        let ids = config.slack.channels.iter().filter_map(|(name, own)| Some((name.clone(), own.id.clone()?)));
        let bot = Bot::new(sources.token().await?, sources.signing_secret().await?, &config.slack.endpoint);
        Ok(Self::Bot(Box::new(bot), ids.collect()))
    }
}
