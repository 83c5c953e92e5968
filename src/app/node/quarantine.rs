//! Which camera ends its worker. Pure: deaths and times in, a verdict out. It knows no processes; who is put where is in
//! [`super::places`].
//!
//! Whoever shares a worker shares the suspicion. Of a worker that died twice within [`WINDOW`] half of the suspects are
//! taken away. When one half dies again, the other is cleared of what they shared, and the one is halved again, until a
//! camera dies alone: at its fifth death it is let go of for a time that doubles. One culprit among eight needs five
//! deaths, as one alone does.
//!
//! At most half of all cameras are let go of: what ends every worker is no camera.
//!
//! Only deaths by a worker's own doing may be told here: who is killed from outside proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::Stamp;
use crate::base::types::CameraId;

/// Deaths longer ago count no more, and a camera that is tried again must live this long.
pub(super) const WINDOW: Duration = Duration::from_secs(600);
/// So many within the window, the last of them alone, are enough.
pub(super) const DEATHS: usize = 5;
/// Whoever died so often is a suspect: nobody new is put beside it, and its worker is taken apart.
const SUSPECT: usize = 2;
/// The first time in quarantine; each further one is twice as long.
pub(super) const FIRST_HOLD: Duration = Duration::from_secs(30 * 60);
pub(super) const LONGEST_HOLD: Duration = Duration::from_secs(8 * 3600);

/// What follows from a death.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Too little is known.
    Nothing,
    /// These should be in another worker than those that were with them.
    Apart(Vec<CameraId>),
    /// This camera is to be let go of.
    Hold { camera: CameraId, deaths: usize, until: Stamp },
}

#[derive(Default)]
struct Record {
    /// Number of the death and when it was.
    deaths: Vec<(u64, Duration)>,
    /// The last death that it was there at, whether cleared of it or not.
    last: Option<Duration>,
    /// Let go of until then.
    held: Option<Duration>,
    /// How often it was; the next time is longer.
    holds: u32,
    /// It is tried again, alone until then.
    trial: Option<Duration>,
}

/// The memory of all deaths. It is not kept over a restart of the node.
#[derive(Default)]
pub(super) struct Quarantine {
    cameras: BTreeMap<CameraId, Record>,
    deaths: u64,
}

impl Quarantine {
    /// A worker died of itself that was reading `cameras`; `blame`: the one whose stream it hung on; `all`: how many
    /// cameras there are, those in quarantine included.
    pub(super) fn died(&mut self, cameras: &[CameraId], blame: Option<&CameraId>, all: usize, now: Stamp) -> Verdict {
        self.forget_old(now);
        self.deaths += 1;
        let blame = blame.filter(|b| cameras.contains(b));
        for camera in cameras.iter().filter(|c| blame.is_none_or(|b| b == *c)) {
            let record = self.cameras.entry(camera.clone()).or_default();
            record.deaths.push((self.deaths, now.mono));
            record.last = Some(now.mono);
        }
        let most = cameras.iter().map(|c| self.count(c)).max().unwrap_or(0);
        let suspects: Vec<CameraId> = cameras.iter().filter(|c| self.count(c) == most).cloned().collect();
        if most >= SUSPECT {
            self.clear_others(&suspects, cameras);
        }
        if let [alone] = cameras {
            return self.died_alone(alone, all, now);
        }
        if most < SUSPECT {
            return Verdict::Nothing;
        }
        // Whoever was not there every time stays behind; of suspects alone, half of them does.
        let some = if suspects.len() < cameras.len() { suspects.len() } else { suspects.len() / 2 };
        Verdict::Apart(suspects.into_iter().take(some).collect())
    }

    /// Those who died again explain every death that they have in common; whoever was there before is cleared of it.
    fn clear_others(&mut self, suspects: &[CameraId], died: &[CameraId]) {
        let of = |camera: &CameraId| -> BTreeSet<u64> {
            self.cameras.get(camera).into_iter().flat_map(|r| &r.deaths).map(|(number, _)| *number).collect()
        };
        let explained = suspects.iter().map(of).reduce(|all, of| &all & &of).unwrap_or_default();
        for (_, other) in self.cameras.iter_mut().filter(|(camera, _)| !died.contains(camera)) {
            other.deaths.retain(|(number, _)| !explained.contains(number));
        }
    }

