//! One slot a camera between the decoders and the one detector of a worker.
//!
//! A camera that delivers faster than the detector looks loses its *older* frame, never another camera's; `take` starts
//! one camera further every time, so that none starves. Waiting and waking is all it does: no threads, no clock.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What became of a [`Mailbox::put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The slot was empty.
    Stored,
    /// An older item was overwritten and is lost; counted.
    Replaced,
    /// The camera has no slot (any more), or the mailbox is closed: the item was dropped.
    Refused,
}

/// What [`Mailbox::take`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take<K, T> {
    Item(K, T),
    /// Nothing came in the time allowed.
    Nothing,
    /// Closed and empty: nothing will ever come.
    Closed,
}

struct Slot<K, T> {
    camera: K,
    item: Option<T>,
    replaced: u64,
}

struct State<K, T> {
    slots: Vec<Slot<K, T>>,
    /// Where the next `take` begins to look.
    next: usize,
    closed: bool,
}

impl<K: Clone, T> State<K, T> {
    fn take(&mut self) -> Option<(K, T)> {
        let n = self.slots.len();
        for i in (0..n).map(|i| (self.next + i) % n) {
            if let Some(item) = self.slots[i].item.take() {
                self.next = (i + 1) % n;
                return Some((self.slots[i].camera.clone(), item));
            }
        }
        None
    }
}

/// See the module.
pub struct Mailbox<K, T> {
    state: Mutex<State<K, T>>,
    filled: Condvar,
}

impl<K: Clone + PartialEq, T> Default for Mailbox<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + PartialEq, T> Mailbox<K, T> {
    /// A mailbox without cameras.
    pub fn new() -> Self {
        Self { state: Mutex::new(State { slots: Vec::new(), next: 0, closed: false }), filled: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<K, T>> {
        // Nothing below can panic half-way through a change, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `camera` a slot; nothing happens if it has one.
    pub fn add(&self, camera: K) {
        let mut state = self.state();
        if state.slots.iter().all(|s| s.camera != camera) {
            state.slots.push(Slot { camera, item: None, replaced: 0 });
        }
    }

    /// Takes `camera`'s slot away with what is in it.
    pub fn remove(&self, camera: &K) {
        let mut state = self.state();
        if let Some(i) = state.slots.iter().position(|s| s.camera == *camera) {
            state.slots.remove(i);
            // The cameras behind it moved up; whose turn it is must not change.
            if i < state.next {
                state.next -= 1;
            }
            if state.next >= state.slots.len() {
                state.next = 0;
            }
        }
    }

    /// Leaves `item` for the detector. Never waits.
    pub fn put(&self, camera: &K, item: T) -> Put {
        let mut state = self.state();
        if state.closed {
            return Put::Refused;
        }
        let Some(slot) = state.slots.iter_mut().find(|s| s.camera == *camera) else { return Put::Refused };
        if slot.item.replace(item).is_some() {
            slot.replaced += 1;
            return Put::Replaced;
        }
        drop(state);
        self.filled.notify_one();
        Put::Stored
    }

    /// How many items of `camera` were overwritten since it was added.
    pub fn replaced(&self, camera: &K) -> u64 {
        self.state().slots.iter().find(|s| s.camera == *camera).map_or(0, |s| s.replaced)
    }

    /// The next item, waiting up to `timeout` for one. After [`Mailbox::close`] what is still there is handed out first.
    pub fn take(&self, timeout: Duration) -> Take<K, T> {
        let empty = |s: &mut State<K, T>| !s.closed && s.slots.iter().all(|slot| slot.item.is_none());
        let (mut state, _) =
            self.filled.wait_timeout_while(self.state(), timeout, empty).unwrap_or_else(PoisonError::into_inner);
        match state.take() {
            Some((camera, item)) => Take::Item(camera, item),
            None if state.closed => Take::Closed,
            None => Take::Nothing,
        }
    }

    /// Refuses everything from now on and wakes whoever waits.
    pub fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    const NOW: Duration = Duration::ZERO;

    fn mailbox(cameras: &[u32]) -> Mailbox<u32, u32> {
        let mailbox = Mailbox::new();
        cameras.iter().for_each(|c| mailbox.add(*c));
        mailbox
    }

    #[test]
    fn an_unread_frame_is_overwritten_and_counted() {
        let m = mailbox(&[1]);
        assert_eq!([m.put(&1, 10), m.put(&1, 11), m.put(&1, 12)], [Put::Stored, Put::Replaced, Put::Replaced]);
        assert_eq!(m.replaced(&1), 2);
        assert_eq!(m.take(NOW), Take::Item(1, 12));
        assert_eq!(m.take(NOW), Take::Nothing);
    }

    #[test]
    fn a_busy_camera_does_not_starve_the_others() {
        let m = mailbox(&[1, 2, 3]);
        let mut order = Vec::new();
        for round in 0..6 {
            // All three have a frame waiting at every look; camera 1 even puts twice.
            for c in [1, 1, 2, 3] {
                m.put(&c, round);
            }
            if let Take::Item(c, _) = m.take(NOW) {
                order.push(c);
            }
        }
        assert_eq!(order, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn a_removed_camera_is_refused_and_the_turn_stays() {
        let m = mailbox(&[1, 2, 3]);
        assert!([1, 2, 3].iter().all(|c| m.put(c, *c) == Put::Stored));
        assert_eq!(m.take(NOW), Take::Item(1, 1));
        m.remove(&1);
        assert_eq!(m.put(&1, 9), Put::Refused);
        assert_eq!(m.take(NOW), Take::Item(2, 2));
        m.remove(&3);
        assert_eq!(m.take(NOW), Take::Nothing);
    }

    #[test]
    fn closing_wakes_the_waiter_and_hands_out_what_is_left() {
        let m = Arc::new(mailbox(&[1]));
        m.put(&1, 7);
        m.close();
        assert_eq!(m.put(&1, 8), Put::Refused);
        assert_eq!(m.take(NOW), Take::Item(1, 7));
        let waiter = {
            let m = m.clone();
            std::thread::spawn(move || m.take(Duration::from_secs(3600)))
        };
        assert_eq!(waiter.join().expect("no panic"), Take::Closed);
    }

    #[test]
    fn a_waiting_detector_is_woken_by_a_frame() {
        let m = Arc::new(mailbox(&[5]));
        let waiter = {
            let m = m.clone();
            std::thread::spawn(move || m.take(Duration::from_secs(3600)))
        };
        m.put(&5, 1);
        assert_eq!(waiter.join().expect("no panic"), Take::Item(5, 1));
    }

    proptest! {
        #[test]
        fn every_item_is_taken_or_replaced_or_waiting(script in prop::collection::vec((0u32..4, prop::bool::ANY), 0..60)) {
            let m = mailbox(&[0, 1, 2, 3]);
            let (mut put, mut taken) = (0, 0);
            for (camera, look) in script {
                m.put(&camera, 0);
                put += 1;
                if look && matches!(m.take(NOW), Take::Item(..)) { taken += 1; }
            }
            let replaced: u64 = (0..4).map(|c| m.replaced(&c)).sum();
            let mut waiting = 0;
            while matches!(m.take(NOW), Take::Item(..)) { waiting += 1; }
            prop_assert_eq!(put, taken + replaced + waiting);
        }
    }
}
