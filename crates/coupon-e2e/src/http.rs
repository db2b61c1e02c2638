//! HTTP without TLS, as everything speaks it that a test starts.

use std::time::Duration;

use anyhow::Result;
use reqwest::Client;

/// A client that waits so long for an answer, uses no proxy and trusts no certificate.
///
/// `reqwest` has TLS in this workspace for the webhooks of dlq-consumer. It then wants a provider, which each call after the
/// first finds installed, and would read the certificates of the system for each client.
pub(crate) fn client(timeout: Duration) -> Result<Client> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ok(Client::builder().no_proxy().tls_certs_only([]).timeout(timeout).pool_max_idle_per_host(512).build()?)
}
