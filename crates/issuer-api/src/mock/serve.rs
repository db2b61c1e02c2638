//! Listening, and what a name forces around every handler.

use std::{process::ExitCode, sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use coupon_core::{
    ids::MemberId,
    runtime::{Service, http as listener},
};
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::{Mock, problem, token::member_of};
use crate::{
    SERVICE,
    backend::Backend,
    config::ApiSettings,
    http::{Api, Code, routes},
    serve::limits,
};

/// How late a slow answer comes: later than any client should wait (README, "Call it from your shop's backend").
const SLOW: Duration = Duration::from_secs(10);
/// A code that no build has.
const UNKNOWN_CODE: &str = "CODE_OF_TOMORROW";
/// Largest problem that is rewritten, in bytes.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;

/// Answers members from memory until stopped. Needs no server and no key; of the settings only `[http]`, `[admin]` and `[log]`
/// count.
pub async fn serve(settings: &ApiSettings) -> anyhow::Result<ExitCode> {
    let service = Service::start(SERVICE, &settings.log, &settings.admin).await?;
    let outcome = Box::pin(listen(settings, &service)).await;
    let finished = service.finish().await;
    outcome?;
    finished?;
    Ok(ExitCode::SUCCESS)
}

async fn listen(settings: &ApiSettings, service: &Service) -> anyhow::Result<()> {
    let listening = service.health.condition("listening");
    let backend = Backend::Mock(Mock::default());
    let api = Arc::new(Api::new(backend, None, &settings.http, &settings.telemetry));
    api.open();
    let router = routes(Arc::clone(&api)).layer(middleware::from_fn_with_state(api, disturb));
    let members = listener::bind(settings.http.listen, "http.listen").await?;
    tracing::warn!(
        address = %settings.http.listen,
        "this is a mock at {}: it verifies no token, and what it gives away is no coupon", settings.http.listen
    );
    listening.ready();
    listener::serve(members, router, limits(settings), service.shutdown.clone()).await;
    Ok(())
}

/// Answers late, or with a code that no client knows, where the name of the member forces it.
async fn disturb(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let Some((mock, member)) = api.mock().zip(named(&request)) else { return next.run(request).await };
    match mock.disturbs(&member) {
        (Some(status), _) => unknown(status).await,
        (None, is_slow) => {
            if is_slow {
                sleep(SLOW).await;
            }
            next.run(request).await
        }
    }
}

fn named(request: &Request) -> Option<MemberId> {
    let (_, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    member_of(token.trim()).ok()
}

/// A problem like the others of this status, but for its code.
async fn unknown(status: StatusCode) -> Response {
    let of_class = if status.is_client_error() { Code::NotFound } else { Code::Internal };
    let like = Code::ALL.iter().copied().find(|code| code.status() == status).unwrap_or(of_class);
    let (mut head, body) = problem(like).into_response().into_parts();
    let bytes = to_bytes(body, MAX_PROBLEM_BYTES).await.unwrap_or_default();
    let mut problem: Map<String, Value> = serde_json::from_slice(&bytes).unwrap_or_default();
    problem.insert("code".to_owned(), UNKNOWN_CODE.into());
    problem.insert("type".to_owned(), "about:blank".into());
    problem.insert("title".to_owned(), "A problem of tomorrow".into());
    problem.insert("status".to_owned(), status.as_u16().into());
    head.status = status;
    Response::from_parts(head, Body::from(Value::Object(problem).to_string()))
}
