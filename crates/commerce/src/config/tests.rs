//! What the configuration promises.

use super::keys::KEYS;
use super::rule::Rule;
use super::*;
use std::time::Duration;

fn flag(key: &str, value: &str) -> Setting {
    Setting { origin: "--set".to_owned(), key: key.to_owned(), value: value.to_owned() }
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn allowed(rule: Rule) -> String {
    match rule {
        Rule::Address => "127.0.0.1:1".to_owned(),
        Rule::Integer(least, _) => least.to_string(),
        Rule::Span(_, most) => most.to_string(),
        Rule::Url(scheme) => format!("{scheme}://host:1"),
        Rule::Prefix | Rule::Path | Rule::Text => "word".to_owned(),
        Rule::OneOf(words) => words[0].to_owned(),
        Rule::Bool => "false".to_owned(),
        Rule::Participants => "seat=http://host:1".to_owned(),
        Rule::Methods => "anyone:travel.v1.Seats/Reserve".to_owned(),
        Rule::Origins => "https://shop.example, http://localhost:3000".to_owned(),
    }
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default() {
    let file = file("[log]\nformat = \"json\"\nfilter = \"file\"\n[lanes]\nwallet = 3\n");
    let mut sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    sources.variables =
        vec![variable("COMMERCE_LOG_FILTER", "env"), variable("COMMERCE_LANES_WALLET", "4")];
    sources.flags = vec![flag("lanes.wallet", "5")];
    let (config, shown) = sources.load().unwrap();
    assert_eq!(config.lanes.wallet, 5);
    assert_eq!(config.log.filter, "env");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.lanes.product, 1);
    let origin = |key| shown.iter().find(|it| it.key == key).unwrap().origin.clone();
    assert_eq!(origin("lanes.wallet"), "--set");
    assert_eq!(origin("log.filter"), "COMMERCE_LOG_FILTER");
    assert_eq!(origin("log.format"), file.path().display().to_string());
    assert_eq!(origin("lanes.product"), "default");
}

#[test]
fn every_key_can_be_set_and_has_an_allowed_default() {
    for key in KEYS {
        let flags = vec![flag(key.path, &allowed(key.rule))];
        let loaded = Sources { flags, ..Sources::default() }.load_without_file();
        assert!(loaded.is_ok(), "{}: {loaded:?}", key.path);
    }
}

#[test]
fn the_saga_engine_is_as_patient_as_it_says_by_default() {
    let config = Config::with([]).unwrap();
    let engine = saga::runtime::Options::default();
    assert_eq!(Duration::from(config.saga.deadline), engine.deadline);
    assert_eq!(Duration::from(config.saga.attempt), engine.attempt);
    assert_eq!(Duration::from(config.saga.alert_after), engine.attention_after);
    assert_eq!(Duration::from(config.saga.heartbeat), engine.heartbeat);
}

#[test]
fn a_bad_value_is_refused_by_one_line_that_names_the_key_and_what_is_allowed() {
    for (key, value) in [
        ("listen.public", "localhost"),
        ("lanes.wallet", "0"),
        ("lanes.wallet", "many"),
        ("saga.deadline", "30"),
        ("log.format", "xml"),
        ("database.url", "postgres://me:secret@db/x"),
        ("database.prefix", "a b"),
        ("database.migrate", "perhaps"),
        ("web.allowed_origins", "*"),
        ("web.allowed_origins", "https://shop.example/"),
    ] {
        let flags = vec![flag(key, value)];
        let problem = Sources { flags, ..Sources::default() }.load_without_file().unwrap_err();
        let line = problem.to_string();
        assert!(line.starts_with(&format!("{key}: must be ")), "{line}");
        assert!(line.ends_with("(in --set)"), "{line}");
        assert!(!line.contains('\n') && !line.contains("secret"), "{line}");
    }
}

#[test]
fn an_unknown_key_is_refused_wherever_it_stands() {
    let file = file("[listen]\npublic = \"127.0.0.1:1\"\nprivate = \"127.0.0.1:2\"\n");
    let of_file = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    let of_environment =
        Sources { variables: vec![variable("COMMERCE_LISTEN_PRIVATE", "x")], ..Sources::default() };
    let of_flag = Sources { flags: vec![flag("listen.private", "x")], ..Sources::default() };
    for (sources, key) in [
        (of_file, "listen.private"),
        (of_environment, "COMMERCE_LISTEN_PRIVATE"),
        (of_flag, "listen.private"),
    ] {
        let line = sources.load().unwrap_err().to_string();
        assert!(line.starts_with(&format!("{key}: no such key")), "{line}");
    }
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_refused_by_one_line() {
    let broken = file("[listen\npublic = 1");
    for path in [broken.path().to_owned(), PathBuf::from("/no/such/file.toml")] {
        let problem = Sources { file: Some(path), ..Sources::default() }.load().unwrap_err();
        let line = problem.to_string();
        assert!(line.contains("must be a readable TOML file"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn listeners_do_not_share_an_address_but_may_all_ask_for_any_port() {
    let clash = Config::with([("listen.admin", "127.0.0.1:50051".to_owned())]).unwrap_err();
    assert!(clash.to_string().starts_with("listen.admin: must be another address"), "{clash}");
    let any = "127.0.0.1:0";
    let keys = ["listen.public", "listen.participant", "listen.admin"];
    assert!(Config::with(keys.map(|key| (key, any.to_owned()))).is_ok());
}

#[test]
fn a_schema_is_put_into_the_servers_url() {
    for (server, url) in [
        ("mysql://me:pw@db:3306", "mysql://me:pw@db:3306/shop"),
        ("mysql://me:pw@db:3306/", "mysql://me:pw@db:3306/shop"),
        ("mysql://me:p/w@db", "mysql://me:p/w@db/shop"),
        ("mysql://db/old?a=b/c", "mysql://db/shop?a=b/c"),
        (
            "mysql://root@localhost/?socket=/run/s.sock",
            "mysql://root@localhost/shop?socket=/run/s.sock",
        ),
    ] {
        assert_eq!(with_schema(server, "shop"), url);
    }
}

#[test]
fn schemas_are_found_by_prefix_unless_they_are_elsewhere() {
    let config = Config::with([
        ("database.url", "mysql://me@db".to_owned()),
        ("database.prefix", "shop_".to_owned()),
        ("database.wallet.url", "mysql://other/bank".to_owned()),
        ("database.auditor.url", "mysql://auditor@db".to_owned()),
    ])
    .unwrap();
    let database = config.database;
    assert_eq!(database.schema_url(Schema::Wallet).unwrap(), "mysql://other/bank");
    assert_eq!(database.schema_url(Schema::Order).unwrap(), "mysql://me@db/shop_order");
    assert_eq!(database.audit_url(Schema::Order).unwrap(), "mysql://auditor@db/shop_order");
}
