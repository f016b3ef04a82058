//! The trait for checks, and its adapter to the contract.

use std::{future::Future, marker::PhantomData};

use crate::bindings::exports::pipeline::check::{
    dates,
    plugin::{Descriptor, Failure, Guest, Need, Report, Request, Schedule},
};
use crate::{Dates, Result, settings::Settings};

/// A plugin's description. Its name and version come from its Cargo.toml.
pub struct About {
    /// What it checks, in one sentence: "Checks that …".
    pub summary: &'static str,
    /// Its group: alerts of one group and round are one message.
    pub group: &'static str,
    /// Its default schedule: minute, hour, day of month, month, day of week.
    pub cron: &'static str,
    /// The IANA time zone of `cron`; `None` for the pipeline's.
    pub timezone: Option<&'static str>,
    /// Its default channel.
    pub channel: &'static str,
    /// The meaning of results, first steps, and tuning, in Markdown.
    pub runbook: &'static str,
}

/// A check: its settings, its needs, and its run.
pub trait Check {
    /// Declared with [`settings!`](crate::settings!).
    type Settings: Settings;
    /// Its description.
    const ABOUT: About;

    /// The grants that it needs with these settings, besides the channel.
    fn needs(settings: &Self::Settings) -> Vec<Need>;

    /// What a check with these settings is about: the data of one date, or now. Default: a date.
    fn dates(_settings: &Self::Settings) -> Dates {
        Dates::Dated
    }

    /// Runs the check. An error means that it could not be evaluated.
    fn run(request: Request, settings: Self::Settings) -> impl Future<Output = Result<Report>>;
}

/// The adapter of a check to the contract; made by [`export!`](crate::export!).
pub struct Component<C, M>(PhantomData<(C, M)>);

/// A package's name and version, set by [`export!`](crate::export!).
#[doc(hidden)]
pub trait Package {
    const NAME: &'static str;
    const VERSION: &'static str;
}

impl<C: Check, M: Package> Guest for Component<C, M> {
    fn describe() -> Descriptor {
        let about = C::ABOUT;
        let mut needs = C::needs(&C::Settings::default());
        needs.push(Need::Channel(about.channel.to_owned()));
        Descriptor {
            name: M::NAME.to_owned(),
            version: M::VERSION.to_owned(),
            summary: about.summary.to_owned(),
            group: about.group.to_owned(),
            schedule: Schedule { cron: about.cron.to_owned(), timezone: about.timezone.map(str::to_owned) },
            channel: about.channel.to_owned(),
            needs,
            settings: C::Settings::schema(),
            runbook: about.runbook.to_owned(),
        }
    }

    async fn run(request: Request) -> std::result::Result<Report, Failure> {
        let settings = serde_json::from_str(&request.settings).map_err(|error| Failure::Settings(error.to_string()))?;
        C::run(request, settings).await
    }
}

impl<C: Check, M: Package> dates::Guest for Component<C, M> {
    fn kind(settings: String) -> std::result::Result<Dates, String> {
        let settings = serde_json::from_str(&settings).map_err(|error| error.to_string())?;
        Ok(C::dates(&settings))
    }
}

/// Exports a [`Check`] (or [`Canary`](crate::Canary)) as the component of this crate. Its name and version are the
/// package's, and are stored in the component's metadata, where they can be read without running it.
#[macro_export]
macro_rules! export {
    ($check:ty) => {
        struct Package;
        impl $crate::Package for Package {
            const NAME: &'static str = env!("CARGO_PKG_NAME");
            const VERSION: &'static str = env!("CARGO_PKG_VERSION");
        }
        type Exported = $crate::Component<$check, Package>;
        $crate::__export_check!(Exported);

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            const fn bytes<const N: usize>(text: &str) -> [u8; N] {
                let mut bytes = [0; N];
                bytes.copy_from_slice(text.as_bytes());
                bytes
            }
            #[used]
            #[unsafe(link_section = "pipeline:check/name")]
            static NAME: [u8; env!("CARGO_PKG_NAME").len()] = bytes(env!("CARGO_PKG_NAME"));
            #[used]
            #[unsafe(link_section = "version")]
            static VERSION: [u8; env!("CARGO_PKG_VERSION").len()] = bytes(env!("CARGO_PKG_VERSION"));
        };
    };
}
