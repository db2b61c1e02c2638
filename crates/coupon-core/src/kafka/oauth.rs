//! Tokens by which the clients log in (`OAUTHBEARER`), from a token server by the client credentials grant of OAuth 2.0.
//!
//! librdkafka asks for a token inside a poll, which must not wait. So tokens are fetched beside it, ahead of their expiry, and
//! the callback only takes the last one. A process has one `[kafka.oauth]` section, so all of its clients share one token.

use std::{
    error::Error,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rdkafka::client::OAuthToken;
use reqwest::{Certificate, Client, Url, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    clock::{Clock, SystemClock},
    runtime::{SettingsError, Tasks, chain},
};

/// How often a service looks whether a token is due.
const CHECK_PERIOD: Duration = Duration::from_secs(1);
/// How long the token server may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two questions to a token server that gave no token.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// The lifetime of a token whose server does not tell it, in s.
const DEFAULT_LIFETIME_S: u64 = 300;

/// The `[kafka.oauth]` section.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OAuthSettings {
    /// Address of the token endpoint; empty: no tokens.
    pub token_url: String,
    /// The client's id there.
    pub client_id: String,
    /// File of the client's secret there, read for each token.
    pub client_secret_file: String,
    /// The scope to ask for; empty: the server's own choice.
    pub scope: String,
    /// File of the root certificates of the token server (PEM); empty: those of the system.
    pub ca_file: String,
}

struct Token {
    token: String,
    principal: String,
    expires_at_ms: i64,
    /// When the next one is due, ahead of the time when librdkafka asks for it (at 80 % of the lifetime).
    renew_at: Instant,
}

#[derive(Default)]
struct Tokens {
    last: Option<Token>,
    /// Why there is no newer one, and when to ask again.
    failed: Option<(String, Instant)>,
}

static TOKENS: Mutex<Tokens> = Mutex::new(Tokens { last: None, failed: None });

impl OAuthSettings {
    /// Whether clients log in by tokens.
    pub(super) fn is_on(&self) -> bool {
        !self.token_url.is_empty()
    }

