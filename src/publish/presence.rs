//! What a node says of itself and of its cameras on retained topics, and how two nodes with one name, or two centres of
//! one ward, notice each other. Pure.
//!
//! Everyone listens to its own status topic. Whoever sees another run's `online` there, freshly sent, has a twin: the
//! older run (its boot id, a UUIDv7, is smaller) says again that it is online and goes on; the younger yields. A retained
//! `online` may be left over from a run that the broker has not missed yet, and proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::link::Message;
use crate::base::types::CameraId;
use crate::base::{Error, ErrorKind, Result};
use crate::wire::status::{CameraStatus, PeerState, PeerStatus};
use crate::wire::topic::NodeTopics;

/// The newest status of every camera.
pub type CameraStatuses = BTreeMap<CameraId, CameraStatus>;

/// What another run's status on our topic means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do.
    Fine,
    /// Someone overwrote our status: say it again.
    SayAgain,
    /// Another one uses our name, and we were first: say it again and complain.
    TwinYounger,
    /// Another one uses our name, and it was first: stop and complain.
    TwinOlder,
}

/// Judges a status seen on our own topic while we are online as `boot_id`.
pub fn judge(boot_id: &str, seen: &PeerStatus, retained: bool) -> Verdict {
    if seen.boot_id == boot_id {
        return Verdict::Fine;
    }
    match (seen.state, retained) {
        (PeerState::Online, true) => Verdict::Fine,
        (PeerState::Online, false) if seen.boot_id.as_str() < boot_id => Verdict::TwinOlder,
        (PeerState::Online, false) => Verdict::TwinYounger,
        (PeerState::Stopping | PeerState::Offline, false) => Verdict::SayAgain,
        (PeerState::Stopping | PeerState::Offline, true) => Verdict::Fine,
    }
}

/// A retained status message; `at` is RFC 3339.
pub fn status_message(topic: String, state: PeerState, boot_id: &str, at: String) -> Result<Message> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let payload = to_json(&PeerStatus { state, version, boot_id: boot_id.to_owned(), since: at })?;
    Ok(Message { topic, payload, retain: true, ..Default::default() })
}

fn to_json(value: &impl serde::Serialize) -> Result<Bytes> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|e| Error::new(ErrorKind::Internal, "a status cannot be written as JSON").source(e))
}

/// Which cameras' statuses the broker does not have yet: the latest state wins, and all go again on each connection.
#[derive(Debug, Default)]
pub struct CameraBoard {
    current: CameraStatuses,
    waiting: BTreeSet<CameraId>,
}

impl CameraBoard {
    /// Takes the newest statuses; a camera that is no longer among them has its retained message removed.
    pub fn update(&mut self, statuses: &CameraStatuses) {
        let gone = self.current.keys().filter(|id| !statuses.contains_key(*id)).cloned();
        let changed = statuses.iter().filter(|(id, s)| self.current.get(*id) != Some(s)).map(|(id, _)| id.clone());
        self.waiting.extend(gone.chain(changed));
        self.current = statuses.clone();
    }

    /// A fresh connection: everything goes again.
    pub fn restart(&mut self) {
        self.waiting.extend(self.current.keys().cloned());
    }

    /// The next message to send; call [`Self::sent`] once it is handed over.
    pub fn next(&self, topics: &NodeTopics) -> Result<Option<(CameraId, Message)>> {
        let Some(id) = self.waiting.first() else { return Ok(None) };
        let payload = self.current.get(id).map(to_json).transpose()?.unwrap_or_default();
        Ok(Some((id.clone(), Message { topic: topics.camera_status(id), payload, retain: true, ..Default::default() })))
    }

    /// The message of `camera` is on its way.
    pub fn sent(&mut self, camera: &CameraId) {
        self.waiting.remove(camera);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: PeerState, boot_id: &str) -> PeerStatus {
        PeerStatus { state, version: "1".into(), boot_id: boot_id.into(), since: String::new() }
    }

    #[test]
    fn of_two_nodes_with_one_name_exactly_one_yields() {
        assert_eq!(judge("b", &status(PeerState::Online, "a"), false), Verdict::TwinOlder);
        assert_eq!(judge("a", &status(PeerState::Online, "b"), false), Verdict::TwinYounger);
    }

    #[test]
    fn what_a_dead_run_left_behind_is_no_twin() {
        assert_eq!(judge("b", &status(PeerState::Online, "a"), true), Verdict::Fine);
        assert_eq!(judge("b", &status(PeerState::Offline, "a"), false), Verdict::SayAgain, "its will came late");
        assert_eq!(judge("b", &status(PeerState::Online, "b"), false), Verdict::Fine);
    }

    #[test]
    fn only_the_latest_state_of_a_camera_goes_and_all_go_on_a_new_connection() {
        let topics = NodeTopics::new("w", "n");
        let camera = |state: &str| CameraStatus {
            state: state.into(),
            fault: None,
            detail: None,
            since: String::new(),
            codec: None,
            width: 0,
            height: 0,
            fps: 0.0,
            last_frame: None,
            boot_id: "b".into(),
            config_revision: 1,
            retry_at: None,
        };
        let id = |name: &str| name.parse::<CameraId>().expect("valid");
        let mut board = CameraBoard::default();
        board.update(&CameraStatuses::from([(id("a"), camera("connecting")), (id("c"), camera("online"))]));
        board.update(&CameraStatuses::from([(id("a"), camera("online"))]));
        let mut sent = Vec::new();
        while let Some((camera, message)) = board.next(&topics).expect("JSON") {
            sent.push((camera.to_string(), message.payload.is_empty()));
            board.sent(&camera);
        }
        assert_eq!(sent, [("a".to_owned(), false), ("c".to_owned(), true)]);
        board.restart();
        assert_eq!(board.next(&topics).expect("JSON").map(|n| n.0), Some(id("a")));
    }
}
