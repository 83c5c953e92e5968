//! Heartbeats of a worker's threads, so that the node learns of one that hangs in C code while the others go on.
//!
//! A watched thread calls [`beat`] at every turn of its loop. One that waits for the node beats, too: a node whose disk is
//! full must not take its workers for dead. Recording threads are not watched: what holds them up is the disk, and a new
//! worker has the same disk.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::base::types::CameraId;
use crate::base::{Result, Stamp};
use crate::wire::ipc::LateThread;

/// A thread silent for less than this is not worth a word.
const WORTH_TELLING: Duration = Duration::from_secs(3);
/// Nobody looked for this long: the whole process was held up, not one of its threads.
const HELD_UP: Duration = Duration::from_secs(5);

thread_local! {
    static OWN: RefCell<Option<Arc<Heart>>> = const { RefCell::new(None) };
}

struct Heart {
    thread: String,
    camera: Option<CameraId>,
    beats: AtomicU64,
    excused: AtomicBool,
}

/// Tells that the calling thread gets on; nothing for a thread that is not watched.
pub(super) fn beat() {
    OWN.with_borrow(|own| own.as_ref().map(|heart| heart.beats.fetch_add(1, Ordering::Relaxed)));
}

/// Runs `work`, which waits for other threads: they have heartbeats of their own.
pub(super) fn excused<T>(work: impl FnOnce() -> T) -> T {
    let excuse = |now| OWN.with_borrow(|own| own.as_ref().map(|heart| heart.excused.store(now, Ordering::Relaxed)));
    excuse(true);
    let result = work();
    excuse(false);
    beat();
    result
}

/// All watched threads.
#[derive(Default)]
pub(super) struct Pulse(Mutex<Vec<Weak<Heart>>>);

impl Pulse {
    /// Watches the calling thread for as long as it lives.
    pub(super) fn watch(&self, thread: &str, camera: Option<&CameraId>) {
        let heart = Arc::new(Heart {
            thread: thread.to_owned(),
            camera: camera.cloned(),
            beats: AtomicU64::new(0),
            excused: AtomicBool::new(false),
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&heart));
        OWN.set(Some(heart));
    }

    /// Starts a watched thread for `camera`.
    pub(super) fn thread(
        self: &Arc<Self>,
        name: &str,
        camera: &CameraId,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>> {
        let (pulse, thread, camera) = (self.clone(), name.to_owned(), camera.clone());
        crate::app::thread(name, move || {
            pulse.watch(&thread, Some(&camera));
            body();
        })
    }

    /// How each stands; forgets those that have ended.
    fn read(&self) -> Vec<Reading> {
        let mut hearts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hearts.retain(|heart| heart.strong_count() > 0);
        let read = |(id, heart): (usize, Arc<Heart>)| Reading {
            id,
            thread: heart.thread.clone(),
            camera: heart.camera.clone(),
            beats: heart.beats.load(Ordering::Relaxed),
            excused: heart.excused.load(Ordering::Relaxed),
        };
        // A heart's address is its name for as long as it beats.
        hearts.iter().filter_map(Weak::upgrade).map(|h| read((Arc::as_ptr(&h) as usize, h))).collect()
    }

    /// The threads that `listener` has not heard for some seconds.
    pub(super) fn late(&self, listener: &mut Listener, now: Stamp) -> Vec<LateThread> {
        listener.step(self.read(), now)
    }
}

/// One thread's count of beats at one moment.
#[derive(Clone)]
struct Reading {
    id: usize,
    thread: String,
    camera: Option<CameraId>,
    beats: u64,
    excused: bool,
}

/// Compares what is read now with what was read before.
#[derive(Default)]
pub(super) struct Listener {
    /// Beats, and since when there are not more.
    heard: HashMap<usize, (u64, Duration)>,
    listened: Option<Duration>,
}

impl Listener {
    fn step(&mut self, readings: Vec<Reading>, now: Stamp) -> Vec<LateThread> {
        let before = self.listened.replace(now.mono);
        if before.is_some_and(|b| now.mono.saturating_sub(b) > HELD_UP) {
            self.heard.clear();
        }
        let mut late = Vec::new();
        let mut heard = HashMap::new();
        for reading in readings {
            let since = match self.heard.get(&reading.id) {
                Some((beats, since)) if *beats == reading.beats && !reading.excused => *since,
                _ => now.mono,
            };
            heard.insert(reading.id, (reading.beats, since));
            let silent = now.mono.saturating_sub(since);
            if silent >= WORTH_TELLING {
                let seconds = silent.as_secs_f32();
                late.push(LateThread { thread: reading.thread, camera: reading.camera, seconds });
            }
        }
        self.heard = heard;
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Stamp {
        Stamp { mono: Duration::from_secs(seconds), wall_ms: 0 }
    }

    fn reading(id: usize, beats: u64, excused: bool) -> Reading {
        Reading { id, thread: format!("decode {id}"), camera: None, beats, excused }
    }

    #[test]
    fn a_thread_that_stands_still_is_told_and_no_other() {
        let mut listener = Listener::default();
        for second in 0..20 {
            let late =
                listener.step(vec![reading(1, second, false), reading(2, 7, false), reading(3, 7, true)], at(second));
            let told: Vec<(&str, f32)> = late.iter().map(|l| (l.thread.as_str(), l.seconds)).collect();
            match second {
                0..3 => assert!(told.is_empty(), "{second}: {told:?}"),
                _ => assert_eq!(told, [("decode 2", second as f32)]),
            }
        }
        assert!(listener.step(vec![reading(2, 8, false)], at(20)).is_empty(), "it goes on");
    }

    #[test]
    fn a_process_that_was_held_up_accuses_nobody() {
        let mut listener = Listener::default();
        listener.step(vec![reading(1, 7, false)], at(0));
        listener.step(vec![reading(1, 7, false)], at(1));
        assert!(listener.step(vec![reading(1, 7, false)], at(60)).is_empty());
        assert!(listener.step(vec![reading(1, 7, false)], at(62)).is_empty());
        assert_eq!(listener.step(vec![reading(1, 7, false)], at(64)).len(), 1);
    }

    #[test]
    fn a_thread_beats_through_its_own_heart_and_is_forgotten_when_it_ends() {
        let pulse = Arc::new(Pulse::default());
        beat();
        assert!(pulse.read().is_empty(), "this thread is not watched");
        let (beaten, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let camera = "ngo-1".parse().expect("valid");
        let thread = pulse.thread("task ngo-1", &camera, move || {
            beat();
            excused(|| ());
            beaten.send(()).expect("the test waits");
            ended.recv().ok();
        });
        told.recv().expect("it beat");
        let readings = pulse.read();
        assert_eq!((readings.len(), readings[0].beats, readings[0].excused), (1, 2, false));
        assert_eq!(readings[0].camera, Some(camera));
        drop(end);
        thread.expect("started").join().expect("no panic");
        assert!(pulse.read().is_empty());
    }
}
