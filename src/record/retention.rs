//! What leaves the disk, and when recording has to stop. The decision is pure: [`step`] knows neither files nor clock.
//! A held segment and one that is being written are never named by it.

use std::path::Path;

use super::read::sync_directory;
use super::segment;
use crate::base::types::CameraId;
use crate::base::{Error, Result};

/// A closed segment that nothing holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: i64,
    pub start_ms: i64,
    pub end_ms: i64,
    pub bytes: u64,
}

/// What one camera may keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    pub keep_days: f32,
    pub max_bytes: Option<u64>,
}

/// What one camera has.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraInventory {
    pub camera: CameraId,
    pub policy: Policy,
    /// Of all its segments, held and open ones too; counted only against `max_bytes`.
    pub bytes: u64,
    /// Its oldest candidates, oldest first.
    pub oldest: Vec<Candidate>,
    /// Whether these are all there are.
    pub complete: bool,
}

/// More time than this, in which nothing was recorded and the machine was off, is not believed at once: a machine whose
/// clock battery is dead may start decades ahead, and then everything it has would be too old.
pub const LEAP_MS: i64 = 30 * 86_400_000;

/// What the index and the machine tell of the passing of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// End of the newest segment, of any camera, that began more than [`LEAP_MS`] ago; UTC milliseconds.
    pub before_ms: Option<i64>,
    /// Start of the oldest that began after that.
    pub since_ms: Option<i64>,
    /// How long the machine has been running.
    pub uptime_ms: i64,
}

impl Timeline {
    /// Takes in what one camera's part of the index tells.
    pub fn add(&mut self, before_ms: Option<i64>, since_ms: Option<i64>) {
        self.before_ms = self.before_ms.max(before_ms);
        self.since_ms = [self.since_ms, since_ms].into_iter().flatten().min();
    }

    /// The leap that the wall clock seems to have made: from the last recording before it to the first after it, or to now.
    fn leap(&self, now_ms: i64) -> Option<(i64, i64)> {
        let from = self.before_ms?;
        let to = self.since_ms.unwrap_or(now_ms);
        let started_ms = now_ms.saturating_sub(self.uptime_ms);
        (to.saturating_sub(from) > LEAP_MS && started_ms.saturating_sub(from) > LEAP_MS).then_some((from, to))
    }
}

/// Everything the decision needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    pub free_bytes: u64,
    /// So much is to stay free.
    pub floor_bytes: u64,
    pub timeline: Timeline,
    pub cameras: Vec<CameraInventory>,
}

/// Why a segment leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Older than `keep_days`.
    Age,
    /// Its camera has more than `max_gb`.
    Quota,
    /// The disk has less than `disk_floor_mb` free.
    Floor,
}

impl Cause {
    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Quota => "quota",
            Self::Floor => "floor",
        }
    }
}

/// A segment to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    pub id: i64,
    pub bytes: u64,
    pub cause: Cause,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub delete: Vec<Deletion>,
    /// The floor is reached and nothing may be deleted any more: what is left is held or being written.
    pub stop_recording: bool,
    /// The wall clock seems to have leapt ahead: what is from before is not deleted for its age yet.
    pub clock_doubtful: bool,
}

/// Decides what to delete at `now_ms`: by age, then by each camera's bytes, then, oldest of all cameras first, until the
/// disk has its floor free again. Across a leap of the clock a segment's age counts only once the clock has run for
/// `keep_days` since.
pub fn step(inventory: &Inventory, now_ms: i64) -> Plan {
    let mut delete = Vec::new();
    let mut left: Vec<&Candidate> = Vec::new();
    let leap = inventory.timeline.leap(now_ms);
    for camera in &inventory.cameras {
        let too_old = now_ms.saturating_sub((f64::from(camera.policy.keep_days) * 86_400_000.0) as i64);
        let doubted = |end_ms: i64| leap.is_some_and(|(from, to)| end_ms <= from && to > too_old);
        let mut bytes = camera.bytes;
        for candidate in &camera.oldest {
            let cause = if candidate.end_ms <= too_old && !doubted(candidate.end_ms) {
                Cause::Age
            } else if camera.policy.max_bytes.is_some_and(|max| bytes > max) {
                Cause::Quota
            } else {
                left.push(candidate);
                continue;
            };
            bytes = bytes.saturating_sub(candidate.bytes);
            delete.push(Deletion { id: candidate.id, bytes: candidate.bytes, cause });
        }
    }
    let freed: u64 = delete.iter().map(|d| d.bytes).sum();
    let mut free = inventory.free_bytes.saturating_add(freed);
    left.sort_by_key(|c| (c.start_ms, c.id));
    for candidate in left {
        if free >= inventory.floor_bytes {
            break;
        }
        free = free.saturating_add(candidate.bytes);
        delete.push(Deletion { id: candidate.id, bytes: candidate.bytes, cause: Cause::Floor });
    }
    let all_seen = inventory.cameras.iter().all(|c| c.complete);
    let stop_recording = free < inventory.floor_bytes && all_seen;
    Plan { delete, stop_recording, clock_doubtful: leap.is_some() }
}

