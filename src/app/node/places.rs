//! Which camera is in which worker. Pure: [`Places::step`] is told what happened and says what changes.
//!
//! A camera keeps its worker for as long as it is in the document, so that a change to one camera touches no other. Only
//! deaths move cameras: suspects are taken apart (see [`super::quarantine`]) into workers beyond those that the cameras
//! need, [`SPARE`] at the most; when they are cleared they go together again and the spare workers end.

use std::collections::{BTreeMap, BTreeSet};

use super::quarantine::{Quarantine, Verdict};
use crate::base::Stamp;
use crate::base::types::CameraId;

/// So many workers more than the cameras need, for all suspects of a node together.
const SPARE: usize = 4;
/// A hunt has two at once when the cleared go together early. It begins when they are there, so that no two hunts ever
/// wait for each other.
const HUNT: usize = 2;

/// What happens.
pub(super) enum Input<'a> {
    /// The document has a camera that it had not.
    Added(&'a CameraId),
    /// The document has something new for a camera.
    Changed(&'a CameraId),
    /// It is no longer in the document.
    Removed(&'a CameraId),
    /// A worker died of itself that was reading these; `blame`: the one whose stream it hung on.
    Died { cameras: &'a [CameraId], blame: Option<&'a CameraId> },
    /// The process of a worker that had to end has ended.
    Ended(usize),
    /// Now and then.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Output {
    /// A camera has another worker than `from`.
    Moved { camera: CameraId, from: usize },
    /// It is let go of.
    Held { camera: CameraId, deaths: usize, until: Stamp },
    /// It is read again.
    Tried(CameraId),
}

#[derive(Clone, Copy, Default)]
struct Worker {
    /// It was taken apart, or made for a suspect: it ends when its cameras have room elsewhere.
    passing: bool,
    /// Made beyond those that the cameras need.
    extra: bool,
}

/// All places of a node.
pub(super) struct Places {
    per_worker: usize,
    workers: BTreeMap<usize, Worker>,
    /// Workers that are to end and have not yet.
    ending: BTreeSet<usize>,
    place: BTreeMap<CameraId, usize>,
    quarantine: Quarantine,
}

impl Places {
    pub(super) fn new(per_worker: usize) -> Self {
        Self {
            per_worker,
            workers: BTreeMap::new(),
            ending: BTreeSet::new(),
            place: BTreeMap::new(),
            quarantine: Quarantine::default(),
        }
    }

    /// Takes note of `input`; afterwards [`workers`](Self::workers) and [`worker_of`](Self::worker_of) say how it should be.
    pub(super) fn step(&mut self, input: Input<'_>, now: Stamp) -> Vec<Output> {
        self.quarantine.forget_old(now);
        let mut out = Vec::new();
        match input {
            Input::Added(camera) => {
                if !self.place.contains_key(camera) && !self.quarantine.is_held(camera) {
                    let worker = self.with_room();
                    self.place.insert(camera.clone(), worker);
                }
                return out;
            }
            Input::Changed(camera) => self.quarantine.changed(camera, now),
            Input::Removed(camera) => {
                self.place.remove(camera);
                self.quarantine.removed(camera);
            }
            Input::Died { cameras, blame } => match self.quarantine.died(cameras, blame, self.all(), now) {
                Verdict::Nothing => {}
                Verdict::Apart(suspects) => self.apart(suspects, &mut out),
                Verdict::Hold { camera, deaths, until } => match self.place.remove(&camera) {
                    // Taken out of the document while its worker died.
                    None => self.quarantine.removed(&camera),
                    Some(worker) => {
                        self.workers.entry(worker).or_default().passing = true;
                        out.push(Output::Held { camera, deaths, until });
                    }
                },
            },
            Input::Ended(worker) => drop(self.ending.remove(&worker)),
            Input::Tick => {}
        }
        if !self.is_hunting() {
            self.settle(&mut out);
        }
        self.try_again(now, &mut out);
        out
    }

    /// Workers that should run.
    pub(super) fn workers(&self) -> impl Iterator<Item = usize> {
        self.workers.keys().copied()
    }

    /// Where a camera belongs; `None` while it is let go of.
    pub(super) fn worker_of(&self, camera: &CameraId) -> Option<usize> {
        self.place.get(camera).copied()
    }

    /// How many cameras are let go of.
    pub(super) fn held(&self) -> usize {
        self.quarantine.held()
    }

    fn cameras_of(&self, worker: usize) -> Vec<CameraId> {
        self.place.iter().filter(|(_, w)| **w == worker).map(|(camera, _)| camera.clone()).collect()
    }

    fn room(&self, worker: usize) -> usize {
        self.per_worker.saturating_sub(self.place.values().filter(|w| **w == worker).count())
    }

    /// Whether nobody in it is a suspect.
    fn is_calm(&self, worker: usize) -> bool {
        self.place.iter().all(|(camera, w)| *w != worker || !self.quarantine.is_suspect(camera))
    }

    /// A worker with room for one more camera, made if need be.
    fn with_room(&mut self) -> usize {
        let there = self.workers.keys().find(|w| self.room(**w) > 0 && self.is_calm(**w)).copied();
        there.unwrap_or_else(|| self.make(Worker::default()))
    }

    fn make(&mut self, worker: Worker) -> usize {
        let free = |n: &usize| !self.workers.contains_key(n) && !self.ending.contains(n);
        let number = (0..).find(free).unwrap_or_default();
        self.workers.insert(number, worker);
        number
    }

    /// All cameras, also those that are let go of.
    fn all(&self) -> usize {
        self.place.len() + self.quarantine.held()
    }

    /// Workers for all cameras.
    fn needed(&self) -> usize {
        self.all().div_ceil(self.per_worker)
    }

    /// How many workers more there may be.
    fn spare(&self) -> usize {
        let ordinary = self.workers.values().filter(|w| !w.extra).count();
        (self.needed().max(ordinary) + SPARE).saturating_sub(self.workers.len())
    }

    /// One more than the cameras need, while there are `enough`.
    fn make_spare(&mut self, enough: usize, out: &mut Vec<Output>) -> Option<usize> {
        if self.spare() < enough {
            self.settle(out);
        }
        (self.spare() >= enough).then(|| self.make(Worker { passing: true, extra: true }))
    }

    /// Without a spare worker they stay together, and their next death asks again.
    fn apart(&mut self, suspects: Vec<CameraId>, out: &mut Vec<Output>) {
        // What is not in the document any more is in no place.
        let suspects: Vec<(CameraId, usize)> =
            suspects.into_iter().filter_map(|c| self.worker_of(&c).map(|from| (c, from))).collect();
        let Some((_, first)) = suspects.first() else { return };
        let has_begun = self.workers.get(first).is_some_and(|w| w.passing);
        let Some(to) = self.make_spare(if has_begun { 1 } else { HUNT }, out) else { return };
        for (camera, from) in suspects {
            self.place.insert(camera.clone(), to);
            if let Some(worker) = self.workers.get_mut(&from) {
                worker.passing = true;
            }
            out.push(Output::Moved { camera, from });
        }
    }

    /// Whether some suspects are together still.
    fn is_hunting(&self) -> bool {
        self.workers().any(|w| !self.is_calm(w) && self.cameras_of(w).len() > 1)
    }

    /// Whether somebody in it was there when a worker died.
    fn is_marked(&self, worker: usize) -> bool {
        self.place.iter().any(|(camera, w)| *w == worker && self.quarantine.is_marked(camera))
    }

    /// Ends passing workers whose cameras are cleared and have room elsewhere, the emptiest first. Until their window is
    /// over they go to each other only: two culprits are not told apart from one at once.
    fn settle(&mut self, out: &mut Vec<Output>) {
        let calm: Vec<usize> = self.workers().filter(|w| self.is_calm(*w)).collect();
        let all = calm.len() == self.workers.len();
        let mut passing: Vec<usize> = calm.iter().copied().filter(|w| self.workers[w].passing).collect();
        passing.sort_by_key(|w| std::cmp::Reverse(self.room(*w)));
        for worker in passing {
            let (cameras, marked) = (self.cameras_of(worker), self.is_marked(worker));
            let may_take = |w: &usize| *w != worker && self.workers.contains_key(w) && self.is_marked(*w) == marked;
            let mut others: Vec<usize> = calm.iter().copied().filter(may_take).collect();
            others.sort_by_key(|w| self.room(*w));
            let fits = others.iter().map(|w| self.room(*w)).sum::<usize>() >= cameras.len();
            let too_many = self.workers.len() > self.needed();
            let ends = cameras.is_empty() || (too_many && fits);
            if !ends {
                if all && !marked {
                    // It stays, as one like any other.
                    self.workers.insert(worker, Worker::default());
                }
                continue;
            }
            for camera in cameras {
                let Some(to) = others.iter().copied().find(|w| self.room(*w) > 0) else { continue };
                self.place.insert(camera.clone(), to);
                out.push(Output::Moved { camera, from: worker });
            }
            self.workers.remove(&worker);
            self.ending.insert(worker);
        }
    }

    /// Those whose time is over are read again, each in a worker of its own.
    fn try_again(&mut self, now: Stamp, out: &mut Vec<Output>) {
        for camera in self.quarantine.due(now) {
            let Some(worker) = self.make_spare(HUNT, out) else { return };
            self.quarantine.tried(&camera, now);
            self.place.insert(camera.clone(), worker);
            out.push(Output::Tried(camera));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::quarantine::{DEATHS, FIRST_HOLD, LONGEST_HOLD, WINDOW};
    use super::*;

    /// What a short life and a new start take.
    const LIFE: Duration = Duration::from_secs(4);

    fn id(n: usize) -> CameraId {
        format!("c{n:02}").parse().expect("valid")
    }

    /// Cameras in their places, and what became of them. Workers end as soon as they are told to.
    struct Node {
        places: Places,
        now: Stamp,
        cameras: Vec<CameraId>,
        held: Vec<(CameraId, Duration)>,
        moves: Vec<CameraId>,
        tried: Vec<CameraId>,
        suffered: BTreeSet<CameraId>,
        most_workers: usize,
    }

    impl Node {
        fn of(cameras: usize, per_worker: usize) -> Self {
            let mut node = Self {
                places: Places::new(per_worker),
                now: Stamp::default(),
                cameras: Vec::new(),
                held: Vec::new(),
                moves: Vec::new(),
                tried: Vec::new(),
                suffered: BTreeSet::new(),
                most_workers: 0,
            };
            for n in 0..cameras {
                node.cameras.push(id(n));
                node.tell(Input::Added(&id(n)));
            }
            node
        }

        fn tell(&mut self, input: Input<'_>) {
            let mut outputs = self.places.step(input, self.now);
            self.most_workers = self.most_workers.max(self.places.workers.len());
            while let Some(worker) = self.places.ending.first().copied() {
                outputs.extend(self.places.step(Input::Ended(worker), self.now));
            }
            for output in outputs {
                match output {
                    Output::Moved { camera, .. } => self.moves.push(camera),
                    Output::Tried(camera) => self.tried.push(camera),
                    Output::Held { camera, until, .. } => {
                        self.held.push((camera, until.mono - self.now.mono));
                    }
                }
            }
            self.is_sound();
        }

        fn is_sound(&self) {
            for camera in &self.cameras {
                let (placed, held) = (self.places.worker_of(camera), self.places.quarantine.is_held(camera));
                assert!(placed.is_some() != held, "{camera:?} is at {placed:?} and held: {held}");
                assert!(placed.is_none_or(|w| self.places.workers.contains_key(&w)), "{camera:?} is nowhere");
            }
            for worker in self.places.workers() {
                assert!(self.places.cameras_of(worker).len() <= self.places.per_worker, "{worker} is too full");
            }
        }

        /// The worker of `camera` dies of itself; whether it had one.
        fn dies(&mut self, camera: &CameraId) -> bool {
            let Some(worker) = self.places.worker_of(camera) else { return false };
            let cameras = self.places.cameras_of(worker);
            self.suffered.extend(cameras.iter().cloned());
            self.tell(Input::Died { cameras: &cameras, blame: None });
            true
        }

        fn pass(&mut self, time: Duration) {
            self.now = self.now.plus(time);
            self.tell(Input::Tick);
        }

        fn needed(&self, cameras: usize) -> usize {
            cameras.div_ceil(self.places.per_worker)
        }

        /// Deaths until every one of `culprits` is let go of, one of them after the other as `turn` says.
        fn hunt(&mut self, culprits: &[CameraId], mut turn: impl FnMut(usize) -> usize) -> usize {
            for deaths in 0..100 {
                let free: Vec<&CameraId> = culprits.iter().filter(|c| self.places.worker_of(c).is_some()).collect();
                if free.is_empty() {
                    return deaths;
                }
                let next = free[turn(deaths) % free.len()].clone();
                self.dies(&next);
                self.pass(LIFE);
            }
            panic!("not found: {:?} of {culprits:?}", self.held);
        }

        fn held_cameras(&self) -> BTreeSet<CameraId> {
            self.held.iter().map(|(camera, _)| camera.clone()).collect()
        }
    }

    #[test]
    fn one_culprit_among_any_number_is_found_with_five_deaths() {
        for cameras in 1..=8 {
            for culprit in 0..cameras {
                let mut node = Node::of(cameras, 8);
                let deaths = node.hunt(&[id(culprit)], |_| 0);
                assert_eq!(deaths, DEATHS, "{culprit} of {cameras}");
                assert_eq!(node.held, [(id(culprit), FIRST_HOLD)]);
                assert!(node.most_workers < 1 + SPARE, "{} workers", node.most_workers);
                assert_eq!(node.places.workers().count(), node.needed(cameras - 1), "they are together again");
            }
        }
    }

    #[test]
    fn a_camera_comes_back_alone_and_its_time_doubles_until_it_behaves() {
        let mut node = Node::of(3, 8);
        node.hunt(&[id(1)], |_| 0);
        let mut hold = FIRST_HOLD;
        for _ in 0..6 {
            node.pass(hold - LIFE - Duration::from_secs(1));
            assert_eq!(node.places.worker_of(&id(1)), None, "its time is not over");
            node.pass(Duration::from_secs(1));
            let alone = node.places.worker_of(&id(1)).expect("it is tried again");
            assert_eq!(node.places.cameras_of(alone), [id(1)]);
            assert_eq!(node.hunt(&[id(1)], |_| 0), 1, "one death is enough now");
            hold = (hold * 2).min(LONGEST_HOLD);
            assert_eq!(node.held.last(), Some(&(id(1), hold)));
        }
        assert_eq!(hold, LONGEST_HOLD);
        node.pass(hold);
        node.pass(WINDOW);
        assert_eq!(node.places.workers().count(), 1, "it is back with the others");
        assert_eq!(node.hunt(&[id(1)], |_| 0), DEATHS, "what it did is forgotten");
        assert_eq!(node.held.last(), Some(&(id(1), FIRST_HOLD)));
        assert_eq!(node.held_cameras().len(), 1, "nobody else was ever let go of");
    }

    #[test]
    fn a_change_in_the_document_frees_it_at_once_with_all_its_tries() {
        let mut node = Node::of(3, 8);
        node.hunt(&[id(1)], |_| 0);
        node.tell(Input::Changed(&id(0)));
        assert_eq!(node.places.worker_of(&id(1)), None, "another camera's change is not its own");
        node.tell(Input::Changed(&id(1)));
        let alone = node.places.worker_of(&id(1)).expect("it is tried again");
        assert_eq!((node.places.cameras_of(alone), node.tried.as_slice()), (vec![id(1)], [id(1)].as_slice()));
        assert_eq!(node.hunt(&[id(1)], |_| 0), DEATHS);
        assert_eq!(node.held.last(), Some(&(id(1), FIRST_HOLD)));
    }

    #[test]
    fn whose_stream_a_worker_hung_on_is_the_only_suspect() {
        let mut node = Node::of(8, 8);
        for _ in 0..DEATHS {
            let worker = node.places.worker_of(&id(5)).expect("read");
            let cameras = node.places.cameras_of(worker);
            node.tell(Input::Died { cameras: &cameras, blame: Some(&id(5)) });
            node.pass(LIFE);
        }
        assert_eq!(node.held, [(id(5), FIRST_HOLD)]);
        assert_eq!(node.moves, [id(5)], "the others stayed where they were");
    }

    #[test]
    fn a_culprit_too_slow_for_quarantine_is_kept_alone() {
        let mut node = Node::of(8, 8);
        for _ in 0..20 {
            node.dies(&id(2));
            node.pass(Duration::from_secs(240));
        }
        let worker = node.places.worker_of(&id(2)).expect("read");
        assert_eq!((node.places.cameras_of(worker), node.held.len()), (vec![id(2)], 0));
        assert_eq!(node.places.workers().count(), 2, "the others are together");
        node.pass(WINDOW);
        assert_eq!(node.places.workers().count(), 1);
    }

    #[test]
    fn whoever_left_the_document_while_its_worker_died_is_not_let_go_of() {
        let mut node = Node::of(3, 8);
        node.cameras.pop();
        node.tell(Input::Removed(&id(2)));
        for _ in 0..2 * DEATHS {
            node.tell(Input::Died { cameras: &[id(2)], blame: None });
        }
        assert_eq!((node.held.len(), node.places.held(), node.moves.len()), (0, 0, 0));
    }

    #[test]
    fn what_ends_every_worker_is_no_camera() {
        for (cameras, per_worker, most) in [(1, 8, 1), (2, 8, 1), (3, 1, 1), (8, 1, 4), (16, 8, 8)] {
            let mut node = Node::of(cameras, per_worker);
            for round in 0..200 {
                node.dies(&id(round % cameras));
                node.pass(LIFE);
            }
            assert!(node.places.held() <= most, "{} of {cameras} let go of", node.places.held());
            node.pass(LONGEST_HOLD);
            for _ in 0..most {
                node.pass(WINDOW);
            }
            assert_eq!(node.places.held(), 0, "they are read again, a few at a time");
        }
    }

    #[test]
    fn nobody_new_is_put_beside_a_suspect() {
        let mut node = Node::of(3, 8);
        for _ in 0..2 {
            node.dies(&id(0));
        }
        node.cameras.push(id(3));
        node.tell(Input::Added(&id(3)));
        let worker = node.places.worker_of(&id(3)).expect("read");
        assert_eq!(node.places.cameras_of(worker), [id(3)]);
    }

    #[test]
    fn spare_workers_have_a_bound_and_suspects_wait_for_one() {
        let mut node = Node::of(64, 8);
        // One in each of eight workers: a hunt for all of them at once needs more than there may be.
        let culprits: Vec<CameraId> = (0..8).map(|w| id(w * 8 + 5)).collect();
        let deaths = node.hunt(&culprits, |deaths| deaths);
        assert!(node.most_workers <= 8 + SPARE, "{}", node.most_workers);
        assert_eq!(node.held_cameras(), culprits.into_iter().collect(), "after {deaths} deaths");
        assert_eq!(node.places.workers().count(), 8, "the others are together");
        node.pass(FIRST_HOLD);
        assert!(node.places.held() > 0 && node.places.workers().count() <= 8 + SPARE, "no more are tried at once");
        for _ in 0..4 {
            node.pass(WINDOW);
        }
        assert_eq!((node.places.held(), node.places.workers().count()), (0, 8));
    }

    proptest! {
        #[test]
        fn two_culprits_are_found_and_nobody_else(
            cameras in 4usize..=24,
            first in 0usize..24,
            second in 0usize..24,
            turns in proptest::collection::vec(0usize..2, 100),
        ) {
            let culprits = [id(first % cameras), id(second % cameras)];
            let mut node = Node::of(cameras, 8);
            let before: Vec<Option<usize>> = node.cameras.iter().map(|c| node.places.worker_of(c)).collect();
            let theirs = culprits.clone().map(|c| node.places.worker_of(&c));
            let deaths = node.hunt(&culprits, |n| turns[n]);
            for (camera, worker) in node.cameras.iter().zip(before) {
                let touched = node.suffered.contains(camera) || node.moves.contains(camera);
                prop_assert!(!touched || theirs.contains(&worker), "{camera:?} is of a worker without a culprit");
            }
            let culprits = BTreeSet::from(culprits);
            // Each may be cleared once of what it shared with the other.
            prop_assert!(deaths <= culprits.len() * (DEATHS + 1), "{deaths}");
            prop_assert!(node.most_workers <= node.needed(cameras) + SPARE);
            prop_assert_eq!(node.held_cameras(), culprits);
            node.pass(WINDOW);
            prop_assert!(node.places.workers().count() <= node.needed(cameras));
        }

        #[test]
        fn deaths_by_chance_let_go_of_nobody(
            cameras in 1usize..=24,
            per_worker in 1usize..=8,
            deaths in proptest::collection::vec((0usize..24, 150u64..1500), 1..150),
        ) {
            let mut node = Node::of(cameras, per_worker);
            for (camera, seconds) in deaths {
                node.dies(&id(camera % cameras));
                node.pass(Duration::from_secs(seconds));
            }
            prop_assert!(node.held.is_empty(), "{:?}", node.held);
            prop_assert!(node.most_workers <= node.needed(cameras) + SPARE);
            node.pass(WINDOW);
            prop_assert_eq!(node.places.workers().count(), node.needed(cameras));
        }

        #[test]
        fn whatever_happens_every_camera_has_one_place_or_is_let_go_of(
            per_worker in 1usize..=8,
            happenings in proptest::collection::vec((0usize..6, 0usize..20, 0u64..400), 1..200),
        ) {
            let mut node = Node::of(12, per_worker);
            for (what, camera, seconds) in happenings {
                let camera = id(camera);
                match what {
                    0 if !node.cameras.contains(&camera) => {
                        node.cameras.push(camera.clone());
                        node.tell(Input::Added(&camera));
                    }
                    0 => node.tell(Input::Changed(&camera)),
                    1 => {
                        node.cameras.retain(|c| *c != camera);
                        node.tell(Input::Removed(&camera));
                    }
                    2 => node.pass(Duration::from_secs(seconds)),
                    _ => {
                        node.dies(&camera);
                    }
                }
            }
            for _ in 0..20 {
                node.pass(LONGEST_HOLD);
            }
            prop_assert_eq!(node.places.held(), 0, "everyone is read again");
            prop_assert!(node.places.workers.values().all(|w| !w.extra), "and the spare workers are gone");
        }
    }
}
