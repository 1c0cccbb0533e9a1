//! The pages on dead letters.

use bankrefresh::proto::RefreshConnection;
use jiff::Timestamp;

use super::{PLANTED, assert_no_secret, console};
use crate::browser::Browser;
use crate::support::dead_letters::{command_message, dead, until_dead};
use crate::support::platform::{Platform, client, command, quick};

/// Puts a command among the dead letters, as a worker would.
pub async fn kill(platform: &Platform, command: RefreshConnection) {
    let message = command_message(platform, command);
    let lane = platform.topology.interactive();
    let outgoing = dead(platform, message, &lane, "for a test", Timestamp::now());
    platform.broker.publish(vec![outgoing]).await.expect("published");
}

pub fn with_secrets(connection: i64) -> RefreshConnection {
    RefreshConnection {
        access_token: PLANTED.to_owned(),
        redirect_url: format!("https://platform.test/{PLANTED}"),
        labels: [("tenant".to_owned(), "blue".to_owned())].into(),
        ..command(connection)
    }
}

#[tokio::test]
async fn a_dead_letter_is_shown_and_replayed_and_another_discarded() {
    let Some(browser) = Browser::start().await else { return };
    let mut platform = Platform::start(quick()).await;
    let (_console, url) = console(&platform, &[("CONSOLE__ACTIONS", "true")]).await;
    let command = with_secrets(7);
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

    browser.click(".letter dd a").await;
    browser.until("pre", "\"tenant\": \"blue\"").await;
    browser.until("pre", "(hidden)").await;
    browser.assert_accessible().await;
    assert_no_secret(&browser, &platform).await;
    until_dead(&platform, 1).await;

    let worker = platform.worker(&[]);
    browser.click(".actions > form button").await;
    browser.until("main", "Replayed.").await;
    let events = platform.outcome(&id).await;
    assert!(events.iter().any(|event| event.is_last()));
    until_dead(&platform, 0).await;
    drop(worker);

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
async fn only_a_visitor_acts_and_only_an_action_says_that_something_was_done() {
    let platform = Platform::start(quick()).await;
    let (mut process, url) = console(&platform, &[("CONSOLE__ACTIONS", "true")]).await;
    let command = with_secrets(8);
    let id = command.command_id.clone();
    kill(&platform, command).await;
    until_dead(&platform, 1).await;
    let page = async |path: &str| {
        let response = client().get(format!("{url}{path}")).send().await.expect("an answer");
        response.text().await.expect("a page")
    };
    let post = async |token: &str, id: &str, action: &str| {
        let form = format!("token={token}&id={id}&action={action}");
        let request = client().post(format!("{url}/dead-letters")).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a page"))
    };

    // What another site can send.
    for token in ["", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"] {
        assert_eq!(post(token, &id, "discard").await.0, 403);
    }
    // What anybody can write into a link.
    for link in [
        format!("?done=discard&id={id}"),
        format!("?acted={id}"),
        "?acted=x".to_owned(),
    ] {
        let page = page(&format!("/dead-letters{link}")).await;
        assert!(page.contains(&id) && !page.contains("Discarded"), "{link}: {page}");
    }
    until_dead(&platform, 1).await;

    let listed = page("/dead-letters").await;
    let (_, token) = listed.split_once("name=\"token\" value=\"").expect("a form");
    let (token, _) = token.split_once('"').expect("a token");
    let (status, said) = post(token, "another", "discard").await;
    assert_eq!(status, 200, "it was led back to the list");
    assert!(said.contains("Nothing was done") && said.contains(&id), "{said}");
    assert!(page("/dead-letter?id=another").await.contains("It is not there"));
    let (_, said) = post(token, &id, "discard").await;
    assert!(said.contains("Discarded.") && said.contains("There are none"), "{said}");
    until_dead(&platform, 0).await;
    process
        .log
        .until("a visitor of the console acted on a dead letter")
        .await;
}
