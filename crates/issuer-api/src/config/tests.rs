use coupon_core::runtime::{SettingsArgs, check_defaults, load, print_effective};

use super::*;

fn with(key: &str, value: &str) -> Result<ApiSettings, SettingsError> {
    load(&SettingsArgs { config: None, set: vec![(key.to_owned(), value.to_owned())] }, [])
}

#[test]
fn the_defaults_hold_every_key_and_pass_their_check() {
    check_defaults::<ApiSettings>().unwrap();
}

#[test]
fn a_wrong_value_is_refused_in_one_sentence_that_names_key_value_and_what_is_allowed() {
    for (key, value, said) in [
        ("http.max_in_flight", "0", "`http.max_in_flight` is `0` (given by --set), but must be 1 to 1000000 requests"),
        ("http.idle_timeout_ms", "3600001", "but must be 1000 to 3600000 ms"),
        ("outbox.lease_ms", "400000000", "but must be 1000 to 600000 ms"),
        ("auth.algorithms", "none", "`auth.algorithms` is `none` (given by --set), but must be some of HS256"),
        ("auth.algorithms", "RS256,ES512", "but must be some of HS256"),
        ("telemetry.access_log", "1.5", "`telemetry.access_log` is `1.5` (given by --set), but must be 0 to 1 of the"),
        ("telemetry.campaigns", "101", "but must be 0 to 100 campaigns"),
        ("auth.leeway_s", "3600", "but must be 0 to 300 seconds"),
        (
            "auth.member_claim",
            "exp",
            "`auth.member_claim` is `exp` (given by --set), but must be the name of the claim",
        ),
        ("auth.member_claim", "", "`auth.member_claim` is empty"),
        (
            "auth.jwks_url",
            "http://idp.example.com/keys",
            "`auth.jwks_url` is `***` (given by --set), but must be an https URL",
        ),
        ("auth.jwks_url", "https://me:pw@idp.example.com/keys", "`auth.jwks_url` is `***`"),
        ("auth.jwks_url", "keys.json", "but must be an https URL"),
        ("auth.jwks_ca_file", "root.pem", "but must be empty while auth.jwks_url is"),
        ("auth.jwks_refresh_ms", "10", "but must be 1000 to 86400000 ms"),
        ("auth.jwks_min_interval_ms", "0", "but must be 1000 to 3600000 ms"),
        ("kafka.topic", "a b", "`kafka.topic` is `a b`"),
        ("alarms.installation", "prod\tseoul", "but must be at most 60 characters, none of them a control character"),
    ] {
        let sentence = with(key, value).unwrap_err().to_string();
        assert!(sentence.contains(said) && !sentence.contains('\n'), "{sentence}");
    }
}

#[test]
fn a_jwk_set_may_come_by_https_and_by_http_from_this_machine() {
    for url in
        ["https://idp.example.com/keys?v=1", "http://127.0.0.1:8080/keys", "http://localhost/keys", "http://[::1]/k"]
    {
        assert!(with("auth.jwks_url", url).is_ok(), "{url}");
    }
    assert!(with("auth.jwks_url", "http://127.0.0.1.example.com/keys").is_err());
}

#[test]
fn the_secret_is_not_printed() {
    let secret = "0123456789abcdef0123456789abcdef";
    let settings = with("auth.hmac_secret", secret).unwrap();
    assert!(!print_effective(&settings).contains(secret));
    assert!(!format!("{settings:?}").contains(secret));
}
