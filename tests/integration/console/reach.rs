//! Who can use the console: by the keyboard alone, on a phone, with a screen reader.

use thirtyfour::Key;

use super::letters::{kill, with_secrets};
use super::{console, patient, send_all_kinds};
use crate::browser::Browser;
use crate::support::dead_letters::until_dead;
use crate::support::platform::{Platform, WorkerProcess};

const PHONE: u32 = 360;

/// Something on each page, so that it is as long and as wide as it gets.
async fn full() -> (Platform, Vec<WorkerProcess>, String, String) {
    let mut platform = Platform::start(patient()).await;
    platform.sandbox.set_web_form_url(&platform.finapi_url);
    let (process, url) = console(&platform, &[("CONSOLE__ACTIONS", "true")]).await;
    let worker = platform.worker(&[]);
    let asked = send_all_kinds(&mut platform).await;
    kill(&platform, with_secrets(9)).await;
    until_dead(&platform, 1).await;
    let reason = "maintenance-of-the-bank-".repeat(8);
    let pause = ["pause", "--bank", "999", "--reason", &reason];
    let paused = platform.program(&pause, &[]).output().await;
    assert!(paused.expect("it runs").status.success());
    (platform, vec![process, worker], url, asked)
}

#[tokio::test]
async fn everything_is_reached_by_the_keyboard() {
    let Some(browser) = Browser::start().await else { return };
    let (platform, _processes, url, asked) = full().await;

    browser.open(&url).await;
    browser.until("#overview", "bank rejected").await;
    browser.tab_to(".skip").await;
    browser.press(Key::Enter).await;
    browser.tab_to("#overview table a").await;
    browser.open(&url).await;
    browser.tab_to("nav a[href='/refreshes']").await;
    browser.press(Key::Enter).await;
    browser.until("h1", "Refreshes").await;
    browser.tab_to("#q").await;
    browser.press("user-3".to_owned() + Key::Enter).await;
    browser
        .until("#refreshes tbody tr:only-child", "waits for its user")
        .await;
    browser.tab_to("#refreshes .scrolls").await;
    browser.tab_to("#refreshes tbody a").await;
    browser.press(Key::Enter).await;
    browser.until(".facts", &asked).await;
    browser.tab_to("nav a[href='/dead-letters']").await;
    browser.press(Key::Enter).await;
    browser.until(".letter", "for a test").await;
    browser.tab_to(".letter dd a").await;
    browser.press(Key::Enter).await;
    browser.tab_to("pre").await;
    browser.open(&format!("{url}/dead-letters")).await;
    browser.tab_to(".letter summary").await;
    browser.press(Key::Enter).await;
    browser.tab_to(".letter details button").await;
    browser.press(Key::Enter).await;
    browser.until("main", "Discarded.").await;
    until_dead(&platform, 0).await;
    browser.tab_to("nav a[href='/pauses']").await;
    browser.press(Key::Enter).await;
    browser.until(".pause h2", "Bank 999").await;
    browser.tab_to(".pause button").await;
    browser.press(Key::Enter).await;
    browser.until("#pauses", "Nothing is paused").await;
    browser.requests().await;
    browser.close().await;
}

#[tokio::test]
async fn every_page_fits_a_phone() {
    let Some(browser) = Browser::start().await else { return };
    let (platform, _processes, url, asked) = full().await;
    let dead = "/dead-letters".to_owned();
    browser.open(&format!("{url}{dead}")).await;
    let letter = browser.attribute(".letter dd a", "href").await;
    browser.be_a_phone(PHONE).await;
    let form = platform.web_form(&asked);
    let pages = [
        "/",
        "/workers",
        "/refreshes",
        &format!("/refreshes/{asked}"),
        &dead,
        &letter,
        "/pauses",
        "/nothing",
    ];
    for page in pages.map(|path| format!("{url}{path}")).into_iter().chain([form]) {
        browser.open(&page).await;
        browser.assert_fits(PHONE).await;
        browser.assert_accessible().await;
    }
    browser.close().await;
}

/// A check that finds nothing may be one that looks at nothing.
#[tokio::test]
async fn what_is_wrong_with_a_page_is_found() {
    let Some(browser) = Browser::start().await else { return };
    let (_platform, _processes, url, _) = full().await;
    let refreshes = format!("{url}/refreshes");
    for (breaks, expected) in [
        ("document.querySelector('label[for=q]').remove()", "no label: <input"),
        (
            "document.querySelector('label[for=outcome]').remove()",
            "no label: <select",
        ),
        (
            "document.querySelector('label[for=outcome]').remove()",
            "light: select-name",
        ),
        (
            "document.querySelector('h1').style.color = '#f4f4f4'",
            "light: color-contrast",
        ),
        (
            "document.querySelector('h1').style.color = '#1a1a1a'",
            "dark: color-contrast",
        ),
        ("document.documentElement.lang = ''", "light: html-has-lang"),
        (
            "document.querySelector('.search button').textContent = ''",
            "light: button-name",
        ),
    ] {
        browser.open(&refreshes).await;
        browser.assert_accessible().await;
        browser.run(breaks).await;
        let found = browser.violations().await;
        assert!(
            found.iter().any(|one| one.starts_with(expected)),
            "{breaks}: {found:#?}"
        );
    }
    browser.open(&refreshes).await;
    browser.be_a_phone(PHONE).await;
    browser.run("document.querySelector('h1').style.width = '500px'").await;
    assert!(!browser.wide(PHONE).await.is_empty());
    browser.close().await;
}
