//! One thread owns one database; everyone else hands it jobs over a bounded channel and waits for the answer. It knows
//! nothing of what the jobs do, and it does not start the thread: `app` runs [`Writer::run`] on one.

use tokio::sync::{mpsc, oneshot};

use crate::base::{Error, ErrorKind, Result};

/// Jobs that may wait; a caller beyond that waits itself. Nothing is ever dropped.
pub const QUEUE: usize = 256;

type Job<D> = Box<dyn FnOnce(&mut D) + Send>;

/// What the thread asks of a database.
pub trait Database: Send + 'static {
    /// A job found it corrupt, or the disk failed under it (`kind`): it is not to be trusted as it is.
    fn broken(&mut self, kind: ErrorKind);

    /// Asked before each job: mends what was found broken.
    ///
    /// # Errors
    /// It cannot be used now; the job is not run, its caller gets this.
    fn ready(&mut self) -> Result<()>;

    /// A job found the disk full: whatever room can be made is made before its caller hears of it.
    fn exhausted(&mut self);

    /// Leaves the files in order; errors are logged, not returned.
    fn close(self);
}

/// The way to the thread. Cloneable; the thread ends when the last one is dropped.
pub struct Handle<D> {
    jobs: mpsc::Sender<Job<D>>,
}

impl<D> Clone for Handle<D> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone() }
    }
}

/// The thread's side.
#[must_use = "nothing is stored until Writer::run runs on a thread"]
pub struct Writer<D> {
    database: D,
    jobs: mpsc::Receiver<Job<D>>,
}

/// A handle and the loop that serves it.
pub fn pair<D: Database>(database: D) -> (Handle<D>, Writer<D>) {
    let (sender, jobs) = mpsc::channel(QUEUE);
    (Handle { jobs: sender }, Writer { database, jobs })
}

impl<D: Database> Handle<D> {
    /// Runs `work` on the thread. Once sent it runs to its end, even when the caller no longer waits.
    pub async fn call<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut D) -> Result<T> + Send + 'static,
    {
        let gone = || Error::new(ErrorKind::Unavailable, "the database's thread has ended");
        let (answer, answered) = oneshot::channel();
        let job: Job<D> = Box::new(move |database| {
            let result = database.ready().and_then(|()| work(database));
            match result.as_ref().map_err(Error::kind) {
                Err(kind @ (ErrorKind::Corrupt | ErrorKind::Io)) => database.broken(kind),
                Err(ErrorKind::Exhausted) => database.exhausted(),
                _ => {}
            }
            answer.send(result).ok();
        });
        self.jobs.send(job).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl<D: Database> Writer<D> {
    /// Serves jobs until the last handle is dropped, then closes the database. Blocks.
    pub fn run(mut self) {
        while let Some(job) = self.jobs.blocking_recv() {
            job(&mut self.database);
        }
        self.database.close();
    }
}
