//! When which event gets a clip. Pure: told of reports, of jobs that are over and of the time, it says what is to be
//! made now.
//!
//! An event that is over gets its clip once its post-roll is. One that goes on gets an interim clip after half a minute,
//! and another each time it is twice as old, so that what is written stays within twice what was recorded. A job that
//! fails is tried again a few times; a range in which nothing is recorded is not.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::Stamp;
use crate::base::types::{CameraId, EventReport, Phase};
use crate::config::Roll;

/// Age of an event at its first interim clip.
const FIRST_INTERIM: Duration = Duration::from_secs(30);
/// Shortest time between two interim clips.
const NEXT_INTERIM: Duration = Duration::from_secs(60);
/// Between tries of a job that failed.
const RETRIES: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(60), Duration::from_secs(300)];
/// An event that is done with is not begun again when it is found in the database within this time.
pub(super) const REMEMBER: Duration = Duration::from_secs(3600);

/// A clip to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) event: String,
    pub(super) camera: CameraId,
    /// UTC milliseconds.
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    /// The event is over.
    pub(super) complete: bool,
    /// When the post-roll ended, or the interim clip came due.
    pub(super) due: Duration,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Made,
    /// Nothing is recorded there.
    Nothing,
    Failed,
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing more, or the next clip in its time.
    Fine,
    Again,
    GivenUp,
}

#[derive(Debug)]
struct Wish {
    camera: CameraId,
    started: Stamp,
    from_ms: i64,
    /// End of what is wanted; none while the event goes on.
    to_ms: Option<i64>,
    due: Duration,
    tries: usize,
    /// A job is at it.
    busy: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Planner {
    wishes: BTreeMap<String, Wish>,
    done: BTreeMap<String, Duration>,
}

impl Planner {
    /// An event as its camera's worker reports it; without a `roll` its camera's events get no clips any more, and one that
    /// is known already gets its last.
    pub(super) fn reported(&mut self, report: &EventReport, roll: Option<Roll>) {
        if roll.is_none() && !self.wishes.contains_key(&report.id) {
            return;
        }
        let roll = roll.unwrap_or_default();
        let Some(wish) = self.wish(report, roll) else { return };
        if report.phase == Phase::Ended && wish.to_ms.is_none() {
            let (to_ms, ended) = end(report, roll);
            (wish.to_ms, wish.due) = (Some(to_ms), ended.mono + roll.post);
        }
    }

    /// An event that the database has as ended and without its clip: of an earlier run, or of a worker that died.
    pub(super) fn found(&mut self, report: &EventReport, roll: Roll, now: Stamp) {
        let Some(wish) = self.wish(report, roll) else { return };
        if wish.to_ms.is_none() {
            // Its monotonic times may be those of another boot.
            let (to_ms, _) = end(report, roll);
            let left = Duration::from_millis(u64::try_from(to_ms - now.wall_ms).unwrap_or(0));
            (wish.to_ms, wish.due) = (Some(to_ms), now.mono + left.min(roll.post));
        }
    }

    fn wish(&mut self, report: &EventReport, roll: Roll) -> Option<&mut Wish> {
        let camera = report.camera.clone().filter(|_| !self.done.contains_key(&report.id))?;
        let started = report.started_at;
        Some(self.wishes.entry(report.id.clone()).or_insert_with(|| Wish {
            camera,
            started,
            from_ms: started.wall_ms - roll.pre.as_millis() as i64,
            to_ms: None,
            due: started.mono + FIRST_INTERIM,
            tries: 0,
            busy: false,
        }))
    }

    /// What is to be made now.
    pub(super) fn step(&mut self, now: Stamp) -> Vec<Job> {
        self.done.retain(|_, at| now.mono.saturating_sub(*at) < REMEMBER);
        let ready = self.wishes.iter_mut().filter(|(_, w)| !w.busy && w.due <= now.mono);
        ready
            .map(|(event, wish)| {
                wish.busy = true;
                Job {
                    event: event.clone(),
                    camera: wish.camera.clone(),
                    from_ms: wish.from_ms,
                    to_ms: wish.to_ms.unwrap_or(now.wall_ms),
                    complete: wish.to_ms.is_some(),
                    due: wish.due,
                }
            })
            .collect()
    }

