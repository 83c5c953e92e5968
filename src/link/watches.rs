//! Who looks at which camera, on the node's side of the channel: what its owner allows, what is too much, what has ended.
//! Pure. The centre may ask for anything; this is where a household's terms hold, whatever the centre believes.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::base::Stamp;
use crate::base::types::CameraId;
use crate::config::{CamerasDocument, Sharing};
use crate::wire::channel::{
    Emergency, MAX_FPS, MAX_STREAMS, MAX_WIDTH, Refusal, WATCH_SECONDS, Watch, WatchKind, WatchState,
};
use crate::wire::ipc::{LiveWant, PictureWant, StreamWant};

/// Watches of one centre; it needs one for each camera on its walls.
const MAX_WATCHES: usize = 512;
/// A picture is not asked for more seldom than this.
const MIN_FPS: f32 = 0.1;
const MIN_WIDTH: u32 = 64;

/// What all cameras' watchers want.
pub type LiveWants = BTreeMap<CameraId, LiveWant>;

/// What follows from a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// To be told to the centre.
    State { watch: u64, state: WatchState },
    /// A camera is looked at that its owner does not share live: to be written down.
    Emergency { camera: CameraId, emergency: Emergency },
}

/// What a camera's owner and its masks allow.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Terms {
    sharing: Sharing,
    masked: bool,
}

#[derive(Clone, Debug)]
struct Held {
    watch: Watch,
    /// The node's own number for it: the centre's come again with another centre.
    number: u64,
    /// Not renewed by then, it is over.
    until: Duration,
}

/// The watches in force.
#[derive(Debug, Default)]
pub struct Watches {
    terms: BTreeMap<CameraId, Terms>,
    held: BTreeMap<u64, Held>,
    numbers: u64,
    /// Emergencies that were written down, by camera.
    told: HashSet<(CameraId, String)>,
}

impl Watches {
    /// A document came into force: what it no longer allows ends.
    pub fn apply(&mut self, document: &CamerasDocument, now: Stamp) -> Vec<Outcome> {
        let terms = |c: &crate::config::Camera| Terms { sharing: c.sharing, masked: !c.masks.is_empty() };
        self.terms = document.cameras.iter().map(|c| (c.id.clone(), terms(c))).collect();
        self.judge(now)
    }

    /// The centre wants to look, or goes on looking.
    pub fn ask(&mut self, watch: Watch, now: Stamp) -> Vec<Outcome> {
        let id = watch.watch;
        if let Err(state) = self.allowed(&watch, now) {
            self.held.remove(&id);
            return vec![Outcome::State { watch: id, state }];
        }
        let mut out = Vec::new();
        if let Some(emergency) = watch.emergency.clone().filter(|_| !self.is_shared(&watch.camera))
            && self.told.insert((watch.camera.clone(), emergency.id.clone()))
        {
            out.push(Outcome::Emergency { camera: watch.camera.clone(), emergency });
        }
        let until = now.mono + Duration::from_secs(WATCH_SECONDS);
        let same = |h: &&mut Held| h.watch.camera == watch.camera && same_kind(&h.watch.kind, &watch.kind);
        if let Some(held) = self.held.get_mut(&id).filter(same) {
            (held.watch, held.until) = (watch, until);
            return out;
        }
        self.numbers += 1;
        self.held.insert(id, Held { watch, number: self.numbers, until });
        out.push(Outcome::State { watch: id, state: WatchState::Granted });
        out
    }

    /// Nobody looks any more, or the stream has ended.
    pub fn end(&mut self, watch: u64) -> bool {
        let ended = self.held.remove(&watch).is_some();
        self.forget_told();
        ended
    }

    /// The channel broke.
    pub fn end_all(&mut self) {
        self.held.clear();
        self.told.clear();
    }

    /// Time passes: what was not renewed ends, and so does what an emergency allowed that is over.
    pub fn tick(&mut self, now: Stamp) -> Vec<Outcome> {
        self.held.retain(|_, held| held.until > now.mono);
        let out = self.judge(now);
        self.forget_told();
        out
    }

    /// What is to be asked of the workers.
    pub fn wants(&self) -> LiveWants {
        let mut wants = LiveWants::new();
        for Held { watch, number, .. } in self.held.values() {
            let want = wants.entry(watch.camera.clone()).or_default();
            match watch.kind {
                WatchKind::Jpeg { fps, width } => {
                    let (fps, width) = (fps.clamp(MIN_FPS, MAX_FPS), width.clamp(MIN_WIDTH, MAX_WIDTH));
                    let most = want.picture.get_or_insert(PictureWant { fps, width });
                    (most.fps, most.width) = (most.fps.max(fps), most.width.max(width));
                }
                WatchKind::Fmp4 { stream } => want.streams.push(StreamWant { number: *number, role: stream }),
            }
        }
        wants
    }

