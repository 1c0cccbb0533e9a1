//! finAPI and the source of credentials.

use jiff::SignedDuration;

use super::Finding;
use crate::config::Config;
use crate::finapi::FinApi;
use crate::finapi::credentials::Credentials;
use crate::finapi::probe::Diagnosis;
use crate::finapi::transport::Transport;
use crate::id::UserId;
use crate::refresh::ClockOffset;
use crate::refresh::failure::FailureClass;

/// Whom the credential service is asked about. It should not know this user.
const STRANGER: &str = "bankrefresh-doctor";

/// finAPI's clock and ours may be so far apart before it is called wrong. The worker copes with more.
const APART_MAX: SignedDuration = SignedDuration::from_secs(5);

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let Some(settings) = config.finapi.clone() else {
        return vec![Finding::wrong(
            "finAPI",
            "the section finapi is missing; a worker needs it",
        )];
    };
    let transport = match Transport::http(settings.connect_timeout, settings.http2, settings.use_proxy) {
        Ok(transport) => transport,
        Err(error) => return vec![Finding::wrong("finAPI", error)],
    };
    let mut findings = vec![credentials(&config.credentials, &transport).await];
    let (access_url, api_version) = (settings.access_url.shown(), settings.api_version);
    let finapi = FinApi::new(
        transport,
        settings,
        config.credentials.clone(),
        config.breaker.clone(),
        None,
    );
    let Diagnosis { version, offset } = finapi.diagnose().await;
    findings.push(match version {
        Ok(version) if api_version.allows(version) => Finding::ok(
            "finAPI",
            format!(
                "{access_url} grants the client a token; it is bound to Access {}",
                version.name().to_uppercase()
            ),
        ),
        Ok(version) => Finding::wrong(
            "finAPI",
            format!(
                "the client is bound to Access {}; set finapi.api_version = \"{}\" or \"auto\"",
                version.name().to_uppercase(),
                version.name()
            ),
        ),
        Err(why) => Finding::wrong(
            "finAPI",
            format!("{why}; check finapi.access_url, finapi.client_id and finapi.client_secret"),
        ),
    });
    findings.push(clock(offset));
    findings
}

fn clock(offset: Option<ClockOffset>) -> Finding {
    let Some(ClockOffset { least, most }) = offset else {
        return Finding::note("clock", "finAPI's responses do not say by how much its clock differs");
    };
    let (from, to) = (least.as_secs_f64(), most.as_secs_f64());
    let words = format!("finAPI's clock is ahead by {from:.1} s to {to:.1} s");
    match least <= APART_MAX && most >= -APART_MAX {
        true => Finding::ok("clock", words),
        false => Finding::wrong("clock", format!("{words}; synchronize this machine's clock (NTP)")),
    }
}

async fn credentials(credentials: &Credentials, transport: &Transport) -> Finding {
    const ABOUT: &str = "credentials";
    match credentials {
        Credentials::Command => Finding::ok(
            ABOUT,
            "only commands with an access_token can be served (credentials.source)",
        ),
        Credentials::Directory { directory } => match std::fs::read_dir(directory) {
            Ok(entries) => {
                let count = entries
                    .filter_map(Result::ok)
                    .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
                    .count();
                match count {
                    0 => Finding::wrong(ABOUT, "credentials.directory has no file; it needs one for each user"),
                    count => Finding::ok(ABOUT, format!("credentials.directory has {count} files")),
                }
            }
            Err(error) => Finding::wrong(ABOUT, format!("credentials.directory can't be read: {error}")),
        },
        Credentials::Http { url, .. } => {
            let Ok(stranger) = STRANGER.parse::<UserId>() else {
                return Finding::note(ABOUT, "not checked");
            };
            let shown = url.shown();
            match credentials.secret(&stranger, transport).await {
                Ok(_) => Finding::ok(ABOUT, format!("{shown} answers")),
                Err(failure) if failure.class == FailureClass::UserUnauthorized => {
                    Finding::ok(ABOUT, format!("{shown} answers, and does not know {STRANGER:?}"))
                }
                Err(failure) => Finding::wrong(
                    ABOUT,
                    format!(
                        "{shown}: {}; check credentials.url and credentials.bearer",
                        failure.message
                    ),
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_clock_that_is_far_away_is_wrong() {
        let offset = |least, most| {
            Some(ClockOffset {
                least: SignedDuration::from_secs(least),
                most: SignedDuration::from_secs(most),
            })
        };
        for (offset, verdict) in [
            (offset(-1, 1), Verdict::Ok),
            (offset(4, 6), Verdict::Ok),
            (offset(6, 7), Verdict::Wrong),
            (offset(-90, -89), Verdict::Wrong),
            (None, Verdict::Note),
        ] {
            assert_eq!(clock(offset).verdict, verdict, "{offset:?}");
        }
    }
}
