//! Making a clip anew in a process of its own: `wardwatch transcode`, never started by a person. It has low priority, is
//! shut in, ends when whoever started it ends, and is killed when it takes too long.

use std::io::{BufRead, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::{sandbox, thread};
use crate::base::geometry::Polygon;
use crate::base::{Error, ErrorKind, Result};
use crate::config::Sandbox;
use crate::record::clip::ClipReport;
use crate::record::transcode::{self, Request};

/// Behind everything that happens now.
const NICE: i32 = 10;
/// Encoding takes less than this many times as long as the clip plays, on a machine that has anything left.
const SLOWNESS: u64 = 10;
const AT_LEAST: u64 = 60;
/// Reading it from the child after its own deadline.
const FAREWELL: Duration = Duration::from_secs(5);
/// Of what a child says, so much is read.
const MAX_SAID: u64 = 16 << 10;

/// The one line on the child's standard input; the pipe stays open for as long as its work is wanted.
#[derive(Serialize, Deserialize)]
struct Order {
    request: Request,
    sandbox: Sandbox,
}

/// The request to make the clip at `input`, of which `report` tells, anew.
pub fn request(input: &Path, output: &Path, masks: Vec<Polygon>, report: &ClipReport) -> Request {
    let seconds = (report.duration_ms / 1000).max(1);
    Request {
        input: input.to_owned(),
        codec: report.codec,
        output: output.to_owned(),
        masks,
        keyint: u32::try_from(report.pictures as u64 / seconds).unwrap_or(1).max(1),
        // H.264 needs more than H.265 does for the same.
        bitrate: u32::try_from(report.bytes * 8 * 3 / 2 / seconds).unwrap_or(u32::MAX).clamp(500_000, 20_000_000),
        deadline_seconds: AT_LEAST + SLOWNESS * seconds,
    }
}

/// Has a child do it.
///
/// # Errors
/// What the child says; `Timeout` when it had to be killed. The output is worth nothing then.
pub async fn in_child(program: &Path, request: &Request, sandbox: Sandbox) -> Result<()> {
    let mut child = Command::new(program)
        .arg("transcode")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Error::io("an encoder cannot be started", program, e))?;
    let broken = |e: std::io::Error| Error::new(ErrorKind::Internal, "an encoder cannot be spoken to").source(e);
    let mut order = serde_json::to_vec(&Order { request: request.clone(), sandbox })
        .map_err(|e| Error::new(ErrorKind::Internal, "an encoder's order cannot be written").source(e))?;
    order.push(b'\n');
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let work = async {
        let mut stdin = stdin;
        if let Some(stdin) = &mut stdin {
            stdin.write_all(&order).await.map_err(broken)?;
        }
        let mut said = String::new();
        if let Some(stderr) = stderr {
            stderr.take(MAX_SAID).read_to_string(&mut said).await.map_err(broken)?;
        }
        let status = child.wait().await.map_err(broken)?;
        drop(stdin);
        Ok((status, said))
    };
    match timeout(Duration::from_secs(request.deadline_seconds) + FAREWELL, work).await {
        Ok(Ok((status, _))) if status.success() => Ok(()),
        Ok(Ok((status, said))) => {
            let last = said.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("it said nothing").to_owned();
            Err(Error::new(ErrorKind::Internal, format!("an encoder failed ({status}): {last}")))
        }
        Ok(Err(e)) => Err(e),
        Err(_) => Err(Error::new(ErrorKind::Timeout, "an encoder took too long and was ended")),
    }
}

/// The child: reads one order and does it.
///
/// # Errors
/// An order that is none, and what [`transcode::run`] says.
pub fn run() -> Result<()> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|e| Error::new(ErrorKind::Io, "the order cannot be read").source(e))?;
    let order: Order = serde_json::from_str(&line)
        .map_err(|e| Error::new(ErrorKind::Invalid, "started by wardwatch itself, never by a person").source(e))?;
    if let Err(e) = rustix::process::nice(NICE) {
        tracing::debug!("the priority stays as it is: {e}");
    }
    crate::ingest::init()?;
    let within = |path: &Path| path.parent().map(Path::to_owned);
    let policy = sandbox::Policy {
        readable: within(&order.request.input).into_iter().collect(),
        writable: within(&order.request.output).into_iter().collect(),
        gpu: false,
    };
    sandbox::enter(&policy, order.sandbox)?;
    thread("orders", end_with_the_pipe)?;
    transcode::run(&order.request)
}

/// Nobody waits for the clip any more once the pipe is closed.
#[allow(clippy::disallowed_methods)] // the work is C code in threads of its own: nothing is to be unwound
fn end_with_the_pipe() {
    let mut rest = Vec::new();
    if std::io::stdin().lock().read_to_end(&mut rest).is_ok() {
        std::process::exit(1);
    }
}