    /// When [`Self::step`] has something to say, if nothing else happens.
    pub(super) fn next(&self) -> Option<Duration> {
        self.wishes.values().filter(|w| !w.busy).map(|w| w.due).min()
    }

    /// A job is over.
    pub(super) fn ended(&mut self, job: &Job, how: Ended, now: Stamp) -> Next {
        let Some(wish) = self.wishes.get_mut(&job.event) else { return Next::Fine };
        wish.busy = false;
        if !job.complete {
            // Whatever became of it, a later one has it all.
            if wish.to_ms.is_none() {
                wish.due = now.mono + now.since(wish.started).max(NEXT_INTERIM);
            }
            return Next::Fine;
        }
        if how == Ended::Failed
            && let Some(pause) = RETRIES.get(wish.tries)
        {
            wish.tries += 1;
            wish.due = now.mono + *pause;
            return Next::Again;
        }
        self.wishes.remove(&job.event);
        self.done.insert(job.event.clone(), now.mono);
        if how == Ended::Failed { Next::GivenUp } else { Next::Fine }
    }
}

/// Where the clip of an ended event ends, and when the event did. The monotonic clock knows how long it was: the wall
/// clock may have been set meanwhile.
fn end(report: &EventReport, roll: Roll) -> (i64, Stamp) {
    let ended = report.ended_at.unwrap_or(report.updated_at);
    let lasted = ended.since(report.started_at).as_millis() as i64;
    let wall_ms = ended.wall_ms.max(report.started_at.wall_ms.saturating_add(lasted));
    (wall_ms.saturating_add(roll.post.as_millis() as i64), ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::geometry::RelativeBox;
    use crate::base::types::Severity;

    const WALL: i64 = 1_795_000_000_000;

    fn at(seconds: u64) -> Stamp {
        Stamp { mono: Duration::from_secs(seconds), wall_ms: WALL + seconds as i64 * 1000 }
    }

    fn report(started: u64, ended: Option<u64>) -> EventReport {
        EventReport {
            id: "e".into(),
            camera: Some("ngo-1".parse().expect("valid")),
            model: "m".into(),
            rule: "r".into(),
            kind: "intrusion".into(),
            message: None,
            phase: if ended.is_some() { Phase::Ended } else { Phase::Started },
            severity: Severity::Alert,
            started_at: at(started),
            updated_at: at(ended.unwrap_or(started)),
            ended_at: ended.map(at),
            best_at: at(started),
            arrived_at: at(started),
            camera_time_ms: None,
            clock_suspect: false,
            zones: vec![],
            line: None,
            direction: None,
            label: "person".into(),
            score: 0.9,
            count: 1,
            tracks: vec![],
            bbox: RelativeBox { left: 0.1, top: 0.1, right: 0.2, bottom: 0.2 },
            path: vec![],
            snapshot: None,
            clip: None,
            config_revision: 1,
        }
    }

    fn span(job: &Job) -> (i64, i64, bool) {
        ((job.from_ms - WALL) / 1000, (job.to_ms - WALL) / 1000, job.complete)
    }

    fn one(planner: &mut Planner, now: u64) -> Job {
        let mut jobs = planner.step(at(now));
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        jobs.remove(0)
    }

    #[test]
    fn an_event_gets_its_clip_when_its_post_roll_is_over_and_only_one() {
        let mut planner = Planner::default();
        planner.reported(&report(100, None), Some(Roll::default()));
        planner.reported(&report(100, Some(108)), Some(Roll::default()));
        assert_eq!((planner.step(at(117)), planner.next()), (vec![], Some(Duration::from_secs(118))));
        let job = one(&mut planner, 118);
        assert_eq!(span(&job), (95, 118, true));
        assert_eq!(planner.step(at(119)), [], "it is being made");
        assert_eq!(planner.ended(&job, Ended::Made, at(120)), Next::Fine);
        planner.reported(&report(100, Some(108)), Some(Roll::default()));
        planner.found(&report(100, Some(108)), Roll::default(), at(121));
        assert_eq!((planner.step(at(500)), planner.next()), (vec![], None));
    }

    #[test]
    fn a_long_event_gets_interim_clips_ever_more_rarely_and_then_a_whole_one() {
        let mut planner = Planner::default();
        planner.reported(&report(1000, None), Some(Roll::default()));
        let mut ages = Vec::new();
        for now in 1000..2000 {
            for job in planner.step(at(now)) {
                assert_eq!(span(&job), (995, now as i64, false));
                ages.push(now - 1000);
                planner.ended(&job, Ended::Failed, at(now));
            }
        }
        assert_eq!(ages, [30, 90, 180, 360, 720]);
        planner.reported(&report(1000, Some(1995)), Some(Roll::default()));
        assert_eq!(span(&one(&mut planner, 2005)), (995, 2005, true));
    }

    #[test]
    fn an_event_whose_camera_is_taken_out_gets_its_last_clip_and_no_more() {
        let mut planner = Planner::default();
        planner.reported(&report(0, None), None);
        assert_eq!(planner.next(), None, "it is not wanted");
        planner.reported(&report(0, None), Some(Roll::default()));
        planner.reported(&report(0, Some(4)), None);
        let job = one(&mut planner, 14);
        assert_eq!(span(&job), (-5, 14, true));
        planner.ended(&job, Ended::Made, at(15));
        assert_eq!(planner.next(), None);
    }

    #[test]
    fn an_interim_clip_at_work_does_not_lose_the_last_one() {
        let mut planner = Planner::default();
        planner.reported(&report(0, None), Some(Roll::default()));
        let interim = one(&mut planner, 30);
        planner.reported(&report(0, Some(29)), Some(Roll::default()));
        assert_eq!(planner.step(at(40)), []);
        planner.ended(&interim, Ended::Made, at(41));
        assert_eq!(span(&one(&mut planner, 41)), (-5, 39, true));
    }

    #[test]
    fn a_failure_is_tried_again_a_few_times_and_nothing_recorded_is_not() {
        let mut planner = Planner::default();
        planner.reported(&report(0, None), Some(Roll::default()));
        planner.reported(&report(0, Some(10)), Some(Roll::default()));
        let mut now = 20;
        for expected in [Next::Again, Next::Again, Next::Again, Next::GivenUp] {
            let job = one(&mut planner, now);
            assert_eq!(planner.ended(&job, Ended::Failed, at(now)), expected);
            now += 300;
        }
        assert_eq!(planner.next(), None);
        let mut planner = Planner::default();
        planner.reported(&report(0, Some(10)), Some(Roll::default()));
        let job = one(&mut planner, 20);
        assert_eq!(planner.ended(&job, Ended::Nothing, at(20)), Next::Fine);
        assert_eq!(planner.next(), None);
    }

    #[test]
    fn what_an_earlier_boot_left_is_made_by_the_wall_clock() {
        let mut planner = Planner::default();
        let mut left = report(50_000, Some(50_010));
        let mut now = at(50_014);
        // The machine was started again: its monotonic clock began anew.
        now.mono = Duration::from_secs(3);
        planner.found(&left, Roll::default(), now);
        assert_eq!(planner.next(), Some(Duration::from_secs(9)));
        left.id = "older".into();
        now.wall_ms += 600_000;
        planner.found(&left, Roll::default(), now);
        let job = planner.step(now).remove(0);
        assert_eq!((job.event.as_str(), job.to_ms - WALL), ("older", 50_020_000));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_turn_a_clip_round() {
        let mut late = report(100, Some(108));
        late.ended_at = Some(Stamp { mono: Duration::from_secs(108), wall_ms: WALL - 3_600_000 });
        assert_eq!(end(&late, Roll::default()).0 - WALL, 118_000);
    }
}
