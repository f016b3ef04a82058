//! Rules of host.toml that involve more than the form of one value.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, bail};

use super::{Config, Deliver, Deployments, SecretName, Warehouse, mistakes::nearest_file, names, nearest};

/// What a message may take to be sent where several hosts share a record; the host has the channel for 25 s, with the receipt.
const LONGEST_SEND: Duration = Duration::from_secs(15);

impl Config {
    /// Checks the rules that involve several parts, such as a grant of a repository that `[git]` does not have.
    pub(super) fn check_rules(&self) -> Result<()> {
        names::check(self)?;
        self.scheduler.check()?;
        self.web.check()?;
        let views = |view: &'_ String| view.split_once('.').map(|(dataset, _)| dataset.to_owned());
        let of_views: Vec<String> = self.grants.values().flat_map(|grants| &grants.views).filter_map(views).collect();
        let granted = self.grants.values().flat_map(|grants| &grants.warehouse).map(String::as_str);
        self.record.check(&granted.chain(of_views.iter().map(String::as_str)).collect())?;
        self.heartbeat.check()?;
        self.trust.check()?;
        self.budgets.check().map_err(|error| anyhow::anyhow!("budgets.{error}"))?;
        for plugin in self.grants.keys() {
            let refused = |error| anyhow::anyhow!("{}", self.at("grants", plugin, format!("budgets.{error}")));
            self.budgets(plugin).check().map_err(refused)?;
        }
        for (plugin, grants) in &self.grants {
            for repository in &grants.git {
                if !self.git.contains_key(repository) {
                    let nearest = nearest(repository, self.git.keys());
                    bail!("{}", self.at("grants", plugin, format!("git: there is no [git.{repository}]{nearest}")));
                }
            }
            for (key, names, what) in [("views", &grants.views, "view"), ("functions", &grants.functions, "function")] {
                if let Some(name) = names.iter().find(|name| !is_path(name)) {
                    let wrong = format!("{key}: `{name}` is not a {what}'s name; write \"dataset.name\"");
                    bail!("{}", self.at("grants", plugin, wrong));
                }
            }
        }
        self.alerts.check()?;
        if self.state.url_env.is_some() && self.delivery.timeout.0 > LONGEST_SEND {
            bail!(
                "delivery.timeout: {} is too long for several hosts: at most {}s, since a host has its channel for 30 s only",
                host_text::span(i64::try_from(self.delivery.timeout.0.as_secs()).unwrap_or(i64::MAX)),
                LONGEST_SEND.as_secs()
            );
        }
        for name in self.checks.keys() {
            self.alerts(name).check().map_err(|error| anyhow::anyhow!("{}", self.at("checks", name, error)))?;
        }
        for (name, check) in &self.checks {
            let wrong = |error| anyhow::anyhow!("{}", self.at("checks", name, error));
            check.check_skips(self.state.keep).map_err(wrong)?;
            check.check_known().map_err(wrong)?;
        }
        for (name, calendar) in &self.calendars {
            calendar.check().map_err(|error| anyhow::anyhow!("calendars.{name}: {error}"))?;
        }
        self.check_google()?;
        self.report.check()?;
        one_webhook("fallback", &self.fallback.webhook_env, &self.fallback.webhook_file, &self.fallback.webhook)?;
        self.slack.check()?;
        if self.slack.names_signing_secret() && self.slack.deliver == Deliver::Bot && self.web.listen.is_none() {
            bail!(
                "slack.signing_secret: Slack sends presses of buttons to the page, and there is none; set web.listen"
            );
        }
        for (channel, own) in &self.slack.channels {
            let key = format!("slack.channels.\"{channel}\"");
            one_webhook(&key, &own.webhook_env, &own.webhook_file, &own.webhook)?;
        }
        for channel in self.slack.channels.keys() {
            names::channel_name(channel).map_err(|error| anyhow::anyhow!("slack.channels: {error}"))?;
        }
        let granted = self
            .grants
            .iter()
            .flat_map(|(plugin, grants)| grants.slack.iter().map(move |channel| ("grants", plugin, "slack", channel)));
        let own =
            self.checks.iter().filter_map(|(name, check)| Some(("checks", name, "channel", check.channel.as_ref()?)));
        for (section, name, key, channel) in granted.chain(own) {
            let wrong = |error| anyhow::anyhow!("{}", self.at(section, name, format!("{key}: {error}")));
            names::channel_name(channel).map_err(wrong)?;
        }
        Ok(())
    }

