//! `/metrics`, `/healthz`, `/readyz`: what a technician's monitoring reads. Loopback unless the configuration says
//! otherwise. Shows camera ids and numbers; never an address, a picture or a secret.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use crate::base::telemetry as names;
use crate::base::{Error, ErrorKind, Result};

/// One condition of readiness: what it is and whether it holds.
pub type Check = (&'static str, bool);

/// Says what is needed to be ready and whether it is so.
pub type Readiness = Arc<dyn Fn() -> Vec<Check> + Send + Sync>;

const INFERENCE_BUCKETS: [f64; 9] = [0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0];
const LATENCY_BUCKETS: [f64; 10] = [0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 30.0, 300.0];

/// Installs the process's metrics recorder; once a process.
pub fn install_metrics() -> Result<PrometheusHandle> {
    let failed = |e: &dyn std::fmt::Display| Error::new(ErrorKind::Internal, format!("metrics cannot be set up: {e}"));
    let exact = |name: &str| metrics_exporter_prometheus::Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(exact(names::INFERENCE_SECONDS), &INFERENCE_BUCKETS)
        .and_then(|b| b.set_buckets_for_metric(exact(names::RECEIPT_SECONDS), &LATENCY_BUCKETS))
        .and_then(|b| b.set_buckets_for_metric(exact(names::COMMIT_SECONDS), &LATENCY_BUCKETS))
        .map_err(|e| failed(&e))?
        .install_recorder()
        .map_err(|e| failed(&e))
}

#[derive(Clone)]
struct Observed {
    metrics: PrometheusHandle,
    readiness: Readiness,
}

/// Binds `address`; a port in use is an error that says so.
pub async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        Error::new(ErrorKind::Unavailable, "cannot listen")
            .at(address)
            .hint(format!(
                "another program uses the port; change `listen` in [{key}], or stop it (ss -ltnp shows which)"
            ))
            .source(e)
    })
}

/// Serves until `shutdown` completes.
pub async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    readiness: Readiness,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let app = Router::new()
        .route("/metrics", get(render))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Observed { metrics, readiness });
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown)
        .await
        .map_err(|e| Error::new(ErrorKind::Io, "the HTTP door failed").source(e))
}

async fn render(State(observed): State<Observed>) -> Response {
    observed.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], observed.metrics.render()).into_response()
}

async fn ready(State(observed): State<Observed>) -> Response {
    let checks = (observed.readiness)();
    let all = checks.iter().all(|(_, holds)| *holds);
    let lines: String =
        checks.iter().map(|(what, holds)| format!("{} {what}\n", if *holds { "ok" } else { "no" })).collect();
    let status = if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, lines).into_response()
}
