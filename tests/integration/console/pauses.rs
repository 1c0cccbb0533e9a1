//! The page on pauses.

use std::time::Duration;

use thirtyfour::{By, Key};
use tokio::time::{Instant, sleep};

use super::console;
use crate::browser::Browser;
use crate::definitions::{defined, login};
use crate::support::platform::{PATIENCE, Platform, client, command, quick};

#[tokio::test]
async fn a_visitor_pauses_a_user_and_resumes() {
    let Some(browser) = Browser::start().await else { return };
    let mut platform = Platform::start(quick()).await;
    let (_console, url) = console(&platform, &[("CONSOLE__ACTIONS", "true")]).await;
    let _worker = platform.worker(&[]);
    browser.open(&format!("{url}/pauses")).await;
    browser.until("#pauses", "Nothing is paused").await;
    browser.assert_accessible().await;

    for (field, text) in [
        ("#what", "A user"),
        ("#id", "user-1"),
        ("#lasts", "an hour"),
        ("#reason", "<b>a test</b>"),
    ] {
        let field = browser.driver.find(By::Css(field)).await.expect("the field");
        field.send_keys(text).await.expect("it is typed");
    }
    browser.press(Key::Enter).await;
    browser.until(".pause h2", "User user-1").await;
    browser.until(".pause", "a visitor of the console").await;
    browser.until(".pause", "<b>a test</b>").await;
    browser.assert_accessible().await;

    let id = platform.send(command(1)).await;
    let delay = platform.topology.delay_queue("5s");
    platform.until_depth(&delay, |depth| depth.0 == 1).await;
    let other = platform.send(command(2)).await;
    platform.outcome(&other).await;
    assert_eq!(platform.sandbox.asked().tasks, 1, "the paused one has none");
    browser.open(&url).await;
    browser.until("#overview", "Paused: User user-1").await;
    browser.assert_accessible().await;

    browser.open(&format!("{url}/pauses")).await;
    browser.click(".pause button").await;
    browser.until("#pauses", "Nothing is paused").await;
    platform.outcome(&id).await;
    browser.requests().await;
    browser.close().await;
}

/// The page once it has a text. It follows what the console reads of the broker.
async fn page_with(url: &str, text: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = client().get(format!("{url}/pauses")).send().await.expect("an answer");
        let page = page.text().await.expect("a page");
        if page.contains(text) {
            return page;
        }
        assert!(Instant::now() < deadline, "no {text:?} in {page}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn token(page: &str) -> String {
    let (_, token) = page.split_once("name=\"token\" value=\"").expect("a form");
    token.split('"').next().expect("a token").to_owned()
}

async fn post(url: &str, form: &str) -> (u16, String) {
    let request = client().post(format!("{url}/pauses")).body(form.to_owned());
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let response = request.header("x-user", "anna\u{e9}").send().await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("a page"))
}

#[tokio::test]
async fn only_a_form_of_the_console_pauses_and_says_who() {
    let platform = Platform::start(quick()).await;
    let proxy = [
        ("CONSOLE__ACTIONS", "true"),
        ("CONSOLE__USER_HEADER", "x-user"),
        ("CONSOLE__TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let (mut process, url) = console(&platform, &proxy).await;
    let refused = client().get(format!("{url}/pauses")).send().await.expect("an answer");
    assert_eq!(refused.status(), 403, "nobody is named");

    let get = async || {
        let request = client().get(format!("{url}/pauses")).header("x-user", "bert");
        let page = request.send().await.expect("an answer");
        page.text().await.expect("a page")
    };
    let deadline = Instant::now() + PATIENCE;
    while !get().await.contains("Nothing is paused") {
        assert!(Instant::now() < deadline, "{}", get().await);
        sleep(Duration::from_millis(50)).await;
    }
    let token = token(&get().await);
    for wrong in ["", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"] {
        let (status, _) = post(&url, &format!("token={wrong}&action=pause&what=everything")).await;
        assert_eq!(status, 403);
    }
    let order = |order: &str| format!("token={token}&{order}");
    let (status, page) = post(&url, &order("action=pause&what=everything&id=280001")).await;
    assert_eq!(status, 422);
    assert!(page.contains("An id goes with a bank or a user only"), "{page}");
    assert!(get().await.contains("Nothing is paused"));

    let (status, page) = post(&url, &order("action=pause&what=bank&id=280001&lasts=3600")).await;
    assert_eq!(status, 200, "it was led back to the page: {page}");
    assert!(page.contains("Bank 280001") && page.contains("anna\u{e9}"), "{page}");
    let paused = platform.program(&["paused"], &[]).output().await.expect("it runs");
    let paused = String::from_utf8_lossy(&paused.stdout).into_owned();
    assert!(
        paused.starts_with("bank 280001 since ") && paused.contains("by anna\u{e9}"),
        "{paused}"
    );
    process.log.until("gave an order: pause bank 280001").await;

    let (_, page) = post(&url, &order("action=resume&what=bank&id=280001")).await;
    assert!(page.contains("Nothing is paused"), "{page}");
}

/// The user that the definitions have for it shows what is paused. What it may not do costs it nothing that it sees.
#[tokio::test]
async fn a_console_whose_user_may_not_pause_says_so() {
    let (rabbit, prefix) = defined().await;
    let platform = Platform::under(prefix.clone(), rabbit, false, quick()).await;
    let amqp_url = login(rabbit, &prefix, "console").await;
    let (mut process, url) = console(
        &platform,
        &[
            ("AMQP__URL", &amqp_url),
            ("AMQP__DECLARE", "false"),
            ("CONSOLE__ACTIONS", "true"),
        ],
    )
    .await;
    let token = token(&page_with(&url, "Nothing is paused").await);
    let (status, page) = post(&url, &format!("token={token}&action=pause&what=everything")).await;
    assert_eq!(status, 502);
    assert!(
        page.contains("The order may not have been given") && page.contains("ACCESS_REFUSED"),
        "{page}"
    );
    let mut pause = platform.program(&["pause", "--lane", "background"], &[]);
    let paused = pause.output().await;
    assert!(paused.expect("it runs").status.success());
    page_with(&url, "Lane background").await;
    process.log.until("may not have been given: pause everything").await;
    let text = process.log.text();
    let lost: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("lost the connection"))
        .collect();
    assert!(
        lost.iter().all(|line| line.contains("bankrefresh console orders")),
        "its own connection stays: {lost:#?}"
    );
}

#[tokio::test]
async fn a_console_without_the_stream_says_that_pauses_are_not_known() {
    let (rabbit, prefix) = defined().await;
    let platform = Platform::under(prefix.clone(), rabbit, false, quick()).await;
    let amqp_url = login(rabbit, &prefix, "watch").await;
    let settings = [("AMQP__URL", amqp_url.as_str()), ("AMQP__DECLARE", "false")];
    let (_console, url) = console(&platform, &settings).await;
    let page = page_with(&url, "What is paused is not known").await;
    assert!(page.contains("Actions are off") && !page.contains("<form"), "{page}");
    // As without a connection, which it has.
    page_with(&url, "id=\"feed\" data-live></div>").await;
}
