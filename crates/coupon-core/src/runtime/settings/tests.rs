use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::*;
use crate::runtime::chain;

mod refused;

const DEFAULTS: &str = r#"
[http]
listen = "0.0.0.0:8080"
max_in_flight = 100
workers = 4
strict = true

[auth]
issuer = ""
algorithms = ["RS256", "ES256"]
hmac_secret = ""

[database]
url = "postgres://me:built-in@127.0.0.1/c"

[kafka]
brokers = ["127.0.0.1:9092"]
topic = "coupon-issued"
[kafka.properties]

[give_up]
per_second = 1.0

[log]
filter = "info"
format = "auto"
"#;

#[derive(Debug, Deserialize, Serialize)]
struct Demo {
    http: Http,
    auth: Auth,
    database: Database,
    kafka: Kafka,
    give_up: Compensation,
    log: LogSettings,
}

#[derive(Debug, Deserialize, Serialize)]
struct Http {
    listen: std::net::SocketAddr,
    max_in_flight: u64,
    workers: u8,
    strict: bool,
}

#[derive(Debug, Deserialize, Serialize)]
struct Auth {
    issuer: String,
    algorithms: Vec<String>,
    hmac_secret: Secret,
}

#[derive(Debug, Deserialize, Serialize)]
struct Database {
    url: SecretUrl,
}

#[derive(Debug, Deserialize, Serialize)]
struct Kafka {
    brokers: Vec<String>,
    topic: String,
    properties: Properties,
}

#[derive(Debug, Deserialize, Serialize)]
struct Compensation {
    per_second: f64,
}

impl Settings for Demo {
    const PREFIX: &'static str = "DEMO";
    const DEFAULTS: &'static str = DEFAULTS;
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("DATABASE_URL", "database.url"), ("KAFKA_BROKERS", "kafka.brokers")];

    fn check(&self) -> Result<(), SettingsError> {
        self.log.check()?;
        if !(1..=1000).contains(&self.http.max_in_flight) {
            return Err(SettingsError::invalid("http.max_in_flight", self.http.max_in_flight, "from 1 to 1000"));
        }
        if self.auth.hmac_secret.expose() == "short-hunter2" {
            return Err(SettingsError::invalid("auth.hmac_secret", self.auth.hmac_secret.expose(), "32 bytes or more"));
        }
        if !self.database.url.expose().starts_with("postgres://") {
            return Err(SettingsError::invalid("database.url", self.database.url.expose(), "a URL like postgres://…"));
        }
        Ok(())
    }
}

/// A file that goes away with its owner.
struct TempFile(PathBuf);

impl TempFile {
    fn new(text: &str) -> TempFile {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("coupon-settings-{}-{}.toml", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("the temporary directory is writable");
        TempFile(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn from_env(environment: &[(&str, &str)]) -> Result<Demo, SettingsError> {
    load(&SettingsArgs::default(), pairs(environment))
}

fn from_set(set: &[(&str, &str)]) -> Result<Demo, SettingsError> {
    load(&SettingsArgs { config: None, set: pairs(set) }, [])
}

/// Settings or error of a file, the file's name replaced by FILE.
fn from_file(text: &str) -> Result<Demo, String> {
    let file = TempFile::new(text);
    load(&SettingsArgs { config: Some(file.0.clone()), set: Vec::new() }, [])
        .map_err(|error: SettingsError| chain(&error).to_string().replace(&file.0.display().to_string(), "FILE"))
}

fn sentence(result: Result<Demo, SettingsError>) -> String {
    result.expect_err("a wrong setting").to_string()
}

#[test]
fn the_defaults_hold_every_key_and_pass_their_check() {
    check_defaults::<Demo>().expect("the demo's defaults");
}

#[test]
fn each_layer_overrides_those_before_it() {
    let file =
        TempFile::new("[kafka]\ntopic = 'file'\nbrokers = ['file:1']\n[http]\nworkers = 9\n[auth]\nissuer = 'file'\n");
    let args = SettingsArgs { config: Some(file.0.clone()), set: pairs(&[("kafka.topic", "flag")]) };
    let environment = pairs(&[
        ("KAFKA_BROKERS", "alias:1"),
        ("DEMO__KAFKA__BROKERS", "own:1, own:2"),
        ("DATABASE_URL", "postgres://alias"),
        ("DEMO__KAFKA__TOPIC", "environment"),
        ("DEMO_URL", "not ours"),
    ]);
    let demo: Demo = load(&args, environment).expect("good settings");
    assert_eq!(demo.kafka.topic, "flag");
    assert_eq!(demo.kafka.brokers, ["own:1", "own:2"]);
    assert_eq!(demo.database.url.expose(), "postgres://alias");
    assert_eq!((demo.http.workers, demo.auth.issuer.as_str()), (9, "file"));
    assert_eq!(demo.http.max_in_flight, 100);
    let named: Demo =
        load(&SettingsArgs::default(), pairs(&[("DEMO_CONFIG", &file.0.display().to_string())])).expect("good");
    assert_eq!(named.kafka.topic, "file");
}

#[test]
fn texts_stay_texts_and_lists_are_comma_separated() {
    let demo = from_env(&[
        ("DEMO__AUTH__HMAC_SECRET", "007"),
        ("DEMO__KAFKA__TOPIC", "true"),
        ("DEMO__AUTH__ISSUER", "1e5"),
        ("DEMO__AUTH__ALGORITHMS", "EdDSA"),
        ("DEMO__KAFKA__BROKERS", ""),
        ("DEMO__HTTP__STRICT", "false"),
        ("DEMO__GIVE_UP__PER_SECOND", "3"),
        ("DEMO__KAFKA__PROPERTIES__SECURITY__PROTOCOL", "SSL"),
        ("DEMO__KAFKA__PROPERTIES__LINGER__MS", "05"),
        ("DATABASE_URL", "postgres://me:1234@h"),
    ])
    .expect("good settings");
    assert_eq!(demo.auth.hmac_secret.expose(), "007");
    assert_eq!((demo.kafka.topic.as_str(), demo.auth.issuer.as_str()), ("true", "1e5"));
    assert_eq!(demo.auth.algorithms, ["EdDSA"]);
    assert!(demo.kafka.brokers.is_empty() && !demo.http.strict);
    assert_eq!(demo.give_up.per_second.to_string(), "3");
    let properties: Vec<_> = demo.kafka.properties.iter().collect();
    assert_eq!(properties, [("linger.ms", "05"), ("security.protocol", "SSL")]);
}

#[test]
fn an_open_table_takes_nested_and_quoted_keys_of_a_file() {
    let demo = from_file("[kafka.properties]\nsecurity.protocol = 'SSL'\n'linger.ms' = 5\n").expect("good settings");
    let properties: Vec<_> = demo.kafka.properties.iter().collect();
    assert_eq!(properties, [("linger.ms", "5"), ("security.protocol", "SSL")]);
}

#[test]
fn the_printed_settings_are_a_configuration_file_again() {
    let printed =
        print_effective(&from_set(&[("kafka.topic", "x"), ("kafka.properties.linger.ms", "5")]).expect("good"));
    let again = from_file(&printed).expect("good settings");
    assert_eq!(print_effective(&again), printed);
    assert!(printed.contains("topic = \"x\"") && printed.contains("\"linger.ms\" = \"5\""), "{printed}");
}
