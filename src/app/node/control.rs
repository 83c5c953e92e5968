//! The node's door for commands at this machine: a socket in its run directory, which only its user may enter. One
//! connection at a time, one line each way.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::app::hold;
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::store::Store;
use crate::wire::control::{Control, ControlAnswer, MAX_LINE};

/// Who does not say or hear a line within this time is in others' way.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the door; it closes when the task is aborted.
///
/// # Errors
/// When the socket cannot be made.
pub(super) fn open(state_dir: &Path, store: Store, clock: Arc<dyn Clock>) -> Result<JoinHandle<()>> {
    let path = hold::socket(state_dir);
    let failed = |e| Error::io("the socket for commands cannot be made", &path, e);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(e) = serve(stream, &store, clock.as_ref()).await {
                        tracing::warn!("a command at this machine was not done: {e}");
                    }
                }
                Err(e) => {
                    tracing::warn!("the socket for commands refuses: {e}");
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }))
}

async fn serve(mut stream: UnixStream, store: &Store, clock: &dyn Clock) -> Result<()> {
    let io = |e| Error::io("cannot speak to a command", "socket", e);
    let late = |_| Error::new(ErrorKind::Timeout, "a command does not say what it wants");
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(MAX_LINE));
    timeout(PATIENCE, read.read_line(&mut line)).await.map_err(late)?.map_err(io)?;
    let refused = |e: Error| ControlAnswer::Refused { reason: e.to_string() };
    let answer = match serde_json::from_str::<Control>(&line) {
        Ok(wanted) => hold::carry_out(store, wanted, clock.now()).await.unwrap_or_else(refused),
        Err(e) => refused(Error::new(ErrorKind::Invalid, "the command cannot be understood").source(e)),
    };
    let mut bytes = serde_json::to_vec(&answer)
        .map_err(|e| Error::new(ErrorKind::Internal, "an answer cannot be written as JSON").source(e))?;
    bytes.push(b'\n');
    timeout(PATIENCE, write.write_all(&bytes)).await.map_err(late)?.map_err(io)
}
