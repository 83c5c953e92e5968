//! One object that is followed: its motion, what speaks for its being real, and whether it keeps still. Pure.

use std::collections::VecDeque;

use super::kalman::Motion;
use super::tuning::Tuning;
use crate::base::clock::Stamp;
use crate::base::geometry::PixelBox;
use crate::base::types::{Detection, Label, Track};

/// How far an object has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Seen, but not yet believed; shown to nobody.
    Tentative,
    /// Shown, under this id.
    Confirmed(u64),
    /// Over; removed at the end of the step.
    Gone,
}

/// Labels of what moves by itself. Only these may turn out to be phantoms: a person who has never been seen to move is
/// suspect, a car is parked.
const LIVING: [&str; 11] =
    ["person", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"];

/// Labels that the detector takes for each other from frame to frame: one object may change among them.
const ALIKE: [&[&str]; 2] = [&["car", "truck", "bus", "train"], &["bicycle", "motorcycle"]];

/// Sightings further apart than this, seconds, do not count as time in view.
const LONGEST_GAP: f32 = 1.0;

/// Places are medians of so many sightings: one box that was somebody else's does not count as movement.
const SETTLING: usize = 5;

/// Whether two labels may be the same object.
pub fn alike(a: &str, b: &str) -> bool {
    a == b || ALIKE.iter().any(|family| family.contains(&a) && family.contains(&b))
}

/// Where something stands and how tall it is, pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    x: f32,
    foot: f32,
    height: f32,
}

impl Place {
    fn of(b: &PixelBox) -> Self {
        Self { x: b.left + b.width / 2.0, foot: b.bottom(), height: b.height }
    }

    /// Component-wise median; `places` is not empty.
    fn median(places: &VecDeque<Place>) -> Self {
        let middle = |part: fn(&Place) -> f32| {
            let mut values: Vec<f32> = places.iter().map(part).collect();
            values.sort_by(f32::total_cmp);
            values[values.len() / 2]
        };
        Self { x: middle(|p| p.x), foot: middle(|p| p.foot), height: middle(|p| p.height) }
    }

    /// Distance of the feet in heights of the taller.
    fn distance(&self, other: &Self) -> f32 {
        (self.x - other.x).hypot(self.foot - other.foot) / self.height.max(other.height).max(1.0)
    }

