//! What the centre keeps, behind a trait, so that a city may put another database behind it.
//!
//! A commit is all or nothing and on disk when it returns: only then may a message be acknowledged and receipted.

mod access;
pub mod account;
pub mod backup;
mod command;
pub mod emergency;
mod event;
mod files;
pub mod hold;
mod info;
mod link;
pub mod query;
mod read;
mod report;
pub mod session;
pub mod sqlite;
mod triage;
pub mod webhook;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::Result;
use crate::base::types::CameraId;
use crate::centre::triage::{Act, Officer, Refusal, Snooze, Triage};
use crate::wire::channel::CameraInfo;
use crate::wire::command::{Answer, Command};
use crate::wire::event::Event;
use crate::wire::link::ClipNote;
use crate::wire::status::{CameraStatus, PeerStatus};

pub use access::{AccessEntry, AccessQuery, AccessReader, AccessRecord, AccessStore};
pub use account::AccountStore;
pub use emergency::{EmergencyStore, StoredEmergency};
pub use hold::{HoldStore, StoredHold};
pub use query::EventStore;
pub use read::{Reader, STATEMENTS, SqliteEvents};
pub use session::SessionStore;
pub use sqlite::SqliteStore;
pub use webhook::{Announce, WebhookStore};

/// A checked message of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Event {
        node: String,
        event: Box<Event>,
        /// As it was published.
        json: Bytes,
        /// UTC milliseconds, from the event's own times.
        times: EventTimes,
    },
    Snapshot {
        node: String,
        camera: CameraId,
        event: String,
        sha256: String,
        jpeg: Bytes,
    },
    /// To what the centre asked.
    Answer {
        node: String,
        answer: Answer,
    },
    /// `None`: the retained message was removed.
    Node {
        node: String,
        status: Option<PeerStatus>,
    },
    /// `None`: the retained message was removed.
    Camera {
        node: String,
        camera: CameraId,
        status: Option<CameraStatus>,
    },
}

/// An event's times as numbers, UTC milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTimes {
    pub started_ms: i64,
    pub updated_ms: i64,
    pub ended_ms: Option<i64>,
    pub arrived_ms: i64,
}

/// What became of an [`Item`]. All but `Conflict` are on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not known before. `newest`: no newer revision of the event had come. `snapshot`: its picture, if it is
    /// here already.
    Event { newest: bool, snapshot: Option<PathBuf> },
    /// A new picture, or a known one for another event.
    Snapshot { path: PathBuf },
    /// A status was replaced.
    Status,
    /// Known already, byte for byte.
    Duplicate,
    /// Another content was committed under the same event and revision; the first stays.
    Conflict,
}

/// An event as the centre shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    pub node: String,
    /// The newest revision that came.
    pub event: Event,
    /// Its picture, if the file is here.
    pub snapshot: Option<PathBuf>,
    /// UTC milliseconds.
    pub first_committed_ms: i64,
    pub committed_ms: i64,
}

/// A camera with what it counts for now.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredCamera {
    pub node: String,
    pub camera: String,
    pub status: CameraStatus,
    /// Its node is online, in the run that said so: only then `status` counts.
    pub current: bool,
}

/// A node's last word.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredNode {
    pub node: String,
    pub status: PeerStatus,
}

/// The centre's memory. Cloneable handles to one store.
pub trait CentreStore: Clone + Send + Sync + 'static {
    /// Commits a batch; one outcome for each item, in order. On an error nothing of it is committed.
    ///
    /// Errors: `Exhausted` when the disk is full, `Io`, `Corrupt`.
    fn commit(&self, batch: Arc<Vec<Item>>, now_ms: i64) -> impl Future<Output = Result<Vec<Outcome>>> + Send;

    /// The last events by start, newest first.
    fn events(&self, limit: usize) -> impl Future<Output = Result<Vec<StoredEvent>>> + Send;

    /// One event.
    fn event(&self, node: String, id: String) -> impl Future<Output = Result<Option<StoredEvent>>> + Send;

    /// Every revision of an event that came, in order, as published.
    fn revisions(&self, node: String, id: String) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// All nodes.
    fn nodes(&self) -> impl Future<Output = Result<Vec<StoredNode>>> + Send;

    /// All cameras.
    fn cameras(&self) -> impl Future<Output = Result<Vec<StoredCamera>>> + Send;

    /// Where the picture with this SHA-256 (lower-case hex) is, if it is here.
    fn snapshot(&self, sha256: String) -> impl Future<Output = Result<Option<PathBuf>>> + Send;
}

