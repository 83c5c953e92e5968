//! A camera's recording thread: reads a stream's ring at its own pace, gives the recorder what is wanted, and tells the
//! node what became of it. Receiving never waits for it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::outbound::Outbound;
use super::stream::Stream;
use crate::base::types::{CameraId, EventReport, Phase};
use crate::base::{Clock, Stamp};
use crate::config::{RecordingMode, Roll};
use crate::ingest::ring::Read;
use crate::record::demand::{Demand, Want};
use crate::record::recorder::{Note, Recorder};
use crate::rules::schedule::Schedule;
use crate::wire::ipc::ToNode;

/// How often a quiet thread looks around.
const TICK: Duration = Duration::from_millis(200);

/// What other threads of the camera tell its recording.
pub(super) struct RecordControl {
    state: Mutex<(Demand, bool)>,
    /// Recording is in force within; none: always.
    hours: Mutex<Option<Schedule>>,
    changed: Condvar,
}

impl RecordControl {
    pub(super) fn new(mode: RecordingMode, hours: Option<Schedule>) -> Self {
        Self { state: Mutex::new((Demand::new(mode), false)), hours: Mutex::new(hours), changed: Condvar::new() }
    }

    fn with<T>(&self, change: impl FnOnce(&mut (Demand, bool)) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        result
    }

    pub(super) fn set_mode(&self, mode: RecordingMode, hours: Option<Schedule>, now: Stamp) {
        *self.hours.lock().unwrap_or_else(PoisonError::into_inner) = hours;
        self.with(|s| s.0.set_mode(mode, now.mono));
    }

    /// An event as its camera's task reports it, and what its rule wants recorded around it.
    pub(super) fn event(&self, report: &EventReport, roll: Roll) {
        self.with(|s| match report.phase {
            Phase::Started => s.0.began(&report.id, report.started_at.mono, roll),
            Phase::Updated => {}
            Phase::Ended => s.0.ended(&report.id, report.ended_at.unwrap_or(report.updated_at).mono, roll),
        });
    }

    /// Ends the thread, which ends its segment.
    pub(super) fn stop(&self) {
        self.with(|s| s.1 = true);
    }

    fn in_hours(&self, now: Stamp) -> bool {
        self.hours.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(|h| h.is_open(now))
    }

    /// The mode, and what is wanted of pictures that arrive at `at`; none when the thread is to end.
    fn look(&self, at: Duration) -> Option<(RecordingMode, Want)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (!state.1).then(|| (state.0.mode(), state.0.at(at)))
    }

    /// Waits for a change, but not long.
    fn pause(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.1 {
            drop(self.changed.wait_timeout(state, TICK));
        }
    }
}

/// The thread's parts.
pub(super) struct RecordLoop {
    pub(super) camera: CameraId,
    pub(super) recorder: Recorder,
    pub(super) stream: Arc<Stream>,
    pub(super) control: Arc<RecordControl>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) outbound: Arc<Outbound>,
}

impl RecordLoop {
    /// Runs until [`RecordControl::stop`] or until the stream is over. `fault` is told why nothing is recorded.
    pub(super) fn run(mut self, fault: impl Fn(Option<String>)) {
        let mut mode = RecordingMode::Off;
        // Where to read on; none while nothing is wanted. What was recorded is not recorded again.
        let (mut cursor, mut recorded) = (None::<u64>, 0);
        loop {
            let now = self.clock.now();
            let Some((wanted_mode, want)) = self.control.look(now.mono) else { break };
            if wanted_mode != mode {
                self.change_mode(mode, wanted_mode, now);
                mode = wanted_mode;
            }
            if !self.control.in_hours(now) {
                self.recorder.out_of_hours(now);
                cursor = None;
                self.tell(&fault);
                self.control.pause();
                continue;
            }
            self.recorder.in_hours(now);
            let from = match (want, cursor) {
                (Want::Nothing, None) => None,
                (Want::Nothing, Some(at)) => Some(at),
                (_, Some(at)) => Some(at),
                (Want::All, None) => self.stream.ring.seek(now.mono),
                (Want::Since(since), None) => self.stream.ring.seek(since),
            };
            let Some(from) = from.map(|f| f.max(recorded)) else {
                if want != Want::Nothing {
                    self.recorder.tick(now);
                }
                self.tell(&fault);
                self.control.pause();
                continue;
            };
            cursor = Some(from);
            match self.stream.ring.read(from, TICK) {
                Read::Unit { unit, missed } => {
                    // A segment may end with this picture: what was heard before it is to be in it.
                    self.stream.audio.wait_for(&unit, self.clock.now());
                    let over = self.control.look(unit.arrived.mono).is_none_or(|(_, w)| w == Want::Nothing);
                    if over && unit.keyframe {
                        self.recorder.finish(Some(unit.arrived));
                        (cursor, recorded) = (None, unit.seq);
                    } else {
                        let missed = if self.recorder.is_running() { missed } else { 0 };
                        self.recorder.step(&unit, missed, self.clock.now());
                        cursor = Some(unit.seq + 1);
                        recorded = unit.seq + 1;
                    }
                }
                Read::Empty => {
                    self.recorder.tick(self.clock.now());
                    if want == Want::Nothing {
                        self.recorder.finish(None);
                        cursor = None;
                    }
                }
                Read::Closed => break,
            }
            if mode == RecordingMode::Off {
                cursor = None;
            }
            self.tell(&fault);
        }
        self.recorder.finish(None);
        self.tell(&fault);
    }

    fn change_mode(&mut self, before: RecordingMode, mode: RecordingMode, now: Stamp) {
        tracing::debug!(camera = self.camera.as_str(), ?mode, "recording");
        if mode == RecordingMode::Off && before != RecordingMode::Off {
            self.recorder.switched_off(now);
        }
        self.recorder.set_continuous(mode == RecordingMode::Continuous, now);
    }

    fn tell(&mut self, fault: &impl Fn(Option<String>)) {
        for note in self.recorder.take_notes() {
            let message = match note {
                Note::Opened(segment) => ToNode::SegmentOpened(Box::new(segment)),
                Note::Closed(segment) => ToNode::SegmentClosed(Box::new(segment)),
                Note::GapBegan(gap) => ToNode::GapBegan(gap),
                Note::GapEnded(at_ms) => ToNode::GapEnded { camera: self.camera.clone(), at_ms },
                Note::Fault(why) => {
                    fault(why);
                    continue;
                }
            };
            self.outbound.send(message, Bytes::new());
        }
    }
}
