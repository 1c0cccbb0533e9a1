//! `Accept-Language`, and a user's device that finAPI does not take.

use std::sync::Mutex;

use axum::extract::Request;

use super::*;
use crate::finapi::request::Language;
use crate::proto::UserMetadata;

/// The path and the language of each call.
type Heard = Arc<Mutex<Vec<(String, Option<String>)>>>;

async fn calls(language: Option<Language>) -> Vec<(String, Option<String>)> {
    let heard = Heard::default();
    let hearing = Arc::clone(&heard);
    let finapi = Router::new()
        .fallback(move |request: Request| {
            let language = request.headers().get("accept-language");
            let language = language.map(|language| language.to_str().expect("a text").to_owned());
            let path = request.uri().path().to_owned();
            hearing.lock().expect("what was heard").push((path, language));
            async { r#"{"access_token":"t","expires_in":3600,"items":[]}"# }
        })
        .merge(credential_service());
    let settings = Settings {
        api_version: ApiVersion::Auto,
        language,
        ..settings()
    };
    let client = client(finapi, settings, from_service());
    client.keep_version_until_proven().await;
    let refresh = refresh(command(1));
    let found = client.result_of(&refresh, &Query::FindTask).await;
    assert!(found.is_ok(), "{found:?}");
    let _ = client.result_of(&refresh, &Query::Start).await;
    let heard = heard.lock().expect("what was heard");
    heard.clone()
}

#[tokio::test(start_paused = true)]
async fn each_call_names_the_language_that_is_set() {
    let heard = calls(Some(Language::En)).await;
    assert_eq!(heard.len(), 5, "{heard:?}");
    assert!(
        heard.iter().all(|(_, language)| language.as_deref() == Some("en")),
        "{heard:?}"
    );
    let heard = calls(None).await;
    assert!(heard.iter().all(|(_, language)| language.is_none()), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_user_whose_address_finapi_does_not_take_is_left_out_and_the_update_starts() {
    for (ip_address, without_user) in [("192.0.2.1", 0), ("2001:db8::1", 1)] {
        let world = World::new();
        let command = RefreshConnection {
            user_metadata: Some(UserMetadata {
                ip_address: ip_address.into(),
                device_os: "iOS".into(),
                user_agent: "App".into(),
            }),
            ..command(1)
        };
        task(world.client.result_of(&refresh(command), &Query::Start).await);
        assert_eq!(
            world.sandbox.asked().connections[&1].without_user,
            without_user,
            "{ip_address}"
        );
    }
}
