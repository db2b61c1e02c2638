#![doc = include_str!("../README.md")]
#![expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::ref_option,
    clippy::struct_excessive_bools,
    reason = "templates hand their fields over by reference, and show buttons by flags"
)]

mod access;
mod answer;
mod bound;
mod etag;
mod host;
mod mask;
mod pages;
mod params;
mod settings;
mod show;
mod streams;
mod suffix;
mod tile;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use coupon_core::runtime::{Health, HttpLimits, Shutdown, Throttle, chain, http};
use coupon_operations::{Operations, operators::TOKEN_PREFIX};
use tower::{Layer, util::MapRequestLayer};

pub use access::{AssertionSettings, AssertionVerifier, Role, VERBS, Verb};
pub use host::{ChannelAnswer, Host};
pub use settings::ConsoleSettings;

use access::{Asserted, Attempts, DENIALS, Denials, Proxies};
use pages::Budget;

/// Operators are few, and each browser keeps some connections.
const LIMITS: HttpLimits = HttpLimits {
    header_timeout: Duration::from_secs(5),
    idle_timeout: Duration::from_secs(75),
    drain: Duration::from_secs(2),
    max_connections: 256,
    name: "console",
};

/// Most logins of one address in a minute.
const MAX_LOGINS: u32 = 10;

/// Time between two tries to listen on an address that is in use.
const BIND_PAUSE: Duration = Duration::from_secs(5);

/// The console: what its pages are made from.
#[derive(Clone)]
pub struct Console(Arc<Inner>);

/// The parts, and what the process remembers.
pub struct Inner {
    parts: Parts,
    proxies: Proxies,
    logins: Attempts,
    denials: Denials,
    looks: pages::Looks,
    budget: Budget,
    streams: streams::Streams,
}

/// What a [`Console`] is made from.
pub struct Parts {
    /// What operators may do. Its database pool is the console's own.
    pub operations: Operations,
    /// `[console]`
    pub settings: ConsoleSettings,
    /// Name of the installation; empty: none.
    pub installation: String,
    /// Verifies the assertions of an identity provider; `None`: nobody vouches for operators.
    pub assertions: Option<Arc<AssertionVerifier>>,
    /// The readiness of the service that serves the console.
    pub health: Health,
    /// That service.
    pub host: Arc<dyn Host>,
}

impl std::ops::Deref for Console {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl std::ops::Deref for Inner {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Console {
    /// Returns the console over these parts.
    pub fn new(parts: Parts) -> Self {
        for reason in DENIALS {
            metrics::counter!("coupon_console_denials_total", "reason" => reason).increment(0);
        }
        Self(Arc::new(Inner {
            // The settings were checked.
            proxies: Proxies::read(&parts.settings.trusted_proxies).unwrap_or_default(),
            parts,
            logins: Attempts::at_most(MAX_LOGINS, u32::MAX),
            denials: Denials::default(),
            looks: pages::Looks::default(),
            budget: Budget::default(),
            streams: streams::Streams::default(),
        }))
    }

    /// Serves the console at `address` until `shutdown` begins. While another process has the address, it is tried again: the
    /// service that consumes does not end for it.
    pub async fn serve(self, address: SocketAddr, shutdown: Shutdown) {
        let bound = async {
            loop {
                match http::bind(address, "console.listen").await {
                    Ok(listener) => break listener,
                    Err(error) => tracing::error!("the console is not served: {}", chain(&error)),
                }
                tokio::time::sleep(BIND_PAUSE).await;
            }
        };
        let listener = tokio::select! {
            () = shutdown.stopping() => return,
            listener = bound => listener,
        };
        tracing::info!(%address, "the console is at http://{address}{}", self.base_path());
        http::serve(listener, self.router(), LIMITS, shutdown).await;
    }

    /// Returns the routes, each with the guard before it. The base path is taken off where a proxy has left it.
    pub fn router(self) -> Router {
        let base = self.settings.base_path.clone();
        // Outside the router, which has chosen a route before its own layers run.
        let bare = MapRequestLayer::new(move |request: Request| suffix::take_off(request, &base));
        Router::new().fallback_service(bare.layer(pages::routes(&self)))
    }

    fn base_path(&self) -> &str {
        &self.settings.base_path
    }

    fn installation(&self) -> &str {
        &self.installation
    }

    fn is_read_only(&self) -> bool {
        self.settings.read_only
    }

    /// Whether operators may log in with tokens of their own: where the setting says so, and on loopback.
    fn takes_tokens(&self) -> bool {
        self.settings.tokens || self.settings.is_on_loopback()
    }

    /// Returns whom an assertion of the identity provider speaks for, if it is valid.
    async fn asserted(&self, token: &str) -> Option<Asserted> {
        static REFUSED: Throttle = Throttle::new();
        let verifier = self.assertions.as_ref().filter(|_| !token.starts_with(TOKEN_PREFIX))?;
        let refused = match verifier.identify(token).await {
            Ok(asserted) => return Some(asserted),
            Err(refused) => refused,
        };
        if let Some(count) = REFUSED.admit("") {
            tracing::warn!(
                count,
                "an assertion of an operator was refused: {refused} ({count} since this was last said)"
            );
        }
        None
    }
}