    /// Who is to be given `camera`'s pictures.
    pub fn of_pictures<'a>(&'a self, camera: &'a CameraId) -> impl Iterator<Item = u64> + 'a {
        let wanted = move |h: &&Held| h.watch.camera == *camera && matches!(h.watch.kind, WatchKind::Jpeg { .. });
        self.held.values().filter(wanted).map(|h| h.watch.watch)
    }

    /// Who looks at the stream that the workers know as `number`.
    pub fn of_stream(&self, number: u64) -> Option<u64> {
        self.held.values().find(|h| h.number == number).map(|h| h.watch.watch)
    }

    fn is_shared(&self, camera: &CameraId) -> bool {
        self.terms.get(camera).is_some_and(|t| t.sharing == Sharing::ScheduledLive)
    }

    fn allowed(&self, watch: &Watch, now: Stamp) -> Result<(), WatchState> {
        let refused = |reason| Err(WatchState::Refused { reason });
        let Some(terms) = self.terms.get(&watch.camera) else { return refused(Refusal::Camera) };
        match (terms.sharing, &watch.emergency) {
            (Sharing::ScheduledLive, _) => {}
            // It is not even connected to, and no emergency changes that.
            (Sharing::Listed, _) | (_, None) => return refused(Refusal::Sharing),
            (_, Some(emergency)) if !emergency.counts(now.wall_ms) => return refused(Refusal::Emergency),
            (_, Some(_)) => {}
        }
        let others = || self.held.values().filter(|h| h.watch.watch != watch.watch);
        let is_stream = |w: &Watch| matches!(w.kind, WatchKind::Fmp4 { .. });
        if is_stream(watch) {
            if terms.masked {
                return Err(WatchState::Masked);
            }
            if others().filter(|h| is_stream(&h.watch)).count() >= MAX_STREAMS {
                return refused(Refusal::Busy);
            }
        }
        if others().count() >= MAX_WATCHES {
            return refused(Refusal::Busy);
        }
        Ok(())
    }

    fn judge(&mut self, now: Stamp) -> Vec<Outcome> {
        let verdict = |h: &Held| self.allowed(&h.watch, now).err().map(|state| (h.watch.watch, state));
        let ended: Vec<(u64, WatchState)> = self.held.values().filter_map(verdict).collect();
        for (watch, _) in &ended {
            self.held.remove(watch);
        }
        ended.into_iter().map(|(watch, state)| Outcome::State { watch, state }).collect()
    }

    /// Whoever looks again under the same emergency is written down again.
    fn forget_told(&mut self) {
        let held = &self.held;
        self.told.retain(|(camera, id)| {
            let same = |h: &Held| h.watch.camera == *camera && h.watch.emergency.as_ref().is_some_and(|e| e.id == *id);
            held.values().any(same)
        });
    }
}

