//! `wardwatch run`: the roles of one configuration file in one process, and the order in which they start and stop.
//!
//! Start: broker, centre, node. Stop: node first, so that its last events still find broker and centre, then the centre,
//! then the broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinHandle;

use super::centre::{Centre, Ward};
use super::enrol::enrol_own;
use super::node::{self, NodeOptions, Vitals};
use super::user::greet;
use super::watchdog::{Watchdog, follow};
use super::{Shutdown, stopped};
use crate::base::clock::SystemClock;
use crate::base::{Clock, Error, ErrorKind, Pulse, Result};
use crate::centre::Notice;
use crate::centre::account::Accounts;
use crate::centre::store::SqliteStore;
use crate::config::{CentreConfig, MqttConfig, WardwatchConfig, load_site};
use crate::link::observe;
use crate::publish::broker::{Broker, Role};

/// What still works on a file when everything has stopped is waited for so long.
const LINGER: Duration = Duration::from_secs(2);

/// Runs the roles of the file at `config` until SIGTERM or SIGINT.
///
/// # Errors
/// A wrong configuration, a port in use, a state directory or certificate that cannot be used.
pub fn run(config: &Path, program: PathBuf) -> Result<()> {
    let site = load_site(config)?;
    let metrics = observe::install_metrics()?;
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let (stop, shutdown) = watch::channel(false);
        let (reread, reload) = watch::channel(0);
        tokio::spawn(signals(stop, reread));
        serve(Services { site, program, metrics, on_centre: None, on_broker: None }, reload, shutdown).await
    });
    // A clip of an hour may still be being written. It has no name yet; the next start clears it away.
    runtime.shutdown_timeout(LINGER);
    served
}

/// The runtime of the node's and the centre's own work; cameras are read in worker processes.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Exhausted, "the runtime does not start").source(e))
}

/// SIGHUP reads the cameras document again; SIGTERM and SIGINT stop in order; a second one at once.
pub(super) async fn signals(stop: watch::Sender<bool>, reload: watch::Sender<u64>) {
    let kinds = [SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt()];
    let [Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)] = kinds.map(signal) else {
        tracing::error!("signals cannot be received; only SIGKILL will stop this process");
        return;
    };
    let mut stopping = false;
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                reload.send_modify(|n| *n += 1);
                continue;
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if stopping {
            exit_now();
        }
        stopping = true;
        tracing::info!("stopping; a second signal stops at once");
        stop.send_replace(true);
    }
}

#[allow(clippy::disallowed_methods)] // a second signal means at once: nothing is to be unwound
fn exit_now() {
    std::process::exit(130);
}

/// Called with the embedded broker once it is up.
pub(super) type OnBroker = Box<dyn FnOnce(&Broker) + Send>;

/// What a listener is given of the centre.
pub(super) struct Heard {
    pub(super) notices: broadcast::Receiver<Arc<Notice>>,
    /// Where there is a page. It holds the store: it must not be kept.
    pub(super) accounts: Option<Accounts<SqliteStore>>,
}

/// What [`serve`] runs.
pub(super) struct Services {
    pub(super) site: WardwatchConfig,
    pub(super) program: PathBuf,
    pub(super) metrics: PrometheusHandle,
    /// Given what the centre commits, once it listens.
    pub(super) on_centre: Option<oneshot::Sender<Heard>>,
    /// Told once how to reach the embedded broker as a person.
    pub(super) on_broker: Option<OnBroker>,
}

/// Runs every role of the site until `shutdown`.
pub(super) async fn serve(services: Services, reload: watch::Receiver<u64>, mut shutdown: Shutdown) -> Result<()> {
    let Services { site, program, metrics, on_centre, on_broker } = services;
    let mut parts = Parts::new();
    let mut watchdog = Watchdog::new();
    let every = watchdog.every();
    let broker = match &site.broker {
        Some(config) => {
            let node = site.node.as_ref().map_or("node", |n| n.name.as_str());
            let broker = Broker::start(config, &site.ward, node).await?;
            if let Some(tell) = on_broker {
                tell(&broker);
            }
            Some(broker)
        }
        None => None,
    };
    let mqtt = |own: Option<&MqttConfig>, role: Role| {
        own.cloned().or_else(|| broker.as_ref().map(|b| b.mqtt(role))).ok_or_else(|| {
            Error::new(ErrorKind::Config, "the configuration names no broker").hint("add [broker] or an mqtt section")
        })
    };
    // The node's own talk with the centre waits for it; recording and detecting do not.
    let (up, centre_up) = watch::channel(false);
    let centre_up = site.centre.is_some().then_some(centre_up);
    let centre = match &site.centre {
        Some(centre) => {
            let mqtt = mqtt(centre.mqtt.as_ref(), Role::Centre)?;
            Some(CentreOptions {
                site: site.clone(),
                centre: centre.clone(),
                mqtt,
                metrics: metrics.clone(),
                on_centre,
                up,
                every,
                pulse: watchdog.vital("the centre's store"),
            })
        }
        None => None,
    };
    let node = match &site.node {
        Some(node) => {
            let mqtt = mqtt(node.mqtt.as_ref(), Role::Node)?;
            let vitals = Vitals {
                every,
                main: watchdog.vital("the node's main loop"),
                store: watchdog.vital("the node's store"),
                publisher: watchdog.vital("publishing"),
            };
            Some(NodeOptions { site: site.clone(), node: node.clone(), mqtt, program, metrics, vitals, centre_up })
        }
        None => None,
    };
    // Stopped in the order in which they are named here.
    if let Some(options) = node {
        parts.start("node", |stop| node::run(options, reload, stop));
    }
    if let Some(options) = centre {
        parts.start("centre", |stop| run_centre(options, stop));
    }
    if let Some(broker) = broker {
        parts.start("broker", |stop| async {
            broker.run(stop).await;
            Ok(())
        });
    }
    let (told, tell) = watch::channel(false);
    let watching = tokio::spawn(watchdog.run(tell));
    tokio::select! {
        () = stopped(&mut shutdown) => {}
        () = parts.first_end() => {}
    }
    told.send_replace(true);
    watching.await.ok();
    parts.stop().await
}

