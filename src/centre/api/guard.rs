//! Slows guessing down: an address that failed ten times waits, one more try each six seconds. Bounded memory; pure but
//! for its lock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::Stamp;

/// Failures that an address has free.
const FREE: u32 = 10;
/// A failure is forgiven after this.
const FORGIVEN: Duration = Duration::from_secs(6);
/// Addresses remembered; beyond it the oldest is forgotten.
const ADDRESSES: usize = 1024;

/// Failures by address.
#[derive(Debug, Default)]
pub(super) struct Guard(Mutex<HashMap<IpAddr, (u32, Stamp)>>);

impl Guard {
    /// Whether `address` may try now.
    pub(super) fn may_try(&self, address: IpAddr, now: Stamp) -> bool {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(&address).is_none_or(|(count, at)| left(*count, now.since(*at)) < FREE)
    }

    /// `address` gave a wrong code or secret.
    pub(super) fn failed(&self, address: IpAddr, now: Stamp) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= ADDRESSES
            && !failures.contains_key(&address)
            && let Some(oldest) = failures.iter().min_by_key(|(_, (_, at))| *at).map(|(a, _)| *a)
        {
            failures.remove(&oldest);
        }
        let entry = failures.entry(address).or_insert((0, now));
        *entry = (left(entry.0, now.since(entry.1)) + 1, now);
    }
}

fn left(count: u32, passed: Duration) -> u32 {
    let forgiven = passed.as_secs() / FORGIVEN.as_secs();
    count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_gets_slow_and_others_are_not_held_up() {
        let (guard, mut now) = (Guard::default(), Stamp::default());
        let [bad, good] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let mut tries = 0;
        for _ in 0..600 {
            if guard.may_try(bad, now) {
                guard.failed(bad, now);
                tries += 1;
            }
            now = now.plus(Duration::from_secs(1));
        }
        assert!((100..=FREE + 110).contains(&tries), "{tries} tries in ten minutes");
        assert!(guard.may_try(good, now));
        for n in 0..5000u32 {
            guard.failed(IpAddr::from(n.to_be_bytes()), now);
        }
        assert!(guard.0.lock().unwrap().len() <= ADDRESSES);
    }
}
