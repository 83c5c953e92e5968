//! Where officers act on events: each change is stored first and then told to the listeners. Whoever changes the triage
//! of an event goes through here, or the pages of the others would not hear of it.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::Notice;
use super::store::{EventKey, TriageStore};
use super::triage::{Act, Officer, Refusal, Snooze, Triage};
use crate::base::{Clock, Result};

/// A store with its listeners. Cloneable.
#[derive(Clone)]
pub struct Desk<S> {
    store: S,
    notices: broadcast::Sender<Arc<Notice>>,
    clock: Arc<dyn Clock>,
}

impl<S: TriageStore> Desk<S> {
    /// Tells `notices` of everything that is changed in `store`.
    pub fn new(store: S, notices: broadcast::Sender<Arc<Notice>>, clock: Arc<dyn Clock>) -> Self {
        Self { store, notices, clock }
    }

    /// See [`TriageStore::act`].
    pub async fn act(&self, event: EventKey, act: Act, by: Officer, version: u32) -> Result<Result<Triage, Refusal>> {
        let done = self.store.act(event.clone(), act, by, version, self.now_ms()).await?;
        if done.is_ok() {
            self.tell(event);
        }
        Ok(done)
    }

    /// See [`TriageStore::join`].
    pub async fn join(&self, event: EventKey, with: EventKey, by: Officer) -> Result<Result<Triage, Refusal>> {
        let done = self.store.join(event.clone(), with.clone(), by, self.now_ms()).await?;
        if done.is_ok() {
            self.tell(with);
            self.tell(event);
        }
        Ok(done)
    }

    /// See [`TriageStore::escalate`]; gives how many were marked.
    pub async fn escalate(&self, after_ms: i64) -> Result<usize> {
        let events = self.store.escalate(self.now_ms(), after_ms).await?;
        let n = events.len();
        events.into_iter().for_each(|event| self.tell(event));
        Ok(n)
    }

    /// See [`TriageStore::snooze`].
    pub async fn snooze(&self, snooze: Snooze) -> Result<()> {
        self.store.snooze(snooze).await?;
        self.notices.send(Arc::new(Notice::Snoozes)).ok();
        Ok(())
    }

    /// See [`TriageStore::unsnooze`].
    pub async fn unsnooze(&self, id: String) -> Result<bool> {
        let ended = self.store.unsnooze(id, self.now_ms()).await?;
        if ended {
            self.notices.send(Arc::new(Notice::Snoozes)).ok();
        }
        Ok(ended)
    }

    /// See [`TriageStore::snoozes`].
    pub async fn snoozes(&self) -> Result<Vec<Snooze>> {
        self.store.snoozes(self.now_ms()).await
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().wall_ms
    }

    // Nobody need listen.
    fn tell(&self, (node, event): EventKey) {
        self.notices.send(Arc::new(Notice::Triage { node, event })).ok();
    }
}
