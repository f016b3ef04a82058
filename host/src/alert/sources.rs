//! Where the receivers' secrets come from: webhooks and the bot's token, from the environment, a file or Secret Manager.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};

use crate::{
    config::{Channel, Config, Fallback, SecretName},
    google::{Google, Secrets},
};

/// Slack's have 32 characters; a much shorter one could be guessed.
const SHORTEST_SECRET: usize = 16;
/// The usual variable with the signing secret.
const SIGNING_SECRET: &str = "SLACK_SIGNING_SECRET";

/// A secret text, checked for its form.
pub(super) struct Secret {
    text: Mutex<String>,
    form: Form,
    /// The secret to read again when the text is refused.
    again: Option<(SecretName, Secrets)>,
}

/// What a secret must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// An https address.
    Webhook,
    /// A bot token of Slack.
    Token,
    /// The signing secret of an app of Slack.
    SigningSecret,
}

/// The text a secret is for, and what to do without it.
struct Wanted<'w> {
    /// `channel #canary-alerts`
    whose: &'w str,
    form: Form,
    /// What else to do if the variable is not set.
    otherwise: &'w str,
}

impl Secret {
    /// The text.
    pub(super) fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether Secret Manager now holds another text.
    pub(super) async fn read_again(&self) -> Result<bool> {
        let Some((name, secrets)) = &self.again else { return Ok(false) };
        let now = self.form.checked(self.form.name(), &secrets.read(name).await?, &name.to_string())?;
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *text != now;
        *text = now;
        Ok(changed)
    }
}

/// Hides the text.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("secret", &self.again.as_ref().map(|(name, _)| name)).finish()
    }
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Token => "bot token",
            Self::SigningSecret => "signing secret",
        }
    }

    /// The text without spaces around it, or an error that does not show it.
    fn checked(self, whose: &str, text: &str, source: &str) -> Result<String> {
        let text = text.trim();
        match self {
            Self::Webhook => {
                let parsed = reqwest::Url::parse(text)
                    .with_context(|| format!("{whose}: {source} does not hold a valid URL"))?;
                let loopback = matches!(parsed.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
                if parsed.scheme() != "https" && !loopback {
                    bail!("{whose}: the webhook in {source} is not https");
                }
            }
            Self::Token => {
                if let Some(instead) = not_a_bot_token(text) {
                    bail!(
                        "{whose}: {source} holds {instead}; the bot token begins with xoxb-, and is under \"OAuth & Permissions\" on the app's page"
                    );
                }
            }
            Self::SigningSecret => {
                if text.len() < SHORTEST_SECRET || !text.bytes().all(|c| c.is_ascii_alphanumeric()) {
                    bail!(
                        "{whose}: {source} does not hold a signing secret, which has letters and digits only, and is under \"Basic Information\" on the app's page"
                    );
                }
            }
        }
        Ok(text.to_owned())
    }
}

/// What a text is that is not a bot token. <https://docs.slack.dev/authentication/tokens>, and for tokens that expire
/// <https://docs.slack.dev/authentication/using-token-rotation>
fn not_a_bot_token(text: &str) -> Option<&'static str> {
    match text {
        "" => Some("nothing"),
        _ if text.starts_with("https://") => Some("an address, such as a webhook"),
        _ if text.starts_with("xoxp-") => Some("a user's token"),
        _ if text.starts_with("xapp-") => Some("an app-level token"),
        _ if text.starts_with("xoxe") => Some("a token that expires, since the app has token rotation switched on"),
        _ if text.starts_with("xoxb-") && text.chars().all(|c| c.is_ascii_graphic()) => None,
        _ => Some("something else"),
    }
}

/// Finds the secrets that host.toml names.
pub(super) struct Sources<'c> {
    config: &'c Config,
    google: Google,
}

impl<'c> Sources<'c> {
    pub(super) fn new(config: &'c Config) -> Self {
        Self { config, google: Google::new(config) }
    }

    /// The webhook of a channel.
    pub(super) async fn webhook(&self, channel: &str) -> Result<Secret> {
        let chosen = self.config.slack.channels.get(channel).cloned().unwrap_or_default();
        let whose = format!("channel {channel}");
        let otherwise = "or slack.deliver = \"console\" in host.toml";
        let wanted = Wanted { whose: &whose, form: Form::Webhook, otherwise };
        match chosen {
            Channel { webhook: Some(name), .. } => self.in_secret(&wanted, name).await,
            Channel { webhook_file: Some(path), .. } => self.in_file(&wanted, &path).await,
            Channel { webhook_env, .. } => {
                self.in_environment(&wanted, &webhook_env.unwrap_or_else(|| variable(channel))).await
            }
        }
    }

    /// The bot's token.
    pub(super) async fn token(&self) -> Result<Secret> {
        let slack = &self.config.slack;
        let otherwise = "or slack.deliver = \"webhook\" in host.toml";
        let wanted = Wanted { whose: "the Slack bot", form: Form::Token, otherwise };
        match (&slack.token, &slack.token_file) {
            (Some(name), _) => self.in_secret(&wanted, name.clone()).await,
            (None, Some(path)) => self.in_file(&wanted, path).await,
            (None, None) => self.in_environment(&wanted, &slack.token_env).await,
        }
    }

