//! `bankrefresh console`, by the program itself on a real broker, as a real browser shows it.

mod cost;
mod letters;
mod load;
mod pauses;
mod reach;

use std::time::Duration;

use bankrefresh::proto::RefreshConnection;
use bankrefresh::refresh::event::EventKind;
use bankrefresh::sandbox::{After, Behaviour, SandboxConfig, Script, UserDoes};
use thirtyfour::Key;
use tokio::time::timeout;

use crate::browser::Browser;
use crate::support::platform::{PATIENCE, Platform, WorkerProcess, client, command, free_address, quick};
use crate::support::rabbitmq::RabbitMq;

const PLANTED: &str = "planted-token-a94e";
const BANK_MESSAGE: &str = "planted text of a bank";

/// A console of a platform, and its address.
async fn console(platform: &Platform, settings: &[(&str, &str)]) -> (WorkerProcess, String) {
    let address = free_address();
    let mut process = WorkerProcess::start(&mut platform.program(&["console", "--listen", &address], settings));
    process.log.until("The console is at").await;
    (process, format!("http://{address}"))
}

/// A platform whose users have time for their web forms, which are on pages of the sandbox's.
fn patient() -> SandboxConfig {
    SandboxConfig {
        web_form_life: Duration::from_secs(300),
        ..quick()
    }
}

/// What no page may show, of all events so far.
fn secrets(platform: &Platform) -> Vec<String> {
    let mut secrets = vec![PLANTED.to_owned(), BANK_MESSAGE.to_owned()];
    for (event, _) in platform.events.values().flatten() {
        match event.kind() {
            EventKind::UserActionRequired(event) => {
                secrets.extend([event.web_form_url.clone(), event.web_form_id.clone()]);
            }
            EventKind::TransactionsUpdated(event) => {
                secrets.extend(
                    event
                        .accounts
                        .iter()
                        .flat_map(|it| [it.iban.clone(), it.holder_name.clone()]),
                );
                let transactions = event.transactions.iter();
                secrets.extend(transactions.flat_map(|it| [it.purpose.clone(), it.counterpart_iban.clone()]));
            }
            EventKind::RefreshFailed(event) => secrets.push(event.bank_message.clone()),
        }
    }
    secrets.retain(|secret| !secret.is_empty());
    secrets
}

async fn assert_no_secret(browser: &Browser, platform: &Platform) {
    let source = browser.source().await;
    for secret in secrets(platform) {
        assert!(!source.contains(&secret), "{secret:?} is on the page:\n{source}");
    }
}

/// One command that goes well, one that the bank refuses, one with a token of its own that is none, and one whose user is asked; its id.
async fn send_all_kinds(platform: &mut Platform) -> String {
    let asks = Script::of(Behaviour::WebFormDuring {
        after: After::millis(300),
        user: UserDoes::Waits,
    });
    let fails = Script::of(Behaviour::Fails {
        after: After::millis(300),
        error_code: "BANK_SERVER_REJECTION".to_owned(),
        error_message: BANK_MESSAGE.to_owned(),
    });
    platform.sandbox.script("user-2", 2, fails);
    platform.sandbox.script("user-3", 3, asks);
    let (fine, asked) = (command(1), command(3));
    let fine = RefreshConnection {
        labels: [("tenant".to_owned(), "blue".to_owned())].into(),
        ..fine
    };
    let with_token = RefreshConnection {
        access_token: PLANTED.to_owned(),
        ..command(4)
    };
    let asked_id = asked.command_id.clone();
    platform.send_all(vec![fine, command(2), asked, with_token], true).await;
    platform.outcomes(3).await;
    let asked = async {
        while !platform.events.contains_key(&asked_id) {
            platform.next_event().await;
        }
    };
    timeout(PATIENCE, asked).await.expect("the user is asked in time");
    asked_id
}

