//! This machine: plugins, secrets in files, the record, the disk, the cache.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{Finding, Read};
use crate::{
    config::{Config, local},
    package::{self, File, Lock, Pin, SCHEME, Standing, lock_command, pin_command, today},
    plugin::Cache,
    record::{Address, Record},
    text::{bytes, quoted_path},
};

/// How far a recorded time may be ahead of the clock: another machine may have recorded it.
pub(super) const AHEAD: SignedDuration = SignedDuration::from_mins(1);
/// The days before a key's last one from which to say so.
const SOON: i32 = 30;
/// Free bytes below which writing may fail.
const FULL: u64 = 100 << 20;
/// Free bytes below which somebody should act. A recorded run takes about a kilobyte, so this is a million runs.
const SCARCE: u64 = 1 << 30;

/// Whether every pinned plugin is present and unchanged.
pub(super) fn plugins(pinned: &Read<Lock>, path: &Path, config: &Config) -> Vec<Finding> {
    let what = path.display().to_string();
    let lock = match pinned {
        Err(error) => return vec![Finding::wrong(what, format!("{error:#}"))],
        Ok(None) => {
            let directory = config.directory.join("plugins");
            let write = match holds_plugins(&directory) {
                true => {
                    let files = quoted_path(&directory.join("")) + "*.wasm";
                    format!("`{} {files}` writes it", lock_command("pin", path))
                }
                false => {
                    "there is none in plugins/; `host pin --help` says how to pin the files that you run".to_owned()
                }
            };
            return vec![Finding::note(what, format!("no plugin is pinned, so any file runs; {write}"))];
        }
        Ok(Some(lock)) => lock,
    };
    let wrong = lock.pins().iter().filter_map(|(name, pin)| {
        let problem = problem(&lock.source(pin), name, pin, config, path)?;
        Some(Finding::wrong(format!("plugin {name}"), problem))
    });
    let wrong: Vec<Finding> = wrong.collect();
    let signed = if config.trust.keys.is_empty() { "" } else { " and signed" };
    let pins = lock.pins().len();
    let all = Finding::ok(what, format!("pinned plugins: {pins}, all present, unchanged{signed}"));
    if wrong.is_empty() { vec![all] } else { wrong }
}

fn holds_plugins(directory: &Path) -> bool {
    let is_plugin = |entry: fs::DirEntry| entry.path().extension().is_some_and(|extension| extension == "wasm");
    fs::read_dir(directory).is_ok_and(|entries| entries.flatten().any(is_plugin))
}

/// The keys that no longer count, or not for long.
pub(super) fn keys(config: &Config) -> Vec<Finding> {
    let (keys, today) = (config.trust.keys(), today());
    let mut findings = Vec::new();
    for trusted in &keys.trusted {
        let what = format!("key {}", trusted.key);
        let standing = keys.standing(&trusted.key, today);
        let left = trusted.until.map(|until| (until - today).get_days());
        match (standing, left) {
            (Standing::Valid, Some(left)) if left <= SOON => {
                let detail = format!(
                    "its last day is in {left} days; then what only it signed stops running: sign it with another key"
                );
                findings.push(Finding::note(what, detail));
            }
            (Standing::Valid, _) => {}
            (standing, _) => findings.push(Finding::note(what, standing.to_string())),
        }
    }
    if !keys.is_empty() && keys.valid(today).is_empty() {
        let detail = "no key is valid today, so no plugin runs; add one that is, as `host keygen` prints it";
        findings.push(Finding::wrong("trust.keys", detail));
    }
    findings
}

/// Why a pinned file cannot run.
fn problem(path: &Path, name: &str, pin: &Pin, config: &Config, lock: &Path) -> Option<String> {
    let fetch = pin.source.starts_with(SCHEME).then(|| format!("`{}` fetches it", lock_command("pull", lock)));
    let again = |own: String| fetch.unwrap_or(own);
    if !path.exists() {
        let again = again(format!("build it, or remove the pin with `{} --prune`", lock_command("pin", lock)));
        return Some(format!("there is no {}; {again}", path.display()));
    }
    match File::read(path) {
        Err((_, error)) => Some(format!("{error:#}; {}", again("build it again".to_owned()))),
        Ok(file) if file.digest != pin.digest => {
            let pin = pin_command(lock, name, &file.version, path);
            let again = again(match file.name == name {
                true => format!("build it again, or accept these bytes with `{pin}`"),
                false => format!("the file holds {}; build {name} again", file.name),
            });
            Some(format!("{} differs from its pin: it is {}; {again}", path.display(), file.digest))
        }
        Ok(file) => package::signers(&file, &config.trust.keys()).err().map(|error| format!("{error:#}")),
    }
}

