//! The routes of the API.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::CACHE_CONTROL},
    middleware,
    routing::{get, post},
};

use coupon_core::decisions;

use super::{Api, Code, Problem, coupon, guard, issue, openapi, problem::NO_STORE, problem_page, status};

/// The API of version 1.
pub fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/openapi.json", get(openapi::show_3_1))
        .route("/openapi-3.0.json", get(openapi::show_3_0))
        .route(
            "/asyncapi.json",
            get(async || ([(CACHE_CONTROL, problem_page::FOR_MINUTES)], Json(decisions::asyncapi()))),
        )
        .route("/problems", get(problem_page::list))
        .route("/problems/{code}", get(problem_page::show))
        .route("/api/v1/coupons/{code}", get(coupon::show))
        .route("/api/v1/coupons/{code}/issues/{request_id}", get(status::show))
        .route("/api/v1/coupons/{code}/issues/mine", get(status::show_mine))
        .route("/api/v1/issues/mine", get(status::list))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), guard::guard))
        // Not behind the guard: whoever sheds load still serves.
        .route("/healthz", get(async |State(api): State<Arc<Api>>| healthz(&api)))
        // This handler calls the guard by itself.
        .route("/api/v1/coupons/{code}/issues", post(issue::ask))
        .fallback(async |State(api): State<Arc<Api>>, method: Method, headers: HeaderMap| {
            guard::no_handler(&api, &method, &headers, Problem::new(Code::NotFound, "there is no such route"))
        })
        .method_not_allowed_fallback(async |State(api): State<Arc<Api>>, method: Method, headers: HeaderMap| {
            guard::no_handler(
                &api,
                &method,
                &headers,
                Problem::new(Code::MethodNotAllowed, "the route has no such method"),
            )
        })
        .with_state(api)
}

/// Answers load balancers that cannot ask the admin listener: 200 while members are answered, 503 before. Servers that are
/// away change nothing: the answers of this process, with their `Retry-After`, are better than those of a balancer.
fn healthz(api: &Api) -> (StatusCode, [(HeaderName, HeaderValue); 1], &'static str) {
    let (status, word) =
        if api.is_open() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting\n") };
    (status, [(CACHE_CONTROL, NO_STORE)], word)
}
