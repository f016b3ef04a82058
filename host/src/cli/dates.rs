//! `host recheck`, `host ack` and `host close`: what people do about bad dates.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::civil::Date;
use tokio::time::{Instant, sleep};

use super::flags::ConfigFlag;
use crate::{
    alert::{ACKNOWLEDGED_FOR, LONGEST_REASON, Wanted},
    check::no_such_check,
    config::{Config, Time},
    record::{Address, Record},
    recorder::{Recorder, answered, user},
};

/// How long to wait for the host that runs on the record.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
#[command(after_help = "A running host looks at the dates at once. Without one, the next `host run` does.

Examples:
  host recheck phase2-raw                      all its bad dates
  host recheck phase2-raw --date 2026-02-05    one date, also one that is good")]
pub(super) struct Recheck {
    #[command(flatten)]
    of: Of,
}

#[derive(Debug, Args)]
#[command(after_help = "Somebody works on it: no reminders, and a message once it is resolved. It
lapses after --for, when the date gets worse, or when something else is wrong too.

Examples:
  host ack phase2-raw --date 2026-02-05 --why \"the vendor reloads it\"
  host ack phase2-raw --for 7d --why \"known\"      all its bad dates")]
pub(super) struct Ack {
    #[command(flatten)]
    of: Of,
    /// The reason, for others to read
    #[arg(long)]
    why: String,
    /// How long that holds: 4h, 3d
    #[arg(long = "for", value_name = "TIME", default_value = ACKNOWLEDGED_FOR, allow_hyphen_values = true)]
    length: Time,
}

#[derive(Debug, Args)]
#[command(after_help = "The date stays bad. The host does not look at it again and sends no reminders.
Of a check without data dates, what is wrong now is given up.
Receivers of its alert get a message, and another one if it becomes good.

Examples:
  host close phase2-raw --date 2026-02-05 --why \"it will never come\"
  host close phase2-raw --all --why \"the vendor is gone\"    all its bad dates")]
pub(super) struct Close {
    #[command(flatten)]
    of: Of,
    /// Give up on all its bad dates, if it has several
    #[arg(long, conflicts_with = "date")]
    all: bool,
    /// The reason, for others to read
    #[arg(long)]
    why: String,
}

/// A check, and one of its dates.
#[derive(Debug, Args)]
struct Of {
    /// The check
    #[arg(value_name = "CHECK")]
    check: String,
    /// The data date [default: all its bad dates; `host close` needs --all for several]
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<Date>,
    #[command(flatten)]
    config: ConfigFlag,
}

impl Recheck {
    pub(super) fn execute(self) -> Result<u8> {
        self.of.order(Wanted::Recheck)
    }
}

impl Ack {
    pub(super) fn execute(self) -> Result<u8> {
        let why = reason(&self.why)?;
        let until = crate::record::now().checked_add(self.length.0).context("--for is too long")?;
        self.of.order(Wanted::Ack { why, until })
    }
}

impl Close {
    pub(super) fn execute(self) -> Result<u8> {
        let why = reason(&self.why)?;
        self.of.order(Wanted::Close { why, all: self.all })
    }
}

fn reason(why: &str) -> Result<String> {
    if why.trim().is_empty() {
        bail!("--why is empty; give the reason, for others to read");
    }
    match why.trim() {
        long if long.chars().count() > LONGEST_REASON => {
            bail!("--why: {} characters; write at most {LONGEST_REASON}", long.chars().count())
        }
        why => Ok(why.to_owned()),
    }
}

impl Of {
    /// Gives an order to the host that runs on the record; without one, carries it out.
    fn order(self, wanted: Wanted) -> Result<u8> {
        let config = Config::read(self.config.path())?;
        super::runtime()?.block_on(async {
            let address = Address::of(&config)?;
            if !address.exists() {
                bail!("nothing was recorded yet; `{}` runs the checks", config.command("host run --once"));
            }
            let record = super::own_record(&config).await?;
            let mut known = record.checks().await?;
            known.extend(config.checks.keys().cloned());
            known.sort();
            known.dedup();
            if !known.contains(&self.check) {
                bail!("{}", no_such_check(&self.check, known.iter().map(String::as_str)));
            }
            let done = match address.is_in_use(&record).await? {
                true => self.ask(&record, &wanted).await?,
                false => {
                    let _claim = address.claim(Duration::ZERO).await?;
                    let recorder = Recorder::new(record.clone(), &config).await?;
                    let done = recorder.order(&config, &self.check, self.date, &wanted, &user()).await?;
                    let once = config.command(&format!("host run --once --check {}", self.check));
                    let later = |said: String| match wanted {
                        Wanted::Recheck => format!("{} by the next `{once}`", said.trim_end_matches(" now")),
                        _ => said,
                    };
                    done.answer.map(later)
                }
            };
            record.close().await;
            match done {
                Ok(said) => super::print(&format!("{said}\n")).map(|()| 0),
                Err(why) => bail!("{why}"),
            }
        })
    }

    /// Waits for the host that runs on the record.
    async fn ask(&self, record: &Record, wanted: &Wanted) -> Result<Result<String, String>> {
        let json = serde_json::to_string(wanted)?;
        let id = record.order(&self.check, self.date, &json, (&user(), crate::record::now())).await?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(answer) = record.answer(id).await? {
                return answered(&answer);
            }
            sleep(Duration::from_millis(200)).await;
        }
        bail!(
            "the host that runs on this record has not answered within {PATIENCE:?}; it carries the order out when it can"
        )
    }
}