    /// Ratio of the taller height to the lower.
    fn growth(&self, other: &Self) -> f32 {
        let (a, b) = (self.height.max(1.0), other.height.max(1.0));
        a.max(b) / a.min(b)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Object {
    pub motion: Motion,
    pub state: State,
    pub first_seen: Stamp,
    pub last_seen: Stamp,
    /// Where it was seen last.
    pub last_box: PixelBox,
    /// Seen in this very frame.
    pub seen_now: bool,
    /// Sightings in all.
    pub hits: u32,
    /// Seconds for which it was seen in all; long gaps not counted.
    pub seen_seconds: f32,
    /// Has ever moved from where it was born.
    pub moved: bool,
    /// What it was called, with the sum of the scores; the highest sum is its label.
    votes: Vec<(Label, f32)>,
    /// Since when its sightings have been a phantom's place and size.
    covered: Option<Stamp>,
    score: f32,
    /// The last sightings, at most [`SETTLING`].
    recent: VecDeque<Place>,
    birth: Place,
    /// Where it has kept still, and since when.
    anchor: Place,
    anchored: Stamp,
}

impl Object {
    /// Something seen for the first time.
    pub fn new(d: &Detection, now: Stamp, tuning: &Tuning) -> Self {
        let place = Place::of(&d.bbox);
        Self {
            motion: Motion::new(&d.bbox, &tuning.noise),
            state: State::Tentative,
            first_seen: now,
            last_seen: now,
            last_box: d.bbox,
            seen_now: true,
            hits: 1,
            seen_seconds: 0.0,
            moved: false,
            covered: None,
            votes: vec![(d.label.clone(), d.score)],
            score: d.score,
            recent: VecDeque::from([place]),
            birth: place,
            anchor: place,
            anchored: now,
        }
    }

    /// Seconds since it was seen.
    pub fn unseen(&self, now: Stamp) -> f32 {
        now.since(self.last_seen).as_secs_f32()
    }

    /// Whether it is shown.
    pub fn confirmed(&self) -> bool {
        matches!(self.state, State::Confirmed(_))
    }

    /// What it most likely is: of equal sums, the first name it had.
    pub fn label(&self) -> &Label {
        let (mut label, mut most) = (&self.votes[0].0, self.votes[0].1);
        for (l, sum) in &self.votes[1..] {
            if *sum > most {
                (label, most) = (l, *sum);
            }
        }
        label
    }

    /// Whether it never keeps still for good.
    pub fn living(&self) -> bool {
        LIVING.contains(&&**self.label())
    }

    /// Mean score of all sightings.
    pub fn mean_score(&self) -> f32 {
        self.votes.iter().map(|v| v.1).sum::<f32>() / self.hits as f32
    }

    /// Moves on by `dt` seconds, before the frame's detections are known.
    pub fn predict(&mut self, dt: f64, tuning: &Tuning) {
        self.motion.predict(dt, !self.seen_now, &tuning.noise);
        self.seen_now = false;
    }

    /// Seconds for which what was seen of it could as well have been a phantom.
    pub fn haunting(&self, now: Stamp) -> f32 {
        self.covered.map_or(0.0, |since| now.since(since).as_secs_f32())
    }

    /// Takes a sighting in. `covered`: it is a phantom's place and size.
    pub fn see(&mut self, d: &Detection, covered: bool, now: Stamp, tuning: &Tuning) {
        let gap = self.unseen(now);
        if gap <= LONGEST_GAP {
            self.seen_seconds += gap;
        }
        let doubt = if d.score >= tuning.strong { 1.0 } else { tuning.weak_noise };
        self.motion.update(&d.bbox, doubt, &tuning.noise);
        self.covered = covered.then(|| self.covered.unwrap_or(now));
        self.last_seen = now;
        self.last_box = d.bbox;
        self.seen_now = true;
        self.score = d.score;
        self.hits += 1;
        match self.votes.iter_mut().find(|v| v.0 == d.label) {
            Some(vote) => vote.1 += d.score,
            None => self.votes.push((d.label.clone(), d.score)),
        }
        self.look_for_movement(&d.bbox, now, tuning);
    }

    fn look_for_movement(&mut self, bbox: &PixelBox, now: Stamp, tuning: &Tuning) {
        if self.recent.len() == SETTLING {
            self.recent.pop_front();
        }
        self.recent.push_back(Place::of(bbox));
        let here = Place::median(&self.recent);
        self.moved |= here.distance(&self.birth) > tuning.moved || here.growth(&self.birth) > tuning.grown;
        if here.distance(&self.anchor) > tuning.still {
            self.anchor = here;
            self.anchored = now;
        }
    }

    /// What the world sees of it, if it is confirmed.
    pub fn track(&self, stationary_seconds: f32, now: Stamp, tuning: &Tuning) -> Option<Track> {
        let State::Confirmed(id) = self.state else { return None };
        Some(Track {
            id,
            label: self.label().clone(),
            bbox: self.shown(tuning),
            score: self.score,
            first_seen: self.first_seen,
            seen_now: self.seen_now,
            stationary: now.since(self.anchored).as_secs_f32() >= stationary_seconds,
        })
    }

    /// The estimate overshoots where people stop and turn, the detection jitters: the truth lies between them.
    fn shown(&self, tuning: &Tuning) -> PixelBox {
        let estimate = self.motion.bbox();
        if !self.seen_now {
            return estimate;
        }
        let mix = |a: f32, b: f32| a + (b - a) * tuning.raw;
        PixelBox {
            left: mix(estimate.left, self.last_box.left),
            top: mix(estimate.top, self.last_box.top),
            width: mix(estimate.width, self.last_box.width),
            height: mix(estimate.height, self.last_box.height),
        }
    }
}
