//! The node's care for recordings: at start, disk and index of the last days are brought together; once a minute, what
//! has had its time leaves: first the row, then the files, then the directory is put on disk. A row without files is
//! found by `wardwatch fsck`; files without a row would be found, too, but until then nobody could see them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use metrics::gauge;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::system::{Condition, SystemEvents};
use crate::app::recordings::mend_one;
use crate::base::telemetry as names;
use crate::base::types::CameraId;
use crate::base::{Clock, Result, Stamp};
use crate::config::{CamerasDocument, NodeConfig, RecordConfig, RecordingConfig};
use crate::record::fsck::{self, Depth, Disk, Problem};
use crate::record::retention::{self, CameraInventory, Candidate, Deletion, Inventory, Plan, Policy, Timeline};
use crate::store::Store;
use crate::store::reader::Reader;

const EVERY: Duration = Duration::from_secs(60);

/// Files of one camera that one step may delete; more wait for the next.
const BATCH: u32 = 500;

/// At start, directories of so many days are looked into: a run that was cut off leaves nothing in older ones.
const RECENT_DAYS: i64 = 2;

const DAY_MS: i64 = 86_400_000;

/// What each camera may keep; those not in it have the default.
pub(super) type Policies = HashMap<CameraId, Policy>;

/// The policies of a cameras document.
pub(super) fn policies(document: &CamerasDocument) -> Policies {
    document.cameras.iter().map(|c| (c.id.clone(), policy(&c.recording))).collect()
}

fn policy(config: &RecordingConfig) -> Policy {
    Policy { keep_days: config.keep_days, max_bytes: config.max_gb.map(|gb| (f64::from(gb) * 1e9) as u64) }
}

/// What the care works on.
pub(super) struct Shelf {
    store: Store,
    /// The store's file, for reading beside it.
    database: PathBuf,
    record: RecordConfig,
    clock: Arc<dyn Clock>,
    system: SystemEvents,
}

impl Shelf {
    /// A node's recordings, looked over; what cannot be looked at does not keep a node from starting.
    pub(super) async fn ready(node: &NodeConfig, store: Store, clock: Arc<dyn Clock>, system: SystemEvents) -> Self {
        let database = node.state_dir.join("node.db");
        let shelf = Self { store, database, record: node.record.clone(), clock, system };
        if let Err(e) = shelf.look_over().await {
            tracing::error!("recordings and their index were not compared: {e}");
        }
        shelf
    }

    /// Deletes from now on what has had its time; new policies go through the sender.
    pub(super) fn keep(self, document: &CamerasDocument) -> (watch::Sender<Policies>, JoinHandle<()>) {
        let (policies, kept) = watch::channel(policies(document));
        (policies, tokio::spawn(self.retain(kept)))
    }

    /// Brings disk and index of the last days together, without reading the recordings. For the start, before anything
    /// is recorded.
    async fn look_over(&self) -> Result<()> {
        let (database, dir, now_ms) = (self.database.clone(), self.record.dir.clone(), self.clock.now().wall_ms);
        for problem in blocking(move || recent_problems(&database, &dir, now_ms)).await? {
            let path = problem.path().to_owned();
            match &problem {
                // Ended from its sidecar by whoever takes what workers say.
                Problem::LeftOpen(_) => continue,
                Problem::NoRow(_) => {
                    tracing::info!(path, "a recording of a run that was cut off is in the index again");
                }
                Problem::NoFile(_) => tracing::warn!(path, "a recording is gone; the index forgets it"),
                _ => {
                    tracing::warn!(path, "something is wrong with a recording; `wardwatch fsck` tells more");
                    continue;
                }
            }
            mend_one(&self.store, &self.record.dir, &problem).await?;
        }
        Ok(())
    }

    /// Deletes what has had its time, now and then once a minute.
    async fn retain(self, policies: watch::Receiver<Policies>) {
        let mut minutely = tokio::time::interval(EVERY);
        let mut before = Plan::default();
        loop {
            minutely.tick().await;
            let policies = policies.borrow().clone();
            match self.step(policies).await {
                Ok(plan) => {
                    self.say(&before, &plan);
                    before = plan;
                }
                Err(e) => tracing::warn!("recordings that have had their time are not deleted: {e}"),
            }
        }
    }