#[tokio::test]
async fn every_page_shows_what_goes_on_and_no_secret() {
    let Some(browser) = Browser::start().await else { return };
    let mut platform = Platform::start(patient()).await;
    platform.sandbox.set_web_form_url(&platform.finapi_url);
    let (_console, url) = console(&platform, &[]).await;

    browser.open(&url).await;
    browser.until("#overview", "Nothing has passed by yet").await;
    browser.until("#live", "Live").await;
    browser.open(&format!("{url}/workers")).await;
    browser.until("#workers", "No worker has reported yet").await;

    let _worker = platform.worker(&[]);
    browser.until("#workers", "works").await;
    let asked = send_all_kinds(&mut platform).await;

    browser.until("#workers", "held, awaiting user").await;
    browser.assert_accessible().await;
    assert_no_secret(&browser, &platform).await;

    browser.open(&url).await;
    for outcome in ["silent", "bank rejected", "user unauthorized"] {
        browser.until("#overview", outcome).await;
    }
    browser.assert_accessible().await;
    assert_no_secret(&browser, &platform).await;

    browser.open(&format!("{url}/refreshes")).await;
    browser.assert_accessible().await;
    for (text, found) in [
        ("tenant=blue", "silent"),
        ("user-2", "bank rejected"),
        ("user-3", "waits for its user"),
    ] {
        search(&browser, text).await;
        browser.until("#refreshes tbody tr:only-child", found).await;
        assert_no_secret(&browser, &platform).await;
    }
    search(&browser, "nobody").await;
    browser.until("#refreshes", "Nothing was found").await;

    search(&browser, "user-2").await;
    browser.until("#refreshes tbody tr:only-child", "bank rejected").await;
    browser.click("#refreshes tbody a").await;
    browser
        .until(".failure", "The bank credentials are usually wrong")
        .await;
    browser.until(".timeline", "Failed: bank rejected").await;
    browser.assert_accessible().await;
    assert_no_secret(&browser, &platform).await;

    play_the_user(&browser, &mut platform, &format!("{url}/refreshes/{asked}"), &asked).await;

    let sandbox = platform.finapi_url.clone();
    for request in browser.requests().await {
        let is_ours = request.starts_with(&url) || request.starts_with(&sandbox);
        assert!(is_ours, "the browser asked {request}");
    }
    browser.close().await;
}

async fn search(browser: &Browser, text: &str) {
    let input = browser.driver.find(thirtyfour::By::Css("#q")).await.expect("the input");
    input.clear().await.expect("it is cleared");
    input
        .send_keys(text.to_owned() + Key::Enter)
        .await
        .expect("it is typed");
    browser.until("h1", "Refreshes").await;
}

/// A timeline goes on while the visitor plays the user in another tab.
async fn play_the_user(browser: &Browser, platform: &mut Platform, timeline: &str, asked: &str) {
    browser.open(timeline).await;
    browser.until(".timeline", "It waits for its user").await;
    assert_no_secret(browser, platform).await;
    let form = platform.web_form(asked);
    let first = browser.driver.window().await.expect("the tab");
    let second = browser.driver.new_tab().await.expect("a tab");
    browser.driver.switch_to_window(second).await.expect("the tab");
    browser.open(&form).await;
    browser.until("h1", "Your bank asks for you").await;
    browser.assert_accessible().await;
    browser.click("button.complete").await;
    browser.until("h1", "Thank you").await;
    browser.driver.close_window().await.expect("it closes");
    browser.driver.switch_to_window(first).await.expect("the tab");
    platform.outcome(asked).await;
    browser.until(".timeline", "Updated: user acted").await;
    assert_no_secret(browser, platform).await;
}

#[tokio::test]
async fn a_lost_broker_and_a_worker_that_is_gone_are_said() {
    let Some(browser) = Browser::start().await else { return };
    let rabbit: &'static RabbitMq = Box::leak(Box::new(RabbitMq::start().await));
    let platform = Platform::on(rabbit, quick()).await;
    let worker = platform.worker(&[]);
    let (_console, url) = console(&platform, &[]).await;
    browser.open(&format!("{url}/workers")).await;
    browser.until("#workers .state", "works").await;
    worker.signal("KILL").await;
    browser.until("#workers .state", "gone").await;
    browser.assert_accessible().await;

    rabbit.crash().await;
    browser.until("#feed", "no connection to the broker").await;
    browser.assert_accessible().await;
    rabbit.restart().await;
    browser.until_empty("#feed").await;
    browser.until("#live", "Live").await;
    browser.requests().await;
    browser.close().await;
}

#[tokio::test]
async fn others_need_the_password() {
    let platform = Platform::start(quick()).await;
    let mut open = WorkerProcess::start(&mut platform.program(&["console", "--listen", "0.0.0.0:0"], &[]));
    assert_eq!(open.ended().await.code(), Some(1));
    open.log.until("console.password").await;

    let password = "a-password-of-ours";
    let (_console, url) = console(&platform, &[("CONSOLE__PASSWORD", password)]).await;
    let get = || client().get(&url);
    let refused = get().send().await.expect("an answer");
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("www-authenticate"));
    let wrong = async || {
        let wrong = get().basic_auth("anna", Some("a-password-of-theirs"));
        wrong.send().await.expect("an answer").status()
    };
    assert_eq!(wrong().await, 401);
    let right = get()
        .basic_auth("anna", Some(password))
        .send()
        .await
        .expect("an answer");
    assert_eq!(right.status(), 200);
    let policy = right.headers()["content-security-policy"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );

    let mut statuses = Vec::new();
    for _ in 0..50 {
        statuses.push(wrong().await);
    }
    assert!(
        statuses.iter().any(|status| *status == 429),
        "guesses are limited: {statuses:?}"
    );
}
