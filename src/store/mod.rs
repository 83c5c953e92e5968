//! L2: the node's SQLite: events, outbox, phantoms, the index of recordings; one writer thread.
//!
//! An event revision and its picture are committed here before anything is published, and a row leaves the outbox only
//! on the centre's receipt. Knows no MQTT, and never asks for the time.

pub mod backup;
mod ballast;
pub mod clip;
pub mod command;
mod commit;
pub mod delivery;
pub mod hold;
mod mask;
mod outbox;
mod quota;
pub mod reader;
mod recording;
mod salvage;
pub mod sqlite;
pub mod thread;
mod track;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::watch;

use crate::base::types::{CameraId, EventReport, Phantom, Phase, Snapshot};
use crate::base::{ErrorKind, Result, Stamp};
use crate::wire::event::Origin;
use crate::wire::receipt::Receipt;

use ballast::Ballast;
use quota::Pictures;
use sqlite::Schema;

/// The node's schema.
pub const SCHEMA: Schema = Schema { fresh: include_str!("schema.sql"), upgrades: UPGRADES };

/// Forward steps, oldest first: the first leads from version 1 to 2.
const UPGRADES: &[&str] = &[include_str!("upgrades/2.sql"), include_str!("upgrades/3.sql")];

/// An alert goes ahead of the backlog for this long; later it takes its turn like the rest.
pub const LIVE_FOR: Duration = Duration::from_secs(120);

/// A centre that is there and does not receipt a row this many times does not want it: the row is parked.
pub const MAX_UNANSWERED: u32 = 5;

/// Disk kept back: some hundred events with their pictures, and more than the log needs to be moved into the database.
pub const BALLAST: u64 = 16 << 20;

/// What the store needs to know for its whole life.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who commits: written into every event.
    pub origin: Origin,
    /// Pictures not yet receipted may take this many bytes; then the oldest go, never the events.
    pub snapshot_quota_bytes: u64,
    /// Disk kept back for the day it is full; [`BALLAST`] by default, 0 for none.
    pub ballast_bytes: u64,
}

/// The way to the store; cloneable. Every call waits for its transaction, and for room while 256 calls wait.
#[derive(Clone)]
pub struct Store {
    handle: thread::Handle<Node>,
    hint: watch::Receiver<u64>,
    reserve_in_use: watch::Receiver<bool>,
    rebuilt: watch::Receiver<Option<Rebuilt>>,
}

/// A database that was found corrupt while it was in use, and made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Where the corrupt one was put.
    pub aside: PathBuf,
    /// Outbox rows taken over from it.
    pub salvaged: u64,
}

/// The loop that does the work; `app` runs it on a thread of its own.
pub type Writer = thread::Writer<Node>;

/// The database on its thread. Only the store's own calls see it.
pub struct Node {
    path: PathBuf,
    connection: Connection,
    settings: Settings,
    ballast: Ballast,
    hint: watch::Sender<u64>,
    reserve_in_use: watch::Sender<bool>,
    rebuilt: watch::Sender<Option<Rebuilt>>,
    /// Put aside, and not yet looked through for what can be read of it.
    aside: Option<PathBuf>,
    pictures: Pictures,
    /// To be opened anew before anything else is done with it.
    broken: bool,
    _lock: std::fs::File,
}

/// How opening went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Where a corrupt database was put. What could be read of it is in the new one.
    pub quarantined: Option<PathBuf>,
    /// Outbox rows taken over from it.
    pub salvaged: u64,
    /// Rows found that no receipt has come for.
    pub waiting: u64,
}

/// What a report became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub id: String,
    /// Within the event, from 1.
    pub revision: u32,
    /// Of the node, strictly growing.
    pub seq: u64,
    /// Pictures of this or other events that left to stay within the quota.
    pub snapshots_dropped: u32,
    /// The picture given was not what its hash says and was left out.
    pub snapshot_refused: bool,
}

/// A message waiting to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Outbox row; grows in commit order.
    pub id: i64,
    /// None: the node itself.
    pub camera: Option<CameraId>,
    pub event: String,
    pub revision: u32,
    pub phase: Phase,
    /// Times it was handed to the broker before.
    pub attempts: u32,
    pub body: Body,
}

impl Row {
    /// Bytes of its payload.
    pub fn size(&self) -> usize {
        match &self.body {
            Body::Event(json) => json.len(),
            Body::Snapshot { jpeg, .. } => jpeg.len(),
        }
    }
}

