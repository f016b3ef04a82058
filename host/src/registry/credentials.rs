//! Credentials for a registry, from Docker's configuration: from the file, or from a program that keeps them.
//! <https://docs.docker.com/reference/cli/docker/login/#credential-stores>

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

use crate::text;

/// The name under which Docker keeps the credentials of its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// The user of an identity token.
const IDENTITY: &str = "<token>";
/// Timeout of a credential helper.
const HELPER: Duration = Duration::from_secs(10);
/// The most bytes of its output, and of its errors.
const SAID: usize = 64 << 10;
/// `auth` with or without `=` at its end.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a registry is told.
#[derive(PartialEq, Eq)]
pub(super) enum Credentials {
    Anonymous,
    Password {
        user: String,
        password: String,
    },
    /// A token that is exchanged for others.
    Identity(String),
}

/// The credentials that were found.
pub(super) struct Found {
    pub(super) credentials: Credentials,
    /// The helper that may have some, but is not installed.
    pub(super) missing: Option<String>,
}

/// config.json, as far as the host reads it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    auths: BTreeMap<String, Auth>,
    /// The helper for all registries.
    creds_store: String,
    /// The helpers for some.
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    /// `user:password` in base64.
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// The credentials of a registry; anonymous when none are configured.
pub(super) async fn of(registry: &str) -> Result<Found> {
    let configuration = read().with_context(|| {
        format!(
            "{registry}: the credentials in Docker's configuration cannot be used; set them again with `docker login {registry}`"
        )
    })?;
    let server = if registry == "docker.io" { DOCKER_HUB } else { registry };
    let helper = configuration.cred_helpers.get(server).filter(|helper| !helper.is_empty());
    if helper.is_none() {
        let credentials = configuration.filed(server).with_context(|| {
            format!(
                "{registry}: the credentials in Docker's configuration cannot be used; set them again with `docker login {registry}`"
            )
        })?;
        if credentials != Credentials::Anonymous || configuration.creds_store.is_empty() {
            return Ok(Found { credentials, missing: None });
        }
    }
    let helper = format!("docker-credential-{}", helper.unwrap_or(&configuration.creds_store));
    match kept(&helper, server).await {
        Ok(credentials) => Ok(Found { credentials: credentials.unwrap_or(Credentials::Anonymous), missing: None }),
        Err(error) if is_missing(&error) => Ok(Found { credentials: Credentials::Anonymous, missing: Some(helper) }),
        Err(error) => {
            Err(error
                .context(format!("{registry}: the credential helper {helper} failed; try `docker login {registry}`")))
        }
    }
}

/// Docker's knowledge of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It has credentials.
    Yes,
    /// It has none.
    No,
    /// This helper may have some, but is not installed.
    Missing(String),
}

/// Whether Docker's configuration has credentials for a registry.
pub async fn known(registry: &str) -> Result<Known> {
    Ok(of(registry).await?.known())
}

impl Found {
    pub(super) fn known(&self) -> Known {
        match (&self.missing, &self.credentials) {
            (Some(helper), _) => Known::Missing(helper.clone()),
            (None, Credentials::Anonymous) => Known::No,
            (None, _) => Known::Yes,
        }
    }
}

fn read() -> Result<Configuration> {
    // https://docs.docker.com/reference/cli/docker/#environment-variables
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let directory = std::env::var_os("DOCKER_CONFIG").filter(|directory| !directory.is_empty());
    let Some(directory) = directory.map(PathBuf::from).or_else(home) else { return Ok(Configuration::default()) };
    let path = directory.join("config.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    if text.trim().is_empty() {
        return Ok(Configuration::default());
    }
    // The parser's message may repeat a secret.
    serde_json::from_str(&text).map_err(|error| {
        anyhow::anyhow!("{}: line {}, column {}: not what Docker writes", path.display(), error.line(), error.column())
    })
}

impl Configuration {
    /// The credentials in the file itself.
    fn filed(&self, server: &str) -> Result<Credentials> {
        let host = |key: &str| {
            let key = key.trim_start_matches("https://").trim_start_matches("http://");
            key.split('/').next().unwrap_or_default().to_owned()
        };
        let same = || self.auths.iter().find(|(key, _)| host(key) == host(server)).map(|(_, auth)| auth);
        let Some(found) = self.auths.get(server).or_else(same) else { return Ok(Credentials::Anonymous) };
        if !found.identitytoken.is_empty() {
            return Ok(Credentials::Identity(found.identitytoken.clone()));
        }
        if found.auth.is_empty() {
            return Ok(match found.username.is_empty() {
                true => Credentials::Anonymous,
                false => Credentials::Password { user: found.username.clone(), password: found.password.clone() },
            });
        }
        let decoded = LENIENT.decode(&found.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|decoded| decoded.trim_end_matches('\0').split_once(':'));
        let (user, password) = pair.context("`auth` is not a user and a password in base64")?;
        Ok(Credentials::Password { user: user.to_owned(), password: password.to_owned() })
    }
}