    /// The signing secret of the bot's app; `None` if nothing names one, or without a page that a press could arrive at.
    pub(super) async fn signing_secret(&self) -> Result<Option<Secret>> {
        let slack = &self.config.slack;
        if self.config.web.listen.is_none() {
            return Ok(None);
        }
        let otherwise = "or remove slack.signing_secret_env from host.toml";
        let wanted = Wanted { whose: "the Slack bot", form: Form::SigningSecret, otherwise };
        match (&slack.signing_secret, &slack.signing_secret_file, &slack.signing_secret_env) {
            (Some(name), ..) => self.in_secret(&wanted, name.clone()).await.map(Some),
            (None, Some(path), _) => self.in_file(&wanted, path).await.map(Some),
            (None, None, Some(variable)) => self.in_environment(&wanted, variable).await.map(Some),
            (None, None, None) if std::env::var_os(SIGNING_SECRET).is_some_and(|text| !text.is_empty()) => {
                self.in_environment(&wanted, SIGNING_SECRET).await.map(Some)
            }
            (None, None, None) => Ok(None),
        }
    }

    /// The webhook of the fallback, if there is one.
    pub(super) async fn fallback(&self) -> Result<Option<Secret>> {
        let otherwise = "or remove [fallback] from host.toml";
        let wanted = Wanted { whose: "fallback", form: Form::Webhook, otherwise };
        match self.config.fallback.clone() {
            Fallback { webhook: Some(name), .. } => self.in_secret(&wanted, name).await.map(Some),
            Fallback { webhook_file: Some(path), .. } => self.in_file(&wanted, &path).await.map(Some),
            Fallback { webhook_env: Some(variable), .. } => self.in_environment(&wanted, &variable).await.map(Some),
            Fallback { .. } => Ok(None),
        }
    }

    async fn in_file(&self, wanted: &Wanted<'_>, path: &Path) -> Result<Secret> {
        let path: PathBuf = self.config.resolve(path);
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}: {}", wanted.whose, path.display()))?;
        self.in_text(wanted, &text, &path.display().to_string()).await
    }

    async fn in_environment(&self, wanted: &Wanted<'_>, variable: &str) -> Result<Secret> {
        let Wanted { whose, form, otherwise } = wanted;
        let text = std::env::var(variable).with_context(|| {
            format!("{whose} has no {}: set {variable} in the environment, {otherwise}", form.name())
        })?;
        self.in_text(wanted, &text, variable).await
    }

    /// The text itself, or what the secret that it names holds.
    async fn in_text(&self, wanted: &Wanted<'_>, text: &str, source: &str) -> Result<Secret> {
        let Wanted { whose, form, .. } = wanted;
        if text.trim().starts_with(SecretName::PREFIX) {
            let name = text.trim().parse().map_err(|error| anyhow::anyhow!("{whose}: {source}: {error}"))?;
            return self.in_secret(wanted, name).await;
        }
        Ok(Secret { text: Mutex::new(form.checked(whose, text, source)?), form: *form, again: None })
    }

    async fn in_secret(&self, wanted: &Wanted<'_>, name: SecretName) -> Result<Secret> {
        let Wanted { whose, form, .. } = wanted;
        let secrets = Secrets::new(self.config, self.google.clone()).with_context(|| (*whose).to_owned())?;
        let text = secrets.read(&name).await.with_context(|| (*whose).to_owned())?;
        let text = form.checked(whose, &text, &name.to_string())?;
        Ok(Secret { text: Mutex::new(text), form: *form, again: Some((name, secrets)) })
    }
}

/// `#canary-alerts` is `SLACK_WEBHOOK_URL_CANARY_ALERTS`.
pub(super) fn variable(channel: &str) -> String {
    let name: String = channel
        .trim_start_matches('#')
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character.to_ascii_uppercase() } else { '_' })
        .collect();
    format!("SLACK_WEBHOOK_URL_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_names_its_variable() {
        assert_eq!(variable("#canary-alerts"), "SLACK_WEBHOOK_URL_CANARY_ALERTS");
    }

    #[test]
    fn what_is_not_a_bot_token_is_named_and_not_shown() {
        let checked = |text: &str| Form::Token.checked("the Slack bot", text, "SLACK_BOT_TOKEN");
        assert_eq!(checked(" xoxb-1-2-s3cret\n").expect("a token"), "xoxb-1-2-s3cret");
        for (text, instead) in [
            ("", "nothing"),
            ("https://hooks.slack.com/services/T0/B0/s3cret", "an address, such as a webhook"),
            ("xoxp-s3cret", "a user's token"),
            ("xapp-s3cret", "an app-level token"),
            ("xoxe.xoxb-s3cret", "a token that expires"),
            ("xoxb-s3 cret", "something else"),
            ("s3cret", "something else"),
        ] {
            let refused = checked(text).expect_err(text).to_string();
            assert!(refused.contains(&format!("SLACK_BOT_TOKEN holds {instead}")), "{text}: {refused}");
            assert!(!refused.contains("s3"), "{refused}");
        }
    }
}
