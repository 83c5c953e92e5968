//! An errand in a process of its own: a child of this program that gets one order and gives one answer. It is shut in,
//! ends when whoever sent it ends, and is killed when it takes too long. Orders may hold passwords: they go through a pipe
//! and never into arguments, and what a child logs goes nowhere.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::{sandbox, thread};
use crate::base::{Error, ErrorKind, Result};
use crate::config::Sandbox;

/// Of what a child says, so much is read.
const MAX_SAID: u64 = 4 << 20;
/// A child's own memory: a decoded picture of the largest camera there is takes a tenth of it.
const MEMORY: u64 = 2 << 30;

/// How a child is shut in, which comes with its order.
#[derive(Serialize, Deserialize)]
struct Order<T> {
    work: T,
    sandbox: Sandbox,
}

/// Has a child called by `arguments` do `work` within `within`. Dropping it ends the child.
///
/// # Errors
/// What the child says; `Timeout` when it had to be killed.
pub(super) async fn send<T: Serialize, A: DeserializeOwned>(
    program: &Path,
    arguments: &[&str],
    work: &T,
    sandbox: Sandbox,
    within: Duration,
) -> Result<A> {
    let broken = |e: std::io::Error| Error::new(ErrorKind::Internal, "an errand cannot be spoken to").source(e);
    let mut order = serde_json::to_vec(&Order { work, sandbox })
        .map_err(|_| Error::new(ErrorKind::Internal, "an errand's order cannot be written"))?;
    order.push(b'\n');
    let mut child = Command::new(program)
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Error::io("an errand cannot be started", program, e))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let work = async {
        let mut stdin = stdin;
        if let Some(stdin) = &mut stdin {
            stdin.write_all(&order).await.map_err(broken)?;
        }
        let mut said = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(MAX_SAID).read_to_end(&mut said).await.map_err(broken)?;
        }
        child.wait().await.map_err(broken)?;
        drop(stdin);
        Ok::<_, Error>(said)
    };
    let said =
        timeout(within, work).await.map_err(|_| Error::new(ErrorKind::Timeout, "it took too long and was ended"))??;
    let answer: std::result::Result<A, String> = serde_json::from_slice(&said)
        .map_err(|_| Error::new(ErrorKind::Internal, "an errand died without an answer"))?;
    answer.map_err(|why| Error::new(ErrorKind::Invalid, why))
}

/// The child: reads its order, is shut in with what `readable` says of the order, does it, and answers.
///
/// # Errors
/// An order that is none, and a sandbox that is required and not there.
pub(super) fn run<T: DeserializeOwned, A: Serialize>(
    readable: impl FnOnce(&T) -> Vec<PathBuf>,
    work: impl FnOnce(T) -> Result<A>,
) -> Result<()> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|e| Error::new(ErrorKind::Io, "the order cannot be read").source(e))?;
    // The parser's text could quote a password.
    let order: Order<T> = serde_json::from_str(&line)
        .map_err(|_| Error::new(ErrorKind::Invalid, "started by wardwatch itself, never by a person"))?;
    sandbox::limit(MEMORY)?;
    crate::ingest::init()?;
    let policy = sandbox::Policy { readable: readable(&order.work), writable: Vec::new(), gpu: false };
    sandbox::enter(&policy, order.sandbox)?;
    thread("orders", end_with_the_pipe)?;
    let answer = work(order.work).map_err(|e| e.to_string());
    let said = serde_json::to_vec(&answer)
        .map_err(|e| Error::new(ErrorKind::Internal, "the answer cannot be written").source(e))?;
    let mut out = std::io::stdout().lock();
    out.write_all(&said).and_then(|()| out.flush()).map_err(|e| Error::io("cannot answer", "standard output", e))
}

/// Nobody waits for the answer any more once the pipe is closed.
#[allow(clippy::disallowed_methods)] // the work is C code in threads of its own: nothing is to be unwound
fn end_with_the_pipe() {
    let mut rest = Vec::new();
    if std::io::stdin().lock().read_to_end(&mut rest).is_ok() {
        std::process::exit(1);
    }
}
