//! The admin listener: `/livez`, `/readyz`, `/metrics`.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use super::http::{self, BindError, HttpLimits};
use super::{Health, Shutdown, scrape};

/// Bounds in seconds of every histogram whose name ends in `_seconds`, the same in each replica so
/// that they can be added up: from a Redis round trip to a backlog of some minutes.
const SECONDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// How often recorded samples are folded into the histograms; without it they pile up unscraped.
const UPKEEP: Duration = Duration::from_secs(5);

/// Probes and scrapes are few and small.
const LIMITS: HttpLimits = HttpLimits {
    header_timeout: Duration::from_secs(5),
    // Scrapes come every 15 s to a minute.
    idle_timeout: Duration::from_secs(75),
    drain: Duration::from_secs(1),
    max_connections: 64,
    name: "admin",
};

/// Listens on `admin.listen` and makes the process record metrics. From now on connections wait for [`serve`].
///
/// Returns the address too, with the real port even if 0 was asked for.
pub async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let key = "admin.listen";
    let listener = http::bind(listen, key).await?;
    let address = listener.local_addr().map_err(|source| BindError { address: listen, key, source })?;
    recorder();
    Ok((listener, address))
}

/// Lets a counter begin at 0 for each value of its label; to be called after [`bind`].
///
/// Prometheus counts from the first sample of a series on: of one that is born in the first burst of a campaign, that
/// burst would be missing from every rate.
pub fn count_from_zero(name: &'static str, label: &'static str, values: impl IntoIterator<Item = &'static str>) {
    for value in values {
        metrics::counter!(name, label => value).increment(0);
    }
}

/// Answers until `shutdown` begins. That is a stop of its own, begun after everything else has
/// ended: see [`Service::finish`](super::Service::finish).
pub async fn serve(listener: TcpListener, health: Health, shutdown: Shutdown) {
    tokio::select! {
        () = http::serve(listener, router(health), LIMITS, shutdown) => {}
        () = upkeep() => {}
    }
}

/// The routes, for a test or another listener.
///
/// - `/livez`: 200 `ok` as long as the process answers; no dependency can change that, or an
///   outage of one would restart the fleet.
/// - `/readyz`: 200 or 503 with the [`Report`](super::Report) as JSON.
/// - `/metrics`: the Prometheus text format.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    let report = health.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let fleeting = scrape::measure(&health.report());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorder().render() + &fleeting)
}

async fn upkeep() {
    let mut interval = tokio::time::interval(UPKEEP);
    loop {
        interval.tick().await;
        recorder().run_upkeep();
    }
}

/// The one recorder of the process.
fn recorder() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .expect("the list of bounds is not empty")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::error!("another metrics recorder is installed, /metrics stays empty");
        }
        handle
    })
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router.clone().oneshot(request).await.expect("infallible");
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
    }

    #[tokio::test]
    async fn readyz_follows_the_conditions_and_livez_does_not() {
        let shutdown = Shutdown::new();
        let health = Health::new(shutdown.clone());
        let router = router(health.clone());
        let kafka = health.condition("kafka");
        let starting =
            r#"{"ready":false,"conditions":[{"name":"kafka","required":true,"ready":false,"reason":"starting"}]}"#;
        assert_eq!(ask(&router, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, starting.to_owned()));
        kafka.ready();
        let ready = r#"{"ready":true,"conditions":[{"name":"kafka","required":true,"ready":true,"reason":null}]}"#;
        assert_eq!(ask(&router, "/readyz").await, (StatusCode::OK, ready.to_owned()));
        kafka.unready("no broker answers");
        assert_eq!(ask(&router, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        kafka.ready();
        shutdown.begin("a test");
        let (status, body) = ask(&router, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("stopping"), "{body}");
        assert_eq!(ask(&router, "/livez").await, (StatusCode::OK, "ok".to_owned()));
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text_with_the_common_buckets() {
        let (_listener, address) = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
        assert_ne!(address.port(), 0);
        metrics::histogram!("runtime_test_seconds").record(0.3);
        count_from_zero("runtime_test_total", "outcome", ["GOOD", "BAD"]);
        let (status, body) = ask(&router(Health::new(Shutdown::new())), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("runtime_test_seconds_bucket{le=\"0.5\"} 1"), "{body}");
        assert!(body.contains("runtime_test_total{outcome=\"BAD\"} 0"), "{body}");
    }
}
