//! Secrets that change while the program runs. The settings are read again every few seconds, from the same file and the same files that
//! the environment names, and by the same checks as at the start; only secrets are taken from them. Reading the content again works for every
//! way to change a file, also for Kubernetes, which swaps a link.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::broker::rabbit;
use crate::config::Config;
use crate::finapi::client_secret::ClientSecretOffers;
use crate::finapi::credentials::Credentials;
use crate::secret::Secret;
use crate::telemetry::metrics::SecretMetrics;

/// How often the files are read.
const INTERVAL: Duration = Duration::from_secs(5);

/// The name under which settings that can't be read are reported.
const SETTINGS: &str = "settings";

/// The name under which files of TLS that can't be used are reported.
const TLS_FILES: &str = "amqp.tls";

/// finAPI has to accept this one before it is used.
const CLIENT_SECRET: &str = "finapi.client_secret";

/// This one signs, which works from the beginning.
const CALLBACKS_KEY: &str = "callbacks.key";

/// The secrets of settings, by their names.
type Secrets = BTreeMap<&'static str, Secret>;

/// Keeps the secrets of a program up to date.
pub(super) struct Rotation {
    file: Option<PathBuf>,
    /// Those that the program uses. What is rotated here is rotated there.
    used: Secrets,
    offers: Option<ClientSecretOffers>,
    /// Its files of TLS are read for each connection.
    amqp: rabbit::Settings,
    /// What was read the last time and is not in use: a file that is being written is not read again as it was.
    seen: Secrets,
    metrics: SecretMetrics,
    /// The failures that were logged last, by what can't be used.
    failures: BTreeMap<&'static str, String>,
}

impl Rotation {
    pub(super) fn new<FinApi>(file: Option<PathBuf>, config: &Config<FinApi>, client_secret: Option<&Secret>) -> Self {
        Self {
            file,
            used: secrets(config, client_secret),
            offers: None,
            amqp: config.amqp.clone(),
            seen: Secrets::new(),
            metrics: SecretMetrics::default(),
            failures: BTreeMap::new(),
        }
    }

    /// The same, and finAPI tries new secrets of the client first.
    pub(super) fn with_offers(self, offers: ClientSecretOffers) -> Self {
        Self {
            offers: Some(offers),
            ..self
        }
    }

