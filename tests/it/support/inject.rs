//! Disk faults in a running process: `strace` attached from outside lets calls fail.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::site::kill;
use super::wait::until;

/// Calls that fail for as long as this lives.
pub struct Injection(Child);

impl Injection {
    /// Lets the syncs of the process fail with EIO: in each of its threads the calls `when` (strace's words) from now on.
    /// `None` where a process may not be traced.
    pub fn of_syncs(pid: u32, when: &str) -> Option<Self> {
        let fault = format!("inject=fsync,fdatasync:error=EIO:when={when}");
        let mut child = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", &fault, "-p", &pid.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let traced = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|l| l.starts_with("TracerPid:") && !l.ends_with("\t0"))
        };
        let mut ended = false;
        until("strace is attached or refused", Duration::from_secs(20), || {
            ended = child.try_wait().is_ok_and(|s| s.is_some());
            ended || traced()
        });
        if ended {
            let mut said = String::new();
            child.stderr.as_mut().map(|e| e.read_to_string(&mut said));
            // Whoever reads the output is to know that nothing was tested.
            #[allow(clippy::print_stderr)]
            let () = eprintln!("not tested: strace cannot attach here: {}", said.trim());
            return None;
        }
        Some(Self(child))
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // It lets go of the process; a killed strace would take it along.
        kill(self.0.id(), "INT");
        self.0.wait().ok();
    }
}