fn same_kind(before: &WatchKind, now: &WatchKind) -> bool {
    match (before, now) {
        (WatchKind::Jpeg { .. }, WatchKind::Jpeg { .. }) => true,
        (WatchKind::Fmp4 { stream: a }, WatchKind::Fmp4 { stream: b }) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(name: &str) -> CameraId {
        name.parse().expect("valid")
    }

    fn terms(all: &[(&str, Sharing, bool)]) -> Watches {
        let terms = all.iter().map(|(c, sharing, masked)| (id(c), Terms { sharing: *sharing, masked: *masked }));
        Watches { terms: terms.collect(), ..Watches::default() }
    }

    fn jpeg(watch: u64, camera: &str) -> Watch {
        Watch { watch, camera: id(camera), kind: WatchKind::Jpeg { fps: 1.0, width: 640 }, emergency: None }
    }

    fn fmp4(watch: u64, camera: &str) -> Watch {
        Watch { kind: WatchKind::Fmp4 { stream: None }, ..jpeg(watch, camera) }
    }

    fn emergency(until_ms: i64) -> Option<Emergency> {
        Some(Emergency { id: "e-1".into(), who: "A".into(), reason: "cháy".into(), until_ms })
    }

    fn state(watch: u64, state: WatchState) -> Vec<Outcome> {
        vec![Outcome::State { watch, state }]
    }

    fn refused(watch: u64, reason: Refusal) -> Vec<Outcome> {
        state(watch, WatchState::Refused { reason })
    }

    #[test]
    fn only_what_its_owner_shares_live_is_shown() {
        use Sharing::{EventsOnly, Listed, OnRequest, ScheduledLive};
        let mut watches = terms(&[
            ("a", Listed, false),
            ("b", OnRequest, false),
            ("c", EventsOnly, false),
            ("d", ScheduledLive, false),
        ]);
        let now = Stamp::default();
        for (watch, camera) in [(1, "a"), (2, "b"), (3, "c")] {
            assert_eq!(watches.ask(jpeg(watch, camera), now), refused(watch, Refusal::Sharing), "{camera}");
            assert_eq!(watches.ask(fmp4(watch, camera), now), refused(watch, Refusal::Sharing), "{camera}");
        }
        assert_eq!(watches.ask(jpeg(4, "d"), now), state(4, WatchState::Granted));
        assert_eq!(watches.ask(jpeg(4, "d"), now), [], "said once");
        assert_eq!(watches.ask(jpeg(5, "e"), now), refused(5, Refusal::Camera));
        assert_eq!(watches.wants().keys().collect::<Vec<_>>(), [&id("d")]);
    }

    #[test]
    fn an_emergency_opens_a_camera_until_it_is_over_and_is_written_down_once() {
        let mut watches = terms(&[("a", Sharing::EventsOnly, false), ("b", Sharing::Listed, false)]);
        let now = Stamp { wall_ms: 1_000_000, ..Stamp::default() };
        let watch = Watch { emergency: emergency(1_005_000), ..jpeg(1, "a") };
        let begun = watches.ask(watch.clone(), now);
        assert!(matches!(&begun[0], Outcome::Emergency { camera, .. } if *camera == id("a")), "{begun:?}");
        assert_eq!(begun[1..], state(1, WatchState::Granted));
        assert_eq!(watches.ask(watch.clone(), now.plus(SECOND)), []);
        assert_eq!(watches.tick(now.plus(6 * SECOND)), refused(1, Refusal::Emergency), "over, though it was renewed");
        assert!(watches.wants().is_empty());
        assert_eq!(watches.ask(watch, now.plus(6 * SECOND)), refused(1, Refusal::Emergency));
        let listed = Watch { emergency: emergency(1_005_000), ..jpeg(2, "b") };
        assert_eq!(watches.ask(listed, now), refused(2, Refusal::Sharing));
    }

    #[test]
    fn what_is_not_renewed_ends() {
        let mut watches = terms(&[("a", Sharing::ScheduledLive, false)]);
        let now = Stamp::default();
        watches.ask(jpeg(1, "a"), now);
        watches.ask(jpeg(2, "a"), now);
        watches.ask(jpeg(1, "a"), now.plus(6 * SECOND));
        assert_eq!(watches.tick(now.plus(9 * SECOND)), []);
        assert_eq!(watches.of_pictures(&id("a")).collect::<Vec<_>>(), [1, 2]);
        watches.tick(now.plus(10 * SECOND));
        assert_eq!(watches.of_pictures(&id("a")).collect::<Vec<_>>(), [1]);
        watches.tick(now.plus(16 * SECOND));
        assert!(watches.wants().is_empty());
    }

    #[test]
    fn streams_are_few_and_a_masked_camera_has_none() {
        let mut watches = terms(&[("a", Sharing::ScheduledLive, false), ("m", Sharing::ScheduledLive, true)]);
        let now = Stamp::default();
        assert_eq!(watches.ask(fmp4(1, "m"), now), state(1, WatchState::Masked));
        for watch in 2..6 {
            assert_eq!(watches.ask(fmp4(watch, "a"), now), state(watch, WatchState::Granted));
        }
        assert_eq!(watches.ask(fmp4(6, "a"), now), refused(6, Refusal::Busy));
        assert_eq!(watches.ask(fmp4(5, "a"), now), [], "who is in stays in");
        assert!(watches.end(2));
        assert_eq!(watches.ask(fmp4(6, "a"), now), state(6, WatchState::Granted));
        assert_eq!(watches.ask(jpeg(7, "m"), now), state(7, WatchState::Granted));
        assert_eq!(watches.wants()[&id("a")].streams.len(), MAX_STREAMS);
    }

    #[test]
    fn a_stream_of_another_centre_is_another_stream_though_it_has_the_same_number() {
        let mut watches = terms(&[("a", Sharing::ScheduledLive, false)]);
        let now = Stamp::default();
        let number = |w: &Watches| w.wants()[&id("a")].streams[0].number;
        watches.ask(fmp4(1, "a"), now);
        let first = number(&watches);
        watches.ask(fmp4(1, "a"), now);
        assert_eq!((number(&watches), watches.of_stream(first)), (first, Some(1)), "renewed");
        watches.end_all();
        watches.ask(fmp4(1, "a"), now);
        assert_ne!(number(&watches), first);
        assert_eq!(watches.of_stream(first), None);
    }

    #[test]
    fn the_highest_rate_and_width_are_taken_and_bounded() {
        let mut watches = terms(&[("a", Sharing::ScheduledLive, false)]);
        let now = Stamp::default();
        let with = |watch, fps, width| Watch { kind: WatchKind::Jpeg { fps, width }, ..jpeg(watch, "a") };
        watches.ask(with(1, 0.5, 100), now);
        watches.ask(with(2, 1.0, 320), now);
        assert_eq!(watches.wants()[&id("a")].picture, Some(PictureWant { fps: 1.0, width: 320 }));
        watches.ask(with(3, 1000.0, 1 << 30), now);
        assert_eq!(watches.wants()[&id("a")].picture, Some(PictureWant { fps: MAX_FPS, width: MAX_WIDTH }));
    }
}