    /// Reads the files again and again, and at once after SIGHUP.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => {
                tracing::warn!(%error, "SIGHUP can't be received, so secrets are read at their interval only");
                return self.by_ticks(ticks).await;
            }
        };
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = hangups.recv() => {}
            }
            self.read().await;
        }
    }

    async fn by_ticks(&mut self, mut ticks: tokio::time::Interval) {
        loop {
            ticks.tick().await;
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let file = self.file.clone();
        // A file may be on a slow disk.
        let reading = tokio::task::spawn_blocking(move || Config::load(file.as_deref(), super::environment()));
        let settings = match reading.await {
            Ok(Ok(config)) => {
                self.on_settings(&config);
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => return,
        };
        let tls = self.amqp.check_tls_files().map_err(|error| error.to_string());
        self.report(SETTINGS, settings.err());
        self.report(TLS_FILES, tls.err());
    }

    /// What can't be used changes nothing, and is logged once.
    fn report(&mut self, what: &'static str, failure: Option<String>) {
        self.metrics.unused(what, failure.is_some());
        match self.news(what, failure) {
            Some(error) if what == TLS_FILES => {
                tracing::warn!(
                    error,
                    "the files of TLS can't be used as they are now, so new connections are made with the old ones"
                );
            }
            Some(error) => {
                tracing::warn!(
                    error,
                    "what the files of settings have now can't be used, so every secret stays as it is"
                );
            }
            None => {}
        }
    }

    /// The failure, if it is another one than the last of the same files. One failure does not hide another.
    fn news(&mut self, what: &'static str, failure: Option<String>) -> Option<String> {
        let Some(failure) = failure else {
            self.failures.remove(what);
            return None;
        };
        let before = self.failures.insert(what, failure.clone());
        Some(failure).filter(|failure| before.as_ref() != Some(failure))
    }

    fn on_settings(&mut self, config: &Config) {
        let client_secret = config.finapi.as_ref().map(|finapi| &finapi.client_secret);
        let read = secrets(config, client_secret);
        let used = self.used.clone();
        for (name, used) in used {
            match read.get(name) {
                Some(new) if new.is(&used) => self.settled(name),
                // A secret that is gone is used on until the next start.
                None => self.settled(name),
                Some(new) if self.seen.get(name).is_some_and(|seen| seen.is(new)) => self.change(name, &used, new),
                Some(_) => {}
            }
        }
        self.seen = read;
    }

    fn settled(&self, name: &'static str) {
        if let Some(offers) = self.offers.as_ref().filter(|_| name == CLIENT_SECRET) {
            offers.offer(None);
        }
        self.metrics.unused(name, false);
    }

    fn change(&self, name: &'static str, used: &Secret, new: &Secret) {
        match &self.offers {
            Some(offers) if name == CLIENT_SECRET => {
                offers.offer(Some(new.clone()));
                // It is, until finAPI has accepted it.
                self.metrics.unused(name, true);
            }
            _ => {
                if name == CALLBACKS_KEY {
                    // Running updates have URLs that the key in use signed, so that is the one that stays good.
                    used.has_worked(used.expose().as_bytes());
                }
                used.rotate(new);
                self.metrics.unused(name, false);
                tracing::info!(
                    setting = name,
                    "a secret has changed and is in use from now on; the old one stays good until this one has worked"
                );
            }
        }
    }
}

fn secrets<FinApi>(config: &Config<FinApi>, client_secret: Option<&Secret>) -> Secrets {
    let bearer = match &config.credentials {
        Credentials::Http { bearer, .. } => bearer.as_ref().map(|bearer| bearer.secret()),
        Credentials::Command | Credentials::Directory { .. } => None,
    };
    let callbacks = &config.callbacks;
    [
        (CLIENT_SECRET, client_secret),
        ("credentials.bearer", bearer),
        (CALLBACKS_KEY, callbacks.key.as_ref()),
        ("callbacks.previous_key", callbacks.previous_key.as_ref()),
        ("callbacks.notification_secret", callbacks.notification_secret.as_ref()),
        ("console.password", config.console.password.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, secret)| Some((name, secret?.clone())))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(key: &str) -> Config {
        Config {
            callbacks: crate::callbacks::Settings {
                key: Some(key.parse().expect("a secret")),
                ..Default::default()
            },
            ..Config::default()
        }
    }

    #[test]
    fn a_secret_changes_when_it_was_read_twice_and_everybody_who_has_it_sees_that() {
        let start = config("the key at the start");
        let used = start.callbacks.key.clone().expect("a key");
        let mut rotation = Rotation::new(None, &start, None);
        rotation.on_settings(&config("half of it"));
        assert_eq!(&*used.expose(), "the key at the start");
        rotation.on_settings(&config("the new key, whole"));
        assert_eq!(&*used.expose(), "the key at the start");
        rotation.on_settings(&config("the new key, whole"));
        assert_eq!(&*used.expose(), "the new key, whole");
        assert_eq!(used.expose_previous().as_deref(), Some("the key at the start"));
        rotation.on_settings(&Config::default());
        rotation.on_settings(&Config::default());
        assert_eq!(&*used.expose(), "the new key, whole", "a secret that is gone stays");
    }

    #[test]
    fn a_key_that_signed_stays_good_after_it_and_a_password_that_nobody_used_does_not() {
        let start = Config {
            console: crate::console::Settings {
                password: Some("password 1".parse().expect("a secret")),
                ..Default::default()
            },
            ..config("a key at the start")
        };
        let key = start.callbacks.key.clone().expect("a key");
        let password = start.console.password.clone().expect("a password");
        let mut rotation = Rotation::new(None, &start, None);
        for number in [2, 3] {
            let config = Config {
                console: crate::console::Settings {
                    password: Some(format!("password {number}").parse().expect("a secret")),
                    ..Default::default()
                },
                ..config(&format!("a later key: {number}"))
            };
            rotation.on_settings(&config);
            rotation.on_settings(&config);
        }
        let previous = |secret: &Secret| secret.expose_previous().map(|text| text.to_owned());
        assert_eq!(previous(&key).as_deref(), Some("a later key: 2"));
        assert_eq!(previous(&password).as_deref(), Some("password 1"));
    }

    #[test]
    fn each_failure_is_logged_once_and_none_hides_another() {
        let mut rotation = Rotation::new(None, &<Config>::default(), None);
        let mut is_news = |what, failure: Option<&str>| rotation.news(what, failure.map(str::to_owned)).is_some();
        assert!(is_news(SETTINGS, Some("a key")) && is_news(TLS_FILES, Some("a file")));
        assert!(!is_news(SETTINGS, Some("a key")) && !is_news(TLS_FILES, Some("a file")));
        assert!(!is_news(SETTINGS, None) && is_news(SETTINGS, Some("a key")));
        assert!(!is_news(TLS_FILES, Some("a file")) && is_news(TLS_FILES, Some("another file")));
    }

    #[test]
    fn a_clients_secret_is_offered_and_taken_back() {
        let client_secret: Secret = "old".parse().expect("a secret");
        let offers = ClientSecretOffers::default();
        let mut rotation = Rotation::new(None, &<Config>::default(), Some(&client_secret)).with_offers(offers.clone());
        let mut read = |secret: &str| {
            let url: crate::setting::HttpUrl = "https://finapi.example".parse().expect("a URL");
            let finapi = crate::finapi::Settings::new(url.clone(), url, "client", secret.parse().expect("a secret"));
            rotation.on_settings(&Config {
                finapi: Some(finapi),
                ..Config::default()
            });
            offers.is_pending()
        };
        assert!(!read("new") && read("new"), "it is offered when it was read twice");
        assert!(!read("old"), "somebody went back to the old one");
        assert_eq!(&*client_secret.expose(), "old");
    }
}
