//! `coupon-bench bare`: the limit for HTTP. The listener of `issuer-api`, its route and its check of the token, and an
//! answer as large as a real one; nothing else. A process of its own, so that its CPU time can be told from the load's.

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
use coupon_core::runtime::{HttpLimits, Shutdown, http};
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
}

/// Serves the one route until SIGTERM.
pub async fn run(arguments: BareArgs) -> Result<()> {
    // The runtime of the service has as many threads as there are cores; that of coupon-bench has one.
    let serve = move || tokio::runtime::Runtime::new()?.block_on(serve(&arguments));
    tokio::task::spawn_blocking(serve).await?
}

async fn serve(arguments: &BareArgs) -> Result<()> {
    let key_file = arguments.key_file.display().to_string();
    let (public_key_file, hmac_secret_file) =
        if arguments.algorithm == "HS256" { (String::new(), key_file) } else { (key_file, String::new()) };
    let settings = AuthSettings {
        issuer: arguments.issuer.clone(),
        audience: arguments.audience.clone(),
        algorithms: vec![arguments.algorithm.clone()],
        member_claim: "sub".to_owned(),
        public_key_file,
        hmac_secret_file,
        leeway_s: 30,
        ..AuthSettings::default()
    };
    let verifier = settings.verifier()?;
    let route = post(answer).with_state(Arc::new(verifier));
    let router = Router::new().route("/api/v1/coupons/{code}/issues", route);
    let listener = TcpListener::bind(arguments.listen).await.context("the address cannot be bound")?;
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

async fn answer(
    State(verifier): State<Arc<Verifier>>,
    Path(code): Path<String>,
    headers: HeaderMap,
    _body: Body,
) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
    let Some(Ok(_member)) = token.map(|(_, token)| verifier.subject(token.trim_matches(' '))) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let location = format!("/api/v1/coupons/{code}/issues/018f3f5e-7b1a-7000-8000-000000000001");
    ([(header::LOCATION, location), (header::CONTENT_TYPE, "application/json".to_owned())], ANSWER).into_response()
}
