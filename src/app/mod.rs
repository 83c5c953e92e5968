//! L5: wiring: the only place that spawns threads, tasks and processes, and that knows more than one stage.

pub mod camera;
pub mod worker;

use std::thread::JoinHandle;

use crate::base::{Error, ErrorKind, Result};

/// Spawns a named thread.
pub(crate) fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|e| {
        Error::new(ErrorKind::Exhausted, format!("the system allows no thread `{name}`"))
            .hint("raise the limit of tasks (systemd: TasksMax=)")
            .source(e)
    })
}

/// Waits for a thread to end and reports a panic in it.
pub(crate) fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or("?").to_owned();
    if thread.join().is_err() {
        tracing::error!("thread {name} panicked");
    }
}
