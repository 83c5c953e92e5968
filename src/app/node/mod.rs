//! The node: owns the store and the link to the broker, supervises the workers, applies the cameras document.
//!
//! Order of a start: store, broker link, workers. Order of a stop follows the data: workers end their events, the outbox
//! drains for at most five seconds, the store closes.

pub mod clips;
mod control;
mod document;
mod dump;
mod fleet;
mod force;
mod inquire;
mod link;
mod live;
mod orders;
mod paper;
mod places;
mod process;
mod quarantine;
mod recordings;
mod rehearse;
mod scout;
mod shelf;
mod sink;
mod system;
mod tracks;
mod vigil;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::tz::TimeZone;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use super::watchdog::follow;
use super::{Shutdown, boot_id, join, stopped, thread};
use crate::base::clock::SystemClock;
use crate::base::{Clock, Error, ErrorKind, Pulse, Result};
use crate::config::{MqttConfig, NodeConfig, WardwatchConfig};
use crate::link::observe;
use crate::link::watches::LiveWants;
use crate::publish;
use crate::publish::presence::CameraStatuses;
use crate::store::{BALLAST, Settings, Store};
use crate::wire::event::Origin;
use crate::wire::ipc::{PROTOCOL, WorkerSetup};
use crate::wire::topic::NodeTopics;
use clips::Clips;
use document::{Documents, Registry};
use dump::Dump;
use fleet::Fleet;
use force::Force;
use inquire::Desk;
use link::Uplink;
use live::Live;
use orders::Orders;
use process::WorkerProcess;
use recordings::Recordings;
use rehearse::Rehearsals;
use scout::Scout;
use shelf::Shelf;
use sink::{Keepers, Sink};
use system::{Moment, SystemEvents};
use tracks::Tracks;

/// How long open HTTP requests may take when the node stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// Everything a node is started with.
pub struct NodeOptions {
    pub site: WardwatchConfig,
    pub node: NodeConfig,
    pub mqtt: MqttConfig,
    /// The wardwatch binary, for workers.
    pub program: PathBuf,
    pub metrics: PrometheusHandle,
    pub vitals: Vitals,
    /// Where the centre is in this process, too: true once it knows this node and takes its connections.
    pub centre_up: Option<watch::Receiver<bool>>,
}

/// What the node beats to show that it is alive, about `every`.
pub struct Vitals {
    pub every: Duration,
    pub main: Pulse,
    pub store: Pulse,
    pub publisher: Pulse,
}

/// Resolves when the centre can be spoken to: at once unless it starts in this very process.
async fn until_up(centre_up: Option<watch::Receiver<bool>>) {
    if let Some(mut up) = centre_up {
        // An error means that the centre has ended; whoever speaks to it will say so.
        up.wait_for(|up| *up).await.map(drop).ok();
    }
}

