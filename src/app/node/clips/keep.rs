//! What becomes of clips that are made: at the start, disk and index are brought together; once a minute, what has had its
//! time leaves, first the row, then the file. Nothing that is held ever does, nor what the centre waits for, unless the
//! disk leaves no choice.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use metrics::counter;
use tokio::sync::watch;

use super::{Clips, blocking};
use crate::base::telemetry as names;
use crate::base::types::CameraId;
use crate::base::{Error, ErrorKind, Result, Stamp};
use crate::config::{CamerasDocument, RecordConfig, RecordingConfig};
use crate::record::clips::{self, Named, Problem};
use crate::record::retention::{self, CameraInventory, Candidate, Inventory, Policy, Timeline};
use crate::store::clip::Clip;
use crate::store::reader::Reader;

/// A run that was cut off left no clips older than this without a row.
const RECENT_MS: i64 = 86_400_000;

const EVERY: Duration = Duration::from_secs(60);

/// What each camera's clips may take; those not in it have the default.
pub(super) type Policies = HashMap<CameraId, Policy>;

/// The policies of a cameras document.
pub(super) fn policies(document: &CamerasDocument) -> Policies {
    document.cameras.iter().map(|c| (c.id.clone(), policy(&c.recording))).collect()
}

fn policy(config: &RecordingConfig) -> Policy {
    let max_bytes = config.max_clips_gb.map(|gb| (f64::from(gb) * 1e9) as u64);
    Policy { keep_days: config.keep_clips_days, max_bytes }
}

/// A row, as the directory is compared with it.
pub(in crate::app) fn named(clip: Clip) -> Named {
    Named { id: clip.id, path: clip.path, held: clip.held }
}