    fn check_google(&self) -> Result<()> {
        let plain =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-.:_".contains(c));
        let mut names = Vec::new();
        if let Some(Warehouse::BigQuery { project, location, locations, endpoint, .. }) = &self.warehouse {
            names.extend([("warehouse.project", project), ("warehouse.location", location)]);
            names.extend(
                locations.iter().flat_map(|(dataset, location)| {
                    [("warehouse.locations", dataset), ("warehouse.locations", location)]
                }),
            );
            endpoint.check("warehouse.endpoint", &self.google)?;
        }
        if let Some(Deployments::CloudRun { project, region, endpoint }) = &self.deployments {
            names.push(("deployments.project", project));
            names.extend(region.names().map(|region| ("deployments.region", region)));
            endpoint.check("deployments.endpoint", &self.google)?;
        }
        if let Some(project) = &self.google.project {
            names.push(("google.project", project));
            self.google.secrets_endpoint.check("google.secrets_endpoint", &self.google)?;
        }
        match names.into_iter().find(|(_, name)| !plain(name)) {
            Some((key, name)) => bail!("{key}: `{name}` is not a valid name; use letters, digits and -"),
            None => Ok(()),
        }
    }

    /// Rejects paths that do not exist.
    pub(super) fn check_paths(&self) -> Result<()> {
        let mut wanted = Vec::new();
        match &self.warehouse {
            Some(Warehouse::Sqlite { path, .. }) => wanted.push(("warehouse.path".to_owned(), path, "directory")),
            Some(Warehouse::BigQuery { .. }) | None => {}
        }
        for (name, git) in &self.git {
            wanted.push((format!("git.{name}.path"), &git.path, "directory"));
        }
        match &self.deployments {
            Some(Deployments::File { path }) => wanted.push(("deployments.path".to_owned(), path, "file")),
            Some(Deployments::CloudRun { .. }) | None => {}
        }
        if let Some(path) = &self.google.key_file {
            wanted.push(("google.key_file".to_owned(), path, "file"));
        }
        for (channel, receiver) in &self.slack.channels {
            if let Some(path) = &receiver.webhook_file {
                wanted.push((format!("slack.channels.\"{channel}\".webhook_file"), path, "file"));
            }
        }
        if let Some(path) = &self.slack.token_file {
            wanted.push(("slack.token_file".to_owned(), path, "file"));
        }
        if let Some(path) = &self.web.token_file {
            wanted.push(("web.token_file".to_owned(), path, "file"));
        }
        if let Some(path) = &self.fallback.webhook_file {
            wanted.push(("fallback.webhook_file".to_owned(), path, "file"));
        }
        for (key, path, kind) in wanted {
            let found = self.resolve(path);
            if !found.exists() {
                bail!("{key}: there is no {kind} {}{}", found.display(), nearest_file(&found));
            }
        }
        Ok(())
    }
}

/// Whether a name has a dataset before it.
fn is_path(name: &str) -> bool {
    let parts = name.split_once('.');
    parts.is_some_and(|(dataset, name)| !dataset.is_empty() && !name.is_empty() && !name.contains('.'))
}