/// Runs a node until `shutdown`; `reload` fires when the cameras document is to be read again.
///
/// # Errors
/// Before anything runs: a wrong document, a port in use, a state directory that cannot be used. Later faults are
/// logged, shown and retried.
pub async fn run(options: NodeOptions, mut reload: watch::Receiver<u64>, mut shutdown: Shutdown) -> Result<()> {
    let NodeOptions { site, node, mqtt, program, metrics, vitals, centre_up } = options;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (mut registry, documents) = Registry::open(&node, &site.detect)?;
    let document = registry.document().clone();
    let listener = observe::bind(node.listen, "node").await?;
    private_dir(&node.state_dir)?;
    let run_dir = private_dir(&node.state_dir.join("run"))?;
    let origin = origin(&site, &node, clock.as_ref())?;
    tracing::info!(node = node.name, boot_id = origin.boot_id, cameras = document.cameras.len(), "node starts");

    registry.tidy().await;
    let (store, writer, system) = open_store(&node, &origin, &clock).await?;
    let (system_stop, telling) = tell_of_itself(&system);

    // Before recording: its workers are given what the document says, and clips must know it by then.
    let clips = Clips::ready(&node, program.clone(), store.clone(), clock.clone(), &document).await?;

    let shelf = Shelf::ready(&node, store.clone(), clock.clone(), system.clone()).await;

    let (statuses, board) = watch::channel(CameraStatuses::new());
    let (health, publish_health) = watch::channel(publish::Health::default());
    let (publish_stop, publish_stopped) = watch::channel(false);
    let (orders, office) = publish::command::desk();
    let mut publishing = tokio::spawn(publish::run(
        mqtt,
        publish_settings(&node, &origin, clock.as_ref()),
        publish::Wiring {
            store: store.clone(),
            cameras: board,
            health,
            clock: clock.clone(),
            pulse: vitals.publisher,
            desk: orders,
            shutdown: publish_stopped,
        },
    ));

    let recordings = Recordings::new(store.clone(), node.record.dir.clone(), system.clone());
    recordings.begin(&document).await;
    let clipping = clips.start(&document);
    let commands = control::open(&node.state_dir, store.clone(), clock.clone())?;
    let obeying = Orders::start(&node, &origin, store.clone(), clips.clone(), clock.clone(), &document, office);
    let (tracks, tracking) = Tracks::start(&site.track, &node, store.clone(), clock.clone());
    let live = Live::new();
    live.apply(&document);
    let keepers = Keepers { recordings, clips, tracks: tracks.clone(), live: live.clone() };
    let scout = Scout::new(&node, program.clone(), store.clone(), live.document());
    let desk = desk(&site, &node, documents, scout, &origin, clock.clone());
    let sink = Sink::new(store.clone(), keepers, system, clock.clone(), origin, statuses);
    let uplink = Uplink::start(&node, store.clone(), publish_health.clone(), clock.clone(), centre_up.clone());
    let linked = uplink.into_iter().chain(live.start(&node, desk, clock.clone(), centre_up));
    let readiness = readiness(sink.clone(), publish_health);
    let mut until = shutdown.clone();
    let door = observe::serve(listener, metrics, readiness, async move { stopped(&mut until).await });
    let serving = tokio::spawn(door);

    let pruning = tokio::spawn(prune(store.clone(), clock.clone(), node.keep_events_days));
    let (policies, retaining) = shelf.keep(&document);
    let mut fleet = fleet(&site, &node, program, run_dir, sink, live.wants())?;
    fleet.apply(&document);
    let mut force = Force { clipping, obeying, live, fleet, policies };
    let living = beat(vitals.store, vitals.every, store.clone());
    let mut pulse = tokio::time::interval(vitals.every);
    let mut published = None;
    loop {
        tokio::select! {
            _ = pulse.tick() => vitals.main.beat(),
            () = force.fleet.turn() => {}
            () = stopped(&mut shutdown) => break,
            // It ends before it is told to only when it cannot go on; the next start checks the store.
            ended = &mut publishing => {
                published = Some(ended);
                break;
            }
            changed = reload.changed() => {
                if changed.is_err() {
                    stopped(&mut shutdown).await;
                    break;
                }
                registry.reload(&mut force).await;
            }
            wish = registry.wish() => registry.obey(wish, &mut force).await,
        }
    }

    let Force { clipping, obeying, fleet, .. } = force;
    fleet.stop().await;
    clipping.stop().await;
    let others = [pruning, retaining, living, commands, tracking, obeying.task];
    others.into_iter().chain(linked).for_each(|task| task.abort());
    tracks.finish().await;
    system_stop.send_replace(true);
    if let Err(e) = telling.await {
        tracing::error!("telling of the node itself failed: {e}");
    }
    publish_stop.send_replace(true);
    let published = match published {
        Some(ended) => ended,
        None => publishing.await,
    };
    farewell(serving).await;
    drop(store);
    tokio::task::spawn_blocking(move || join(writer)).await.ok();
    tracing::info!("node stopped");
    published.unwrap_or_else(|e| Err(Error::new(ErrorKind::Internal, "publishing failed").source(e)))
}

/// The store on its thread, with what the last run left open ended, and who tells of the node itself.
async fn open_store(
    node: &NodeConfig,
    origin: &Origin,
    clock: &Arc<dyn Clock>,
) -> Result<(Store, JoinHandle<()>, SystemEvents)> {
    let settings =
        Settings { origin: origin.clone(), snapshot_quota_bytes: node.snapshot_quota_bytes, ballast_bytes: BALLAST };
    let (store, writer, opened) = Store::open(&node.state_dir.join("node.db"), settings, clock.now())?;
    if let Some(path) = &opened.quarantined {
        tracing::error!(
            "the node's database was damaged; it was put aside as {}, {} waiting rows were taken over",
            path.display(),
            opened.salvaged
        );
    }
    if opened.waiting > 0 {
        tracing::info!(rows = opened.waiting, "rows of the last run wait for the centre");
    }
    let writer = thread("store", move || writer.run())?;
    let ended = store.end_open_events(None, clock.now()).await?;
    if !ended.is_empty() {
        tracing::warn!("{} events were open when the last run ended; they are ended now", ended.len());
    }

    let system = SystemEvents::new(store.clone(), clock.clone());
    if let Some(path) = &opened.quarantined {
        let aside = path.display().to_string();
        system.tell(&Moment::DatabaseRebuilt { aside, salvaged: opened.salvaged });
    }
    Ok((store, writer, system))
}

/// Tells of the node itself until told to stop.
fn tell_of_itself(system: &SystemEvents) -> (watch::Sender<bool>, tokio::task::JoinHandle<()>) {
    let (stop, stopped) = watch::channel(false);
    (stop, tokio::spawn(system.clone().run(stopped)))
}

