use std::collections::BTreeSet;

use secrecy::ExposeSecret as _;

use super::*;

fn load(variables: &[(&str, &str)]) -> Result<Config, String> {
    let environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(None, environment).map_err(|error| error.to_string())
}

#[test]
fn without_anything_the_defaults_hold() {
    let config = load(&[("PATH", "/")]).expect("the defaults");
    assert_eq!(config.worker, worker::Settings::default());
    assert!(config.finapi.is_none());
}

#[test]
fn the_environment_sets_every_type_and_keeps_digits_as_they_are() {
    let config = load(&[
        ("BANKREFRESH__FINAPI__ACCESS_URL", "https://sandbox.finapi.io"),
        ("BANKREFRESH__FINAPI__WEB_FORM_URL", "https://webform-sandbox.finapi.io"),
        ("BANKREFRESH__FINAPI__CLIENT_ID", "id"),
        ("BANKREFRESH__FINAPI__CLIENT_SECRET", "0123"),
        ("BANKREFRESH__FINAPI__CALLS_MAX", "7"),
        ("BANKREFRESH__POLLING__MAX", "20s"),
        ("BANKREFRESH__EVENTS__TRANSACTIONS", "summary"),
    ])
    .expect("settings");
    let finapi = config.finapi.expect("finapi");
    assert_eq!(finapi.client_secret.expose_secret(), "0123");
    assert_eq!(finapi.calls_max, 7);
    assert_eq!(config.polling.max, Duration::from_secs(20));
}

#[test]
fn a_setting_that_names_a_file_keeps_its_name() {
    let config = load(&[("BANKREFRESH__AMQP__CA_FILE", "/ca.pem")]).expect("settings");
    assert_eq!(config.amqp.ca_file.as_deref(), Some(Path::new("/ca.pem")));
}

#[test]
fn a_bad_setting_is_named_with_what_is_allowed() {
    let cases = [
        (("BANKREFRESH__WORKER__IN_FLIGHT", "0"), "worker.in_flight"),
        (("BANKREFRESH__WORKER__IN_FLIGHT", "many"), "in_flight"),
        (("BANKREFRESH__WORKER__NO_SUCH", "1"), "no_such"),
        (("BANKREFRESH__NO_SUCH__KEY", "1"), "no_such"),
        (("BANKREFRESH__POLLING__INITIAL", "10ms"), "polling.initial"),
        (("BANKREFRESH__BREAKER__INITIAL", "100ms"), "breaker.initial"),
        (("BANKREFRESH__BREAKER__MAX", "1s"), "breaker.max"),
        (("BANKREFRESH__CREDENTIALS__SOURCE", "hat"), "hat"),
        (
            ("BANKREFRESH__CALLBACKS__PUBLIC_URL", "http://callbacks.example.org"),
            "callbacks.public_url",
        ),
        (
            ("BANKREFRESH__AMQP__URL_FILE", "/no/such/file"),
            "BANKREFRESH__AMQP__URL_FILE",
        ),
    ];
    for (variable, named) in cases {
        let error = load(&[variable]).expect_err("an error");
        assert!(error.contains(named), "{error:?} does not name {named:?}");
    }
}

const REQUIRED: [(&str, &str); 4] = [
    ("BANKREFRESH__FINAPI__ACCESS_URL", "https://finapi.test"),
    ("BANKREFRESH__FINAPI__WEB_FORM_URL", "https://finapi.test"),
    ("BANKREFRESH__FINAPI__CLIENT_ID", "id"),
    ("BANKREFRESH__FINAPI__CLIENT_SECRET", "secret"),
];

/// No error text and no `config check` shows a secret, however wrong the settings around it are.
#[test]
fn no_wrong_setting_shows_a_secret() {
    let planted = "planted-8f3a";
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("settings.toml");
    let files = [
        format!("[finapi]\nclient_secret = \"{planted}\naccess_url = 1\n"),
        format!("[finapi]\nclient_secret = [\"{planted}\"]\n"),
        format!("[finapi]\nclient_secret = {planted}\n"),
        format!("client_secret = \"{planted}\"\n"),
        format!("[finapi]\nsecret = \"{planted}\"\n"),
    ];
    for text in files {
        std::fs::write(&file, &text).expect("written");
        let error = Config::load(Some(&file), std::iter::empty()).expect_err("an error");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(planted), "{shown} for {text}");
    }
    let with_password = format!("https://user:{planted}@host.test");
    let variables = [
        ("BANKREFRESH__CALLBACKS__KEY", planted),
        ("BANKREFRESH__CALLBACKS__NOTIFICATION_SECRET", planted),
        ("BANKREFRESH__FINAPI__CLIENT_SECRET", planted),
        ("BANKREFRESH__FINAPI__CLIENT_SECRET__MORE", planted),
        ("BANKREFRESH__TELEMETRY__OTLP_ENDPOINT", &with_password),
        ("BANKREFRESH__FINAPI__ACCESS_URL", &with_password),
        ("BANKREFRESH__CALLBACKS__PUBLIC_URL", &with_password),
        ("BANKREFRESH__CREDENTIALS__BEARER", planted),
    ];
    for variable in variables {
        let error = load(&[variable]).expect_err("an error");
        assert!(!error.contains(planted), "{error}");
    }
    let mut all = REQUIRED.to_vec();
    all.extend([
        ("BANKREFRESH__AMQP__URL", with_password.as_str()),
        ("BANKREFRESH__FINAPI__CLIENT_SECRET", planted),
        ("BANKREFRESH__CREDENTIALS__SOURCE", "http"),
        ("BANKREFRESH__CREDENTIALS__URL", "https://credentials.test"),
        ("BANKREFRESH__CREDENTIALS__BEARER", planted),
        ("BANKREFRESH__CALLBACKS__KEY", "planted-8f3a-and-long-enough"),
        ("BANKREFRESH__CALLBACKS__PREVIOUS_KEY", "planted-8f3a-and-long-enough"),
        (
            "BANKREFRESH__CALLBACKS__NOTIFICATION_SECRET",
            "planted8f3aandlongenough",
        ),
    ]);
    let config = load(&all).expect("settings");
    let shown = format!("{} {config:?}", toml::to_string_pretty(&config).expect("TOML"));
    assert!(!shown.contains("planted"), "{shown}");
    assert_eq!(shown.matches("(hidden)").count(), 6, "{shown}");
}

