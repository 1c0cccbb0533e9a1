//! Where the console is served, who may see it, and how much it remembers.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::setting::{Declared, Networks, Section};

/// The fewest characters of the password: nothing else slows guesses down.
const PASSWORD_CHARACTERS_MIN: usize = 12;

/// The console (section `console`).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Settings {
    pub listen: SocketAddr,
    pub password: Option<Secret>,
    pub trusted_proxies: Option<Networks>,
    pub user_header: Option<String>,
    pub actions: bool,
    pub refreshes_max: usize,
    pub trace_url: Option<String>,
}

/// An address that others may reach, with nothing that keeps them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not loopback, so the console needs console.password, or console.user_header with console.trusted_proxies"
)]
pub struct NotSafe(SocketAddr);

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8532)),
            password: None,
            trusted_proxies: None,
            user_header: None,
            actions: false,
            refreshes_max: 20_000,
            trace_url: None,
        }
    }
}

impl Section for Settings {
    const NAME: &'static str = "console";
    const TITLE: &'static str = "the web page on what workers do";
    const NOTE: &'static str =
        "Only `bankrefresh console` uses this section, see [the console](../operating/console.md).";

    fn declare(&self, list: &mut Declared) {
        list.any(
            "listen",
            &self.listen,
            "Where the console listens, without TLS. `--listen` overrides this setting. An address that is not loopback needs a password, or \
             a proxy's header.",
        )
        .and(self.check(self.listen).is_ok(), "loopback, unless there is a password or a proxy's header");
        let is_long = |password: &Secret| password.expose().chars().count() >= PASSWORD_CHARACTERS_MIN;
        list.any(
            "password",
            &self.password,
            "The password that a visitor types, with any user name (HTTP Basic). If others can read the network, put a proxy with TLS in front.",
        )
        .and(
            self.password.as_ref().is_none_or(is_long),
            format!("{PASSWORD_CHARACTERS_MIN} characters or more"),
        );
        list.any(
            "trusted_proxies",
            &self.trusted_proxies,
            "The proxies that may name a user by `console.user_header`, for instance `10.0.0.0/8, 192.0.2.7`.",
        );
        list.any(
            "user_header",
            &self.user_header,
            "The header in which such a proxy names the user that it has let in, for instance `x-forwarded-user`. If this is set, every \
             request needs the header or the password.",
        )
        .and(
            self.user_header.is_some() == self.proxies().is_some(),
            "given together with `console.trusted_proxies`, which names one at least",
        )
        .and(
            self.user_header.as_ref().is_none_or(|name| name.parse::<http::HeaderName>().is_ok()),
            "the name of a header",
        );
        self.declare_contents(list);
    }
}

impl Settings {
    fn declare_contents(&self, list: &mut Declared) {
        list.any(
            "actions",
            &self.actions,
            "Whether visitors may replay and discard dead letters, pause and resume. The permissions of the console's RabbitMQ user limit \
             this further.",
        );
        list.within(
            "refreshes_max",
            self.refreshes_max,
            100..=200_000,
            "How many refreshes the console remembers, at most 2 KB each. Above this number it forgets those first that have not changed for \
             the longest time.",
        );
        let is_url = |url: &String| {
            let is_http = url.starts_with("https://") || url.starts_with("http://");
            is_http && url.contains("{trace_id}")
        };
        list.any(
            "trace_url",
            &self.trace_url,
            "The URL that shows a trace, for instance `http://127.0.0.1:16686/trace/{trace_id}`. Without it there are no links to traces.",
        )
        .and(
            self.trace_url.as_ref().is_none_or(is_url),
            "a URL with `{trace_id}` in it",
        );
    }

    /// Whether it is safe to listen there.
    ///
    /// # Errors
    ///
    /// Others can reach the address, and nothing keeps them out.
    pub fn check(&self, address: SocketAddr) -> Result<(), NotSafe> {
        if address.ip().is_loopback() || self.is_guarded() {
            return Ok(());
        }
        Err(NotSafe(address))
    }

    /// Whether something keeps others out. A header alone does not: nobody would know whose counts.
    fn is_guarded(&self) -> bool {
        self.password.is_some() || (self.user_header.is_some() && self.proxies().is_some())
    }

    fn proxies(&self) -> Option<&Networks> {
        self.trusted_proxies.as_ref().filter(|proxies| !proxies.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_let_in_only_by_a_password_or_a_proxy() {
        let [loopback, all] = ["127.0.0.1:1", "0.0.0.0:1"].map(|text| text.parse().expect("an address"));
        let open = Settings::default();
        assert_eq!(open.check(loopback), Ok(()));
        assert_eq!(open.check(all), Err(NotSafe(all)));
        let password = Some("a-long-password".parse().expect("a secret"));
        let guarded = Settings {
            password,
            ..Settings::default()
        };
        assert_eq!(guarded.check(all), Ok(()));
        let user_header = Some("x-user".to_owned());
        let headed = Settings {
            user_header,
            ..Settings::default()
        };
        assert_eq!(headed.check(all), Err(NotSafe(all)), "nobody knows whose header counts");
        let by_nobody = Settings {
            trusted_proxies: Some("".parse().expect("no networks")),
            ..headed.clone()
        };
        assert_eq!(by_nobody.check(all), Err(NotSafe(all)));
        let behind = Settings {
            trusted_proxies: Some("10.0.0.0/8".parse().expect("networks")),
            ..headed
        };
        assert_eq!(behind.check(all), Ok(()));
    }
}
