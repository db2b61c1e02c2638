//! The routes of the API.

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};

use super::{Api, Code, Problem, coupon, guard, issue, status};

/// The API of version 1.
pub fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/api/v1/coupons/{code}", get(coupon::show))
        .route("/api/v1/coupons/{code}/issues", post(issue::ask))
        .route("/api/v1/coupons/{code}/issues/{request_id}", get(status::show))
        .fallback(async || Problem::new(Code::NotFound, "there is no such route"))
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed, "the route has no such method"))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), guard::guard))
        .with_state(api)
}
