//! A real browser: Debian's Chromium without a window, driven over WebDriver.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::{
    By, CapabilitiesHelper as _, ChromeCapabilities, ChromiumLikeCapabilities as _, DesiredCapabilities, Key,
    TypingData, WebDriver,
};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::support::guard::Guard;
use crate::support::platform::{Log, PATIENCE, install_crypto};

/// `none` where Chromium can't be had; then the tests that need it say so and do nothing.
const BROWSER: &str = "BANKREFRESH_TEST_BROWSER";

/// Where `scripts/check` puts axe.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/axe/axe.min.js");

/// Ends the driver, and the browser that it started, which outlives it: every process with its profile.
const END: &str = "kill -9 $1; for it in /proc/[0-9]*; do \
     grep -qsF -- \"--user-data-dir=$2\" $it/cmdline && kill -9 ${it#/proc/}; done 2>/dev/null";

/// How contrast, labels and landmarks are checked: everything that axe finds, in a line each. What axe can't decide of a contrast counts, too.
const FIND_VIOLATIONS: &str = "const done = arguments[0]; axe.run().then(found => done([...found.violations, \
     ...found.incomplete.filter(one => one.id === 'color-contrast')].map(one => \
     `${one.id}: ${one.nodes.map(node => node.html + ' ' + node.failureSummary).join(' | ')}`)), error => done([String(error)]))";

/// Fields that have no label. To axe a placeholder is a name, but it is gone once something is typed.
const FIND_UNLABELLED: &str = "return [...document.querySelectorAll('input:not([type=hidden]), select, textarea')] \
     .filter(field => !field.labels.length && !field.getAttribute('aria-label') && !field.getAttribute('aria-labelledby')) \
     .map(field => `no label: ${field.outerHTML}`)";

/// What the page shows at a place that has the focus, by a selector, or why it can't be seen that it has.
const FOCUS: &str = "const it = document.activeElement, style = getComputedStyle(it), box = it.getBoundingClientRect(); \
     const isSeen = style.outlineStyle !== 'none' && box.width > 0 && box.height > 0 && box.right > 0 && box.bottom > 0; \
     return [it !== document.body && it.matches(arguments[0]), it === document.body || isSeen, it.outerHTML.slice(0, 200)]";

/// The schemes of colours that a page has.
const SCHEMES: [&str; 2] = ["light", "dark"];

/// The most steps from the start of a page to any place on it by the keyboard.
const TABS_MAX: usize = 60;

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
        let profile = tempfile::tempdir().expect("a directory");
        let directory = profile.path().display().to_string();
        let guard = Guard::new(END, &[&pid, &directory]);
        let mut log = Log::of(&mut chromedriver);
        log.until("successfully on port").await;
        let text = log.text();
        let port = text.split("successfully on port ").nth(1).expect("the port");
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
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

    /// Waits until an element is there and shows nothing.
    pub async fn until_empty(&self, css: &str) {
        let wait = async {
            loop {
                let found = self.driver.find(By::Css(css)).await;
                let text = match found {
                    Ok(element) => element.text().await.ok(),
                    Err(_) => None,
                };
                if text.as_deref() == Some("") {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("{css} still shows {:?}", self.text(css).await);
        }
    }

    pub async fn attribute(&self, css: &str, name: &str) -> String {
        let element = self.driver.find(By::Css(css)).await.expect("the element");
        element.attr(name).await.expect("an answer").expect("the attribute")
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

    /// Checks what can be checked of any page: labels, contrast and so on, light and dark.
    pub async fn assert_accessible(&self) {
        let violations = self.violations().await;
        let url = self.driver.current_url().await.expect("its address");
        assert!(violations.is_empty(), "{url}: {violations:#?}");
    }

    /// What is wrong with the page for whoever sees little or nothing of it.
    pub async fn violations(&self) -> Vec<String> {
        let axe = std::fs::read_to_string(AXE).unwrap_or_else(|error| {
            panic!("{AXE}: {error}. scripts/check fetches it. Where that can't be, set {BROWSER}=none to leave out the browser.")
        });
        self.driver.execute(axe, Vec::new()).await.expect("axe runs");
        let mut violations = self.texts(FIND_UNLABELLED).await;
        for scheme in SCHEMES {
            let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
            self.emulate("Emulation.setEmulatedMedia", json!({"features": features}))
                .await;
            let found = self.driver.execute_async(FIND_VIOLATIONS, Vec::new()).await;
            let found: Vec<String> = found.expect("axe runs").convert().expect("texts");
            violations.extend(found.iter().map(|one| format!("{scheme}: {one}")));
        }
        violations
    }

    pub async fn run(&self, script: &str) {
        self.driver.execute(script, Vec::new()).await.expect("the script runs");
    }

    async fn texts(&self, script: &str) -> Vec<String> {
        let found = self.driver.execute(script, Vec::new()).await;
        found.expect("the script runs").convert().expect("texts")
    }

    async fn emulate(&self, command: &str, what: Value) {
        self.driver.cdp().send_raw(command, what).await.expect("emulated");
    }

    /// Makes the window as wide as a phone's.
    pub async fn be_a_phone(&self, width: u32) {
        let size = json!({"width": width, "height": 740, "deviceScaleFactor": 2, "mobile": true});
        self.emulate("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Nobody has to scroll sideways to see all of the page.
    pub async fn assert_fits(&self, width: u32) {
        let wide = self.wide(width).await;
        let url = self.driver.current_url().await.expect("its address");
        assert!(wide.is_empty(), "{url}: {wide:#?}");
    }

    /// What makes the page wider than this; nothing where it is not.
    pub async fn wide(&self, width: u32) -> Vec<String> {
        self.texts(&format!(
            "const wide = [...document.querySelectorAll('body *')].filter(it => it.getBoundingClientRect().right > {width} + 1 \
             && !it.closest('.scrolls')); const all = document.documentElement.scrollWidth; \
             return all > {width} ? ['the page has ' + all, ...wide.map(it => it.outerHTML.slice(0, 200))] : []"
        ))
        .await
    }

    pub async fn press(&self, keys: impl Into<TypingData>) {
        let chain = self.driver.action_chain().send_keys(keys.into());
        chain.perform().await.expect("pressed");
    }

    /// Goes on by the keyboard until something has the focus. Whatever has it on the way shows that.
    pub async fn tab_to(&self, css: &str) {
        let mut way = Vec::new();
        for _ in 0..TABS_MAX {
            self.press(Key::Tab).await;
            let found = self.driver.execute(FOCUS, vec![json!(css)]).await.expect("it runs");
            let (is_there, is_seen, html): (bool, bool, String) = found.convert().expect("the focus");
            assert!(is_seen, "nothing shows that this has the focus: {html}");
            if is_there {
                return;
            }
            way.push(html);
        }
        panic!("no way to {css} by the keyboard: {way:#?}");
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