/// What the centre is started with.
struct CentreOptions {
    site: WardwatchConfig,
    centre: CentreConfig,
    mqtt: MqttConfig,
    metrics: PrometheusHandle,
    on_centre: Option<oneshot::Sender<Heard>>,
    /// Becomes true when nodes can speak to it.
    up: watch::Sender<bool>,
    /// How often the store is to show that it is alive, and what it beats.
    every: Duration,
    pulse: Pulse,
}

async fn run_centre(options: CentreOptions, mut shutdown: Shutdown) -> Result<()> {
    let CentreOptions { site, centre: config, mqtt, metrics, on_centre, up, every, pulse } = options;
    let listener = observe::bind(config.listen, "centre").await?;
    let clock = Arc::new(SystemClock);
    let ward = Ward { id: &site.ward, name: &site.ward_name, timezone: &site.timezone };
    let centre = Centre::start(&config, ward, mqtt, clock, shutdown.clone())?;
    if let Err(e) = enrol_own(&site, &centre.store(), SystemClock.now().wall_ms).await {
        tracing::error!("the node of this machine cannot deliver clips: {e}");
    }
    up.send_replace(true);
    match on_centre {
        Some(tell) => {
            let heard = Heard { notices: centre.notices(), accounts: centre.accounts() };
            // Whoever asked may have gone; the centre does not depend on it.
            tell.send(heard).ok();
        }
        None => {
            if let Some(accounts) = centre.accounts() {
                greet(&config, &accounts).await;
            }
        }
    }
    let store = centre.store();
    let living = tokio::spawn(follow(pulse, every, move || {
        let store = store.clone();
        async move { store.heartbeat().await }
    }));
    let health = centre.health();
    let readiness: observe::Readiness = Arc::new(move || {
        let health = health.borrow();
        vec![
            ("broker", health.connected),
            ("store", health.store_trouble.is_none()),
            ("clips", health.clip_trouble.is_none()),
        ]
    });
    let mut until = shutdown.clone();
    let door = observe::serve(listener, metrics, readiness, async move { stopped(&mut until).await });
    let serving = tokio::spawn(door);
    stopped(&mut shutdown).await;
    living.abort();
    let received = centre.join().await;
    // A client that never finishes its request must not hold the stop up.
    if let Ok(Ok(Err(e))) = tokio::time::timeout(Duration::from_secs(1), serving).await {
        tracing::error!("{e}");
    }
    received
}

/// The running roles.
struct Parts {
    parts: Vec<Part>,
    /// Becomes true when any of them has ended.
    ended: watch::Receiver<bool>,
    end: watch::Sender<bool>,
}

struct Part {
    name: &'static str,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Parts {
    fn new() -> Self {
        let (end, ended) = watch::channel(false);
        Self { parts: Vec::new(), ended, end }
    }

    fn start<F>(&mut self, name: &'static str, make: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let (role, end) = (make(stopped), self.end.clone());
        let task = tokio::spawn(async move {
            let result = role.await;
            end.send_replace(true);
            result
        });
        self.parts.push(Part { name, stop, task });
    }

    /// Resolves when any of them ends, which none should before it is told to.
    async fn first_end(&mut self) {
        self.ended.wait_for(|ended| *ended).await.map(drop).ok();
    }

    /// Stops them one after another and returns the first error.
    async fn stop(self) -> Result<()> {
        let mut result = Ok(());
        for part in self.parts {
            part.stop.send_replace(true);
            let ended = part.task.await.unwrap_or_else(|e| {
                Err(Error::new(ErrorKind::Internal, format!("the {} failed", part.name)).source(e))
            });
            if let Err(e) = &ended {
                tracing::error!("{}: {e}", part.name);
            }
            result = result.and(ended);
        }
        result
    }
}
