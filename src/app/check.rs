//! `wardwatch check`: tries everything a run needs, without running, and says how to mend what fails.

use std::io::Write;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use super::camera::load_cameras;
use super::sandbox;
use crate::base::{Error, ErrorKind, Result};
use crate::config::{BrokerConfig, MqttConfig, NodeConfig, Sandbox, Sharing, WardwatchConfig, load_site};
use crate::detect::Detector;
use crate::wire::ipc::SandboxReport;

/// Free space below which a check fails: snapshots and the outbox need room to breathe.
const MIN_FREE_BYTES: u64 = 1 << 30;

/// How a check went.
enum Outcome {
    Good(String),
    /// Worth knowing, but wardwatch runs all the same: an absent camera comes back.
    Warning(String),
    Bad(Error),
}

/// Checks the configuration at `path` and everything it names; writes one line a check to `out`.
///
/// # Errors
/// `Config` when anything failed; each failure has been written.
pub fn check(path: &Path, out: &mut dyn Write) -> Result<()> {
    let mut failed = 0;
    let mut say = |what: &str, outcome: Outcome| -> Result<()> {
        let line = match outcome {
            Outcome::Good(text) => format!("ok    {what}: {text}"),
            Outcome::Warning(text) => format!("warn  {what}: {text}"),
            Outcome::Bad(e) => {
                failed += 1;
                format!("FAIL  {what}: {e}")
            }
        };
        writeln!(out, "{line}").map_err(|e| Error::io("cannot write the report", "standard output", e))
    };
    match load_site(path) {
        Ok(site) => {
            say("configuration", Outcome::Good(path.display().to_string()))?;
            say("media", outcome(media()))?;
            if let Some(node) = &site.node {
                check_node(&site, node, &mut say)?;
            }
            if let Some(centre) = &site.centre {
                say("centre's disk", outcome(disk(&centre.state_dir)))?;
                say("centre's port", outcome(port(&centre.listen.to_string())))?;
            }
            match &site.broker {
                Some(broker) => say("broker", outcome(embedded(broker)))?,
                None => {
                    let mqtt = site.node.as_ref().and_then(|n| n.mqtt.as_ref());
                    if let Some(mqtt) = mqtt.or(site.centre.as_ref().and_then(|c| c.mqtt.as_ref())) {
                        say("broker", remote(mqtt))?;
                    }
                }
            }
        }
        Err(e) => say("configuration", Outcome::Bad(e))?,
    }
    match failed {
        0 => Ok(()),
        n => Err(Error::new(ErrorKind::Config, format!("{n} of the checks failed"))),
    }
}

fn outcome(result: Result<String>) -> Outcome {
    match result {
        Ok(text) => Outcome::Good(text),
        Err(e) => Outcome::Bad(e),
    }
}

type Say<'a> = dyn FnMut(&str, Outcome) -> Result<()> + 'a;

fn check_node(site: &WardwatchConfig, node: &NodeConfig, say: &mut Say<'_>) -> Result<()> {
    let detector = Detector::load(&site.detect).map(|d| format!("{} on {}", d.model(), d.provider()));
    say("detector", outcome(detector))?;
    let policy = sandbox::Policy::of_worker(&site.detect, &node.record.dir);
    say("sandbox", shut_in(node.sandbox, sandbox::rehearse(&policy)))?;
    say("node's disk", outcome(disk(&node.state_dir)))?;
    say("node's port", outcome(port(&node.listen.to_string())))?;
    let document = match load_cameras(&node.cameras, &site.detect) {
        Ok(document) => document,
        Err(e) => return say("cameras", Outcome::Bad(e)),
    };
    let text = format!("revision {}, {} cameras", document.revision, document.cameras.len());
    say("cameras", Outcome::Good(text))?;
    // All at once: sixty absent cameras must not take a minute.
    let answers: Vec<(String, Outcome)> = std::thread::scope(|scope| {
        // A camera that is only in the register is never connected to, not even for a check.
        let connected = document.cameras.iter().filter(|c| c.sharing != Sharing::Listed);
        let streams = connected.flat_map(|c| {
            let record = c.record.as_ref().map(|r| (format!("camera {} (record)", c.id), r));
            std::iter::once((format!("camera {}", c.id), &c.detect)).chain(record)
        });
        let probes: Vec<_> = streams
            .map(|(what, source)| {
                scope.spawn(move || {
                    let at = format!("{}:{}", source.url.host(), source.url.port());
                    match reach(source.url.host(), source.url.port()) {
                        Ok(()) => (what, Outcome::Good(format!("{at} answers"))),
                        Err(e) => (
                            what,
                            Outcome::Warning(format!("{at} does not answer ({e}); `wardwatch probe` tells more")),
                        ),
                    }
                })
            })
            .collect();
        probes.into_iter().filter_map(|p| p.join().ok()).collect()
    });
    for (what, outcome) in answers {
        say(&what, outcome)?;
    }
    Ok(())
}

