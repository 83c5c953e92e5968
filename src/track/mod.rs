//! L2: detections in, tracks out. Pure: no clock, no randomness, no I/O; what comes out depends on what went in before,
//! and not on the order of the detections within a frame.
//!
//! A tracker of the ByteTrack class (Zhang et al., 2022, arXiv:2110.06864), written for irregular frame rates:
//!
//! 1. Every object is moved on to the frame's time ([`kalman`]); what was not seen for `lost_seconds` ends.
//! 2. Confirmed objects and known phantoms take strong detections, then what was seen a moment ago takes weak ones, then
//!    tentative objects take what is left; each time by the best assignment as a whole ([`assignment`]) over a
//!    similarity of place and size.
//! 3. A strong detection that nobody took begins a tentative object.
//! 4. A tentative object is confirmed, and gets an id, when it was seen often enough and is believed: it has moved, or
//!    the detector is surer of it than it is of signposts, or it is a thing that may well stand still.
//! 5. A living thing that has never moved for `phantom_seconds` in view is a phantom ([`phantom`]): it gives no row, and
//!    its place is known from then on. Whoever walked in has moved, and may stand still for as long as he likes; only
//!    who does so in a phantom's very place and size is given up after a while, as having left unseen.

pub mod assignment;
pub mod kalman;
pub mod object;
pub mod phantom;
pub mod trajectory;
pub mod tuning;

use crate::base::clock::Stamp;
use crate::base::geometry::PixelBox;
use crate::base::types::{Detection, Phantom, Track};
use crate::config::TrackConfig;

use assignment::assign;
use object::{Object, State, alike};
use phantom::Phantoms;
use tuning::Tuning;

/// A tentative object that was in view for this long, seconds, may be missed like a confirmed one: a signpost that
/// flickers must not begin anew each time.
const ESTABLISHED: f32 = 1.0;

/// Coordinates beyond this are no picture.
const FARTHEST: f32 = 1e6;

/// Follows the objects of one camera.
pub struct Tracker {
    config: TrackConfig,
    tuning: Tuning,
    objects: Vec<Object>,
    phantoms: Phantoms,
    last: Option<(Stamp, (u32, u32))>,
    next_id: u64,
}

/// What one step works on.
struct Step<'a> {
    found: Vec<&'a Detection>,
    /// Not yet taken by an object or a phantom.
    free: Vec<bool>,
    size: (u32, u32),
    now: Stamp,
    /// Seconds since the last step.
    dt: f32,
}

impl Tracker {
    /// A tracker for one camera that knows `phantoms` from before.
    pub fn new(config: &TrackConfig, phantoms: Vec<Phantom>) -> Self {
        Self::with_tuning(config, phantoms, Tuning::default())
    }

    /// The same with other parameters; for measuring.
    pub fn with_tuning(config: &TrackConfig, phantoms: Vec<Phantom>, tuning: Tuning) -> Self {
        let phantoms = Phantoms::new(phantoms);
        Self { config: config.clone(), tuning, objects: Vec::new(), phantoms, last: None, next_id: 1 }
    }

    /// Takes the detections of one frame of `width` × `height` pixels that arrived at `now`, and gives the confirmed
    /// tracks by rising id: those seen in this frame and, with `seen_now` false and a predicted box, those that were
    /// not seen for at most `lost_seconds`. A box may reach over the frame's edge. `now` must not go back; times that
    /// do count as no time passed. When the frame's size changes, all tracks end.
    pub fn step(&mut self, detections: &[Detection], width: u32, height: u32, now: Stamp) -> Vec<Track> {
        let mut found: Vec<&Detection> = detections.iter().filter(|d| sound(d)).collect();
        found.sort_by(|a, b| Detection::by_score_then_place(a, b));
        let dt = match self.last {
            Some((last, size)) if size == (width, height) => now.since(last),
            _ => {
                self.objects.clear();
                Default::default()
            }
        };
        self.last = Some((now, (width, height)));
        let free = vec![true; found.len()];
        let mut step = Step { found, free, size: (width, height), now, dt: dt.as_secs_f32() };
        self.phantoms.begin(now);
        for o in &mut self.objects {
            o.predict(dt.as_secs_f64(), &self.tuning);
        }
        self.expire(&step);
        self.associate_all(&mut step);
        self.begin(&mut step);
        self.judge(&step);
        let seconds = self.config.stationary_seconds;
        let mut tracks: Vec<Track> = self.objects.iter().filter_map(|o| o.track(seconds, now, &self.tuning)).collect();
        tracks.sort_by_key(|t| t.id);
        tracks
    }

    /// The phantoms known now, to be given back to [`Tracker::new`] after a restart.
    pub fn phantoms(&self) -> Vec<Phantom> {
        self.phantoms.list()
    }

    fn associate_all(&mut self, step: &mut Step<'_>) {
        let t = self.tuning;
        let now = step.now;
        let strong = |d: &Detection| d.score >= t.strong;
        let weak = |d: &Detection| d.score < t.strong;
        // What was in view for a while stands its ground against passers-by, though it may yet prove a phantom.
        let first = |o: &Object| o.confirmed() || o.seen_seconds >= ESTABLISHED;
        self.associate(step, t.match_strong, true, first, strong);
        self.associate(step, t.match_weak, true, |o| first(o) && o.unseen(now) <= t.weak_memory, weak);
        self.associate(step, t.match_tentative, false, |o| !o.confirmed(), |_| true);
    }

