//! What the page hears as it happens: numbered, kept for a while so that a lost connection goes on where it broke off,
//! written once however many listen.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use super::account::CameraKey;

/// Items kept for those who come back.
const KEPT: usize = 2048;
/// Items a slow listener may be behind; then it has to read the lists again.
const BEHIND: usize = 1024;

/// Whom an item concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// An event of a camera, and what becomes of it.
    Event(CameraKey),
    /// How a camera stands.
    Camera(CameraKey),
    /// An event of a node itself, and what becomes of it.
    NodeEvent(String),
    /// How a node stands; of the broker without a name.
    Node(String),
    /// Everybody who is logged in.
    All,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub number: u64,
    /// The event's name on the stream.
    pub name: &'static str,
    pub audience: Audience,
    /// JSON.
    pub data: Arc<str>,
}

struct Kept {
    next: u64,
    items: VecDeque<Arc<Item>>,
    sender: broadcast::Sender<Arc<Item>>,
}

/// The source of all streams.
pub struct Feed {
    /// This run of the centre: numbers of another mean nothing.
    run: String,
    kept: Mutex<Kept>,
}

/// Where a listener begins.
pub struct Listening {
    /// What it missed.
    pub missed: Vec<Arc<Item>>,
    /// What comes.
    pub coming: broadcast::Receiver<Arc<Item>>,
    /// It goes on where it broke off; otherwise it has to read the lists again.
    pub resumed: bool,
    /// The number of the last item before it began.
    pub at: u64,
}

impl Feed {
    /// A feed for the run `run`.
    pub fn new(run: String) -> Self {
        Self { run, kept: Mutex::new(Kept { next: 1, items: VecDeque::new(), sender: broadcast::Sender::new(BEHIND) }) }
    }

    /// This run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The id of an item on the stream.
    pub fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// Tells everybody.
    pub fn tell(&self, name: &'static str, audience: Audience, data: String) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let item = Arc::new(Item { number: kept.next, name, audience, data: data.into() });
        kept.next += 1;
        kept.items.push_back(item.clone());
        if kept.items.len() > KEPT {
            kept.items.pop_front();
        }
        // Within the lock, so that nobody begins between the two. That nobody listens is no fault.
        kept.sender.send(item).ok();
    }

    /// Something could not be told: whoever listens is cut off, and nobody resumes before it, so that all read the lists
    /// again.
    pub fn break_off(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.items.clear();
        // The number that what is missing would have had.
        kept.next += 1;
        kept.sender = broadcast::Sender::new(BEHIND);
    }

    /// Begins to listen after `last`, the id of the last item that was heard.
    pub fn listen(&self, last: Option<&str>) -> Listening {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let coming = kept.sender.subscribe();
        let at = kept.next - 1;
        let number = last.and_then(|id| id.strip_prefix(&self.run)?.strip_prefix('-')?.parse::<u64>().ok());
        let first = kept.items.front().map_or(kept.next, |item| item.number);
        match number {
            Some(n) if n <= at && n + 1 >= first => {
                let missed = kept.items.iter().filter(|item| item.number > n).cloned().collect();
                Listening { missed, coming, resumed: true, at }
            }
            _ => Listening { missed: Vec::new(), coming, resumed: false, at },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(listening: &Listening) -> Vec<u64> {
        listening.missed.iter().map(|item| item.number).collect()
    }

    #[test]
    fn who_comes_back_hears_what_was_missed_and_nothing_twice() {
        let feed = Feed::new("run".into());
        let first = feed.listen(None);
        assert!(!first.resumed && first.missed.is_empty() && first.at == 0);
        for n in 0..3 {
            feed.tell("event", Audience::All, n.to_string());
        }
        let mut back = feed.listen(Some("run-1"));
        assert!(back.resumed);
        assert_eq!(numbers(&back), [2, 3]);
        feed.tell("event", Audience::All, "3".into());
        assert_eq!(back.coming.try_recv().map(|item| item.number), Ok(4));
        assert!(feed.listen(Some("run-4")).resumed);
    }

    #[test]
    fn what_could_not_be_told_makes_everybody_begin_anew() {
        let feed = Feed::new("run".into());
        let mut listening = feed.listen(None);
        feed.tell("event", Audience::All, "1".into());
        feed.break_off();
        assert!(listening.coming.try_recv().is_ok(), "what was told is heard");
        assert!(matches!(listening.coming.try_recv(), Err(broadcast::error::TryRecvError::Closed)));
        assert!(!feed.listen(Some("run-1")).resumed && !feed.listen(Some("run-0")).resumed);
        let back = feed.listen(None);
        feed.tell("event", Audience::All, "3".into());
        assert!(back.at == 2 && feed.listen(Some("run-2")).resumed);
    }

    #[test]
    fn who_was_away_too_long_or_knew_another_run_begins_anew() {
        let feed = Feed::new("run".into());
        for n in 0..KEPT + 2 {
            feed.tell("event", Audience::All, n.to_string());
        }
        for id in ["run-1", "other-9", "run-99999", "run-", "nothing", ""] {
            let listening = feed.listen(Some(id));
            assert!(!listening.resumed && listening.missed.is_empty(), "{id}");
        }
        assert_eq!(numbers(&feed.listen(Some("run-2"))).len(), KEPT);
    }
}
