use std::time::Duration;

use crate::api::RateRules;
use crate::config::{Config, ConfigError, Flags, Settings};

fn none(_name: &str) -> Option<String> {
    None
}

fn check(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::check(&Settings::join(&Flags::from_pairs(pairs.iter().copied()), &none))
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn a_data_folder_and_loopback_are_enough() {
    let config = check(&[("data", "/d"), ("grpc-listen", "127.0.0.1:1")]).unwrap();
    assert_eq!(config.peer_listen.to_string(), "127.0.0.1:31659");
    assert_eq!(config.compat_version.to_string(), "2.11.6");
    assert!(config.default_license_key);
}

#[test]
fn people_come_back_to_the_host_of_the_api_unless_somebody_says_where() {
    let config = check(&[("data", "/d"), ("grpc-listen", "127.0.0.1:1")]).unwrap();
    assert_eq!(config.login_listen.to_string(), "127.0.0.1:31657");
    assert!(config.login_listen_is_default);
    let said = [("data", "/d"), ("grpc-listen", "127.0.0.1:1"), ("login-listen", "0.0.0.0:2")];
    let error = check(&said).unwrap_err().to_string();
    assert!(error.contains("login-listen"), "{error}");
}

#[test]
fn how_long_people_stay_signed_in_can_be_said_in_minutes() {
    let variable = |name: &str| (name == "SESSION_DURATION_MINUTES").then(|| "5".to_owned());
    let flags = |pairs: &[(&str, &str)]| {
        let usual = [("data", "/d"), ("insecure", "true")];
        let flags = Flags::from_pairs(usual.iter().chain(pairs).copied());
        Config::check(&Settings::join(&flags, &variable))
    };
    assert_eq!(flags(&[]).unwrap().session_lifetime, Duration::from_mins(5));
    let said = flags(&[("session-duration", "2h")]).unwrap();
    assert_eq!(said.session_lifetime, Duration::from_hours(2));
    for wrong in [("session-duration", "0s"), ("login-lifetime", "11m"), ("login-lifetime", "0s")] {
        let error = flags(&[wrong]).unwrap_err().to_string();
        assert!(error.contains(wrong.0), "{error}");
    }
}

#[test]
fn plaintext_beyond_the_machine_needs_a_word() {
    let error = check(&[("data", "/d")]).unwrap_err().to_string();
    assert!(error.contains("--insecure"), "{error}");
    check(&[("data", "/d"), ("insecure", "true")]).unwrap();
    check(&[("data", "/d"), ("tls-cert", "c"), ("tls-key", "k")]).unwrap();
}

#[test]
fn everything_wrong_is_said_at_once() {
    let error = check(&[
        ("grpc-listen", "nowhere"),
        ("tick", "soon"),
        ("compat-version", "two"),
        ("initial-cluster", "a"),
        ("tls-cert", "c"),
    ]);
    let lines = error.unwrap_err().0;
    for key in ["data", "grpc-listen", "tick", "compat-version", "initial-cluster", "tls-cert"] {
        assert!(lines.iter().any(|line| line.starts_with(key)), "{key} in {lines:#?}");
    }
}

#[test]
fn a_group_needs_this_replica_in_its_list_and_a_shared_secret() {
    let list = [
        ("data", "/d"),
        ("insecure", "true"),
        ("initial-cluster", "a=h:1"),
        ("initial-cluster", "b=h:2"),
    ];
    let lines = check(&list).unwrap_err().0;
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let mut whole = list.to_vec();
    whole.extend([("name", "a"), ("bootstrap-token", "t")]);
    assert_eq!(check(&whole).unwrap().initial_cluster.len(), 2);
}

#[test]
fn flags_go_over_variables_over_the_file_over_defaults() {
    let file = file("tick = \"1s\"\nname = \"file\"\nlog-level = \"warn\"\nsnapshot-entries = 5\n");
    let path = file.path().display().to_string();
    let variable = |name: &str| match name {
        "MUSTER_CONFIG" => Some(path.clone()),
        "MUSTER_NAME" | "MUSTER_LOG_LEVEL" => Some("debug".to_owned()),
        _ => None,
    };
    let flags = Flags::from_pairs([("name", "flag"), ("data", "/d"), ("insecure", "true")]);
    let config = Config::check(&Settings::join(&flags, &variable)).unwrap();
    assert_eq!(config.name, "flag");
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.timers.tick, Duration::from_secs(1));
    assert_eq!(config.timers.election_ticks, 10);
    assert_eq!(config.snapshots.entries, 5);
}

#[test]
fn variables_that_change_nothing_are_known_by_name() {
    let variable = |name: &str| match name {
        "IDP_CONNECTORS" => Some("- id: secret".to_owned()),
        "IDP_CONFIG" => Some(String::new()),
        _ => None,
    };
    let flags = Flags::from_pairs([("data", "/d"), ("insecure", "true")]);
    let config = Config::check(&Settings::join(&flags, &variable)).unwrap();
    assert_eq!(config.environment.without_effect, ["IDP_CONNECTORS"]);
}

#[test]
fn limits_and_whom_they_spare_are_checked_with_the_rest() {
    let lines = check(&[
        ("data", "/d"),
        ("insecure", "true"),
        ("rate-limit", "token=0/1m"),
        ("rate-limit", "tokens=5/1m"),
        ("trusted-proxy", "10.0.0.0/99"),
        ("unlimited-address", "everybody"),
        ("token-sweep", "soon"),
    ]);
    let lines = lines.unwrap_err().0;
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("names no limit")), "{lines:#?}");
    let off = [("data", "/d"), ("insecure", "true"), ("no-rate-limits", "true")];
    assert_eq!(check(&off).unwrap().rate_rules, RateRules::off());
    let some = [("data", "/d"), ("insecure", "true"), ("rate-limit", "login=off")];
    let rules = check(&some).unwrap().rate_rules;
    assert!(rules != RateRules::off() && rules != RateRules::default());
}

#[test]
fn an_unknown_key_in_the_file_is_refused_with_the_rest() {
    let file = file("grpc-lisen = \"1\"\ntick = 5\n");
    let flags = Flags { file: Some(file.path().display().to_string()), ..Flags::default() };
    let lines = Config::check(&Settings::join(&flags, &none)).unwrap_err().0;
    assert!(lines.iter().any(|line| line.contains("grpc-lisen: there is no such")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("tick = \"5\"")), "{lines:#?}");
}

#[test]
fn printing_shows_origins_and_no_secret() {
    let flags = Flags::from_pairs([("bootstrap-token", "hush"), ("name", "a")]);
    let variable = |name: &str| (name == "LICENSE_KEY").then(|| "hush".to_owned());
    let shown = Settings::join(&flags, &variable).print();
    assert!(shown.contains("name = \"a\"  # flag --name\n"), "{shown}");
    assert!(shown.contains("tick = \"100ms\"  # default\n"), "{shown}");
    assert!(shown.contains("# LICENSE_KEY is set"), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn half_of_the_environment_bootstrap_is_refused_by_both_names() {
    let variable = |name: &str| (name == "LICENSE_KEY").then(|| "code".to_owned());
    let flags = Flags::from_pairs([("data", "/d"), ("insecure", "true")]);
    let error = Config::check(&Settings::join(&flags, &variable)).unwrap_err().to_string();
    assert!(error.contains("LICENSE_KEY and ENTERPRISE_SECRET"), "{error}");
}
