//! A real browser, driven over WebDriver.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::command::binary;

/// The look of a browser.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// In the names of pictures.
    pub name: &'static str,
    /// Whether the system is dark.
    pub dark: bool,
    /// Whether it is a phone, 360 pixels wide.
    pub phone: bool,
}

/// The looks to test.
pub const LOOKS: [Look; 3] = [
    Look { name: "light", dark: false, phone: false },
    Look { name: "dark", dark: true, phone: false },
    Look { name: "phone", dark: true, phone: true },
];

/// A browser; it ends with this.
pub struct Browser {
    driver: Child,
    _profile: TempDir,
    /// Its window.
    pub client: Client,
}

/// Starts a driver; gives its port. Among other tests it ends instead now and then, presumably because its port was taken
/// meanwhile; it is started again then.
fn driver() -> Result<(Child, String)> {
    for _ in 0..10 {
        let mut command = Command::new("chromedriver");
        let command = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().context("chromedriver")?;
        let out = BufReader::new(driver.stdout.take().context("no output")?);
        let mut lines = out.lines().map_while(std::result::Result::ok);
        if let Some(line) = lines.find(|line| line.contains("successfully on port "))
            && let Some(port) = line.rsplit(' ').next()
        {
            return Ok((driver, port.trim_end_matches('.').to_owned()));
        }
        driver.wait()?;
    }
    bail!("chromedriver did not start");
}

impl Browser {
    /// Starts one.
    pub async fn start(look: Look) -> Result<Self> {
        let (driver, port) = driver()?;
        let profile = TempDir::new()?;
        let mut arguments: Vec<String> = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1200,900",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        if look.dark {
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let mut options = json!({ "args": arguments });
        if look.phone {
            options["mobileEmulation"] = json!({ "deviceMetrics": { "width": 360, "height": 740, "pixelRatio": 2.0 } });
        }
        let capabilities = json!({ "browserName": "chrome", "goog:chromeOptions": options });
        let Value::Object(capabilities) = capabilities else { bail!("no capabilities") };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder.capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await?;
        Ok(Self { driver, _profile: profile, client })
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) -> Result<()> {
        // On a busy machine the driver sometimes looks at the page that is just being left.
        match self.client.goto(url).await {
            Ok(()) => Ok(()),
            Err(_) => Ok(self.client.goto(url).await?),
        }
    }

    /// Runs a script in the page, and returns its result.
    pub async fn script(&self, script: &str) -> Result<Value> {
        Ok(self.client.execute(script, Vec::new()).await?)
    }

    /// The accessibility violations that axe-core finds.
    pub async fn audit(&self) -> Result<Vec<String>> {
        let axe = binary("").parent().context("no target directory")?.join("axe/node_modules/axe-core/axe.min.js");
        let axe =
            std::fs::read_to_string(&axe).with_context(|| format!("{}: run `cargo xtask test`", axe.display()))?;
        self.script(&axe).await?;
        let run = "const done = arguments[arguments.length - 1];
            axe.run(document, {resultTypes: ['violations']}).then(found => done(found.violations.map(one =>
                one.id + ': ' + one.help + ': ' + one.nodes.map(node => node.html).slice(0, 3).join(' | '))));";
        let found = self.client.execute_async(run, Vec::new()).await?;
        Ok(serde_json::from_value(found)?)
    }

    /// How much wider a page is than its window, in pixels.
    pub async fn overflow(&self) -> Result<i64> {
        let wide =
            self.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await?;
        wide.as_i64().context("no number")
    }

    /// Saves a picture of the page, beside the build output.
    pub async fn picture(&self, name: &str) -> Result<()> {
        let directory = pictures();
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join(format!("{name}.png")), self.client.screenshot().await?)?;
        Ok(())
    }
}

/// Where pictures are kept.
pub fn pictures() -> PathBuf {
    binary("").join("../pictures")
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its driver.
        let _ = rustix::process::Pid::from_raw(i32::try_from(self.driver.id()).unwrap_or_default())
            .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        let _ = self.driver.wait();
    }
}
