use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::sources::PREFIX;
use super::*;
use crate::setting::Value as _;

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
fn a_name_with_an_index_is_no_setting_and_makes_no_list() {
    let error = load(&[("BANKREFRESH__WORKER[999999999]", "1")]).expect_err("no setting");
    assert!(error.contains("WORKER[999999999]"), "{error}");
    let error = sources::check_toml("\"worker[999999999]\" = 1").expect_err("no setting");
    assert!(error.contains("worker[999999999]"), "{error}");
}

#[test]
fn what_is_too_long_or_costs_too_much_is_refused_before_it_is_read() {
    let nested = format!("BANKREFRESH__{}", "FINAPI__ACCESS_URL__".repeat(6));
    let error = load(&[(&nested, "1")]).unwrap_err();
    assert!(error.contains("a name of 120 bytes is no setting"), "{error}");
    let directives = "info,".repeat(201);
    let error = load(&[("BANKREFRESH__TELEMETRY__LOG_LEVEL", &directives)]).unwrap_err();
    assert!(error.contains("at most 1000 bytes, and has 1005"), "{error}");
    for nested in [
        "[worker]\nin_flight.a = 1",
        "worker = [{}, {}]",
        "[worker]\nin_flight = [[1]]",
    ] {
        let error = sources::check_toml(nested).expect_err("no settings");
        assert!(error.contains("is no se"), "{error}");
    }
    let error = load(&[("BANKREFRESH__TELEMETRY__LOG_LEVEL", "info,[span{field=.*}]=trace")]).unwrap_err();
    assert!(error.contains("spans and fields are not supported"), "{error}");
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
    assert_eq!(&*finapi.client_secret.expose(), "0123");
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
        (("BANKREFRESH__AMQP__URL", "http://broker.test"), "amqp.url"),
        (("BANKREFRESH__AMQP__URL", ""), "amqp.url"),
        (
            ("BANKREFRESH__FINAPI__ACCESS_URL", "ftp://finapi.test"),
            "finapi.access_url",
        ),
        (("BANKREFRESH__FINAPI__CLIENT_SECRET", ""), "finapi.client_secret"),
        (("BANKREFRESH__FINAPI__USERS_MAX", "0"), "finapi.users_max"),
        (
            ("BANKREFRESH__TELEMETRY__LOG_LEVEL", "info=loud"),
            "telemetry.log_level",
        ),
        (
            ("BANKREFRESH__TELEMETRY__OTLP_ENDPOINT", "collector:4317"),
            "telemetry.otlp_endpoint",
        ),
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

const SERVICE: [(&str, &str); 2] = [
    ("BANKREFRESH__CREDENTIALS__SOURCE", "http"),
    ("BANKREFRESH__CREDENTIALS__URL", "https://credentials.test"),
];

/// No error text and no `config check` shows a secret, however wrong the settings around it are.
#[test]
fn the_error_of_a_value_begins_with_its_setting() {
    let refused = load(&[("BANKREFRESH__FINAPI__ACCESS_URL", "ftp://finapi.test")]);
    let error = "finapi.access_url: it must be an http:// or https:// URL without a password";
    assert_eq!(refused.err().as_deref(), Some(error));
}

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
    let wrong_port = format!("{with_password}:99999");
    let variables = [
        ("BANKREFRESH__CALLBACKS__KEY", planted),
        ("BANKREFRESH__CALLBACKS__NOTIFICATION_SECRET", planted),
        ("BANKREFRESH__FINAPI__CLIENT_SECRET", planted),
        ("BANKREFRESH__FINAPI__CLIENT_SECRET__MORE", planted),
        ("BANKREFRESH__TELEMETRY__OTLP_ENDPOINT", &with_password),
        ("BANKREFRESH__FINAPI__ACCESS_URL", &with_password),
        ("BANKREFRESH__CALLBACKS__PUBLIC_URL", &with_password),
        ("BANKREFRESH__CREDENTIALS__BEARER", planted),
        ("BANKREFRESH__AMQP__URL", planted),
        ("BANKREFRESH__FINAPI__ACCESS_URL", &wrong_port),
    ];
    for variable in variables {
        let error = load(&[variable]).expect_err("an error");
        assert!(!error.contains(planted), "{error}");
    }
    let mut all = REQUIRED.to_vec();
    all.extend([
        ("BANKREFRESH__AMQP__URL", "amqp://user:planted-8f3a@broker.test"),
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

#[test]
fn a_users_name_and_a_query_in_a_url_are_not_shown() {
    let planted = "https://planted-8f3a@host.test/x?key=planted-8f3a";
    let mut all = REQUIRED.to_vec();
    all.extend(SERVICE);
    all.extend([
        ("BANKREFRESH__FINAPI__ACCESS_URL", planted),
        ("BANKREFRESH__CREDENTIALS__URL", planted),
        ("BANKREFRESH__CALLBACKS__PUBLIC_URL", planted),
        ("BANKREFRESH__CALLBACKS__KEY", "0123456789abcdef"),
        ("BANKREFRESH__TELEMETRY__OTLP_ENDPOINT", planted),
    ]);
    let config = load(&all).expect("settings");
    let shown = format!("{} {config:?}", toml::to_string_pretty(&config).expect("TOML"));
    assert!(!shown.contains("planted"), "{shown}");
    assert_eq!(
        shown.matches("https://(hidden)@host.test/x?(hidden)").count(),
        8,
        "{shown}"
    );
}

#[test]
fn a_secret_that_is_no_text_is_not_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("settings.toml");
    let service = "[credentials]\nsource = \"http\"\nurl = \"https://credentials.test\"\n";
    for bearer in ["847362511", "-847362511", "8473.62511", "[847362511]"] {
        std::fs::write(&file, format!("{service}bearer = {bearer}\n")).expect("written");
        let error = Config::load(Some(&file), std::iter::empty()).expect_err("an error");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("credentials") && !shown.contains("62511"), "{shown}");
    }
}

#[test]
fn http_beyond_this_machine_is_refused_unless_it_is_allowed() {
    let cases = [
        ("BANKREFRESH__FINAPI__ACCESS_URL", "BANKREFRESH__FINAPI__ALLOW_INSECURE"),
        (
            "BANKREFRESH__FINAPI__WEB_FORM_URL",
            "BANKREFRESH__FINAPI__ALLOW_INSECURE",
        ),
        (
            "BANKREFRESH__CREDENTIALS__URL",
            "BANKREFRESH__CREDENTIALS__ALLOW_INSECURE",
        ),
    ];
    for (url, allow) in cases {
        let with = |more: &[(&str, &str)]| load(&[&REQUIRED[..], &SERVICE, more].concat());
        let error = with(&[(url, "http://host.test")]).expect_err("not allowed");
        assert!(error.contains("allow_insecure"), "{error}");
        for (value, allowed) in [("http://127.0.0.1:1", "false"), ("http://host.test", "true")] {
            with(&[(url, value), (allow, allowed)]).expect("allowed");
        }
        assert!(with(&[(url, "ftp://host.test"), (allow, "true")]).is_err());
    }
    load(&[("BANKREFRESH__TELEMETRY__OTLP_ENDPOINT", "http://collector.test:4317")]).expect("a collector is exempt");
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

/// Every setting with what the reference says of it.
fn declared() -> Vec<Setting> {
    let sections = reference::sections().into_iter();
    sections.flat_map(|section| section.settings).collect()
}

#[test]
fn the_settings_page_is_what_is_declared() {
    let page = reference::page();
    let docs = include_str!("../../docs/reference/settings.md");
    let line = |text: &str, at: usize| text.lines().nth(at).unwrap_or("(the end)").to_owned();
    let differs = (0..page.lines().count().max(docs.lines().count())).find(|at| line(&page, *at) != line(docs, *at));
    if let Some(at) = differs {
        panic!(
            "docs/reference/settings.md is out of date from line {}:\n  declared: {}\n  written:  {}\n\
             Write it again: cargo run -- config reference > docs/reference/settings.md",
            at + 1,
            line(&page, at),
            line(docs, at)
        );
    }
    assert_eq!(page, docs);
}

#[test]
fn every_setting_is_declared_and_nothing_else() {
    let names: Vec<String> = declared().iter().map(|setting| setting.name().to_owned()).collect();
    let unique: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(names.len(), unique.len(), "a setting is declared twice");
    assert_eq!(unique, known_settings());
}

#[test]
fn the_declared_defaults_are_those_in_force() {
    let printed = printed(&REQUIRED);
    for setting in declared() {
        let (name, default) = (setting.name(), setting.default_value());
        let in_force = printed.get(name).map(String::as_str);
        match default {
            "required" => {}
            "none" => assert_eq!(in_force, None, "{name}"),
            // Only the sources that are not the default have these.
            _ if name.starts_with("credentials.") && name != "credentials.source" => {}
            _ if name == "amqp.url" => assert_eq!(in_force, Some("(hidden)")),
            _ => assert_eq!(in_force, Some(default), "{name}"),
        }
    }
}

/// A value just below a range and one just above it, as they are written.
fn outside(least: &str, most: &str) -> Vec<String> {
    let parse = humantime_serde::re::humantime::parse_duration;
    if let (Ok(least), Ok(most)) = (least.parse::<u64>(), most.parse::<u64>()) {
        return least
            .checked_sub(1)
            .into_iter()
            .chain([most + 1])
            .map(|n| n.to_string())
            .collect();
    }
    if let (Ok(least), Ok(most)) = (least.parse::<f64>(), most.parse::<f64>()) {
        return vec![(least - 0.01).to_string(), (most + 0.01).to_string()];
    }
    let (least, most) = (parse(least).expect("a time"), parse(most).expect("a time"));
    let below = least.checked_sub(std::time::Duration::from_millis(1));
    let both = below.into_iter().chain([most + std::time::Duration::from_secs(1)]);
    both.map(|time| time.show()).collect()
}

#[test]
fn every_setting_out_of_its_range_stops_the_start_and_is_named_with_what_is_allowed() {
    let mut ranges = 0;
    for setting in declared() {
        let allowed = setting.allowed();
        let Some((least, most)) = allowed.split(", ").next().and_then(|range| range.split_once(" to ")) else {
            continue;
        };
        if setting.kind() == "text" {
            continue;
        }
        ranges += 1;
        for value in outside(least, most) {
            let mut variables = REQUIRED.to_vec();
            if setting.name().starts_with("credentials.") {
                variables.extend(SERVICE);
            }
            let variable = reference::variable_of(setting.name());
            variables.retain(|(name, _)| *name != variable);
            variables.push((variable.as_str(), value.as_str()));
            let Err(error) = load(&variables) else {
                panic!("{} may be {value}", setting.name());
            };
            let expected = format!("{} is {value}; it must be {allowed}", setting.name());
            // Zero users are no `NonZero`, which the type says by itself.
            let by_type = setting.name() == "finapi.users_max" && error.contains("users_max");
            assert!(error == expected || by_type, "{error:?}, not {expected:?}");
        }
    }
    assert_eq!(ranges, 45, "every number and every time has a range");
    let bounded = |setting: &&Setting| matches!(setting.kind(), "number" | "time");
    assert_eq!(declared().iter().filter(bounded).count(), ranges);
}

#[test]
fn a_rule_between_settings_names_the_one_that_breaks_it() {
    let cases = [
        (
            "POLLING__MAX",
            "1s",
            "polling.max is 1s; it must be 1s to 1day, at least `polling.initial`",
        ),
        (
            "RETRY__MAX",
            "1s",
            "retry.max is 1s; it must be 1ms to 1day, at least `retry.initial`",
        ),
        (
            "BREAKER__MAX",
            "1s",
            "breaker.max is 1s; it must be 1s to 1day, at least `breaker.initial`",
        ),
        (
            "CALLBACKS__POLL_MAX",
            "2s",
            "callbacks.poll_max is 2s; it must be 1s to 20m, at least `callbacks.poll_initial`",
        ),
        (
            "AMQP__HEARTBEAT",
            "1s 500ms",
            "amqp.heartbeat is 1s 500ms; it must be 1s to 10m, whole seconds",
        ),
        (
            "AMQP__PREFIX",
            "a/b",
            "amqp.prefix is a/b; it must be 1 to 100 letters, digits, `.`, `_` and `-`",
        ),
    ];
    for (key, value, expected) in cases {
        let variable = format!("{PREFIX}{key}");
        assert_eq!(load(&[(variable.as_str(), value)]).expect_err("an error"), expected);
    }
    let error = load(&[("BANKREFRESH__CALLBACKS__PUBLIC_URL", "https://callbacks.test")]).expect_err("an error");
    assert_eq!(
        error,
        "callbacks.key is none; it must be 16 characters or more, given with `callbacks.public_url`"
    );
}

#[test]
fn what_asks_finapi_says_what_it_needs() {
    let error = Config::load_with_finapi(None, std::iter::empty()).expect_err("an error");
    for (variable, _) in REQUIRED {
        let name = variable[PREFIX.len()..].replace("__", ".").to_lowercase();
        assert!(error.to_string().contains(&name), "{error}");
    }
}

/// The names of all settings, as the error about an unknown one beside them lists them.
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
