//! What is refused, and in which words.

use super::*;

#[test]
fn an_unknown_key_is_refused_at_every_layer_with_where_it_was_written() {
    assert_eq!(
        from_file("[kafka]\nbroker = ['a:1']\n").expect_err("unknown"),
        "`kafka.broker` (in FILE) is no known setting; the command `config` lists them all"
    );
    for (variable, said) in [
        ("DEMO__KAFKA__BROKER", "`kafka.broker` (environment variable DEMO__KAFKA__BROKER) is no known setting"),
        (
            "DEMO__kafka__topic",
            "`DEMO__kafka__topic` (environment variable that is not in upper case) is no known setting",
        ),
    ] {
        let error = sentence(from_env(&[(variable, "x")]));
        assert!(error.starts_with(said), "{error}");
    }
    for key in ["topic", "zzz.qqqqqqq", "kafka", "kafka.topic.x"] {
        let error = sentence(from_set(&[(key, "x")]));
        assert!(error.starts_with(&format!("`{key}` (given by --set) is no known setting")), "{error}");
    }
    let empty = from_file("[kafcka]\n").expect_err("an unknown section, though empty");
    assert!(empty.starts_with("`kafcka` (in FILE) is no known setting"), "{empty}");
    from_file("[kafka]\n[kafka.properties]\n").expect("known sections, though empty");
}

#[test]
fn a_wrong_value_names_key_value_origin_and_what_is_allowed() {
    assert_eq!(
        sentence(from_env(&[("DEMO__HTTP__MAX_IN_FLIGHT", "many")])),
        "`http.max_in_flight` is `many` (environment variable DEMO__HTTP__MAX_IN_FLIGHT), but must be a whole number"
    );
    assert_eq!(
        sentence(from_set(&[("http.max_in_flight", "0")])),
        "`http.max_in_flight` is `0` (given by --set), but must be from 1 to 1000"
    );
    assert_eq!(
        sentence(from_set(&[("http.workers", "300")])),
        "`http.workers` is `300` (given by --set), but must be an unsigned 8 bit integer"
    );
    assert_eq!(
        sentence(from_set(&[("http.listen", "localhost")])),
        "`http.listen` is `localhost` (given by --set), but must be an IP address and a port, such as 127.0.0.1:8080"
    );
    assert_eq!(
        sentence(from_set(&[("log.format", "x\u{1b}[1m")])),
        "`log.format` is `x\\u{1b}[1m` (given by --set), which is refused: \"x\\u{1b}[1m\" is no log format; \
         it is one of auto, text, json"
    );
    assert_eq!(
        from_file("[http]\nstrict = 1\n").expect_err("wrong"),
        "`http.strict` is `1` (in FILE), but must be true or false"
    );
    assert_eq!(
        from_file("[auth]\nalgorithms = 'RS256'\n").expect_err("wrong"),
        "`auth.algorithms` is `RS256` (in FILE), but must be a list (in the environment and in --set: comma separated)"
    );
    assert_eq!(
        from_file("[http]\nmax_in_flight = -1\n").expect_err("wrong").split(", but").next(),
        Some("`http.max_in_flight` is `-1` (in FILE)")
    );
    assert!(
        sentence(from_set(&[("log.filter", "a=b=c")]))
            .starts_with("`log.filter` is `a=b=c` (given by --set), but must be a level")
    );
    assert_eq!(
        from_file("[http]\n[http\n").expect_err("wrong").split(", column").next(),
        Some("the configuration file FILE cannot be read: TOML parse error at line 2")
    );
    let missing = SettingsArgs { config: Some(PathBuf::from("/nowhere.toml")), set: Vec::new() };
    assert_eq!(sentence(load(&missing, [])), "the configuration file /nowhere.toml cannot be read");
}

#[test]
fn s6_a_secret_is_shown_neither_by_an_error_nor_by_the_settings() {
    assert_eq!(
        sentence(from_env(&[("DEMO__AUTH__HMAC_SECRET", "short-hunter2")])),
        "`auth.hmac_secret` is *** (environment variable DEMO__AUTH__HMAC_SECRET), but must be 32 bytes or more"
    );
    assert_eq!(
        sentence(from_env(&[("DATABASE_URL", "mysql://me:hunter2@h/c")])),
        "`database.url` is *** (environment variable DATABASE_URL), but must be a URL like postgres://…"
    );
    for file in [
        "[database]\nurl = ['postgres://me:hunter2@h']\n",
        "[auth]\nhmac_secret = 'hunter2\n",
        "[auth]\nhmac_secret = ['hunter2']",
    ] {
        let error = from_file(file).expect_err("wrong");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let demo = from_env(&[
        ("DEMO__AUTH__HMAC_SECRET", "hunter2"),
        ("DATABASE_URL", "postgres://me:hunter2@h/c"),
        ("DEMO__KAFKA__PROPERTIES__SASL__PASSWORD", "hunter2"),
    ])
    .expect("good settings");
    let printed = print_effective(&demo);
    assert!(!format!("{demo:?} {printed}").contains("hunter2"), "{demo:?} {printed}");
    assert!(
        printed.contains("url = \"postgres://me:***@h/c\"") && printed.contains("\"sasl.password\" = \"***\""),
        "{printed}"
    );
}