/// Removes a segment's two files below `dir`, and the day's directory with the last of it; its row has gone before. What
/// is not there any more counts as removed.
///
/// # Errors
/// The file that stays, and why.
pub fn unlink(dir: &Path, relative: &str) -> Result<()> {
    let mp4 = dir.join(relative);
    segment::remove(&mp4)?;
    let Some(day) = mp4.parent() else { return Ok(()) };
    match std::fs::remove_dir(day) {
        Ok(()) => day.parent().map_or(Ok(()), sync_directory),
        Err(_) if day.exists() => sync_directory(day),
        Err(_) => Ok(()),
    }
}

/// Free bytes of the file system that `dir` is on.
///
/// # Errors
/// `dir` is not there.
pub fn free_bytes(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir).map_err(|e| Error::io("has no file system", dir, e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400_000;
    const NOW: i64 = 1_000 * DAY;

    fn camera(name: &str, policy: Policy, ages: &[i64], bytes: u64, first_id: i64) -> CameraInventory {
        let mut oldest: Vec<Candidate> = ages
            .iter()
            .zip(first_id..)
            .map(|(age, id)| Candidate { id, start_ms: NOW - age - 10_000, end_ms: NOW - age, bytes })
            .collect();
        oldest.sort_by_key(|c| c.start_ms);
        let total = bytes * oldest.len() as u64;
        CameraInventory { camera: name.parse().expect("valid"), policy, bytes: total, oldest, complete: true }
    }

    fn ids(plan: &Plan) -> Vec<i64> {
        plan.delete.iter().map(|d| d.id).collect()
    }

    #[test]
    fn age_then_bytes_then_the_floor_over_all_cameras() {
        let week = Policy { keep_days: 7.0, max_bytes: None };
        let small = Policy { keep_days: 7.0, max_bytes: Some(150) };
        let mut inventory = Inventory {
            free_bytes: 1000,
            floor_bytes: 500,
            cameras: vec![
                camera("a", week, &[8 * DAY, 6 * DAY, DAY], 100, 1),
                camera("b", small, &[5 * DAY, 4 * DAY], 100, 11),
            ],
            ..Inventory::default()
        };
        let plan = step(&inventory, NOW);
        assert_eq!(ids(&plan), [1, 11]);
        assert_eq!(plan.delete.iter().map(|d| d.cause).collect::<Vec<_>>(), [Cause::Age, Cause::Quota]);

        inventory.free_bytes = 150;
        let plan = step(&inventory, NOW);
        assert_eq!(ids(&plan), [1, 11, 2, 12], "350 free after the first two: the oldest of all cameras go on");
        assert!(!plan.stop_recording);

        inventory.free_bytes = 10;
        assert!(!step(&inventory, NOW).stop_recording, "510 free once everything is gone");
        inventory.free_bytes = 0;
        inventory.floor_bytes = 501;
        let plan = step(&inventory, NOW);
        assert_eq!(plan.delete.len(), 5);
        assert!(plan.stop_recording, "everything left is held or open");
        inventory.cameras[1].complete = false;
        assert!(!step(&inventory, NOW).stop_recording, "there is more to delete at the next step");
    }

    #[test]
    fn a_clock_that_leaps_decades_ahead_deletes_nothing_for_its_age() {
        let week = Policy { keep_days: 7.0, max_bytes: None };
        let years = 4_000 * DAY;
        let at = |ages: &[i64], before: Option<i64>, since: Option<i64>, uptime_ms: i64| Inventory {
            cameras: vec![camera("a", week, ages, 100, 1)],
            timeline: Timeline { before_ms: before.map(|a| NOW - a), since_ms: since.map(|a| NOW - a), uptime_ms },
            ..Inventory::default()
        };
        let old = [years + DAY, years];
        // The machine has just started, with a dead battery; nothing is recorded yet.
        let plan = step(&at(&old, Some(years), None, 60_000), NOW);
        assert!(plan.delete.is_empty() && plan.clock_doubtful, "{plan:?}");
        // It has recorded since, and was started again: still the same leap.
        let since = [years + DAY, years, 2 * DAY, DAY];
        let plan = step(&at(&since, Some(years), Some(2 * DAY), 60_000), NOW);
        assert!(plan.delete.is_empty() && plan.clock_doubtful, "{plan:?}");
        // Its clock leapt while it ran.
        assert!(step(&at(&old, Some(years), None, 5 * DAY), NOW).delete.is_empty());
        // Eight days of the new time: whatever the right one is, a week has passed.
        assert_eq!(ids(&step(&at(&since, Some(years), Some(8 * DAY), DAY), NOW)), [1, 2]);
        // No leap: it ran, and there was nothing to record; or it was off for three weeks.
        assert_eq!(ids(&step(&at(&[40 * DAY], Some(40 * DAY), None, 39 * DAY), NOW)), [1]);
        assert_eq!(ids(&step(&at(&[21 * DAY], None, Some(21 * DAY), DAY), NOW)), [1]);
        // Bytes and floor are in force all the same.
        let mut full = at(&old, Some(years), None, 60_000);
        full.floor_bytes = 100;
        assert_eq!(step(&full, NOW).delete, [Deletion { id: 1, bytes: 100, cause: Cause::Floor }]);
    }

    #[test]
    fn the_directory_of_a_day_goes_with_its_last_recording() {
        let dir = tempfile::tempdir().expect("a directory");
        let day = dir.path().join("a/20261124");
        std::fs::create_dir_all(&day).expect("writable");
        for name in ["1-0.mp4", "1-0.json", "2-0.mp4", "2-0.json"] {
            std::fs::write(day.join(name), name).expect("writable");
        }
        unlink(dir.path(), "a/20261124/1-0.mp4").expect("removed");
        assert!(day.join("2-0.mp4").exists() && !day.join("1-0.mp4").exists());
        unlink(dir.path(), "a/20261124/2-0.mp4").expect("removed");
        assert!(!day.exists() && dir.path().join("a").exists());
        unlink(dir.path(), "a/20261124/2-0.mp4").expect("what is gone is gone");
    }

    /// Segments (age, bytes, held), `keep_days`, `max_bytes`.
    type Camera = (Vec<(i64, u64, bool)>, f32, Option<u64>);

    fn cameras() -> impl Strategy<Value = Vec<Camera>> {
        let segment = (0..20 * DAY, 1..1000u64, any::<bool>());
        let one = (proptest::collection::vec(segment, 0..30), 0.1f32..15.0, proptest::option::of(0..10_000u64));
        proptest::collection::vec(one, 0..4)
    }

    proptest! {
        /// From segments of which some are held, as the node's inventory leaves those out.
        #[test]
        fn held_stays_oldest_goes_first_and_limits_are_kept(
            cameras in cameras(), free in 0..20_000u64, floor in 0..20_000u64,
        ) {
            let (mut next, mut held, mut inventory) = (0, Vec::new(), Inventory { free_bytes: free, floor_bytes: floor, ..Inventory::default() });
            for (n, (segments, keep_days, max_bytes)) in cameras.into_iter().enumerate() {
                let bytes = segments.iter().map(|s| s.1).sum();
                let mut oldest = Vec::new();
                for (age, bytes, is_held) in segments {
                    next += 1;
                    if is_held {
                        held.push((n, bytes));
                    } else {
                        oldest.push(Candidate { id: next, start_ms: NOW - age - 10_000, end_ms: NOW - age, bytes });
                    }
                }
                oldest.sort_by_key(|c| c.start_ms);
                let policy = Policy { keep_days, max_bytes };
                inventory.cameras.push(CameraInventory {
                    camera: format!("c{n}").parse().expect("valid"), policy, bytes, oldest, complete: true,
                });
            }
            let plan = step(&inventory, NOW);
            let gone = ids(&plan);
            let mut once = gone.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), gone.len(), "nothing is deleted twice");
            let stays: Vec<&Candidate> =
                inventory.cameras.iter().flat_map(|c| &c.oldest).filter(|c| !gone.contains(&c.id)).collect();
            for (n, camera) in inventory.cameras.iter().enumerate() {
                // Of one camera, whatever stays is younger than whatever goes.
                let last_gone = camera.oldest.iter().filter(|c| gone.contains(&c.id)).map(|c| c.start_ms).max();
                let first_left = camera.oldest.iter().filter(|c| !gone.contains(&c.id)).map(|c| c.start_ms).min();
                if let (Some(gone), Some(left)) = (last_gone, first_left) {
                    prop_assert!(gone <= left);
                }
                let limit = NOW - (f64::from(camera.policy.keep_days) * DAY as f64) as i64;
                prop_assert!(camera.oldest.iter().all(|c| c.end_ms > limit || gone.contains(&c.id)));
                if let Some(max) = camera.policy.max_bytes {
                    let unheld: u64 = camera.oldest.iter().filter(|c| !gone.contains(&c.id)).map(|c| c.bytes).sum();
                    let kept: u64 = held.iter().filter(|h| h.0 == n).map(|h| h.1).sum();
                    prop_assert!(unheld == 0 || unheld + kept <= max);
                }
            }
            let after = free + plan.delete.iter().map(|d| d.bytes).sum::<u64>();
            prop_assert!(after >= floor || stays.is_empty(), "the floor is respected while anything may go");
            prop_assert_eq!(plan.stop_recording, after < floor);
            // For the floor the oldest of all cameras go, and not one more than is needed.
            let for_floor: Vec<&Deletion> = plan.delete.iter().filter(|d| d.cause == Cause::Floor).collect();
            if let Some(last) = for_floor.last() {
                prop_assert!(after - last.bytes < floor);
                let all = || inventory.cameras.iter().flat_map(|c| &c.oldest);
                let newest = all().filter(|c| for_floor.iter().any(|d| d.id == c.id)).map(|c| c.start_ms).max();
                prop_assert!(stays.iter().all(|c| Some(c.start_ms) >= newest));
            }
        }
    }
}
