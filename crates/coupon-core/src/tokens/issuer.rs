//! The JWK Set that the issuer publishes, asked for by HTTP.
//!
//! A server may do anything, so a request has a time limit, reads a limited number of bytes, follows no redirect and uses no
//! proxy. No reason shows more of the address than its host: the rest may carry a secret.

use std::{error::Error, fs, time::Duration};

use reqwest::{Certificate, Client, Url, redirect::Policy};
use tokio::time::timeout;

use super::{Key, TokenSettings, keys};
use crate::runtime::{SettingsError, chain};

/// Longest time until the whole set is there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of a set that are read. One with ten keys and their certificates has about 20,000.
const MAX_SET_BYTES: usize = 1 << 20;

/// The keys of the set that serve an allowed algorithm, at least one; or why there are none, in one sentence that names the
/// setting to put right.
pub(super) async fn fetch(settings: &TokenSettings) -> Result<Vec<Key>, String> {
    let wrong = |error: SettingsError| error.to_string();
    let Some(url) = settings.url().map_err(wrong)? else { return Ok(Vec::new()) };
    let (client, allowed) = (client(settings).map_err(wrong)?, settings.allowed().map_err(wrong)?);
    let setting = settings.key("jwks_url");
    let host = url.host_str().unwrap_or_default().to_owned();
    let answered = timeout(ANSWER_TIMEOUT, get(&client, url, &settings.key("jwks_ca_file"))).await;
    let keys = answered.unwrap_or_else(|_| Err(format!("gives no answer within {} s", ANSWER_TIMEOUT.as_secs())));
    let keys =
        keys.and_then(|set| keys::from_jwks(&set, &setting, &allowed).map_err(|wanted| format!("must give {wanted}")));
    keys.map_err(|reason| format!("{setting} ({host}) {reason}"))
}

async fn get(client: &Client, url: Url, ca_file: &str) -> Result<Vec<u8>, String> {
    let unreachable = |error: reqwest::Error| {
        let error = error.without_url();
        format!("cannot be asked: {}{}", chain(&error), hint(&error, ca_file))
    };
    let mut response = client.get(url).send().await.map_err(unreachable)?;
    let status = response.status();
    if status.is_redirection() {
        return Err(format!("answers {} and leads elsewhere: set it to where the JWK Set itself is", status.as_u16()));
    }
    if !status.is_success() {
        return Err(format!("answers {} and must answer 200 with a JWK Set", status.as_u16()));
    }
    let mut set = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        set.extend_from_slice(&chunk);
        if set.len() > MAX_SET_BYTES {
            return Err(format!("must give a JWK Set of at most {MAX_SET_BYTES} bytes"));
        }
    }
    Ok(set)
}

/// A client with the root certificates of now: made for each request, because their file may have changed. Fails with a
/// sentence when that file cannot be read or holds no certificate, or the system has none.
pub(super) fn client(settings: &TokenSettings) -> Result<Client, SettingsError> {
    let ca_file = || settings.key("jwks_ca_file");
    // `reqwest` takes the provider that the process has installed; each call after the first finds it there.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::builder()
        .user_agent(format!("{}/{}", settings.service, env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(Policy::none())
        .pool_max_idle_per_host(0);
    let file = &settings.jwks_ca_file;
    let client = if !file.is_empty() {
        let wrong =
            |why: String| SettingsError::invalid(ca_file(), file, format!("a PEM file with root certificates ({why})"));
        let pem = fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(chain(&error).to_string()))?;
        if roots.is_empty() {
            return Err(wrong("it holds none".to_owned()));
        }
        client.tls_certs_only(roots)
    } else if settings.jwks_url.expose().starts_with("http:") {
        // So that a system without CA certificates can still ask this machine.
        client.tls_certs_only([])
    } else {
        client
    };
    client.build().map_err(|error| {
        let why = chain(&error);
        SettingsError::invalid(
            ca_file(),
            file,
            format!("a PEM file with root certificates, or those of the system there ({why})"),
        )
    })
}

/// What to do about a certificate that is not believed.
fn hint(error: &(dyn Error + 'static), ca_file: &str) -> String {
    let text = chain(error).to_string();
    if text.contains("UnknownIssuer") {
        format!("; if the issuer has a certificate authority of its own, name its root certificate in {ca_file}")
    } else {
        String::new()
    }
}
