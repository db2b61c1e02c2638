//! `coupon-bench bare`: the limits for HTTP. The listener of `issuer-api`, its route and an answer as large as a real one, with
//! its check of the token or without; nothing else. A process of its own, so that its CPU time can be told from the load's.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use clap::Args;
use coupon_core::{
    ids::MemberId,
    runtime::{HttpLimits, Shutdown, http},
};
use issuer_api::auth::{AuthSettings, Verifier};
use tokio::net::TcpListener;

/// Body of every answer, as long as the one of an accepted request.
const ANSWER: &str =
    r#"{"request_id":"018f3f5e-7b1a-7000-8000-000000000001","coupon_code":"BENCH-ACCEPT","state":"accepted"}"#;

/// Address to listen on, and the tokens to accept.
#[derive(Clone, Debug, Args)]
pub struct BareArgs {
    /// Address to listen at, `host:port`.
    #[arg(long)]
    listen: SocketAddr,
    /// Issuer that a token must have, the claim `iss`.
    #[arg(long)]
    issuer: String,
    /// Audience that a token must have, the claim `aud`.
    #[arg(long)]
    audience: String,
    /// Algorithm of the tokens.
    #[arg(long)]
    algorithm: String,
    /// File with what verifies them: the public key, or the secret of HS256.
    #[arg(long)]
    key_file: PathBuf,
    /// Answer without looking at the token.
    #[arg(long)]
    unchecked: bool,
}

/// Path of the one route, the one of `issuer-api`.
pub const ISSUES: &str = "/api/v1/coupons/{code}/issues";

/// Serves the one route until SIGTERM.
pub async fn run(arguments: BareArgs) -> Result<()> {
    on_every_core(async move {
        let route = if arguments.unchecked {
            post(async |Path(code): Path<String>, _headers: HeaderMap, _body: Body| accepted(&code))
        } else {
            post(answer).with_state(Arc::new(arguments.verifier()?))
        };
        arguments.serve(Router::new().route(ISSUES, route)).await
    })
    .await
}

/// Runs a server on a runtime with as many threads as there are cores, as that of the service; that of coupon-bench has one.
pub async fn on_every_core(server: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(move || tokio::runtime::Runtime::new()?.block_on(server)).await?
}

impl BareArgs {
    /// Makes what verifies the tokens, as `issuer-api` does it.
    pub fn verifier(&self) -> Result<Verifier> {
        let key_file = self.key_file.display().to_string();
        let (public_key_file, hmac_secret_file) =
            if self.algorithm == "HS256" { (String::new(), key_file) } else { (key_file, String::new()) };
        let settings = AuthSettings {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            algorithms: vec![self.algorithm.clone()],
            member_claim: "sub".to_owned(),
            public_key_file,
            hmac_secret_file,
            leeway_s: 30,
            ..AuthSettings::default()
        };
        Ok(settings.verifier()?)
    }

    /// Serves these routes by the listener of `issuer-api` until SIGTERM.
    pub async fn serve(&self, router: Router) -> Result<()> {
        let listener = TcpListener::bind(self.listen).await.context("the address cannot be bound")?;
        let limits = HttpLimits {
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            drain: Duration::from_secs(1),
            max_connections: 16_384,
            name: "members",
        };
        let shutdown = Shutdown::new();
        shutdown.on_signals();
        http::serve(listener, router, limits, shutdown).await;
        Ok(())
    }
}

/// Returns the member whose token a request carries; none if there is no token, or one that does not count.
pub fn member(verifier: &Verifier, headers: &HeaderMap) -> Option<MemberId> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (_, token) = value.split_once(' ')?;
    verifier.subject(token.trim_matches(' ')).ok()
}

async fn answer(
    State(verifier): State<Arc<Verifier>>,
    Path(code): Path<String>,
    headers: HeaderMap,
    _body: Body,
) -> Response {
    if member(&verifier, &headers).is_none() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    accepted(&code)
}

fn accepted(code: &str) -> Response {
    let location = format!("/api/v1/coupons/{code}/issues/018f3f5e-7b1a-7000-8000-000000000001");
    ([(header::LOCATION, location), (header::CONTENT_TYPE, "application/json".to_owned())], ANSWER).into_response()
}
