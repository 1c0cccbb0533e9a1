//! `bankrefresh console`, by the program itself on a real broker, as a real browser shows it.

use std::time::Duration;

use bankrefresh::broker::{Delivery, Message, Outgoing, Tag};
use bankrefresh::message;
use bankrefresh::proto::{
    RefreshConnection, RefreshContext, RefreshTimes, Transaction, TransactionsUpdated, UpdateOrigin, from_timestamp,
};
use bankrefresh::refresh::Envelope;
use bankrefresh::refresh::event::{Event, EventKind};
use bankrefresh::sandbox::{After, Behaviour, SandboxConfig, Script, UserDoes};
use jiff::Timestamp;
use thirtyfour::Key;
use tokio::time::{Instant, timeout};

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
    while !platform.events.contains_key(&asked_id) {
        platform.next_event().await;
    }
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
    let (form, _) = &platform.events[asked][0];
    let EventKind::UserActionRequired(form) = form.kind() else {
        panic!("{form:?}")
    };
    let form = form.web_form_url.clone();
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

/// Puts a command among the dead letters, as a worker would.
async fn kill(platform: &Platform, command: RefreshConnection) {
    let message = message::command(&platform.topology, command, &Envelope::default(), Timestamp::now()).message;
    let outgoing = dead(platform, message);
    platform.broker.publish(vec![outgoing]).await.expect("published");
}

/// Waits until so many dead letters are ready and nobody reads them.
async fn until_dead(platform: &Platform, count: u32) {
    let queue = platform.topology.dead_letters();
    let wait = async {
        while platform.rabbit.depth(&queue).await != (count, 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("so many dead letters in time");
}

fn dead(platform: &Platform, message: Message) -> Outgoing {
    let delivery = Delivery {
        tag: Tag {
            generation: 1,
            subscription: 0,
            number: 1,
        },
        queue: platform.topology.interactive(),
        redeliveries: 0,
        flaw: None,
        message,
    };
    message::dead_letter(&platform.topology, &delivery, "for a test", Timestamp::now())
}

#[tokio::test]
async fn a_dead_letter_is_replayed_and_another_discarded() {
    let Some(browser) = Browser::start().await else { return };
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[]);
    let (_console, url) = console(&platform, &[("CONSOLE__ACTIONS", "true")]).await;
    let command = RefreshConnection {
        access_token: PLANTED.to_owned(),
        ..command(7)
    };
    let id = command.command_id.clone();

    browser.open(&format!("{url}/dead-letters")).await;
    browser.until("main", "There are none").await;
    browser.assert_accessible().await;
    kill(&platform, command.clone()).await;
    until_dead(&platform, 1).await;
    browser.open(&format!("{url}/dead-letters")).await;
    browser.until(".letter", &id).await;
    browser.until(".letter h2", "for a test").await;
    browser.assert_accessible().await;
    assert_no_secret(&browser, &platform).await;

    // What another site can send.
    for token in ["", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"] {
        let form = format!("token={token}&id={id}&action=discard");
        let request = client().post(format!("{url}/dead-letters")).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(request.send().await.expect("an answer").status(), 403);
    }
    until_dead(&platform, 1).await;

    browser.click(".actions > form button").await;
    browser.until("main", "Replayed.").await;
    let events = platform.outcome(&id).await;
    assert!(events.iter().any(|event| event.is_last()));
    until_dead(&platform, 0).await;

    kill(&platform, command).await;
    until_dead(&platform, 1).await;
    browser.open(&format!("{url}/dead-letters")).await;
    browser.click(".letter summary").await;
    browser.click(".letter details button").await;
    browser.until("main", "Discarded.").await;
    until_dead(&platform, 0).await;
    assert_no_secret(&browser, &platform).await;
    browser.requests().await;
    browser.close().await;
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
    while !browser.text("#feed").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
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
    let wrong = get().basic_auth("anna", Some("a-password-of-theirs"));
    assert_eq!(wrong.send().await.expect("an answer").status(), 401);
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
}

/// How much the console may take at 10,000 refreshes a minute, its memory full.
const MEGABYTES_MAX: u64 = 100;
const CORES_MAX: f64 = 0.5;
const EVENTS_PER_SECOND: u64 = 10_000 / 60;

/// Events as of an outcome with some accounts and transactions.
fn outcomes(platform: &Platform, numbers: std::ops::Range<u64>) -> Vec<Outgoing> {
    let now = Timestamp::now();
    let transaction = Transaction {
        purpose: "a purpose as long as they usually are, with a number: 4711".to_owned(),
        counterpart_name: "Somebody".to_owned(),
        ..Transaction::default()
    };
    let made = numbers.map(|number| {
        let context = RefreshContext {
            command_id: uuid::Uuid::now_v7().to_string(),
            user_id: format!("user-{number}"),
            bank_connection_id: i64::try_from(number).expect("a number"),
            task_id: uuid::Uuid::now_v7().to_string(),
            occurred_at: Some(from_timestamp(now)),
            labels: [("tenant".to_owned(), "blue".to_owned())].into(),
            times: Some(RefreshTimes {
                requested_at: Some(from_timestamp(now - jiff::SignedDuration::from_secs(9))),
                ..RefreshTimes::default()
            }),
            ..RefreshContext::default()
        };
        let updated = TransactionsUpdated {
            origin: UpdateOrigin::Silent.into(),
            transactions: vec![transaction.clone(); 10],
            part: 1,
            last: true,
            ..TransactionsUpdated::default()
        };
        let event = Event::new(context, EventKind::TransactionsUpdated(updated));
        message::event(&platform.topology, &event, &Envelope::default(), now)
    });
    made.collect()
}

#[tokio::test]
async fn ten_thousand_refreshes_a_minute_take_little() {
    let platform = Platform::start(quick()).await;
    let (console, url) = console(&platform, &[]).await;
    let pid = console.child.id().expect("it runs");
    // More than it remembers.
    for start in (0..21_000).step_by(1000) {
        platform
            .broker
            .publish(outcomes(&platform, start..start + 1000))
            .await
            .expect("published");
    }
    let get = async || {
        let asked = Instant::now();
        let response = client()
            .get(format!("{url}/refreshes?q=user-20"))
            .send()
            .await
            .expect("an answer");
        let text = response.text().await.expect("a page");
        (asked.elapsed(), text)
    };
    while !get().await.1.contains("user-20999") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (before, began) = (cpu_seconds(pid), Instant::now());
    let mut every = tokio::time::interval(Duration::from_millis(500));
    let mut took = Vec::new();
    for second in 0..30 {
        every.tick().await;
        let start = 30_000 + second * EVENTS_PER_SECOND / 2;
        platform
            .broker
            .publish(outcomes(&platform, start..start + EVENTS_PER_SECOND / 2))
            .await
            .expect("published");
        took.push(get().await.0);
    }
    let cores = (cpu_seconds(pid) - before) / began.elapsed().as_secs_f64();
    let megabytes = resident_megabytes(pid);
    took.sort();
    let p95 = took[took.len() * 95 / 100];
    println!("{megabytes} MB, {cores:.2} cores, a search answers within {p95:?} (p95), in a debug build");
    assert!(
        megabytes <= MEGABYTES_MAX && cores <= CORES_MAX,
        "{megabytes} MB, {cores:.2} cores"
    );
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("its fields")
        .split_whitespace()
        .collect();
    // Of user and system, in hundredths.
    let ticks: f64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<f64>().expect("a number"))
        .sum();
    ticks / 100.0
}

fn resident_megabytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("its memory");
    let kilobytes: u64 = line
        .split_whitespace()
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    kilobytes / 1024
}