/// Whether other users can read a secret, or change what runs.
pub(super) fn permissions(config: &Config, path: &Path, pinned: &Read<Lock>, lock: &Path) -> Vec<Finding> {
    let webhooks = config.slack.channels.values().filter_map(|channel| channel.webhook_file.as_ref());
    let others = [
        &config.google.key_file,
        &config.web.token_file,
        &config.slack.token_file,
        &config.slack.signing_secret_file,
        &config.fallback.webhook_file,
    ];
    let secrets = webhooks.chain(others.into_iter().flatten()).map(|path| config.resolve(path));
    let mut findings: Vec<Finding> = secrets
        .filter(|path| mode(path).is_some_and(|mode| mode & 0o077 != 0))
        .map(|path| {
            let detail = format!("other users can read this secret; run `chmod 600 {}`", quoted_path(&path));
            Finding::note(path.display().to_string(), detail)
        })
        .collect();
    let mut code = vec![path.to_owned(), lock.to_owned()];
    if let Ok(Some(pinned)) = pinned {
        code.extend(pinned.pins().values().map(|pin| pinned.source(pin)));
    }
    findings.extend(code.into_iter().filter(|path| mode(path).is_some_and(|mode| mode & 0o002 != 0)).map(|path| {
        let detail = format!("every user can change what runs; run `chmod o-w {}`", quoted_path(&path));
        Finding::wrong(path.display().to_string(), detail)
    }));
    match findings.is_empty() {
        true => vec![Finding::ok("permissions", "no other user can read a secret or change what runs")],
        false => findings,
    }
}

fn mode(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode())
}

/// The record: whether it can be written and has space.
pub(super) async fn state(config: &Config) -> Vec<Finding> {
    match Address::of(config) {
        Ok(Address::Directory(directory)) => state_directory(config, &directory).await,
        Ok(address @ Address::Server(_)) => {
            vec![Finding::of("record", server(&address, &config.timezone.rules()).await)]
        }
        Err(error) => vec![Finding::wrong("record", format!("{error:#}"))],
    }
}

/// Whether a database can be used; opening it migrates nothing.
async fn server(address: &Address, zone: &TimeZone) -> anyhow::Result<String> {
    let record = address.look().await?;
    if let Some(why) = record.unusable().await? {
        anyhow::bail!("{}: {why}", record.place);
    }
    let found = match record.schema().await? {
        None => "it is empty; the first host makes its tables".to_owned(),
        Some(_) => match record.last_recorded().await? {
            Some(last) => format!("the newest run was recorded at {}", local(last, zone)),
            None => "no run is recorded".to_owned(),
        },
    };
    Ok(format!("{}: {found}", record.place))
}

async fn state_directory(config: &Config, directory: &Path) -> Vec<Finding> {
    let shown = directory.display();
    let what = "state directory";
    let record = match Record::exists(directory) {
        false => Ok("nothing is recorded yet".to_owned()),
        true => match Record::look(directory).await {
            Ok(record) => match record.refuses(&config.file, directory).await {
                Ok(Some(refused)) => Err(anyhow::anyhow!(refused)),
                // A record from before an upgrade belongs to nobody yet.
                Ok(None) | Err(_) => record.last_recorded().await.map(|last| match last {
                    Some(last) => {
                        format!("the newest run was recorded at {}", local(last, &config.timezone.rules()))
                    }
                    None => "no run is recorded".to_owned(),
                }),
            },
            Err(error) => Err(error),
        },
    };
    let whole = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let Some(there) = whole.ancestors().find(|directory| directory.is_dir()) else {
        return vec![Finding::wrong(what, format!("{shown}: not found"))];
    };
    let first = match (record, writable(there)) {
        (Err(error), _) => Finding::wrong(what, format!("{error:#}")),
        (_, Err(error)) => {
            let detail =
                format!("{shown} cannot be written ({error}); make it writable, or name another state.directory");
            Finding::wrong(what, detail)
        }
        (Ok(_), Ok(())) if there == whole && mode(directory).is_some_and(|mode| mode & 0o077 != 0) => {
            Finding::note(what, format!("other users can read the results; run `chmod 700 {}`", quoted_path(directory)))
        }
        (Ok(record), Ok(())) => Finding::ok(what, format!("{shown}: {record}")),
    };
    vec![first, disk(there)]
}

/// Whether a file can be created in a directory. The file is removed again.
fn writable(directory: &Path) -> std::io::Result<()> {
    tempfile::tempfile_in(directory).map(drop)
}

fn disk(directory: &Path) -> Finding {
    let what = "disk";
    match rustix::fs::statvfs(directory) {
        Err(error) => Finding::note(what, format!("{}: the free space is unknown: {error}", directory.display())),
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let shown = format!("{} free for the record", bytes(free));
            let advice = "free some space, or lower state.keep";
            match free {
                free if free < FULL => Finding::wrong(what, format!("{shown}; {advice}")),
                free if free < SCARCE => Finding::note(what, format!("{shown}; {advice}")),
                _ => Finding::ok(what, shown),
            }
        }
    }
}

/// The time of the newest recorded run, if known.
pub(super) async fn last_recorded(config: &Config) -> Option<Timestamp> {
    let address = Address::of(config).ok()?;
    if !address.exists() {
        return None;
    }
    address.look().await.ok()?.last_recorded().await.ok()?
}

/// The cache of compiled plugins.
pub(super) fn cache() -> Finding {
    match Cache::open().directory() {
        Ok(directory) => Finding::ok("cache", format!("{}: keeps compiled plugins", directory.display())),
        Err(reason) => Finding::note(
            "cache",
            format!(
                "no cache, so every start compiles the plugins; set XDG_CACHE_HOME or HOME to a directory that only this user can write ({reason})"
            ),
        ),
    }
}