/// What a row carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// The event's JSON.
    Event(Bytes),
    Snapshot {
        sha256: String,
        jpeg: Bytes,
    },
}

/// What a receipt removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipted {
    /// Rows that are gone.
    pub rows: Vec<i64>,
    /// Arrival of the frame to receipt, of revisions committed in this run.
    pub latencies: Vec<Duration>,
}

/// What a timeout did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Rows that wait to be sent again.
    pub pending: Vec<i64>,
    /// Rows given up until [`Store::retry_parked`].
    pub parked: Vec<i64>,
}

/// How full the outbox is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    pub pending: u64,
    pub sent: u64,
    pub parked: u64,
    /// Bytes of pictures not receipted.
    pub snapshot_bytes: u64,
}

impl thread::Database for Node {
    fn broken(&mut self, kind: ErrorKind) {
        if kind == ErrorKind::Corrupt {
            sqlite::suspect(&self.path);
        }
        self.broken = true;
    }

    fn ready(&mut self) -> Result<()> {
        if !self.broken {
            return Ok(());
        }
        tracing::error!(path = %self.path.display(), "the disk failed or the database is corrupt: it is opened anew and checked");
        if let Some(aside) = sqlite::reopen(&self.path, SCHEMA, &mut self.connection)? {
            self.aside = Some(aside);
        }
        // A database that was just made says what time it is; nothing here asks the machine.
        self.begin(Stamp { wall_ms: sqlite::changed_ms(&self.path), ..Stamp::default() }, true)?;
        if let Some(aside) = self.aside.clone() {
            let salvaged = salvage::salvage(&aside, &mut self.connection)?;
            tracing::error!(rows = salvaged, "waiting rows were taken over from the database that was put aside");
            self.aside = None;
            self.rebuilt.send_replace(Some(Rebuilt { aside, salvaged }));
        }
        self.broken = false;
        self.pictures = Pictures::default();
        tracing::warn!("the database is in order");
        self.hint.send_modify(|n| *n += 1);
        Ok(())
    }

    fn exhausted(&mut self) {
        if self.ballast.give_back() {
            tracing::error!(path = %self.path.display(), "the disk is full; the room kept back is in use now");
            self.reserve_in_use.send_replace(true);
        }
        sqlite::shrink_log(&self.connection);
    }

    fn close(self) {
        if let Err((_, e)) = self.connection.close() {
            tracing::warn!(error = %e, "the database did not close cleanly; it is checked at the next start");
        }
    }
}

impl Store {
    /// Opens the database at `path`, or makes it. Blocks for the check of a database that was cut off.
    ///
    /// A corrupt one is put aside and reported. Errors: see [`sqlite::open`].
    pub fn open(path: &Path, settings: Settings, now: Stamp) -> Result<(Store, Writer, OpenReport)> {
        let sqlite::Opened { mut connection, quarantined, lock } = sqlite::open(path, SCHEMA, now.wall_ms)?;
        let salvaged = match &quarantined {
            Some(aside) => salvage::salvage(aside, &mut connection)?,
            None => 0,
        };
        let (hint_sender, hint) = watch::channel(0);
        let (reserve, reserve_in_use) = watch::channel(false);
        let (rebuilt_sender, rebuilt) = watch::channel(None);
        let ballast = Ballast::new(path, settings.ballast_bytes);
        let mut node = Node {
            path: path.to_owned(),
            connection,
            settings,
            ballast,
            hint: hint_sender,
            reserve_in_use: reserve,
            rebuilt: rebuilt_sender,
            aside: None,
            pictures: Pictures::default(),
            broken: false,
            _lock: lock,
        };
        node.keep_room();
        node.begin(now, quarantined.is_some())?;
        let depths = node.depths()?;
        let report = OpenReport { quarantined, salvaged, waiting: depths.pending + depths.sent + depths.parked };
        let (handle, writer) = thread::pair(node);
        Ok((Store { handle, hint, reserve_in_use, rebuilt }, writer, report))
    }

    /// Fires when there may be new rows to send; says nothing more.
    pub fn hint(&self) -> watch::Receiver<u64> {
        self.hint.clone()
    }

    /// True while the disk is so full that the room kept back is in use.
    pub fn reserve_in_use(&self) -> watch::Receiver<bool> {
        self.reserve_in_use.clone()
    }

    /// The last time that the database was made anew since it was opened.
    pub fn rebuilt(&self) -> watch::Receiver<Option<Rebuilt>> {
        self.rebuilt.clone()
    }