    /// Tells what a person has to know, once.
    fn say(&self, before: &Plan, now: &Plan) {
        gauge!(names::CLOCK_DOUBTFUL).set(if now.clock_doubtful { 1.0 } else { 0.0 });
        self.system.set(Condition::NothingToDelete, "shelf", now.stop_recording);
        self.system.set(Condition::ClockDoubtful, "shelf", now.clock_doubtful);
        if now.stop_recording && !before.stop_recording {
            tracing::error!(
                floor_mb = self.record.disk_floor_bytes >> 20,
                "the disk is full and every recording left is held or being written: nothing can be deleted; each camera's \
                 recording stops when half of the floor is left, and goes on when there is room"
            );
        }
        if now.clock_doubtful && !before.clock_doubtful {
            tracing::error!(
                "the clock seems to have leapt ahead by more than a month; recordings from before are not deleted for their \
                 age yet: set the machine's clock, and look at its battery"
            );
        }
        if before.clock_doubtful && !now.clock_doubtful {
            tracing::info!("the clock is believed again");
        }
    }

    /// One round; what was decided.
    async fn step(&self, policies: Policies) -> Result<Plan> {
        let (shelf, now) = ((self.database.clone(), self.record.clone()), self.clock.now());
        let (inventory, paths) = blocking(move || inventory(&shelf.0, &shelf.1, &policies, now)).await?;
        let plan = retention::step(&inventory, now.wall_ms);
        let mut done: HashMap<&str, (u32, u64)> = HashMap::new();
        for Deletion { id, bytes, cause } in &plan.delete {
            let Some(path) = paths.get(id).cloned() else { continue };
            if !self.store.retire_segment(*id).await? {
                continue;
            }
            let dir = self.record.dir.clone();
            blocking(move || retention::unlink(&dir, &path)).await?;
            let sum = done.entry(cause.as_str()).or_default();
            *sum = (sum.0 + 1, sum.1 + bytes);
        }
        for (cause, (files, bytes)) in done {
            tracing::info!(cause, files, bytes, "recordings were deleted");
        }
        Ok(plan)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| crate::base::Error::new(crate::base::ErrorKind::Internal, "work on recordings failed").source(e))?
}

fn recent_problems(database: &Path, dir: &Path, now_ms: i64) -> Result<Vec<Problem>> {
    let reader = Reader::open(database)?;
    let depth = Depth { hashes: false, live: false, now_ms };
    let mut problems = Vec::new();
    for camera in fsck::cameras(dir)? {
        let Ok(id) = camera.parse::<CameraId>() else { continue };
        let mut disk = Disk::default();
        for days_ago in 0..RECENT_DAYS {
            let Ok(day) = Timestamp::from_millisecond(now_ms - days_ago * DAY_MS) else { continue };
            fsck::list_day(&mut disk, dir, &format!("{camera}/{}", day.strftime("%Y%m%d")), now_ms)?;
        }
        let rows = reader.segments(&id, now_ms - RECENT_DAYS * DAY_MS, i64::MAX)?;
        fsck::compare(dir, &disk, &rows, depth, &mut |problem| {
            problems.push(problem);
            Ok(())
        })?;
    }
    Ok(problems)
}

/// What retention decides upon, and where each candidate lies.
fn inventory(
    database: &Path,
    record: &RecordConfig,
    policies: &Policies,
    now: Stamp,
) -> Result<(Inventory, HashMap<i64, String>)> {
    let reader = Reader::open(database)?;
    let mut timeline = Timeline { uptime_ms: now.mono.as_millis() as i64, ..Timeline::default() };
    let mut paths = HashMap::new();
    let mut cameras = Vec::new();
    for camera in reader.cameras()? {
        let (before, since) = reader.around(&camera, now.wall_ms.saturating_sub(retention::LEAP_MS))?;
        timeline.add(before, since);
        let policy = policies.get(&camera).copied().unwrap_or_else(|| policy(&RecordingConfig::default()));
        let bytes = if policy.max_bytes.is_some() { reader.bytes(&camera)? } else { 0 };
        let segments = reader.oldest_unheld(&camera, BATCH)?;
        let complete = segments.len() < BATCH as usize;
        let candidate = |s: crate::base::types::Segment| {
            paths.insert(s.id, s.path);
            Candidate { id: s.id, start_ms: s.start_ms, end_ms: s.end_ms.unwrap_or(s.start_ms), bytes: s.bytes }
        };
        let oldest = segments.into_iter().map(candidate).collect();
        cameras.push(CameraInventory { camera, policy, bytes, oldest, complete });
    }
    if cameras.is_empty() {
        return Ok((Inventory::default(), paths));
    }
    let free_bytes = retention::free_bytes(&record.dir)?;
    Ok((Inventory { free_bytes, floor_bytes: record.disk_floor_bytes, timeline, cameras }, paths))
}
