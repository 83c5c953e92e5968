//! What the centre tells its own listeners (terminal, page) after a commit. Pure.

use std::path::PathBuf;

use super::store::{Item, Outcome};
use crate::base::types::CameraId;
use crate::base::{Stamp, telemetry};
use crate::wire::channel::CameraInfo;
use crate::wire::event::Event;
use crate::wire::status::{CameraStatus, PeerStatus};

/// Something was committed, for the first time.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    Event(Box<CommittedEvent>),
    /// A picture, if it came after its event, or before.
    Snapshot {
        node: String,
        camera: CameraId,
        event: String,
        sha256: String,
        path: PathBuf,
    },
    Node {
        node: String,
        status: Option<PeerStatus>,
    },
    Camera {
        node: String,
        camera: CameraId,
        status: Option<CameraStatus>,
    },
    /// A node told what all its cameras are.
    Described {
        node: String,
        /// Of its cameras document.
        revision: u64,
        cameras: Vec<CameraInfo>,
    },
    /// Somebody did something with an event, or it was called up.
    Triage {
        node: String,
        event: String,
    },
    /// A snooze began or was ended.
    Snoozes,
}

/// An event revision that is on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedEvent {
    pub node: String,
    pub event: Event,
    /// No newer revision of the event had come before.
    pub newest: bool,
    /// Milliseconds from the frame's arrival at its node, by the two machines' wall clocks, to the commit.
    pub latency_ms: i64,
    /// Its picture, if that came before; otherwise a [`Notice::Snapshot`] follows.
    pub snapshot: Option<PathBuf>,
}

/// The notice for what became of `item`, and its metrics.
pub(super) fn of(item: &Item, outcome: &Outcome, now: Stamp) -> Option<Notice> {
    let kind = match item {
        Item::Event { .. } => "event",
        Item::Snapshot { .. } => "snapshot",
        Item::Answer { .. } => "answer",
        Item::Node { .. } | Item::Camera { .. } => "status",
    };
    match outcome {
        Outcome::Conflict => return None,
        Outcome::Duplicate => {
            metrics::counter!(telemetry::CENTRE_DUPLICATES, "kind" => kind).increment(1);
            return None;
        }
        _ => metrics::counter!(telemetry::CENTRE_COMMITTED, "kind" => kind).increment(1),
    }
    Some(match (item, outcome) {
        (Item::Event { node, event, times, .. }, Outcome::Event { newest, snapshot }) => {
            let latency_ms = now.wall_ms - times.arrived_ms;
            metrics::histogram!(telemetry::COMMIT_SECONDS).record(latency_ms.max(0) as f64 / 1000.0);
            Notice::Event(Box::new(CommittedEvent {
                node: node.clone(),
                event: (**event).clone(),
                newest: *newest,
                latency_ms,
                snapshot: snapshot.clone(),
            }))
        }
        (Item::Snapshot { node, camera, event, sha256, .. }, Outcome::Snapshot { path }) => Notice::Snapshot {
            node: node.clone(),
            camera: camera.clone(),
            event: event.clone(),
            sha256: sha256.clone(),
            path: path.clone(),
        },
        (Item::Node { node, status }, _) => Notice::Node { node: node.clone(), status: status.clone() },
        (Item::Camera { node, camera, status }, _) => {
            Notice::Camera { node: node.clone(), camera: camera.clone(), status: status.clone() }
        }
        _ => return None,
    })
}