    /// Gives `report` its revision and sequence number and puts it, with its picture, into the outbox: one transaction,
    /// on disk when this returns.
    ///
    /// Errors: `Invalid` when the phase cannot follow (an event starts once, and nothing follows its end) or the camera
    /// differs; `Exhausted` when the disk is full and the room kept back is used up: nothing was committed, try again.
    pub async fn commit(&self, report: EventReport, snapshot: Option<Snapshot>, now: Stamp) -> Result<Committed> {
        let (again, its_snapshot) = (report.clone(), snapshot.clone());
        match self.handle.call(move |node| node.commit(report, snapshot, now)).await {
            // The room kept back was given free just now.
            Err(e) if e.kind() == ErrorKind::Exhausted => {
                self.handle.call(move |node| node.commit(again, its_snapshot, now)).await
            }
            other => other,
        }
    }

    /// Ends every open event of `camera`, or of all: their worker died or the node starts. `ended_at` is the moment an
    /// event was last heard of.
    pub async fn end_open_events(&self, camera: Option<CameraId>, now: Stamp) -> Result<Vec<Committed>> {
        self.handle.call(move |node| node.end_open_events(camera.as_ref(), now)).await
    }

    /// Up to `limit` rows of up to `bytes` payload, but one at least, to send: fresh alerts first, then in commit order.
    /// They stay pending until [`Self::mark_sent`].
    pub async fn next_batch(&self, limit: usize, bytes: usize, now: Stamp) -> Result<Vec<Row>> {
        self.handle.call(move |node| node.next_batch(limit, bytes, now)).await
    }

    /// The rows are with the broker.
    pub async fn mark_sent(&self, rows: Vec<i64>, now: Stamp) -> Result<()> {
        self.handle.call(move |node| node.mark_sent(&rows, now)).await
    }

    /// The rows count as sent only now: they were on a slow way to the broker.
    pub async fn touch_sent(&self, rows: Vec<i64>, now: Stamp) -> Result<()> {
        self.handle.call(move |node| node.touch_sent(&rows, now)).await
    }

    /// Removes exactly what the centre says it has.
    pub async fn receipt(&self, receipt: Receipt, now: Stamp) -> Result<Receipted> {
        self.handle.call(move |node| node.receipt(&receipt, now)).await
    }

    /// Every sent row waits again; returns how many.
    pub async fn reset_sent(&self) -> Result<usize> {
        self.handle.call(|node| node.reset_sent()).await
    }

    /// Rows sent longer than `timeout` ago wait again. With `centre_there`, a row that was not receipted
    /// [`MAX_UNANSWERED`] times is parked.
    pub async fn expire_sent(&self, timeout: Duration, centre_there: bool, now: Stamp) -> Result<Expired> {
        self.handle.call(move |node| node.expire_sent(timeout, centre_there, now)).await
    }

    /// Takes a row out of the way: it cannot be delivered as things are. `reason` is for a person.
    pub async fn park(&self, row: i64, reason: impl Into<String>) -> Result<()> {
        let reason = reason.into();
        self.handle.call(move |node| node.park(row, &reason)).await
    }

    /// Gives parked rows another chance; returns how many.
    pub async fn retry_parked(&self) -> Result<usize> {
        self.handle.call(|node| node.retry_parked()).await
    }

    /// How full the outbox is.
    pub async fn depths(&self) -> Result<Depths> {
        self.handle.call(|node| node.depths()).await
    }

    /// Whether the thread answers and could commit: takes the write lock and gives it back. Reading would say nothing, it
    /// goes on while commits are blocked.
    ///
    /// Errors: `Timeout` when something else keeps the database locked.
    pub async fn heartbeat(&self) -> Result<()> {
        self.handle.call(|node| sqlite::heartbeat(&mut node.connection)).await
    }

    /// Forgets ended, wholly receipted events last updated before `before_ms` (UTC), gives free pages back to the file
    /// system and keeps room back again if there is plenty; returns how many events. To be called now and then.
    pub async fn prune(&self, before_ms: i64) -> Result<usize> {
        self.handle.call(move |node| node.prune(before_ms)).await
    }

    /// The phantoms kept for `camera`.
    pub async fn phantoms(&self, camera: CameraId) -> Result<Vec<Phantom>> {
        self.handle.call(move |node| node.phantoms(&camera)).await
    }

    /// Keeps the phantoms of `camera` in place of what was kept before.
    pub async fn set_phantoms(&self, camera: CameraId, phantoms: Vec<Phantom>) -> Result<()> {
        self.handle.call(move |node| node.set_phantoms(&camera, &phantoms)).await
    }
}
