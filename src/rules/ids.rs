//! Where event ids come from: time-ordered and random when live, a function of the input in replay.

use sha2::{Digest, Sha256};
use uuid::{Builder, NoContext, Timestamp, Uuid};

use crate::base::Stamp;

/// A source of event ids (UUID version 7 in form).
pub struct IdSource(Kind);

enum Kind {
    Live,
    Derived { seed: [u8; 32], made: u64 },
}

impl IdSource {
    /// Random ids that sort by the time of their event.
    pub fn live() -> Self {
        Self(Kind::Live)
    }

    /// The same ids for the same `seed` (what was replayed, and how) and the same events, in any run on any machine.
    pub fn derived(seed: &[u8]) -> Self {
        Self(Kind::Derived { seed: Sha256::digest(seed).into(), made: 0 })
    }

    /// The id of an event of `rule` that begins at `at`.
    pub fn next(&mut self, at: Stamp, rule: &str) -> String {
        let ms = at.wall_ms.max(0) as u64;
        let id = match &mut self.0 {
            Kind::Live => Uuid::new_v7(Timestamp::from_unix(NoContext, ms / 1000, (ms % 1000) as u32 * 1_000_000)),
            Kind::Derived { seed, made } => {
                *made += 1;
                let mut hash = Sha256::new();
                hash.update(*seed);
                hash.update(made.to_be_bytes());
                hash.update(rule);
                let hash: [u8; 32] = hash.finalize().into();
                let mut tail = [0; 10];
                tail.copy_from_slice(&hash[..10]);
                Builder::from_unix_timestamp_millis(ms, &tail).into_uuid()
            }
        };
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_repeat_and_live_ones_do_not() {
        let at = Stamp { wall_ms: 1_780_000_000_123, ..Stamp::default() };
        let ids = |mut source: IdSource| (0..100).map(|_| source.next(at, "r")).collect::<Vec<_>>();
        let (a, b) = (ids(IdSource::derived(b"clip")), ids(IdSource::derived(b"clip")));
        assert_eq!(a, b);
        assert_ne!(a, ids(IdSource::derived(b"other")));
        assert_ne!(ids(IdSource::live()), ids(IdSource::live()));
        for id in a.iter().chain(&ids(IdSource::live())) {
            let id: Uuid = id.parse().expect("a UUID");
            assert_eq!(id.get_version_num(), 7);
            let (seconds, nanos) = id.get_timestamp().expect("version 7 has one").to_unix();
            assert_eq!((seconds, nanos / 1_000_000), (1_780_000_000, 123));
        }
        let mut unique = a.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), a.len());
    }
}
