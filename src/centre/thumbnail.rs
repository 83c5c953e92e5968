//! Small pictures for lists: made once of the whole ones, by one thread that `app` runs, and kept in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::base::{Error, ErrorKind, Result};
use crate::snapshot;

/// No thumbnail is wider, in pixels.
pub const WIDTH: u32 = 320;
/// Those that are kept, in bytes: some thousands.
const KEPT: usize = 32 << 20;
/// Who comes when so many wait is refused: two pages of a list.
const QUEUE: usize = 400;

/// What is kept, by the whole picture's SHA-256; the oldest goes first.
#[derive(Default)]
struct Kept {
    pictures: HashMap<String, Bytes>,
    order: VecDeque<String>,
    bytes: usize,
}

impl Kept {
    fn add(&mut self, sha256: String, jpeg: Bytes) {
        self.bytes += jpeg.len();
        if let Some(old) = self.pictures.insert(sha256.clone(), jpeg) {
            self.bytes -= old.len();
        } else {
            self.order.push_back(sha256);
        }
        while self.bytes > KEPT {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.pictures.remove(&oldest).map_or(0, |jpeg| jpeg.len());
        }
    }
}

struct Job {
    sha256: String,
    path: PathBuf,
    answer: oneshot::Sender<Result<Bytes>>,
}

/// Asks for thumbnails. The last one that goes ends the thread.
#[derive(Clone)]
pub struct Thumbnails {
    jobs: mpsc::Sender<Job>,
    kept: Arc<Mutex<Kept>>,
}

/// The thread's loop.
#[must_use = "no thumbnail is made until Maker::run runs on a thread"]
pub struct Maker {
    jobs: mpsc::Receiver<Job>,
    kept: Arc<Mutex<Kept>>,
}

/// A handle and the loop that serves it.
pub fn pair() -> (Thumbnails, Maker) {
    let (sender, jobs) = mpsc::channel(QUEUE);
    let kept = Arc::<Mutex<Kept>>::default();
    (Thumbnails { jobs: sender, kept: kept.clone() }, Maker { jobs, kept })
}

fn known(kept: &Mutex<Kept>, sha256: &str) -> Option<Bytes> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).pictures.get(sha256).cloned()
}

impl Thumbnails {
    /// The thumbnail of the picture `sha256`, which lies at `path`.
    ///
    /// # Errors
    /// `NotFound` when the file is gone, `Unavailable` when too many wait.
    pub async fn of(&self, sha256: &str, path: PathBuf) -> Result<Bytes> {
        if let Some(jpeg) = known(&self.kept, sha256) {
            return Ok(jpeg);
        }
        let gone = || Error::new(ErrorKind::Unavailable, "the thread that makes thumbnails has ended");
        let (answer, answered) = oneshot::channel();
        let job = Job { sha256: sha256.to_owned(), path, answer };
        self.jobs
            .try_send(job)
            .map_err(|_| Error::new(ErrorKind::Unavailable, "too many thumbnails are asked for at the same time"))?;
        answered.await.map_err(|_| gone())?
    }
}

impl Maker {
    /// Makes thumbnails until the last handle is dropped. Blocks.
    pub fn run(mut self) {
        while let Some(Job { sha256, path, answer }) = self.jobs.blocking_recv() {
            // Nobody waits any more for a list that was scrolled past.
            if answer.is_closed() {
                continue;
            }
            // Another one who waited asked for the same.
            let made = known(&self.kept, &sha256).map_or_else(|| self.make(sha256, &path), Ok);
            answer.send(made).ok();
        }
    }

    fn make(&self, sha256: String, path: &std::path::Path) -> Result<Bytes> {
        let whole = std::fs::read(path).map_err(|e| Error::io("cannot read a picture", path, e))?;
        let small = match snapshot::thumbnail(&whole, WIDTH) {
            Ok(small) => small,
            // A browser may understand it all the same.
            Err(error) => {
                tracing::debug!(%error, sha256, "a picture has no thumbnail: it is shown whole");
                return Ok(whole.into());
            }
        };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).add(sha256, small.clone());
        Ok(small)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let mut kept = Kept::default();
        for n in 0..100 {
            kept.add(n.to_string(), Bytes::from(vec![0; 1 << 20]));
            kept.add(n.to_string(), Bytes::from(vec![0; 1 << 20]));
        }
        assert_eq!((kept.pictures.len(), kept.order.len(), kept.bytes), (32, 32, KEPT));
        assert!(kept.pictures.contains_key("99") && !kept.pictures.contains_key("67"));
    }
}
