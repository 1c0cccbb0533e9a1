//! How finAPI is reached.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::request::{Dialect, Language};
use super::version::ApiVersion;
use crate::limits::is_client_name;
use crate::secret::Secret;
use crate::setting::{Declared, HttpUrl, MINUTE, SECOND, Section, Value};

/// How finAPI is reached (section `finapi`).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Settings {
    pub access_url: HttpUrl,
    pub web_form_url: HttpUrl,
    #[serde(default)]
    pub allow_insecure: bool,
    #[serde(default)]
    pub use_proxy: bool,
    #[serde(default)]
    pub client_name: Option<String>,
    pub client_id: String,
    pub client_secret: Secret,
    #[serde(default)]
    pub previous_client_secret: Option<Secret>,
    #[serde(with = "humantime_serde", default = "password_wait")]
    pub password_wait: Duration,
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub dialect: Dialect,
    #[serde(default)]
    pub language: Option<Language>,
    #[serde(with = "humantime_serde", default = "timeout")]
    pub timeout: Duration,
    #[serde(with = "humantime_serde", default = "connect_timeout")]
    pub connect_timeout: Duration,
    #[serde(default)]
    pub http2: bool,
    #[serde(default = "calls_max")]
    pub calls_max: usize,
    #[serde(default)]
    pub requests_per_second: Option<u32>,
    #[serde(default = "body_max")]
    pub body_max: usize,
    #[serde(default = "bodies_max")]
    pub bodies_max: usize,
    #[serde(default = "page_size")]
    pub page_size: u32,
    #[serde(default = "pages_max")]
    pub pages_max: u32,
    #[serde(default = "users_max")]
    pub users_max: NonZeroUsize,
}

/// What the URLs must be.
const SECURE: &str = "`https`; `http` only on loopback, or with `finapi.allow_insecure`";

fn timeout() -> Duration {
    Duration::from_secs(20)
}
fn password_wait() -> Duration {
    Duration::from_millis(100)
}
fn connect_timeout() -> Duration {
    Duration::from_secs(5)
}
fn calls_max() -> usize {
    64
}
fn body_max() -> usize {
    8 * 1024 * 1024
}
fn bodies_max() -> usize {
    32 * 1024 * 1024
}
fn page_size() -> u32 {
    500
}
fn pages_max() -> u32 {
    200
}
fn users_max() -> NonZeroUsize {
    const { NonZeroUsize::new(100_000).unwrap() }
}

impl Settings {
    /// The defaults, for a client of finAPI.
    #[must_use]
    pub fn new(access_url: HttpUrl, web_form_url: HttpUrl, client_id: &str, client_secret: Secret) -> Self {
        Self {
            access_url,
            web_form_url,
            allow_insecure: false,
            use_proxy: false,
            client_name: None,
            client_id: client_id.to_owned(),
            client_secret,
            previous_client_secret: None,
            password_wait: password_wait(),
            api_version: ApiVersion::default(),
            dialect: Dialect::default(),
            language: None,
            timeout: timeout(),
            connect_timeout: connect_timeout(),
            http2: false,
            calls_max: calls_max(),
            requests_per_second: None,
            body_max: body_max(),
            bodies_max: bodies_max(),
            page_size: page_size(),
            pages_max: pages_max(),
            users_max: users_max(),
        }
    }