    /// Pairs the objects that `who` names with the detections that `which` names; with `phantoms`, those compete.
    fn associate(
        &mut self,
        step: &mut Step<'_>,
        least: f64,
        phantoms: bool,
        who: impl Fn(&Object) -> bool,
        which: impl Fn(&Detection) -> bool,
    ) {
        let open = |o: &Object| !o.seen_now && who(o);
        let rows: Vec<usize> = (0..self.objects.len()).filter(|i| open(&self.objects[*i])).collect();
        let columns: Vec<usize> = (0..step.found.len()).filter(|i| step.free[*i] && which(step.found[*i])).collect();
        let ghosts = if phantoms { self.phantoms.count() } else { 0 };
        let pairs = assign(rows.len() + ghosts, columns.len(), |r, c| {
            let d = step.found[columns[c]];
            match rows.get(r) {
                Some(o) => {
                    let o = &self.objects[*o];
                    let weight = if o.confirmed() { 1.0 } else { self.tuning.phantom_weight };
                    self.likeness(o, d, step).map(|s| (s - least) * weight)
                }
                None => self
                    .phantoms
                    .likeness(r - rows.len(), d, step.size)
                    .map(|s| (s - least) * self.tuning.phantom_weight),
            }
        });
        for (r, c) in pairs {
            let d = step.found[columns[c]];
            step.free[columns[c]] = false;
            match rows.get(r) {
                Some(o) => {
                    let covered = self.phantoms.covers(d, step.size);
                    self.objects[*o].see(d, covered, step.now, &self.tuning);
                }
                None => self.phantoms.see(r - rows.len(), d, step.size, step.dt, step.now),
            }
        }
    }

    fn likeness(&self, o: &Object, d: &Detection, step: &Step<'_>) -> Option<f64> {
        if !alike(o.label(), &d.label) {
            return None;
        }
        // Somebody who vanished near a signpost must not come back as the signpost.
        if o.unseen(step.now) > self.tuning.weak_memory && self.phantoms.covers(d, step.size) {
            return None;
        }
        Some(similarity(o, &d.bbox, &self.tuning))
    }

    /// Begins an object at every strong detection that is left and is not one object's second name (a van is often
    /// found as a car and as a truck at once).
    fn begin(&mut self, step: &mut Step<'_>) {
        for i in 0..step.found.len() {
            let d = step.found[i];
            let mut taken = step.found.iter().zip(&step.free).filter(|(_, free)| !**free).map(|(d, _)| d);
            let double = |o: &&Detection| alike(&o.label, &d.label) && o.bbox.iou(&d.bbox) > self.tuning.double;
            if step.free[i] && d.score >= self.tuning.strong && !taken.any(double) {
                step.free[i] = false;
                self.objects.push(Object::new(d, step.now, &self.tuning));
            }
        }
    }

    /// Ends what was not seen for too long.
    fn expire(&mut self, step: &Step<'_>) {
        let lost = self.config.lost_seconds;
        self.objects.retain(|o| {
            let patience = match o.state {
                State::Tentative if o.seen_seconds < ESTABLISHED => self.tuning.tentative_memory.max(step.dt * 1.01),
                _ => lost,
            };
            o.unseen(step.now) <= patience.min(lost)
        });
    }

    /// Confirms what is believed, and takes what never moved for a phantom.
    fn judge(&mut self, step: &Step<'_>) {
        let t = self.tuning;
        for o in &mut self.objects {
            let seen_enough = o.hits >= t.hits && step.now.since(o.first_seen).as_secs_f32() >= t.confirm_seconds;
            let believed = o.moved || !o.living() || o.mean_score() >= t.sure;
            if o.state == State::Tentative && seen_enough && believed {
                o.state = State::Confirmed(self.next_id);
                self.next_id += 1;
            }
            if o.haunting(step.now) >= self.config.phantom_seconds * t.haunting {
                o.state = State::Gone;
            }
            let patience = self.config.phantom_seconds * if o.confirmed() { t.sure_patience } else { 1.0 };
            if o.living() && !o.moved && o.seen_now && o.seen_seconds >= patience {
                self.phantoms.learn(o.label(), &o.last_box, o.seen_seconds, step.size, step.now);
                o.state = State::Gone;
            }
        }
        self.objects.retain(|o| o.state != State::Gone);
    }
}

/// 0..=1: the IoU of the widened boxes, less for a different height (as in Hybrid-SORT, Yang et al., 2024,
/// arXiv:2308.00783: people who cross differ in height, and a box's height is its steadiest part).
fn similarity(o: &Object, d: &PixelBox, t: &Tuning) -> f64 {
    let place = o.motion.bbox();
    let side = |b: &PixelBox| f64::from(b.width + b.height) / 2.0;
    let wide = (t.buffer + t.spread * o.motion.spread() / side(&place)).min(t.max_buffer);
    let widened = |b: &PixelBox| {
        let by = (wide * side(b)) as f32;
        PixelBox { left: b.left - by, top: b.top - by, width: b.width + 2.0 * by, height: b.height + 2.0 * by }
    };
    let ratio = f64::from(place.height.min(d.height) / place.height.max(d.height));
    f64::from(widened(&place).iou(&widened(d))) * ratio * ratio
}

/// Detectors skip what is not finite; whoever else calls must not be able to poison a filter.
fn sound(d: &Detection) -> bool {
    let b = &d.bbox;
    let bounded = [b.left, b.top, b.width, b.height].iter().all(|v| v.abs() < FARTHEST);
    d.score.is_finite() && bounded && b.width > 0.0 && b.height > 0.0
}
