//! L3: outbox pump, MQTT door, mosquitto child.
//!
//! [`run`] carries rows from the store to the broker and receipts back. The outbox is the queue; a connection is only a
//! pipe and is thrown away at the first doubt. What to send when is decided in `outbox`, what our presence means in
//! `presence`; here both are joined to the store and to a [`link::Link`]. It spawns nothing.

pub mod backoff;
pub mod broker;
pub mod command;
pub mod link;
pub mod mqtt;
pub mod outbox;
pub mod presence;
mod session;

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::watch;

use crate::base::{Clock, Error, ErrorKind, Pulse, Result, Stamp, telemetry};
use crate::config::MqttConfig;
use crate::store::{Depths, Store};
use crate::wire::event::rfc3339;
use crate::wire::status::PeerState;
use crate::wire::topic::NodeTopics;

use backoff::Backoff;
use link::Connect;
use outbox::Pump;
use presence::CameraStatuses;
use session::{End, Session};

/// How long a stopping node waits for receipts.
pub const DRAIN: Duration = Duration::from_secs(5);
/// How often overdue rows are looked for and gauges set.
const TICK: Duration = Duration::from_secs(1);
/// A node whose name is taken tries again after this.
const TWIN_WAIT: Duration = Duration::from_secs(60);
/// Parked rows get another chance at the start and then this often.
const RETRY_PARKED: Duration = Duration::from_secs(3600);

/// What does not change while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    pub topics: NodeTopics,
    /// UUIDv7 of this run: of two nodes with one name the larger yields.
    pub boot_id: String,
    /// Offset of the times in status messages.
    pub timezone: TimeZone,
    /// A row that is not receipted for this long is sent again.
    pub receipt_timeout: Duration,
    /// Decides on the jitter between connections; anything that differs from node to node.
    pub jitter_seed: u64,
}

/// What it is joined to.
pub struct Wiring {
    pub store: Store,
    /// The newest status of every camera; removing a camera removes its retained message.
    pub cameras: watch::Receiver<CameraStatuses>,
    /// Told how it stands.
    pub health: watch::Sender<Health>,
    pub clock: Arc<dyn Clock>,
    /// Beaten about once a second.
    pub pulse: Pulse,
    /// Where what the centre asks is handed over.
    pub desk: command::Desk,
    /// Becomes true when the node stops.
    pub shutdown: watch::Receiver<bool>,
}

/// How publishing stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// A connection to the broker stands.
    pub connected: bool,
    /// The centre said that it is there.
    pub centre_online: bool,
    /// Another node uses our name.
    pub name_taken: bool,
    pub depths: Depths,
    /// Why there is no connection.
    pub trouble: Option<String>,
}

/// Publishes over MQTT until `shutdown`, then drains for at most [`DRAIN`].
///
/// A broker that is away is waited for. Errors: certificates that cannot be read, and a store that has ended.
pub async fn run(mqtt: MqttConfig, settings: Settings, wiring: Wiring) -> Result<()> {
    let client_id = format!("node-{}", settings.boot_id);
    run_over(&mqtt::MqttConnect::new(mqtt, client_id, false)?, settings, wiring).await
}

