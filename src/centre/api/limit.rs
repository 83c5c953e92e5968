//! How many connections a door holds at a time. Strangers can open as many as they like, and each takes a file from
//! what the process may open: without a bound there would be none left for events and clips.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use axum::routing::future::RouteFuture;
use http_body::Body as HttpBody;
use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower_service::Service;

use crate::base::telemetry;

/// The most that a door holds, whatever the process may open.
const MOST: u64 = 4096;
/// A door has this share of the files that the process may open: there are two.
const SHARE: u64 = 4;
/// It is said once in so long that a door is full.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Makes the service of each connection, and refuses those beyond the bound: they are closed at once.
pub(super) struct ConnectionLimit {
    router: Router,
    free: Arc<Semaphore>,
    connections: usize,
    /// The section of the configuration.
    key: &'static str,
    said: Option<Instant>,
}

impl ConnectionLimit {
    /// The door of section `key`; bounded by what the process may open.
    pub(super) fn new(router: Router, key: &'static str) -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let connections = usize::try_from((files / SHARE).min(MOST)).unwrap_or(usize::MAX);
        let free = Arc::new(Semaphore::new(connections));
        Self { router: router.with_state(()), free, connections, key, said: None }
    }

    fn refuse(&mut self) -> io::Error {
        metrics::counter!(telemetry::CENTRE_CONNECTIONS_REFUSED, "door" => self.key).increment(1);
        let now = Instant::now();
        if self.said.is_none_or(|said| now - said >= SAID_EVERY) {
            self.said = Some(now);
            tracing::warn!(
                connections = self.connections,
                "[{}] holds all the connections it may; further ones are refused",
                self.key
            );
        }
        io::ErrorKind::ConnectionRefused.into()
    }
}

impl Service<SocketAddr> for ConnectionLimit {
    type Response = Connection;
    type Error = io::Error;
    type Future = Ready<io::Result<Connection>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, peer: SocketAddr) -> Self::Future {
        ready(match self.free.clone().try_acquire_owned() {
            Ok(place) => Ok(Connection { router: self.router.clone(), peer, _place: Arc::new(place) }),
            Err(_) => Err(self.refuse()),
        })
    }
}

/// What serves one connection; it has its place until it ends.
#[derive(Clone)]
pub(super) struct Connection {
    router: Router,
    peer: SocketAddr,
    _place: Arc<OwnedSemaphorePermit>,
}

impl<B> Service<Request<B>> for Connection
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.router.call(request)
    }
}