/// What a helper keeps for a server. Its output may hold a secret, so no error repeats it.
/// <https://github.com/docker/docker-credential-helpers#development>
async fn kept(helper: &str, server: &str) -> Result<Option<Credentials>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Kept {
        username: String,
        secret: String,
    }
    let mut command = Command::new(helper);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // Scripts start other programs: all of them end with it.
    let mut process = command.process_group(0).spawn()?;
    let group = process.id();
    let said = tokio::time::timeout(HELPER, said(&mut process, server)).await;
    let output = match said {
        Ok(Ok(output)) => output,
        failed => {
            end(group);
            let _ = process.wait().await;
            match failed {
                Ok(failed) => failed?,
                Err(_) => bail!("it did not answer within {} s", HELPER.as_secs()),
            }
        }
    };
    if output.status.success() {
        let Ok(kept) = serde_json::from_slice::<Kept>(&output.stdout) else { bail!("its output is not understood") };
        return Ok(Some(match kept {
            Kept { secret, .. } if secret.is_empty() => Credentials::Anonymous,
            Kept { username, secret } if username == IDENTITY => Credentials::Identity(secret),
            Kept { username: user, secret: password } => Credentials::Password { user, password },
        }));
    }
    // Helpers tell by these words alone that they have nothing:
    // https://github.com/docker/docker-credential-helpers/blob/master/credentials/error.go
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).to_ascii_lowercase());
    match said.iter().any(|said| said.contains("credentials not found") || said.contains("no credentials")) {
        true => Ok(None),
        false => bail!("it ended with {}", output.status),
    }
}

/// The output of a helper that ended.
struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Asks a helper for a server's credentials, and reads its answer to the end.
async fn said(process: &mut Child, server: &str) -> Result<Output> {
    if let Some(mut input) = process.stdin.take() {
        // A helper that does not read has its own reason to fail.
        let _ = input.write_all(server.as_bytes()).await;
    }
    let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
    let (stdout, stderr) = tokio::try_join!(bounded(stdout), bounded(stderr))?;
    Ok(Output { status: process.wait().await.context("it gave no output")?, stdout, stderr })
}

/// A stream to its end, if it is not too long.
async fn bounded(stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(SAID as u64 + 1).read_to_end(&mut bytes).await.context("it gave no output")?;
    }
    if bytes.len() > SAID {
        bail!("its output is larger than {}", text::bytes(SAID as u64));
    }
    Ok(bytes)
}

/// Ends a helper that is still running, and the programs that it started.
fn end(group: Option<u32>) {
    let group = group.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        // They may have ended meanwhile.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_docker_writes_it() {
        let auth = LENIENT.encode("me:pass:word");
        let of = |auths: &str| {
            let text = format!(r#"{{"auths":{{{auths}}},"HttpHeaders":{{}},"currentContext":"x"}}"#);
            serde_json::from_str::<Configuration>(&text).unwrap().filed("ghcr.io").map_err(|error| error.to_string())
        };
        let password = || Credentials::Password { user: "me".to_owned(), password: "pass:word".to_owned() };
        for key in ["ghcr.io", "https://ghcr.io", "https://ghcr.io/v1/", "http://ghcr.io/"] {
            assert!(of(&format!(r#""{key}":{{"auth":"{auth}"}}"#)) == Ok(password()), "{key}");
        }
        assert!(of(&format!(r#""ghcr.io":{{"auth":"{}"}}"#, auth.trim_end_matches('='))) == Ok(password()));
        assert!(of(r#""ghcr.io":{"username":"me","password":"pass:word"}"#) == Ok(password()));
        for none in ["", r#""ghcr.io":{}"#, r#""ghcr.io":{"auth":""}"#, r#""notghcr.io":{"auth":"x"}"#] {
            assert!(of(none) == Ok(Credentials::Anonymous), "{none}");
        }
        let identity = of(&format!(r#""ghcr.io":{{"auth":"{auth}","identitytoken":"i"}}"#));
        assert!(identity == Ok(Credentials::Identity("i".to_owned())));
        assert!(of(r#""ghcr.io":{"auth":"c2VjcmV0"}"#).is_err_and(|error| !error.contains("secret")));
    }
}
