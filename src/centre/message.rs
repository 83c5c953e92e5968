//! From a message off the wire to a checked [`Item`]. Pure. Whoever can write to the broker is a stranger: topic and
//! body must agree, sizes are bounded, a picture must be what its hash says.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::store::{EventTimes, Item};
use crate::base::types::CameraId;
use crate::publish::link::MAX_PACKET;
use crate::wire::command::{self, Answer};
use crate::wire::event::{self, Event, parse_rfc3339};
use crate::wire::link::is_sha256;
use crate::wire::topic::{self, Topic, is_event_id};

/// The largest status accepted, in bytes.
const MAX_STATUS: usize = 4096;

/// Why a message was not taken; the name is the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not a topic of ours.
    Topic,
    Oversized,
    Malformed,
    /// Its parts contradict each other.
    Mismatch,
    /// Another content came before under the same event and revision.
    Conflict,
    /// The store cannot take this one.
    Store,
}

impl Reason {
    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
            Self::Mismatch => "mismatch",
            Self::Conflict => "conflict",
            Self::Store => "store",
        }
    }
}

/// Checks one message of `ward`.
pub fn understand(ward: &str, topic: &str, payload: Bytes, properties: &[(String, String)]) -> Result<Item, Reason> {
    match topic::parse(ward, topic).ok_or(Reason::Topic)? {
        Topic::NodeStatus { node } => Ok(Item::Node { node, status: status(&payload)? }),
        Topic::Answer { node } => {
            let answer: Answer = json(&payload, command::MAX_BYTES)?;
            if answer.is_sound() { Ok(Item::Answer { node, answer }) } else { Err(Reason::Malformed) }
        }
        Topic::CameraStatus { node, camera } => Ok(Item::Camera { node, camera, status: status(&payload)? }),
        Topic::Event { node, camera } => event(ward, node, camera.as_ref(), payload),
        Topic::Snapshot { node, camera, event } => snapshot(node, camera, event, payload, properties),
    }
}

fn json<T: DeserializeOwned>(payload: &[u8], limit: usize) -> Result<T, Reason> {
    if payload.len() > limit {
        return Err(Reason::Oversized);
    }
    serde_json::from_slice(payload).map_err(|_| Reason::Malformed)
}

fn status<T: DeserializeOwned>(payload: &[u8]) -> Result<Option<T>, Reason> {
    if payload.is_empty() { Ok(None) } else { json(payload, MAX_STATUS).map(Some) }
}

fn event(ward: &str, node: String, camera: Option<&CameraId>, payload: Bytes) -> Result<Item, Reason> {
    let event: Event = json(&payload, event::MAX_BYTES)?;
    let hash_sound = event.snapshot.as_ref().is_none_or(|s| is_sha256(&s.sha256));
    if event.schema != event::SCHEMA || !is_event_id(&event.id) || event.revision == 0 || !hash_sound {
        return Err(Reason::Malformed);
    }
    // SQLite counts to 2^63 - 1.
    if event.seq > i64::MAX as u64 {
        return Err(Reason::Malformed);
    }
    if event.ward != ward || event.node != node || event.camera.as_deref() != camera.map(CameraId::as_str) {
        return Err(Reason::Mismatch);
    }
    let time = |text: &str| parse_rfc3339(text).map_err(|_| Reason::Malformed);
    let times = EventTimes {
        started_ms: time(&event.started_at)?,
        updated_ms: time(&event.updated_at)?,
        ended_ms: event.ended_at.as_deref().map(time).transpose()?,
        arrived_ms: time(&event.arrived_at)?,
    };
    Ok(Item::Event { node, event: Box::new(event), json: payload, times })
}

fn snapshot(
    node: String,
    camera: CameraId,
    event: String,
    jpeg: Bytes,
    properties: &[(String, String)],
) -> Result<Item, Reason> {
    let property = |name: &str| properties.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    let sha256 = property("sha256").filter(|s| is_sha256(s)).ok_or(Reason::Malformed)?;
    if jpeg.len() > MAX_PACKET {
        return Err(Reason::Oversized);
    }
    if !jpeg.starts_with(&[0xff, 0xd8, 0xff]) {
        return Err(Reason::Malformed);
    }
    if property("event-id") != Some(&event) || hex::encode(Sha256::digest(&jpeg)) != sha256 {
        return Err(Reason::Mismatch);
    }
    Ok(Item::Snapshot { node, camera, event, sha256: sha256.to_owned(), jpeg })
}
