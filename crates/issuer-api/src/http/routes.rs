//! The routes of the API.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    middleware,
    routing::{get, post},
};

use super::{Api, Code, Problem, coupon, guard, issue, problem::NO_STORE, status};

/// The description of the API for machines, written by hand; the tests below compare it with the code.
const OPENAPI: &str = include_str!("openapi.json");

/// The API of version 1.
pub fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/openapi.json", get(async || ([(CONTENT_TYPE, "application/json")], OPENAPI)))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn document() -> serde_json::Value {
        serde_json::from_str(OPENAPI).unwrap()
    }

    #[test]
    fn the_document_names_every_code_with_its_status_and_no_other() {
        let document = document();
        let words = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().unwrap();
        let words: BTreeSet<&str> = words.iter().filter_map(serde_json::Value::as_str).collect();
        assert_eq!(words, Code::ALL.iter().map(|code| code.as_str()).collect());
        let mut statuses = BTreeSet::new();
        for operations in document["paths"].as_object().unwrap().values() {
            for operation in operations.as_object().unwrap().values() {
                let responses = operation["responses"].as_object().unwrap();
                statuses.extend(responses.keys().filter(|status| status.as_str() >= "400").cloned());
            }
        }
        // What holds for every path is said once, in the description.
        let everywhere = ["400", "405", "414", "431", "500"].map(str::to_owned);
        let answered: BTreeSet<String> = Code::ALL.iter().map(|code| code.status().as_u16().to_string()).collect();
        assert_eq!(statuses.into_iter().chain(everywhere).collect::<BTreeSet<_>>(), answered);
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document = document();
        let references = OPENAPI.split("\"$ref\": \"#").skip(1).filter_map(|rest| rest.split('"').next());
        let mut found = 0;
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
            found += 1;
        }
        assert!(found > 5);
    }
}