/// Every setting with its value, as `config check` prints them.
fn printed(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let text = toml::to_string_pretty(&load(variables).expect("settings")).expect("TOML");
    let mut section = "";
    let mut settings = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, value)) = line.split_once(" = ") {
            settings.insert(format!("{section}.{key}"), value.trim_matches('"').to_owned());
        }
    }
    settings
}

#[test]
fn the_docs_have_every_setting_with_its_default_and_nothing_else() {
    let mut directory = REQUIRED.to_vec();
    directory.extend([
        ("BANKREFRESH__CREDENTIALS__SOURCE", "directory"),
        ("BANKREFRESH__CREDENTIALS__DIRECTORY", "/secrets"),
    ]);
    let mut service = REQUIRED.to_vec();
    service.extend([
        ("BANKREFRESH__CREDENTIALS__SOURCE", "http"),
        ("BANKREFRESH__CREDENTIALS__URL", "https://credentials.test"),
    ]);
    let optional = [
        ("BANKREFRESH__CREDENTIALS__BEARER", "bearer"),
        ("BANKREFRESH__CALLBACKS__LISTEN", "127.0.0.1:1"),
        ("BANKREFRESH__CALLBACKS__PUBLIC_URL", "https://callbacks.test"),
        ("BANKREFRESH__CALLBACKS__KEY", "sixteen characters"),
        ("BANKREFRESH__CALLBACKS__PREVIOUS_KEY", "sixteen characters"),
        ("BANKREFRESH__CALLBACKS__NOTIFICATION_SECRET", "sixteencharacters"),
        ("BANKREFRESH__FINAPI__REQUESTS_PER_SECOND", "100"),
        ("BANKREFRESH__AMQP__CA_FILE", "/ca.pem"),
        ("BANKREFRESH__AMQP__CLIENT_CERTIFICATE_FILE", "/client.pem"),
        ("BANKREFRESH__AMQP__CLIENT_KEY_FILE", "/client.key"),
        ("BANKREFRESH__ADMIN__LISTEN", "127.0.0.1:1"),
        ("BANKREFRESH__TELEMETRY__OTLP_ENDPOINT", "https://collector.test"),
    ];
    let setting = |variable: &str| variable[PREFIX.len()..].replace("__", ".").to_lowercase();
    let mut expected = printed(&directory);
    expected.extend(printed(&service));
    for (variable, _) in directory.iter().chain(&service) {
        expected.insert(setting(variable), "required".to_owned());
    }
    expected.extend(
        printed(&REQUIRED)
            .into_iter()
            .filter(|(name, _)| name == "credentials.source"),
    );
    // There is a default to hide, and all may know it.
    let url = Amqp::default().url.expose_secret().to_owned();
    expected.insert("amqp.url".to_owned(), url);
    let everything: Vec<_> = service.iter().chain(&optional).copied().collect();
    for name in printed(&everything).into_keys() {
        expected.entry(name).or_insert("none".to_owned());
    }
    for (variable, _) in optional {
        assert_eq!(expected[&setting(variable)], "none");
    }

    let docs = include_str!("../../docs/settings.md");
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeMap<String, String> = rows
        .map(|row| {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
            (cells.next().expect("a name"), cells.next().expect("a default"))
        })
        .collect();
    assert_eq!(expected, documented);
    let names: Vec<&String> = expected.keys().collect();
    let known = known_settings();
    assert_eq!(
        names,
        known.iter().collect::<Vec<_>>(),
        "what is not printed has to be named above"
    );
}

/// The names of all settings, as an unknown one beside them is told.
fn known_settings() -> BTreeSet<String> {
    let beside = |variables: &[(&str, &str)]| -> Vec<String> {
        let error = load(variables).expect_err("an error");
        let known = error.split_once("expected").expect("what is known").1;
        known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut names = BTreeSet::from(["credentials.source".to_owned()]);
    for section in beside(&[("BANKREFRESH__NO_SUCH__KEY", "1")]) {
        let variable = format!("{PREFIX}{}__NO_SUCH", section.to_uppercase());
        let unknown = (variable.as_str(), "1");
        let keys = if section == "credentials" {
            let source = "BANKREFRESH__CREDENTIALS__SOURCE";
            [
                beside(&[(source, "directory"), unknown]),
                beside(&[(source, "http"), unknown]),
            ]
            .concat()
        } else {
            beside(&[unknown])
        };
        // The error names the section too.
        let keys = keys.into_iter().filter(|key| *key != section);
        names.extend(keys.map(|key| format!("{section}.{key}")));
    }
    names
}