    fn died_alone(&mut self, camera: &CameraId, all: usize, now: Stamp) -> Verdict {
        // Where most of them die it is the machine, or a limit too low. Alone it harms nobody.
        if self.held() >= (all / 2).max(1) {
            return Verdict::Nothing;
        }
        let record = self.cameras.entry(camera.clone()).or_default();
        // Who comes out of quarantine has no more tries than one.
        let relapse = record.trial.is_some() && record.holds > 0;
        if !relapse && record.deaths.len() < DEATHS {
            return Verdict::Nothing;
        }
        let time = FIRST_HOLD.saturating_mul(1 << record.holds.min(8)).min(LONGEST_HOLD);
        let until = now.plus(time);
        let deaths = std::mem::take(&mut record.deaths).len();
        (record.held, record.trial, record.holds) = (Some(until.mono), None, record.holds + 1);
        Verdict::Hold { camera: camera.clone(), deaths, until }
    }

    /// Deaths that count against it.
    fn count(&self, camera: &CameraId) -> usize {
        self.cameras.get(camera).map_or(0, |r| r.deaths.len())
    }

    /// Forgets what counts no more.
    pub(super) fn forget_old(&mut self, now: Stamp) {
        let counts = |at: Duration| now.mono.saturating_sub(at) < WINDOW;
        for record in self.cameras.values_mut() {
            record.deaths.retain(|(_, at)| counts(*at));
            record.last = record.last.filter(|at| counts(*at));
            if record.trial.is_some_and(|until| until <= now.mono) {
                (record.trial, record.holds) = (None, 0);
            }
        }
        self.cameras.retain(|_, r| r.last.is_some() || r.held.is_some() || r.trial.is_some());
    }

    /// Whether it may be the one.
    pub(super) fn is_suspect(&self, camera: &CameraId) -> bool {
        self.cameras.get(camera).is_some_and(|r| r.deaths.len() >= SUSPECT || r.trial.is_some())
    }

    /// Whether it was there when a worker died within the window: who was not must not suffer from it.
    pub(super) fn is_marked(&self, camera: &CameraId) -> bool {
        self.cameras.get(camera).is_some_and(|r| r.last.is_some())
    }

    /// Whether it is let go of.
    pub(super) fn is_held(&self, camera: &CameraId) -> bool {
        self.cameras.get(camera).is_some_and(|r| r.held.is_some())
    }

    /// How many are let go of.
    pub(super) fn held(&self) -> usize {
        self.cameras.values().filter(|r| r.held.is_some()).count()
    }

    /// Those whose time is over; they stay held until they are [`tried`](Self::tried).
    pub(super) fn due(&self, now: Stamp) -> Vec<CameraId> {
        let is_due = |r: &Record| r.held.is_some_and(|until| until <= now.mono);
        self.cameras.iter().filter(|(_, r)| is_due(r)).map(|(camera, _)| camera.clone()).collect()
    }

    /// It is read again, alone for a while.
    pub(super) fn tried(&mut self, camera: &CameraId, now: Stamp) {
        let record = self.cameras.entry(camera.clone()).or_default();
        (record.held, record.trial) = (None, Some(now.mono + WINDOW));
    }

    /// The document has something new for it: a held one is due at once, and has all its tries again.
    pub(super) fn changed(&mut self, camera: &CameraId, now: Stamp) {
        if let Some(record) = self.cameras.get_mut(camera).filter(|r| r.held.is_some()) {
            *record = Record { held: Some(now.mono), ..Record::default() };
        }
    }

    /// It is no longer in the document.
    pub(super) fn removed(&mut self, camera: &CameraId) {
        self.cameras.remove(camera);
    }
}