/// [`run`] over any kind of connection.
pub async fn run_over<C: Connect>(connect: &C, settings: Settings, mut wiring: Wiring) -> Result<()> {
    let mut backoff = Backoff::new(settings.jitter_seed);
    let mut troubles = Troubles::default();
    let mut pump = Pump::default();
    let mut retried: Option<Stamp> = None;
    while !*wiring.shutdown.borrow() {
        let now = wiring.clock.now();
        if retried.is_none_or(|at| now.since(at) >= RETRY_PARKED) {
            made_anew(usable(wiring.store.retry_parked().await.map(drop)))?;
            retried = Some(now);
        }
        let will = own_status(&settings, PeerState::Offline, now)?;
        let connected = tokio::select! {
            connected = connect.connect(will) => connected,
            () = stopping(&mut wiring.shutdown) => break,
        };
        let end = match connected {
            Ok(link) => {
                troubles.over();
                let end = Session::new(link, &settings, &mut wiring).run(&mut pump).await;
                metrics::gauge!(telemetry::BROKER_CONNECTED).set(0.0);
                end
            }
            Err(e) => End::Lost { error: e, worked: false },
        };
        let wait = match end {
            End::Stopped => return Ok(()),
            End::Lost { error, worked } => {
                if worked {
                    backoff.reset();
                }
                troubles.tell(&error, wiring.clock.now());
                wiring.health.send_modify(|h| *h = Health { trouble: Some(error.to_string()), ..h.clone() });
                backoff.next_wait()
            }
            End::NameTaken => TWIN_WAIT,
        };
        wiring.health.send_modify(|h| (h.connected, h.centre_online) = (false, false));
        if pause(&mut wiring, wait).await? {
            break;
        }
    }
    Ok(())
}

/// Waits, keeping the gauges right; true when the node stops.
async fn pause(wiring: &mut Wiring, wait: Duration) -> Result<bool> {
    let over = tokio::time::sleep(wait);
    tokio::pin!(over);
    loop {
        wiring.pulse.beat();
        made_anew(show_depths(wiring).await)?;
        tokio::select! {
            () = &mut over => return Ok(*wiring.shutdown.borrow()),
            () = tokio::time::sleep(TICK) => {}
            () = stopping(&mut wiring.shutdown) => return Ok(true),
        }
    }
}

/// Resolves when the node stops; a dropped sender counts.
pub(crate) async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    shutdown.wait_for(|stop| *stop).await.map(drop).ok();
}

async fn show_depths(wiring: &Wiring) -> Result<()> {
    let depths = match wiring.store.depths().await {
        Ok(depths) => depths,
        Err(e) => return usable(Err(e)),
    };
    for (state, n) in [("pending", depths.pending), ("sent", depths.sent), ("parked", depths.parked)] {
        metrics::gauge!(telemetry::OUTBOX_DEPTH, "state" => state).set(n as f64);
    }
    wiring.health.send_if_modified(|h| std::mem::replace(&mut h.depths, depths) != depths);
    Ok(())
}

/// Lets a store's passing troubles pass (a full disk may get room, another program's lock ends) and keeps those that will not.
fn usable(result: Result<()>) -> Result<()> {
    match result {
        Err(e) if matches!(e.kind(), ErrorKind::Exhausted | ErrorKind::Io | ErrorKind::Timeout) => {
            tracing::error!(error = %e, "the store is in trouble");
            Ok(())
        }
        other => other,
    }
}

/// Lets pass that the store was found corrupt: it makes itself anew before it answers again. Only between two connections:
/// what one of them has out may be lost with it.
fn made_anew(result: Result<()>) -> Result<()> {
    match result {
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            tracing::error!(error = %e, "the store is in trouble");
            Ok(())
        }
        other => other,
    }
}

fn own_status(settings: &Settings, state: PeerState, now: Stamp) -> Result<link::Message> {
    let at = rfc3339(now.wall_ms, &settings.timezone);
    presence::status_message(settings.topics.status(), state, &settings.boot_id, at)
}

/// Says a trouble when it begins and then once a minute.
#[derive(Default)]
struct Troubles {
    since: Option<Stamp>,
    told: Option<Stamp>,
}

impl Troubles {
    fn tell(&mut self, error: &Error, now: Stamp) {
        let since = *self.since.get_or_insert(now);
        if self.told.is_none_or(|at| now.since(at) >= Duration::from_secs(60)) {
            let seconds = now.since(since).as_secs();
            tracing::warn!(%error, seconds, "no connection to the broker; events wait in the outbox");
            self.told = Some(now);
        }
    }

    fn over(&mut self) {
        if self.told.take().is_some() {
            tracing::info!("connected to the broker again");
        }
        self.since = None;
    }
}