    /// Tests what the types cannot.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        if !self.is_on() {
            return Ok(());
        }
        let is_loopback = |url: &Url| matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let is_usable = |url: Url| url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
        if !Url::parse(&self.token_url).is_ok_and(is_usable) {
            let allowed =
                "an address that begins with https:// (http:// only on this machine: the secret is sent there)";
            return Err(SettingsError::invalid("kafka.oauth.token_url", &self.token_url, allowed));
        }
        if self.client_id.is_empty() {
            return Err(SettingsError::invalid("kafka.oauth.client_id", "", "set with kafka.oauth.token_url"));
        }
        self.secret().and_then(|_| self.http()).map(drop)
    }

    fn secret(&self) -> Result<String, SettingsError> {
        let path = &self.client_secret_file;
        std::fs::read_to_string(path).map(|text| text.trim_end().to_owned()).map_err(|error| {
            let allowed = format!("the path of a file that can be read, with the client's secret ({error})");
            SettingsError::invalid("kafka.oauth.client_secret_file", path, allowed)
        })
    }

    fn http(&self) -> Result<Client, SettingsError> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut client = Client::builder().timeout(ANSWER_TIMEOUT).no_proxy().pool_max_idle_per_host(0);
        let unusable = |error: &(dyn Error + 'static)| {
            let allowed = format!("the path of a file of certificates in PEM ({})", chain(error));
            SettingsError::invalid("kafka.oauth.ca_file", &self.ca_file, allowed)
        };
        if !self.ca_file.is_empty() {
            let pem = std::fs::read(&self.ca_file).map_err(|error| unusable(&error))?;
            client = client.tls_certs_only(Certificate::from_pem_bundle(&pem).map_err(|error| unusable(&error))?);
        } else if self.token_url.starts_with("http:") {
            client = client.tls_certs_only([]);
        }
        client.build().map_err(|error| unusable(&error))
    }

    /// Keeps a token at hand that is not about to expire, until the stop begins. Returns when the first one is there, or the
    /// token server has not given one.
    pub(super) async fn keep_token(&self, tasks: &Tasks) {
        if !self.is_on() {
            return;
        }
        self.renew_if_due().await;
        let settings = self.clone();
        tasks.every("kafka token", CHECK_PERIOD, move || {
            let settings = settings.clone();
            async move { settings.renew_if_due().await }
        });
    }

    /// Fetches a token if the last one is about to expire.
    pub(super) async fn renew_if_due(&self) {
        if !self.is_on() || !lock().is_due() {
            return;
        }
        let fetched = self.fetch().await;
        let mut tokens = lock();
        match fetched {
            Ok(token) => {
                if tokens.failed.take().is_some() {
                    tracing::info!("the token server of kafka.oauth.token_url gives tokens again");
                }
                tokens.last = Some(token);
            }
            Err(why) => {
                if tokens.failed.as_ref().is_none_or(|(before, _)| *before != why) {
                    tracing::warn!("no token for kafka: {why}");
                }
                tokens.failed = Some((why, Instant::now() + RETRY_PERIOD));
            }
        }
    }

    async fn fetch(&self) -> Result<Token, String> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            expires_in: Option<u64>,
        }
        let (secret, http) = (self.secret(), self.http());
        let (secret, http) =
            secret.and_then(|secret| Ok((secret, http?))).map_err(|error| chain(&error).to_string())?;
        // The encoding of a form is that of a query.
        let mut form = Url::parse("form:/").map_err(|error| error.to_string())?;
        form.query_pairs_mut().append_pair("grant_type", "client_credentials");
        if !self.scope.is_empty() {
            form.query_pairs_mut().append_pair("scope", &self.scope);
        }
        let request = http
            .post(&self.token_url)
            .basic_auth(&self.client_id, Some(secret))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned());
        let asked = SystemClock.now().timestamp_millis();
        let answer = request.send().await.map_err(|error| {
            let why = chain(&error.without_url()).to_string();
            format!("the token server of kafka.oauth.token_url is not reached ({why}); check the address and kafka.oauth.ca_file")
        })?;
        if !answer.status().is_success() {
            return Err(format!(
                "the token server of kafka.oauth.token_url refuses this client with {}; check kafka.oauth.client_id, \
                 kafka.oauth.client_secret_file and kafka.oauth.scope",
                answer.status()
            ));
        }
        // The error of the parser would repeat parts of the token.
        let answer: Answer = answer.json().await.map_err(|_| {
            "the answer of kafka.oauth.token_url holds no token; check that it is the address of a token endpoint"
                .to_owned()
        })?;
        let lifetime = Duration::from_secs(answer.expires_in.unwrap_or(DEFAULT_LIFETIME_S));
        Ok(Token {
            token: answer.access_token,
            principal: self.client_id.clone(),
            expires_at_ms: asked.saturating_add(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX)),
            renew_at: Instant::now() + lifetime.mul_f64(0.6),
        })
    }
}

impl Tokens {
    fn is_due(&self) -> bool {
        let now = Instant::now();
        self.last.as_ref().is_none_or(|token| now >= token.renew_at)
            && self.failed.as_ref().is_none_or(|(_, next)| now >= *next)
    }
}

/// The token of now, for the callback of a client. Asks nobody.
pub(super) fn current_token() -> Result<OAuthToken, Box<dyn Error>> {
    let tokens = lock();
    let now = SystemClock.now().timestamp_millis();
    match &tokens.last {
        Some(last) if last.expires_at_ms > now => Ok(OAuthToken {
            token: last.token.clone(),
            principal_name: last.principal.clone(),
            lifetime_ms: last.expires_at_ms,
        }),
        _ => {
            let why = tokens.failed.as_ref().map(|(why, _)| why.clone());
            Err(why.unwrap_or_else(|| "there is no token: set kafka.oauth.token_url".to_owned()).into())
        }
    }
}

fn lock() -> std::sync::MutexGuard<'static, Tokens> {
    TOKENS.lock().unwrap_or_else(PoisonError::into_inner)
}
