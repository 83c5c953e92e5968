//! Everything that happens, as server-sent events. A connection ends with its session, and resumes by the last id.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event as Line, Sse};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use utoipa::IntoParams;

use super::caller::{State, Visitor};
use super::input::Asked;
use super::problem::{Answer, Problem};
use super::{Api, Shared};
use crate::centre::account::can::{Action, Object};
use crate::centre::feed::{Audience, Item, Listening};

/// A line at least this often, and a look at whether the session still stands.
const PING: Duration = Duration::from_secs(15);

struct Listener {
    api: Shared,
    visitor: Visitor,
    coming: tokio::sync::broadcast::Receiver<Arc<Item>>,
    /// When the session is looked at again, however much is to be said meanwhile.
    look: Interval,
    /// What is to go first.
    waiting: VecDeque<Line>,
}

/// Where to begin.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct From {
    /// The id of the last item that was heard, for clients that cannot set the header `Last-Event-ID`, which goes before.
    last_event_id: Option<String>,
}

/// What happens, as it happens.
#[utoipa::path(get, path = "/stream", tag = "stream", params(From),
    responses((status = 200, content_type = "text/event-stream"), (status = 401, body = Problem)))]
pub(super) async fn stream(
    api: State,
    visitor: Visitor,
    headers: HeaderMap,
    Asked(from): Asked<From>,
) -> Answer<Response> {
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).or(from.last_event_id.as_deref());
    let Listening { missed, coming, resumed, at } = api.feed.listen(last);
    let mut look = interval_at(Instant::now() + PING, PING);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut listener = Listener { api: api.0, visitor, coming, look, waiting: VecDeque::new() };
    let hello = json!({
        "now_ms": listener.api.clock.now().wall_ms,
        "boot": listener.api.feed.run(),
        "resumed": resumed,
    });
    // What was missed keeps its own ids; a connection that breaks off in between resumes there.
    let mut hello = Line::default().event("hello").data(hello.to_string());
    if !resumed {
        hello = hello.id(listener.api.feed.id(at));
    }
    listener.waiting.push_back(hello);
    for item in missed {
        if listener.concerns(&item) {
            let line = listener.line(&item);
            listener.waiting.push_back(line);
        }
    }
    let lines = futures_util::stream::unfold(listener, |mut listener| async move {
        let line = listener.next().await?;
        Some((Ok::<_, Infallible>(line), listener))
    });
    Ok(Sse::new(lines).into_response())
}

impl Listener {
    /// The next line; `None` ends the connection.
    async fn next(&mut self) -> Option<Line> {
        let mut shutdown = self.api.shutdown.clone();
        loop {
            let waits = !self.waiting.is_empty();
            tokio::select! {
                biased;
                () = ended(&mut shutdown) => return None,
                _ = self.look.tick() => {
                    // A session that ended, or an account that changed, ends what it opened.
                    match self.api.accounts.who(&self.visitor.token).await {
                        Ok(Some(session)) => self.visitor.session = session,
                        _ => return None,
                    }
                    let now_ms = self.api.clock.now().wall_ms;
                    return Some(Line::default().event("ping").data(json!({ "now_ms": now_ms }).to_string()));
                }
                () = std::future::ready(()), if waits => return self.waiting.pop_front(),
                item = self.coming.recv() => match item {
                    Ok(item) if self.concerns(&item) => return Some(self.line(&item)),
                    Ok(_) => {}
                    // Whoever fell behind, or is told to come back, resumes or reads the lists again.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
                },
            }
        }
    }

    fn line(&self, item: &Item) -> Line {
        Line::default().id(self.api.feed.id(item.number)).event(item.name).data(&*item.data)
    }

    fn concerns(&self, item: &Item) -> bool {
        let ask = |action, object: &Object<'_>| self.visitor.ask(action, object).is_ok();
        let api: &Api = &self.api;
        match &item.audience {
            Audience::Event((node, camera)) => {
                api.lent(node, camera, |lent| ask(Action::EventView, &Object::Event(lent)))
            }
            Audience::Camera((node, camera)) => {
                api.lent(node, camera, |lent| ask(Action::CameraView, &Object::Camera(lent)))
            }
            Audience::NodeEvent(node) => ask(Action::EventView, &Object::Node(node)),
            Audience::Node(node) => ask(Action::NodeView, &Object::Node(node)),
            Audience::All => true,
        }
    }
}

/// Resolves when the centre stops.
pub(super) async fn ended(shutdown: &mut tokio::sync::watch::Receiver<bool>) {
    shutdown.wait_for(|stop| *stop).await.map(drop).ok();
}
