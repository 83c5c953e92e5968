//! Events of a centre's store, made by what they are searched by, with dice to make many of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wardwatch::base::Clock;
use wardwatch::base::types::{Phase, Severity};
use wardwatch::centre::store::{EventTimes, Item, SqliteEvents, SqliteStore};
use wardwatch::centre::triage::TriageState;
use wardwatch::wire::event::Event;

use super::post::{new_id, origin, report};

/// 24/11/2026, 12:00 UTC.
pub const NOW: i64 = 1_795_521_600_000;

/// The reading side of a store, with its threads.
pub fn reading(writer: &SqliteStore, threads: usize, limit: Duration, clock: Arc<dyn Clock>) -> SqliteEvents {
    let (reader, threads) = writer.reading(threads, limit, clock);
    threads.into_iter().for_each(|thread| drop(std::thread::spawn(move || thread.run())));
    reader
}

/// One revision of an event, by what it is searched by.
#[derive(Clone, Debug)]
pub struct Made {
    pub node: String,
    pub id: String,
    /// Empty: the node itself.
    pub camera: String,
    pub rule: String,
    pub kind: String,
    pub severity: Severity,
    pub label: String,
    pub phase: Phase,
    pub started_ms: i64,
    pub revision: u32,
    /// What became of it; for the test's own book.
    pub state: TriageState,
}

impl Made {
    pub fn new() -> Self {
        Self {
            node: "node-1".into(),
            id: new_id(),
            camera: "ngo-12-a".into(),
            rule: "night-intrusion".into(),
            kind: "intrusion".into(),
            severity: Severity::Alert,
            label: "person".into(),
            phase: Phase::Ended,
            started_ms: NOW,
            revision: 1,
            state: TriageState::New,
        }
    }

    pub fn item(&self) -> Item {
        let mut event = Event::new(&report(&self.id, self.phase), self.revision, self.revision.into(), &origin());
        event.boot_id = "boot".into();
        event.node = self.node.clone();
        event.camera = (!self.camera.is_empty()).then(|| self.camera.clone());
        event.rule = self.rule.clone();
        event.kind = self.kind.clone();
        event.severity = self.severity.into();
        event.label = (!self.label.is_empty()).then(|| self.label.clone());
        let json = Bytes::from(event.to_json().expect("JSON"));
        let at = self.started_ms;
        let times = EventTimes { started_ms: at, updated_ms: at + 1, ended_ms: None, arrived_ms: at + 2 };
        Item::Event { node: self.node.clone(), event: Box::new(event), json, times }
    }

    pub fn key(&self) -> (i64, String, String) {
        (self.started_ms, self.node.clone(), self.id.clone())
    }
}

/// SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize].clone()
    }

    /// Some of them, at times none.
    pub fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        let wanted = self.roll(4) == 0;
        of.iter().filter(|_| wanted && self.roll(2) == 0).cloned().collect()
    }
}