/// For the start, before a clip is made: no file may stay that no row names.
pub(super) async fn look_over(all: &Clips) -> Result<()> {
    let (database, dir) = (all.0.database.clone(), all.0.record.clips_dir());
    let now_ms = all.0.clock.now().wall_ms;
    // Clips that were made after a backup have no row in the database that was restored from it: they are not leftovers.
    let restored_ms = all.0.store.restored_ms().await?.unwrap_or(i64::MIN);
    let recent_ms = now_ms.saturating_sub(restored_ms).clamp(0, RECENT_MS);
    let problems = blocking(move || {
        let rows: Vec<Named> = match Reader::open(&database) {
            Ok(reader) => reader.clips()?.into_iter().map(named).collect(),
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        if !rows.is_empty() && !dir.exists() {
            // With its disk not mounted every row would look as if its file were gone.
            return Err(Error::new(ErrorKind::Unavailable, "the directory of clips is not there")
                .at(dir.display())
                .hint("is the disk of the recordings mounted?"));
        }
        let problems = clips::compare(&dir, &rows, false, false, now_ms)?;
        let mut left = Vec::new();
        for problem in problems {
            // What is older is of no run that was just cut off: a lost database, perhaps. A person decides.
            if matches!(&problem, Problem::NoRow { path } if !clips::is_recent(&dir.join(path), now_ms, recent_ms)) {
                tracing::warn!("a clip is not in the index; `wardwatch fsck` tells more");
                continue;
            }
            clips::clear(&dir, &problem)?;
            left.push(problem);
        }
        Ok(left)
    })
    .await?;
    for problem in problems {
        match problem {
            Problem::NoRow { path } => tracing::info!(path, "a clip that was not finished is removed"),
            Problem::Temporary { path } => tracing::debug!(path, "what a clip was made in is removed"),
            Problem::NoFile { id, path, held } => {
                if held {
                    tracing::error!(path, "a clip that is HELD is gone");
                } else {
                    tracing::warn!(path, "a clip is gone; the index forgets it");
                }
                all.0.store.forget_clip(id).await?;
            }
            Problem::Damaged { path } | Problem::Foreign { path } => {
                tracing::warn!(path, "something is wrong in the directory of clips; `wardwatch fsck` tells more");
            }
        }
    }
    Ok(())
}

/// Deletes, now and then once a minute, clips that have had their time.
pub(super) async fn retain(all: Clips, policies: watch::Receiver<Policies>) {
    let mut minutely = tokio::time::interval(EVERY);
    loop {
        minutely.tick().await;
        let policies = policies.borrow().clone();
        if let Err(e) = step(&all, policies).await {
            tracing::warn!("clips that have had their time are not deleted: {e}");
        }
    }
}

async fn step(all: &Clips, policies: Policies) -> Result<()> {
    for clip in all.0.store.superseded_clips().await? {
        retire(all, &clip, false).await?;
    }
    let (database, record) = (all.0.database.clone(), all.0.record.clone());
    let now = all.0.clock.now();
    for (clip, cause) in blocking(move || plan(&database, &record, &policies, now)).await? {
        let lost = clip.awaited;
        if !retire(all, &clip, lost).await? {
            continue;
        }
        let camera = clip.camera.as_str();
        if lost {
            counter!(names::CLIPS_LOST, "camera" => camera.to_owned()).increment(1);
            tracing::error!(
                camera,
                event = clip.event,
                sha256 = clip.sha256,
                "the disk is full: a clip that the centre does not have yet was deleted"
            );
        } else {
            tracing::info!(camera, event = clip.event, cause, "a clip was deleted");
        }
    }
    Ok(())
}

/// Row, then file; false when it has come to be held, or awaited, since.
async fn retire(all: &Clips, clip: &Clip, though_awaited: bool) -> Result<bool> {
    let _shelf = all.0.shelf.lock().await;
    let Some(retired) = all.0.store.retire_clip(clip.id, though_awaited).await? else { return Ok(false) };
    if retired.last {
        let dir = all.0.record.clips_dir();
        blocking(move || clips::remove(&dir, &retired.path)).await?;
    }
    Ok(true)
}

/// What is to leave, and why. The floor takes recordings first; then clips, those that the centre waits for last.
fn plan(database: &Path, record: &RecordConfig, policies: &Policies, now: Stamp) -> Result<Vec<(Clip, &'static str)>> {
    let reader = Reader::open(database)?;
    let all = reader.clips()?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let mut recordings_left = false;
    let mut timeline = Timeline { uptime_ms: now.mono.as_millis() as i64, ..Timeline::default() };
    for camera in reader.cameras()? {
        let (before, since) = reader.around(&camera, now.wall_ms.saturating_sub(retention::LEAP_MS))?;
        timeline.add(before, since);
        recordings_left = recordings_left || !reader.oldest_unheld(&camera, 1)?.is_empty();
    }
    let floor_bytes = if recordings_left { 0 } else { record.disk_floor_bytes };
    let inventory =
        Inventory { free_bytes: retention::free_bytes(&record.dir)?, floor_bytes, timeline, cameras: vec![] };
    Ok(choose(all, inventory, policies, now.wall_ms))
}

fn choose(all: Vec<Clip>, mut inventory: Inventory, policies: &Policies, now_ms: i64) -> Vec<(Clip, &'static str)> {
    let mut by_camera: BTreeMap<CameraId, Vec<&Clip>> = BTreeMap::new();
    for clip in &all {
        by_camera.entry(clip.camera.clone()).or_default().push(clip);
    }
    let candidate = |c: &&Clip| Candidate { id: c.id, start_ms: c.from_ms, end_ms: c.to_ms, bytes: c.bytes };
    let mut cameras = Vec::new();
    for (camera, clips) in by_camera {
        let policy = policies.get(&camera).copied().unwrap_or_else(|| policy(&RecordingConfig::default()));
        let mut oldest: Vec<Candidate> = clips.iter().filter(|c| !c.held && !c.awaited).map(candidate).collect();
        oldest.sort_by_key(|c| (c.start_ms, c.id));
        let bytes = clips.iter().map(|c| c.bytes).sum();
        cameras.push(CameraInventory { camera, policy, bytes, oldest, complete: true });
    }
    inventory.cameras = cameras;
    let plan = retention::step(&inventory, now_ms);
    let mut leave: HashMap<i64, &'static str> = plan.delete.iter().map(|d| (d.id, d.cause.as_str())).collect();
    let mut free = inventory.free_bytes + plan.delete.iter().map(|d| d.bytes).sum::<u64>();
    let mut awaited: Vec<&Clip> = all.iter().filter(|c| !c.held && c.awaited).collect();
    awaited.sort_by_key(|c| (c.from_ms, c.id));
    for clip in awaited.into_iter().take_while(|_| plan.stop_recording) {
        if free >= inventory.floor_bytes {
            break;
        }
        free += clip.bytes;
        leave.insert(clip.id, "floor");
    }
    all.into_iter().filter_map(|c| leave.get(&c.id).map(|cause| (c.clone(), *cause))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;
    const NOW: i64 = 1000 * DAY;

    fn clip(id: i64, age_days: i64, held: bool, awaited: bool) -> Clip {
        Clip {
            id,
            camera: "ngo-1".parse().expect("valid"),
            event: None,
            path: format!("aa/{id}.mp4"),
            sha256: String::new(),
            bytes: 100,
            from_ms: NOW - age_days * DAY - 1000,
            to_ms: NOW - age_days * DAY,
            masked: false,
            complete: true,
            held,
            awaited,
        }
    }

    fn chosen(all: &[Clip], free_bytes: u64, floor_bytes: u64) -> Vec<(i64, &'static str)> {
        let inventory = Inventory { free_bytes, floor_bytes, ..Inventory::default() };
        choose(all.to_vec(), inventory, &Policies::new(), NOW).into_iter().map(|(c, why)| (c.id, why)).collect()
    }

    #[test]
    fn what_is_old_leaves_unless_it_is_held_or_awaited() {
        let all =
            [clip(1, 40, false, false), clip(2, 40, true, false), clip(3, 40, false, true), clip(4, 1, false, false)];
        assert_eq!(chosen(&all, 1000, 0), [(1, "age")]);
    }

    #[test]
    fn the_floor_takes_what_the_centre_waits_for_last_and_what_is_held_never() {
        let all = [clip(1, 4, false, true), clip(2, 3, true, true), clip(3, 2, false, false), clip(4, 1, false, true)];
        assert_eq!(chosen(&all, 0, 100), [(3, "floor")]);
        assert_eq!(chosen(&all, 0, 200), [(1, "floor"), (3, "floor")]);
        assert_eq!(chosen(&all, 0, 10_000), [(1, "floor"), (3, "floor"), (4, "floor")]);
        assert_eq!(chosen(&all, 200, 200), []);
    }
}