/// What a node that is ready has.
fn readiness(sink: Sink, publishing: watch::Receiver<publish::Health>) -> observe::Readiness {
    Arc::new(move || vec![("workers", sink.workers_ready()), ("broker", publishing.borrow().connected)])
}

/// Beats for the store as long as it can commit.
fn beat(pulse: Pulse, every: Duration, store: Store) -> tokio::task::JoinHandle<()> {
    tokio::spawn(follow(pulse, every, move || {
        let store = store.clone();
        async move { store.heartbeat().await }
    }))
}

/// Forgets, once an hour, events that the centre has had for long enough.
async fn prune(store: Store, clock: Arc<dyn Clock>, days: u32) {
    let mut hourly = tokio::time::interval(Duration::from_secs(3600));
    loop {
        hourly.tick().await;
        let before = clock.now().wall_ms - i64::from(days) * 24 * 3600 * 1000;
        match store.prune(before).await {
            Ok(0) => {}
            Ok(events) => tracing::info!(events, "old events are forgotten on this machine; the centre has them"),
            Err(e) => tracing::warn!("old events are not forgotten: {e}"),
        }
    }
}

/// Ends the HTTP door. A client that never finishes its request must not hold the stop up, and a node that ends by itself
/// was not told to; what the door asks must be free for the store to close.
async fn farewell(mut serving: tokio::task::JoinHandle<Result<()>>) {
    match tokio::time::timeout(FAREWELL, &mut serving).await {
        Ok(served) => report("the HTTP door", served),
        Err(_) => serving.abort(),
    }
}

fn report(what: &str, ended: std::result::Result<Result<()>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::error!("{e}"),
        Err(e) => tracing::error!("{what} failed: {e}"),
    }
}

fn origin(site: &WardwatchConfig, node: &NodeConfig, clock: &dyn Clock) -> Result<Origin> {
    let timezone = TimeZone::get(&site.timezone)
        .map_err(|e| Error::new(ErrorKind::Config, format!("`{}` is not a time zone", site.timezone)).source(e))?;
    Ok(Origin { ward: site.ward.clone(), node: node.name.clone(), boot_id: boot_id(clock.now()), timezone })
}

fn publish_settings(node: &NodeConfig, origin: &Origin, clock: &dyn Clock) -> publish::Settings {
    publish::Settings {
        topics: NodeTopics::new(&origin.ward, &node.name),
        boot_id: origin.boot_id.clone(),
        timezone: origin.timezone.clone(),
        receipt_timeout: Duration::from_secs(node.receipt_timeout_seconds),
        jitter_seed: clock.now().mono.as_nanos() as u64,
    }
}

/// What the centre's questions are answered from.
fn desk(
    site: &WardwatchConfig,
    node: &NodeConfig,
    documents: Documents,
    scout: Scout,
    origin: &Origin,
    clock: Arc<dyn Clock>,
) -> Desk {
    let (database, cameras) = (node.state_dir.join("node.db"), node.cameras.clone());
    let timezone = origin.timezone.clone();
    let rehearsals = Rehearsals::new(database.clone(), cameras, site.detect.clone(), timezone, clock);
    Desk { database, documents, scout, rehearsals }
}

fn fleet(
    site: &WardwatchConfig,
    node: &NodeConfig,
    program: PathBuf,
    run_dir: PathBuf,
    sink: Sink,
    live: watch::Receiver<LiveWants>,
) -> Result<Fleet> {
    let setup = WorkerSetup {
        protocol: PROTOCOL,
        timezone: site.timezone.clone(),
        detect: site.detect.clone(),
        track: site.track.clone(),
        snapshot: site.snapshot.clone(),
        ring_bytes: node.ring_bytes,
        record: node.record.clone(),
        boot_id: sink.boot_id().to_owned(),
        memory_bytes: node.worker_memory_bytes,
        sandbox: node.sandbox,
    };
    let dump = Dump::open(node.ipc_dump.as_deref())?;
    let of_workers = sink.clone();
    let (silence, clock) = (node.worker_silence_seconds, Arc::new(SystemClock));
    let of_fleet = clock.clone();
    let make = move |index, deaths| WorkerProcess {
        index,
        program: program.clone(),
        run_dir: run_dir.clone(),
        setup: setup.clone(),
        sink: of_workers.clone(),
        dump: dump.clone(),
        silence: Duration::from_secs(silence),
        clock: clock.clone(),
        deaths,
        live: live.clone(),
    };
    Ok(Fleet::new(Box::new(make), node.cameras_per_worker, sink, of_fleet))
}

/// A directory that only this user may enter.
fn private_dir(path: &Path) -> Result<PathBuf> {
    let failed = |e| Error::io("the state directory cannot be used", path, e).hint("check `state_dir` and its owner");
    std::fs::create_dir_all(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    Ok(path.to_owned())
}
