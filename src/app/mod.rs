//! L5: wiring: the only place that spawns threads, tasks and processes, and that knows more than one stage.

mod archive;
pub mod ask;
pub mod backup;
pub mod camera;
pub mod centre;
pub mod check;
pub mod clip;
pub mod demo;
pub mod enrol;
pub mod environment;
mod errand;
pub mod hold;
pub mod node;
mod page;
pub mod probe;
pub mod recordings;
pub mod replay;
pub mod restore;
pub mod run;
pub mod sandbox;
pub mod still;
pub mod telemetry;
pub mod tracks;
pub mod transcode;
pub mod user;
mod watchdog;
mod webhooks;
pub mod worker;

use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::base::{Error, ErrorKind, Result, Stamp};

/// Becomes true when the process is to stop; a dropped sender counts.
pub type Shutdown = watch::Receiver<bool>;

/// Resolves when the process is to stop.
pub(crate) async fn stopped(shutdown: &mut Shutdown) {
    // An error means that the sender is gone, and with it whoever wanted us to run.
    shutdown.wait_for(|stop| *stop).await.map(drop).ok();
}

/// The name of one run: a UUIDv7, so that of two runs the later one has the larger name.
pub(crate) fn boot_id(now: Stamp) -> String {
    let since_epoch = std::time::Duration::from_millis(now.wall_ms.max(0) as u64);
    let at = uuid::Timestamp::from_unix(uuid::NoContext, since_epoch.as_secs(), since_epoch.subsec_nanos());
    uuid::Uuid::new_v7(at).to_string()
}

/// Writes a file that nobody else may read.
pub(crate) fn write_private(path: &std::path::Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut f| f.write_all(text.as_bytes())).map_err(|e| Error::io("cannot write", path, e))
}

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