/// Rejects a webhook that is configured twice.
fn one_webhook(
    key: &str,
    variable: &Option<String>,
    file: &Option<PathBuf>,
    secret: &Option<SecretName>,
) -> Result<()> {
    let given = [("webhook_env", variable.is_some()), ("webhook_file", file.is_some()), ("webhook", secret.is_some())];
    let given: Vec<&str> = given.into_iter().filter_map(|(name, there)| there.then_some(name)).collect();
    match given.as_slice() {
        [one, other, ..] => bail!("{key}: both `{one}` and `{other}` are set; keep one"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each error names the key, the reason and the nearest valid name.
    #[test]
    fn mistakes_are_named_with_the_key_and_the_fix() {
        let cases: &[(&str, &[&str])] = &[
            ("timezon = 'UTC'", &["unknown field `timezon`", "did you mean `timezone`?"]),
            (
                "timezone = 'America/New_Yrok'",
                &["timezone", "`America/New_Yrok` is not an IANA time zone; did you mean `America/New_York`?"],
            ),
            ("[checks.a]\nschedul = 'x'", &["schedul", "did you mean `schedule`?"]),
            ("[checks.a]\nschedule = '0 0 30 2 *'", &["`0 0 30 2 *` is never due"]),
            ("[checks.a]\ndata_date = 'yesterdy'", &["data_date", "did you mean `yesterday`?"]),
            ("[checks.a]\ndata_date = '+1d'", &["data_date", "`+1d` is in the future"]),
            ("[checks.a]\ndata_date = '-400d'", &["data_date", "too far back", "`-366d`"]),
            (
                "[checks.a]\nschedule = 'often'",
                &["`often` is not a valid schedule: it has 1 field instead of five; write minute"],
            ),
            ("[checks.a]\nschedule = '* * * * * *'", &["not a valid schedule"]),
            ("[checks.a]\nchannel = 'alerts'", &["checks.a.channel", "\"#alerts\""]),
            ("[grants.a]\nslack = ['alerts']", &["grants.a.slack", "\"#alerts\""]),
            (
                "[grants.a]\nfunctions = ['f']",
                &["grants.a.functions", "`f` is not a function's name", "\"dataset.name\""],
            ),
            ("[grants.a]\nfunctions = ['p.d.f']", &["grants.a.functions", "write \"dataset.name\""]),
            ("[grants.a]\nviews = ['v']", &["grants.a.views", "`v` is not a view's name", "\"dataset.name\""]),
            ("[grants.a]\nviews = ['p.d.v']", &["grants.a.views", "write \"dataset.name\""]),
            ("[slack.channels.alerts]", &["slack.channels", "\"#alerts\""]),
            ("[checks.a]\nchannel = '#on call'", &["checks.a.channel", "without spaces"]),
            ("[checks.'a.b']\nchannel = '#on call'", &["checks.\"a.b\".channel", "without spaces"]),
            ("[checks.'a.consulted']", &["checks: `a.consulted` ends with .consulted, which only the host adds"]),
            ("[checks.\"a\\nb\"]", &["checks: `a\\nb` is not a valid name: use up to 100 letters"]),
            ("[checks.\"a\\u202Eb\"]", &["checks: `a\\u{202e}b` is not a valid name"]),
            ("[checks.a]\nplugin = 'B c'", &["checks.a.plugin: `B c` is not a plugin name: use up to 64 lower-case"]),
            ("[grants.'a.consulted']", &["grants: `a.consulted` is not a plugin name"]),
            ("[checks.a]\ndepends_on = ['b']\n[checks.b]\ndepends_on = ['a']", &["in a circle: a → b → a"]),
            ("[checks.a]\nsettings = 3", &["settings", "integer `3`, expected a table"]),
            ("[checks.a]\nplugin = 3", &["integer `3`, expected text in quotes"]),
            ("[grants.a]\nwarehouse = 'x'", &["string \"x\", expected a list"]),
            ("warehouse = 'x'", &["expected a table"]),
            ("[state]\nkeep = 90", &["integer `90`, expected a duration in quotes, such as"]),
            ("[budgets]\nmemory = 64", &["integer `64`, expected a size in quotes"]),
            ("[budgets]\nrows = '7'", &["string \"7\", expected a whole number from 0 to 4294967295"]),
            ("[web]\nhosts = true", &["boolean `true`, expected a list"]),
            ("[warehouse]\nkind = 'sqlit'\npath = 'x'", &["unknown variant `sqlit`"]),
            ("[warehouse]\nkind = 'sqlite'", &["missing field `path`"]),
            ("[slack]\ndeliver = 'consol'", &["did you mean `console`?"]),
            ("[alerts]\nconfirm = 0", &["alerts.confirm", "write 1"]),
            ("[alerts]\nflap_changes = 1", &["alerts.flap_changes", "2 or more"]),
            ("[alerts.routes]\ncritical = ['x']", &["alerts.routes.critical", "\"#x\""]),
            ("[alerts.routes]\nbad = ['#x']", &["unknown variant `bad`"]),
            ("[state]\nkeep = 'long'", &["`long` is not a duration"]),
            ("[checks.a.alerts]\nconfirm = 0", &["checks.a.alerts.confirm", "write 1"]),
            ("[calendars.a]\neffect = 'skip'\nwhy = 'x'", &["calendars.a", "never in effect"]),
            ("[calendars.a]\neffect = 'skip'\nwhy = ' '\ndates = ['12-25']", &["calendars.a", "give a reason"]),
            ("[calendars.a]\neffect = 'skip'\nwhy = 'x'\ndates = ['25.12.']", &["`25.12.` is not a date"]),
            ("[calendars.a]\neffect = 'stop'\nwhy = 'x'", &["unknown variant `stop`"]),
            ("[fallback]\nwebhook_env = 'A'\nwebhook_file = 'b'", &["fallback", "keep one"]),
            ("[slack.channels.'#a']\nwebhook = 'https://x'", &["webhook", "write `secret:NAME`"]),
            ("[slack.channels.'#a']\nwebhook = 'secret:a'\nwebhook_env = 'B'", &["slack.channels.\"#a\"", "keep one"]),
            ("[slack]\ntoken = 'xoxb-1'", &["token", "write `secret:NAME`"]),
            ("[slack]\ntoken = 'secret:a'\ntoken_file = 'b'", &["slack: both `token` and `token_file`", "keep one"]),
            ("[slack]\nendpoint = 'http://example.com/api'", &["slack.endpoint", "in clear text"]),
            ("[slack]\nendpoint = 'slack.com'", &["`slack.com` is not an address"]),
            ("[slack.channels.'#a']\nid = 'a-channel'", &["slack.channels.\"#a\".id", "not a channel's id"]),
            ("[warehouse]\nkind = 'bigquery'\nproject = 'p'", &["missing field `location`"]),
            (
                "[warehouse]\nkind = 'bigquery'\nproject = 'p`'\nlocation = 'US'",
                &["warehouse.project", "not a valid name"],
            ),
            (
                "[warehouse]\nkind = 'bigquery'\nproject = 'p'\nlocation = 'US'\n[warehouse.locations]\na = 'us west2'",
                &["warehouse.locations: `us west2` is not a valid name"],
            ),
            (
                "[warehouse]\nkind = 'sqlite'\npath = 'x'\n[warehouse.locations]\na = 'US'",
                &["unknown field `locations`"],
            ),
            (
                "[google]\ncredentials = 'none'\n[warehouse]\nkind = 'bigquery'\nproject = 'p'\nlocation = 'US'",
                &["warehouse.endpoint", "give the emulator's address"],
            ),
            (
                "[warehouse]\nkind = 'bigquery'\nproject = 'p'\nlocation = 'US'\nendpoint = 'http://example.com'",
                &["warehouse.endpoint", "in clear text"],
            ),
            (
                "[deployments]\nkind = 'cloud-run'\nproject = 'p'\nregion = 'r'\nendpoint = 'example.com'",
                &["`example.com` is not an address"],
            ),
            (
                "[deployments]\nkind = 'cloud-run'\nproject = 'p'\nregion = ['us-west2', 'us west1']",
                &["deployments.region", "`us west1` is not a valid name"],
            ),
            ("[deployments]\nkind = 'cloud-run'\nproject = 'p'\nregion = []", &["no region; write one, `us-west2`"]),
            (
                "[deployments]\nkind = 'cloud-run'\nproject = 'p'\nregion = ['us-west2', 'us-west2']",
                &["`us-west2` is listed twice"],
            ),
            (
                "[deployments]\nkind = 'cloud-run'\nproject = 'p'\nregion = 2",
                &["expected a region, or a list of regions"],
            ),
            ("[google]\ncredentials = 'non'", &["did you mean `none`?"]),
            ("[budgets]\ntimeout = 'soon'", &["`soon` is not a duration"]),
            ("[budgets]\ntimeout = '0s'", &["`0s` is too short"]),
            ("[budgets]\nrows = -1", &["out of range: integer `-1`, expected a whole number from 0 to 4294967295"]),
            ("[budgets]\nrows = 'x, expected y'", &["string \"x, expected y\", expected a whole number"]),
            ("budgets = ['5s']", &["budgets is a list; write a table, [budgets], in single brackets"]),
            ("[[web]]\nlisten = '127.0.0.1:1'", &["web is a list; write a table, [web]"]),
            ("[[checks.'a.b']]\nplugin = 'a'", &["checks.\"a.b\" is a list; write a table, [checks.\"a.b\"]"]),
            ("[grants]\na = []", &["grants.a is a list"]),
            ("[checks.a]\nexpect_by = 07:00:00", &["a date or time without quotes, expected text in quotes"]),
            ("[warehouse]\nkind = 3", &["integer `3`, expected a name in quotes"]),
            ("[record]\nanswers = 3", &["expected a duration in quotes, such as \"30d\", or \"off\""]),
            ("[budgets]\nmemory = '64 MB'", &["`64 MB` is not a size"]),
            (
                "[git.pipeline]\npath = '.'\n[grants.a]\ngit = ['pipelin']",
                &["grants.a.git", "did you mean `pipeline`?"],
            ),
        ];
        for (text, expected) in cases {
            let error = match Config::parse(text) {
                Ok(_) => panic!("accepted: {text}"),
                Err(error) => format!("{error:#}"),
            };
            for part in *expected {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
    }
}