/// What the centre remembers of its enrolled nodes and of their clips. Hashes of secrets only.
pub trait LinkStore: Clone + Send + Sync + 'static {
    /// A one-time code for `node`, by its hash; it takes the place of an earlier one.
    fn offer_code(&self, node: String, code_sha256: String, expires_ms: i64)
    -> impl Future<Output = Result<()>> + Send;

    /// Uses a code up and gives `node` its new secret, by its hash: false when there is no such code any more.
    fn enrol(
        &self,
        node: String,
        code_sha256: String,
        secret_sha256: String,
        now_ms: i64,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Gives `node` a secret without a code: for a node of the same process.
    fn enrol_here(&self, node: String, secret_sha256: String, now_ms: i64) -> impl Future<Output = Result<()>> + Send;

    /// The hash of an enrolled node's secret.
    fn secret_of(&self, node: String) -> impl Future<Output = Result<Option<String>>> + Send;

    /// Whether `node` has delivered this content.
    fn has_clip(&self, node: String, sha256: String) -> impl Future<Output = Result<bool>> + Send;

    /// Indexes a clip whose object is durable; false when it was indexed already.
    fn add_clip(&self, node: String, note: ClipNote, now_ms: i64) -> impl Future<Output = Result<bool>> + Send;

    /// The clip that was delivered for a command, where there is one.
    fn clip_of(&self, node: String, command: String) -> impl Future<Output = Result<Option<ClipNote>>> + Send;

    /// The clips of an event that were delivered, in the order they came.
    fn clips(&self, node: String, event: String) -> impl Future<Output = Result<Vec<ClipNote>>> + Send;
}

/// A camera as its node describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredInfo {
    pub node: String,
    /// Of the node's cameras document.
    pub revision: u64,
    pub camera: CameraInfo,
    /// UTC milliseconds.
    pub updated_ms: i64,
}

/// What nodes tell of their cameras.
pub trait CameraInfoStore: Clone + Send + Sync + 'static {
    /// Keeps all cameras of `node`; those that are no longer named are forgotten.
    fn describe(
        &self,
        node: String,
        revision: u64,
        cameras: Vec<CameraInfo>,
        now_ms: i64,
    ) -> impl Future<Output = Result<()>> + Send;

    /// All cameras of all nodes, by node and id.
    fn descriptions(&self) -> impl Future<Output = Result<Vec<StoredInfo>>> + Send;
}

/// A command that its node, which is there, has not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub id: String,
    pub node: String,
    /// What the node is in now: its run and its connection.
    pub life: String,
    /// JSON.
    pub body: String,
}

/// How a command stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub node: String,
    pub command: Command,
    /// UTC milliseconds.
    pub issued_ms: i64,
    /// UTC milliseconds.
    pub expires_ms: i64,
    /// `pending`, `done`, `failed`, `refused` or `expired`.
    pub state: String,
    pub answer: Option<Answer>,
    /// UTC milliseconds.
    pub answered_ms: Option<i64>,
    /// Of a hold: `pending`, `held`, `too_late`, `released` or `failed`.
    pub hold: Option<String>,
    /// SHA-256 of the clip, once it is here.
    pub delivered: Option<String>,
}

/// What the centre asks of its nodes.
pub trait CommandStore: Clone + Send + Sync + 'static {
    /// Keeps a checked command for `node`, to be sent until it is answered or expires.
    ///
    /// Errors: `NotFound` for a node that never was here, `Unavailable` when too many commands wait for it.
    fn order(&self, node: String, command: Command) -> impl Future<Output = Result<()>> + Send;

    /// Commands to be sent now, a few of each node that is there; ends those that have expired.
    fn pending(&self, now_ms: i64) -> impl Future<Output = Result<Vec<Pending>>> + Send;

    /// How a command stands.
    fn asked(&self, id: String) -> impl Future<Output = Result<Option<Asked>>> + Send;

    /// Commands for clips of a camera issued at or after `since_ms` whose whole clip is here, newest first; none from before
    /// the camera was described anew, which may have been with other masks.
    fn delivered(
        &self,
        node: String,
        camera: CameraId,
        since_ms: i64,
    ) -> impl Future<Output = Result<Vec<Asked>>> + Send;

    /// The last commands, newest first.
    fn all_asked(&self, limit: usize) -> impl Future<Output = Result<Vec<Asked>>> + Send;
}

/// An event: its node and its id.
pub type EventKey = (String, String);

/// What officers do with events. What may be done is decided by [`crate::centre::triage::step`].
pub trait TriageStore: Clone + Send + Sync + 'static {
    /// Has `by`, who saw the event at `version`, do something: on disk when it returns, with its line of history. Of two
    /// who do it at once, one gets a [`Refusal`]. The event may come later.
    fn act(
        &self,
        event: EventKey,
        act: Act,
        by: Officer,
        version: u32,
        now_ms: i64,
    ) -> impl Future<Output = Result<Result<Triage, Refusal>>> + Send;

    /// Makes `event` part of the incident of `with`; both are of one that is new if `with` had none.
    fn join(
        &self,
        event: EventKey,
        with: EventKey,
        by: Officer,
        now_ms: i64,
    ) -> impl Future<Output = Result<Result<Triage, Refusal>>> + Send;

    /// Marks alerts that nobody has and that have waited for `after_ms`, each once for each time it waits, some hundreds
    /// at a time; gives those that were marked.
    fn escalate(&self, now_ms: i64, after_ms: i64) -> impl Future<Output = Result<Vec<EventKey>>> + Send;

    /// Begins a snooze. Errors: `Invalid` when it is not sound.
    fn snooze(&self, snooze: Snooze) -> impl Future<Output = Result<()>> + Send;

    /// Ends a snooze; false when there is none of this id.
    fn unsnooze(&self, id: String, now_ms: i64) -> impl Future<Output = Result<bool>> + Send;

    /// The snoozes that last, in the order they began.
    fn snoozes(&self, now_ms: i64) -> impl Future<Output = Result<Vec<Snooze>>> + Send;
}
