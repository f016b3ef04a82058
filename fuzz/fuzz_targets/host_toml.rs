//! host.toml: read or refused with a message.
#![no_main]

use host_config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Config::parse(text) {
        Ok(config) => config.grants.keys().chain(["any"].map(str::to_owned).iter()).for_each(|plugin| {
            config.budgets(plugin);
        }),
        Err(error) => assert!(!format!("{error:#}").is_empty()),
    }
});
