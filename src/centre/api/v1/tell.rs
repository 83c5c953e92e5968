//! From what the centre committed to what the page hears.

use std::collections::BTreeMap;

use serde_json::json;

use super::Api;
use super::cameras::BrokerJson;
use super::shape;
use crate::base::Result;
use crate::centre::feed::Audience;
use crate::centre::store::query::EventSummary;
use crate::centre::store::{CameraInfoStore, EventStore};
use crate::centre::{Health, Notice};
use crate::wire::channel::CameraInfo;

impl Api {
    /// Learns everything that is known at the start.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub async fn learn(&self) -> Result<()> {
        let (nodes, cameras) = (self.events.nodes().await?, self.events.cameras().await?);
        self.directory.fill(nodes, cameras);
        self.learn_cameras(None).await?;
        self.learn_people().await?;
        self.learn_emergencies().await
    }

    /// Tells those who listen of something that was committed.
    pub async fn tell(&self, notice: &Notice) {
        let told = match notice {
            Notice::Event(committed) if !committed.newest => return,
            Notice::Event(committed) => self.tell_event(&committed.node, &committed.event.id).await,
            Notice::Snapshot { node, event, .. } => self.tell_event(node, event).await,
            Notice::Triage { node, event } => self.tell_triage(node, event).await,
            Notice::Cameras { node } => self.tell_cameras(node).await,
            Notice::Snoozes => {
                self.feed.tell("snooze", Audience::All, "{}".into());
                Ok(())
            }
            Notice::Node { node, status } => {
                self.directory.node(node, status.clone());
                let said = json!({
                    "node": node,
                    "state": status.as_ref().map(|s| s.state),
                    "version": status.as_ref().map(|s| s.version.clone()),
                    "since_ms": status.as_ref().and_then(|s| shape::millis(&s.since)),
                });
                self.feed.tell("node", Audience::Node(node.clone()), said.to_string());
                Ok(())
            }
            Notice::Camera { node, camera, status } => {
                self.directory.camera(node, camera.as_str(), status.clone());
                let key = (node.clone(), camera.to_string());
                let current = status.as_ref().is_some_and(|s| self.directory.is_current(node, s));
                let said = json!({
                    "node": node,
                    "camera": camera.as_str(),
                    "state": status.as_ref().map_or("removed", |s| s.state.as_str()),
                    "fault": status.as_ref().and_then(|s| s.fault.clone()),
                    "detail": status.as_ref().and_then(|s| s.detail.clone()),
                    "since_ms": status.as_ref().and_then(|s| shape::millis(&s.since)),
                    "last_frame_ms": status.as_ref().and_then(|s| shape::millis(s.last_frame.as_deref()?)),
                    "fps": status.as_ref().map(|s| s.fps),
                    "current": current,
                });
                self.feed.tell("camera", Audience::Camera(key), said.to_string());
                Ok(())
            }
        };
        if let Err(error) = told {
            tracing::warn!(%error, "the page cannot be told of something; everybody who has it open reads its lists again");
            self.feed.break_off();
        }
    }

    /// Has everybody read the lists again: something was missed.
    pub fn break_off(&self) {
        self.feed.break_off();
    }

    /// Tells how the connection to the broker stands.
    pub fn tell_health(&self, health: &Health) {
        let said = BrokerJson { connected: health.connected, trouble: health.trouble.clone() };
        if let Ok(text) = serde_json::to_string(&said) {
            self.feed.tell("broker", Audience::Node(String::new()), text);
        }
    }

    /// Learns how nodes describe their cameras; `node` may have none any more.
    async fn learn_cameras(&self, node: Option<&str>) -> Result<()> {
        let mut described: BTreeMap<(String, u64), Vec<CameraInfo>> = BTreeMap::new();
        for known in self.store.descriptions().await? {
            described.entry((known.node, known.revision)).or_default().push(known.camera);
        }
        if let Some(node) = node.filter(|node| !described.keys().any(|(of, _)| of == node)) {
            self.directory.describe(node, 0, Vec::new());
        }
        for ((node, revision), cameras) in described {
            self.directory.describe(&node, revision, cameras);
        }
        Ok(())
    }

    async fn tell_cameras(&self, node: &str) -> Result<()> {
        self.learn_cameras(Some(node)).await?;
        self.feed.tell("cameras", Audience::All, json!({ "node": node }).to_string());
        Ok(())
    }

    async fn tell_event(&self, node: &str, id: &str) -> Result<()> {
        // A picture may come before its event.
        let Some(summary) = self.events.summary(node.to_owned(), id.to_owned()).await? else { return Ok(()) };
        let audience = audience(&summary);
        if let Ok(text) = serde_json::to_string(&self.event_json(summary)) {
            self.feed.tell("event", audience, text);
        }
        Ok(())
    }

    async fn tell_triage(&self, node: &str, id: &str) -> Result<()> {
        let Some(summary) = self.events.summary(node.to_owned(), id.to_owned()).await? else { return Ok(()) };
        let audience = audience(&summary);
        let triage = self.triage_json(summary.triage, summary.snoozed);
        let said = json!({ "node": node, "id": id, "triage": triage });
        self.feed.tell("triage", audience, said.to_string());
        Ok(())
    }
}

fn audience(event: &EventSummary) -> Audience {
    match &event.camera {
        Some(camera) => Audience::Event((event.node.clone(), camera.clone())),
        None => Audience::NodeEvent(event.node.clone()),
    }
}