    fn declare_client(&self, list: &mut Declared) {
        list.any(
            "access_url",
            &self.access_url,
            "The Access host, for tokens, connections, accounts and transactions.",
        )
        .and(self.access_url.is_secure(self.allow_insecure), SECURE)
        .required();
        list.any(
            "web_form_url",
            &self.web_form_url,
            "The Web Form 2.0 host, for tasks and web forms.",
        )
        .and(self.web_form_url.is_secure(self.allow_insecure), SECURE)
        .required();
        list.any(
            "allow_insecure",
            &self.allow_insecure,
            "Whether finAPI's hosts and web forms may have `http://` URLs beyond this machine. Use it only for a sandbox, because everybody \
             on the network path can read the client's secret and the users' passwords.",
        );
        list.any(
            "use_proxy",
            &self.use_proxy,
            "Whether calls to finAPI and to the credential service go through the proxies that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name.",
        );
        let is_name = |name: &String| is_client_name(name);
        list.any(
            "client_name",
            &self.client_name,
            "The name of this finAPI client, if you run workers for several clients. If a command's `client` has another name, its refresh \
             ends with `WRONG_CLIENT`.",
        )
        .and(
            self.client_name.as_ref().is_none_or(is_name),
            "1 to 64 letters, digits, `.`, `_` and `-`",
        );
        list.any("client_id", &self.client_id, "The platform's client id.")
            .and(!self.client_id.is_empty(), "not empty")
            .required();
        list.any("client_secret", &self.client_secret, "The platform's client secret.")
            .required();
        list.any(
            "previous_client_secret",
            &self.previous_client_secret,
            "While you change the client's secret: the old one. Set it as long as workers with the old secret run. With it, old and new \
             workers can read each other's messages about users' passwords.",
        );
        list.within(
            "password_wait",
            self.password_wait,
            Duration::from_millis(10)..=Duration::from_secs(5),
            "How long a worker waits for objections of other workers before it sends finAPI a password that no worker has sent yet.",
        );
        list.any(
            "api_version",
            &self.api_version,
            "The version of Access that the client is bound to. With `auto` the worker proves it before it takes commands, and again when finAPI \
             answers 403.",
        );
        list.any(
            "dialect",
            &self.dialect,
            "The field names in the request that starts an update: those of finAPI's guide, those of its reference, or whichever finAPI accepts.",
        );
        list.any(
            "language",
            &self.language,
            "The language in which finAPI writes its own and the bank's messages (`Accept-Language`). Without this setting finAPI chooses German.",
        );
    }

    fn declare_limits(&self, list: &mut Declared) {
        list.within(
            "timeout",
            self.timeout,
            SECOND..=5 * MINUTE,
            "The longest one call may take, including the body of the response.",
        );
        list.within(
            "connect_timeout",
            self.connect_timeout,
            Duration::from_millis(100)..=MINUTE,
            "The longest a new connection to finAPI may take. If the host acknowledges nothing, the worker already gives up after about \
             three seconds.",
        );
        list.any(
            "http2",
            &self.http2,
            "Experimental. With `true` the worker speaks HTTP/2 with a server that offers it (ALPN). All calls then share one connection. \
             Otherwise the worker speaks HTTP/1.1.",
        );
        list.within(
            "calls_max",
            self.calls_max,
            1..=10_000,
            "The most concurrent calls of a worker, over all of its refreshes. If `finapi.requests_per_second` is set, there are at most \
             twice as many concurrent calls as that number.",
        );
        list.within_if_set(
            "requests_per_second",
            self.requests_per_second,
            1..=100_000,
            "The most requests that a worker sends in a second, evenly spread. Requests for tokens count too. Without this setting there is \
             no such limit.",
        );
        list.within(
            "body_max",
            self.body_max,
            64 * 1024..=256 * 1024 * 1024,
            "The most bytes of one response.",
        );
        list.within(
            "bodies_max",
            self.bodies_max,
            128 * 1024..=2 * 1024 * 1024 * 1024,
            "The most bytes of all responses that a worker keeps at once. It keeps a response until it has published what follows from the \
             response. If a response finds no room, the worker reads it again a moment later. A worker needs about four times this much \
             memory, plus 60 MB.",
        )
        .and(self.bodies_max / 2 >= self.body_max, "at least twice `finapi.body_max`");
        list.within(
            "page_size",
            self.page_size,
            1..=500,
            "The most transactions of one page. finAPI allows 500.",
        );
        list.within(
            "pages_max",
            self.pages_max,
            1..=100_000,
            "The most pages of transactions that one refresh reads.",
        );
        list.within(
            "users_max",
            self.users_max.get(),
            1..=10_000_000,
            "The most users whose tokens a worker remembers.",
        );
    }
}

impl Section for Settings {
    const NAME: &'static str = "finapi";
    const TITLE: &'static str = "finAPI";
    const NOTE: &'static str = "Only `worker` needs this section.";

    fn declare(&self, list: &mut Declared) {
        self.declare_client(list);
        self.declare_limits(list);
    }
}

impl Value for Dialect {
    const KIND: &'static str = "`auto`, `guide` or `reference`";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Value for Language {
    const KIND: &'static str = "`de`, `en`, `cs` or `sk`";

    fn show(&self) -> String {
        self.tag().to_owned()
    }
}
