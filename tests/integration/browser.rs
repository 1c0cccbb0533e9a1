//! A real browser: Debian's Chromium without a window, driven over WebDriver.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use thirtyfour::{
    By, CapabilitiesHelper as _, ChromeCapabilities, ChromiumLikeCapabilities as _, DesiredCapabilities, WebDriver,
};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::support::guard::Guard;
use crate::support::platform::{Log, PATIENCE, install_crypto};

/// `none` where Chromium can't be had; then the tests that need it say so and do nothing.
const BROWSER: &str = "BANKREFRESH_TEST_BROWSER";

/// Where `scripts/check` puts axe.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/axe/axe.min.js");

/// How contrast, labels and landmarks are checked: everything that axe finds, in a line each.
const FIND_VIOLATIONS: &str = "const done = arguments[0]; axe.run().then(found => done(found.violations.map(one => \
     `${one.id}: ${one.nodes.map(node => node.html + ' ' + node.failureSummary).join(' | ')}`)), error => done([String(error)]))";

pub struct Browser {
    pub driver: WebDriver,
    _chromedriver: Child,
    _guard: Guard,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// A browser with a profile of its own; none where there is to be none.
    pub async fn start() -> Option<Self> {
        if std::env::var(BROWSER).as_deref() == Ok("none") {
            eprintln!("NOT TESTED: {BROWSER} is \"none\", so no browser looks at the console.");
            return None;
        }
        install_crypto();
        let child = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut chromedriver = child.unwrap_or_else(|error| {
            panic!("chromedriver: {error}. Install Debian's chromium and chromium-driver, or set {BROWSER}=none where they can't be had.")
        });
        let pid = chromedriver.id().expect("it runs").to_string();
        let guard = Guard::new("kill -9 $1", &[&pid]);
        let mut log = Log::of(&mut chromedriver);
        log.until("successfully on port").await;
        let text = log.text();
        let port = text.split("successfully on port ").nth(1).expect("the port");
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        let profile = tempfile::tempdir().expect("a directory");
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities(profile.path()))
            .await
            .expect("a session");
        Some(Self {
            driver,
            _chromedriver: chromedriver,
            _guard: guard,
            _profile: profile,
        })
    }

    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.expect("the page");
    }

    /// Waits until an element shows a text.
    pub async fn until(&self, css: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut shown = String::new();
        while Instant::now() < deadline {
            shown = self.text(css).await;
            if shown.contains(text) {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("{css} does not show {text:?} but {shown:?}");
    }

    /// What an element shows. It may be replaced while it is asked.
    pub async fn text(&self, css: &str) -> String {
        match self.driver.find(By::Css(css)).await {
            Ok(element) => element.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Clicks the first element, also if it was just replaced.
    pub async fn click(&self, css: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let clicked = match self.driver.find(By::Css(css)).await {
                Ok(element) => element.click().await,
                Err(error) => Err(error),
            };
            match clicked {
                Ok(()) => return,
                Err(error) if Instant::now() > deadline => panic!("{css}: {error}"),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// What the page consists of now, with what scripts made of it.
    pub async fn source(&self) -> String {
        self.driver.source().await.expect("the source")
    }

    /// Checks what can be checked of any page: labels, contrast and so on, light and dark, where axe is there.
    pub async fn assert_accessible(&self) {
        let Ok(axe) = std::fs::read_to_string(AXE) else {
            eprintln!("NOT TESTED: {AXE} is not there, so axe does not look at the page; scripts/check fetches it.");
            return;
        };
        let url = self.driver.current_url().await.expect("its address");
        self.driver.execute(axe, Vec::new()).await.expect("axe runs");
        let found = self
            .driver
            .execute_async(FIND_VIOLATIONS, Vec::new())
            .await
            .expect("axe runs");
        let violations: Vec<String> = found.convert().expect("texts");
        assert!(violations.is_empty(), "{url}: {violations:#?}");
    }

    /// Every address of the network that the browser has asked for since it was asked before. Fails where a page has complained.
    pub async fn requests(&self) -> Vec<String> {
        let logged = self.driver.browser_log().await.expect("the log");
        let complaints: Vec<_> = logged
            .iter()
            .filter(|entry| entry.level == "SEVERE" || entry.level == "WARNING")
            .collect();
        assert!(complaints.is_empty(), "the console of the browser has {complaints:#?}");
        let entries = self.driver.get_log("performance").await.expect("the log");
        let urls = entries.iter().filter_map(|entry| {
            let event: serde_json::Value = serde_json::from_str(&entry.message).ok()?;
            let event = &event["message"];
            let is_sent = event["method"] == "Network.requestWillBeSent";
            is_sent.then(|| {
                event["params"]["request"]["url"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
        });
        // A new tab has pages of its own.
        urls.filter(|url| !url.starts_with("chrome:") && !url.starts_with("data:"))
            .collect()
    }

    pub async fn close(self) {
        self.driver.clone().quit().await.expect("it ends");
    }
}

fn capabilities(profile: &Path) -> ChromeCapabilities {
    let mut capabilities = DesiredCapabilities::chrome();
    let profile = format!("--user-data-dir={}", profile.display());
    // Root has no sandbox of Chromium's, and containers have little shared memory.
    for argument in [
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1280,1000",
        &profile,
    ] {
        capabilities.add_arg(argument).expect("an argument");
    }
    let logs = serde_json::json!({"browser": "ALL", "performance": "ALL"});
    capabilities.set("goog:loggingPrefs", logs).expect("a capability");
    capabilities
}
