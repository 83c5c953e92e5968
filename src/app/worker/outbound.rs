//! The queue from a worker's threads to its one socket. Events wait for room and are never dropped; health, statistics
//! and phantoms replace their predecessor that has not been sent yet. What is live goes when nothing else waits, has a room
//! of its own, and never makes anybody wait.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::pulse;
use crate::base::types::CameraId;
use crate::wire::ipc::{self, ToNode};

const ROOM: usize = 64;
/// Pieces of one stream that may wait: some seconds.
const STREAM_ROOM: usize = 32;
/// How often a thread that waits for room tells that it is alive.
const BEAT: Duration = Duration::from_millis(500);

/// What may stand in for an earlier message of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    Health(CameraId),
    Phantoms(CameraId),
    Stats,
    Own,
}

fn slot(message: &ToNode) -> Slot {
    match message {
        ToNode::Health(h) => Slot::Health(h.camera.clone()),
        ToNode::Phantoms { camera, .. } => Slot::Phantoms(camera.clone()),
        ToNode::Stats(_) => Slot::Stats,
        _ => Slot::Own,
    }
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<(ToNode, Bytes)>,
    live: VecDeque<(ToNode, Bytes)>,
    closed: bool,
    /// The node has gone: nothing can be delivered any more.
    broken: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Outbound {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Outbound {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message; waits while there is no room.
    pub(super) fn send(&self, message: ToNode, blob: Bytes) {
        let slot = slot(&message);
        let mut queue = self.lock();
        if slot != Slot::Own
            && let Some(earlier) = queue.messages.iter_mut().find(|(m, _)| self::slot(m) == slot)
        {
            match (&mut earlier.0, message) {
                // Counters are totals, but inference times are not.
                (ToNode::Stats(old), ToNode::Stats(mut new)) => {
                    let mut times = std::mem::take(&mut old.inference_seconds);
                    times.append(&mut new.inference_seconds);
                    *old = ipc::WorkerStats { inference_seconds: times, ..new };
                }
                (old, new) => *old = new,
            }
            return;
        }
        while queue.messages.len() >= ROOM && !queue.broken {
            pulse::beat();
            (queue, _) = self.changed.wait_timeout(queue, BEAT).unwrap_or_else(PoisonError::into_inner);
        }
        if !queue.broken {
            queue.messages.push_back((message, blob));
            self.changed.notify_all();
        }
    }

    /// Queues something live if there is room for it: a picture takes the place of an older one of its camera, a piece of a
    /// stream is refused when too many of it wait.
    pub(super) fn offer(&self, message: ToNode, blob: Bytes) -> bool {
        let mut queue = self.lock();
        match &message {
            ToNode::LivePicture { camera, .. } => {
                let same =
                    |(m, _): &&mut (ToNode, Bytes)| matches!(m, ToNode::LivePicture { camera: c, .. } if c == camera);
                if let Some(older) = queue.live.iter_mut().find(same) {
                    *older = (message, blob);
                    return true;
                }
            }
            ToNode::LiveMedia { stream, .. } => {
                let same = |(m, _): &&(ToNode, Bytes)| matches!(m, ToNode::LiveMedia { stream: s, .. } if s == stream);
                if queue.live.iter().filter(same).count() >= STREAM_ROOM {
                    return false;
                }
            }
            _ => {}
        }
        if !queue.broken {
            queue.live.push_back((message, blob));
            self.changed.notify_all();
        }
        true
    }

    /// What is queued is still sent, then the writer ends.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Writes messages until closed or until the node is gone.
    pub(super) fn write_to(&self, mut socket: impl Write) {
        loop {
            let queue = self.lock();
            let mut queue = self
                .changed
                .wait_while(queue, |q| q.messages.is_empty() && q.live.is_empty() && !q.closed)
                .unwrap_or_else(PoisonError::into_inner);
            let next = queue.messages.pop_front().or_else(|| queue.live.pop_front());
            let Some((message, blob)) = next else { return };
            drop(queue);
            self.changed.notify_all();
            let written = ipc::encode(&message, &blob).and_then(|bytes| {
                socket.write_all(&bytes).map_err(|e| crate::base::Error::io("cannot write to the node", "socket", e))
            });
            if let Err(e) = written {
                tracing::warn!("{e}");
                self.lock().broken = true;
                self.changed.notify_all();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::channel::Ending;
    use crate::wire::ipc::{Decoder, LivePart, WorkerStats};

    fn sent(outbound: &Outbound) -> Vec<ToNode> {
        outbound.close();
        let mut bytes = Vec::new();
        outbound.write_to(&mut bytes);
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        std::iter::from_fn(|| decoder.pull::<ToNode>().expect("well formed")).map(|(message, _)| message).collect()
    }

    #[test]
    fn what_is_live_goes_after_everything_else_and_waits_for_nobody() {
        let outbound = Outbound::default();
        let camera = |name: &str| -> CameraId { name.parse().expect("valid") };
        let picture = |c: &str, at_ms| ToNode::LivePicture { camera: camera(c), at_ms, width: 4, height: 3 };
        let fragment = |at_ms| ToNode::LiveMedia { stream: 1, part: LivePart::Fragment { at_ms, keyframe: true } };
        for at_ms in 0..100 {
            assert!(outbound.offer(picture("a", at_ms), Bytes::new()));
            assert_eq!(outbound.offer(fragment(at_ms), Bytes::new()), at_ms < STREAM_ROOM as i64, "{at_ms}");
        }
        let ended = ToNode::LiveEnded { stream: 1, reason: Ending::Slow };
        assert!(outbound.offer(ended.clone(), Bytes::new()));
        // There is still all the room for what must not be lost.
        for at_ms in 0..ROOM as i64 {
            outbound.send(ToNode::GapEnded { camera: camera("a"), at_ms }, Bytes::new());
        }
        let sent = sent(&outbound);
        assert_eq!(sent.len(), ROOM + 1 + STREAM_ROOM + 1);
        assert!(sent[..ROOM].iter().all(|m| matches!(m, ToNode::GapEnded { .. })), "{sent:?}");
        assert_eq!(sent[ROOM], picture("a", 99), "the newest, in the place of the oldest");
        assert_eq!(sent.last(), Some(&ended));
    }

    #[test]
    fn statistics_replace_statistics_and_lose_no_inference_time() {
        let outbound = Outbound::default();
        for seconds in [0.01, 0.02] {
            outbound.send(
                ToNode::Stats(WorkerStats { inference_seconds: vec![seconds], ..WorkerStats::default() }),
                Bytes::new(),
            );
        }
        outbound.send(ToNode::Bye, Bytes::new());
        let messages = sent(&outbound);
        let stats = ToNode::Stats(WorkerStats { inference_seconds: vec![0.01, 0.02], ..WorkerStats::default() });
        assert_eq!(messages, [stats, ToNode::Bye]);
    }
}