fn shut_in(wanted: Sandbox, rehearsed: Result<SandboxReport>) -> Outcome {
    match rehearsed {
        _ if wanted == Sandbox::Off => Outcome::Warning("switched off; workers may do whatever their user may".into()),
        Err(e) => Outcome::Bad(e),
        Ok(report) if report.missing.is_empty() => Outcome::Good(report.describe()),
        Ok(report) if wanted == Sandbox::Require && report.missing.iter().any(|(layer, _)| layer.is_required()) => {
            let error =
                Error::new(ErrorKind::Unavailable, format!("not all of it can be had here: {}", report.describe()));
            Outcome::Bad(error.hint("use a newer kernel, or sandbox = \"best_effort\""))
        }
        Ok(report) => Outcome::Warning(report.describe()),
    }
}

fn media() -> Result<String> {
    crate::ingest::init()?;
    crate::ingest::check_templates()?;
    crate::record::mux::check_templates()?;
    crate::record::transcode::check_templates()?;
    Ok("H.264, H.265 and MJPEG can be received and decoded".into())
}

fn disk(dir: &Path) -> Result<String> {
    std::fs::create_dir_all(dir)
        .map_err(|e| Error::io("cannot be made", dir, e).hint("check `state_dir` and its owner"))?;
    let probe = tempfile::NamedTempFile::new_in(dir)
        .map_err(|e| Error::io("cannot be written", dir, e).hint("check the owner of `state_dir`"))?;
    drop(probe);
    let stat = rustix::fs::statvfs(dir).map_err(|e| Error::io("has no file system", dir, e.into()))?;
    let free = stat.f_bavail * stat.f_frsize;
    if free < MIN_FREE_BYTES {
        return Err(Error::new(ErrorKind::Exhausted, format!("only {} MiB are free", free >> 20))
            .at(dir.display())
            .hint("free some space or move `state_dir`"));
    }
    Ok(format!("{} has {} GiB free", dir.display(), free >> 30))
}

fn port(address: &str) -> Result<String> {
    TcpListener::bind(address).map(|_| format!("{address} is free")).map_err(|e| {
        Error::new(ErrorKind::Unavailable, "cannot listen")
            .at(address)
            .hint("is wardwatch running already? otherwise choose another port with `listen`")
            .source(e)
    })
}

fn embedded(broker: &BrokerConfig) -> Result<String> {
    let place = if broker.port == 0 { "a free port".into() } else { port(&format!("127.0.0.1:{}", broker.port))? };
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps it where only root looks.
    let places = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    let found = places.map(|dir| dir.join(&broker.program)).find(|p| p.is_file()).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "mosquitto is not installed")
            .at(broker.program.display())
            .hint("apt-get install mosquitto, or set `program` in [broker]")
    })?;
    Ok(format!("{} will be run here; {place}", found.display()))
}

fn remote(mqtt: &MqttConfig) -> Outcome {
    let at = format!("{}:{}", mqtt.host, mqtt.port());
    match reach(&mqtt.host, mqtt.port()) {
        Ok(()) => Outcome::Good(format!("{at} answers")),
        Err(e) => Outcome::Warning(format!("{at} does not answer ({e}); events will wait on this machine")),
    }
}

fn reach(host: &str, port: u16) -> std::io::Result<()> {
    let addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs()?;
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
            Ok(_) => return Ok(()),
            Err(e) => last = e,
        }
    }
    Err(last)
}
