//! The centre's ear: takes what the nodes publish, commits it in groups, **then** acknowledges it, **then** sends the
//! receipt. A disk that is full means no acknowledgement and no receipt: the nodes keep what we could not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, MissedTickBehavior, sleep, sleep_until};

use super::errands::Errands;
use super::message::{Reason, understand};
use super::store::{CentreStore, CommandStore, Item, Outcome};
use super::{Health, Notice, notice};
use crate::base::{Clock, Error, ErrorKind, Result, Stamp, telemetry};
use crate::config::MqttConfig;
use crate::publish::backoff::Backoff;
use crate::publish::link::{Arrived, Connect, Link, Message, Signal};
use crate::publish::mqtt::MqttConnect;
use crate::publish::presence::{Verdict, judge, status_message};
use crate::publish::stopping;
use crate::wire::event::rfc3339;
use crate::wire::receipt::Receipt;
use crate::wire::status::{PeerState, PeerStatus};
use crate::wire::topic::{NodeTopics, centre_status, ward_filters};

/// Messages committed together at most.
const BATCH: usize = 64;
/// The first of a batch waits this long at most, and less when nothing more comes.
const GATHER: Duration = Duration::from_millis(20);
const QUIET: Duration = Duration::from_millis(2);
/// Messages held while the store is in trouble; the broker holds the rest.
const HELD: usize = 256;
/// How long until a store in trouble is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// A connection that lived this long worked: the next one is made at once. One that yields to another centre does not.
const WORKED: Duration = Duration::from_secs(5);
/// How often commands that wait are looked for.
const ASK: Duration = Duration::from_secs(1);
const FAREWELL: Duration = Duration::from_secs(1);

/// What does not change while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    pub ward: String,
    /// UUIDv7 of this run: a new one tells the nodes to send again what was not receipted.
    pub boot_id: String,
    pub timezone: TimeZone,
    /// Decides on the jitter between connections.
    pub jitter_seed: u64,
}

/// What it is joined to.
pub struct Wiring<S> {
    pub store: S,
    /// Told of every commit; nobody need listen.
    pub notices: broadcast::Sender<Arc<Notice>>,
    /// Told how it stands.
    pub health: watch::Sender<Health>,
    pub clock: Arc<dyn Clock>,
    /// Becomes true when the centre stops.
    pub shutdown: watch::Receiver<bool>,
}

/// Receives over MQTT until `shutdown`.
///
/// A broker that is away is waited for. Errors: certificates that cannot be read, and a store that is beyond use.
pub async fn run<S: CentreStore + CommandStore>(mqtt: MqttConfig, settings: Settings, wiring: Wiring<S>) -> Result<()> {
    let client_id = format!("centre-{}", settings.boot_id);
    run_over(&MqttConnect::new(mqtt, client_id, true)?, settings, wiring).await
}

/// [`run`] over any kind of connection.
pub async fn run_over<C: Connect, S: CentreStore + CommandStore>(
    connect: &C,
    settings: Settings,
    mut wiring: Wiring<S>,
) -> Result<()> {
    let mut backoff = Backoff::new(settings.jitter_seed);
    let mut quiet = OncePerMinute::default();
    while !*wiring.shutdown.borrow() {
        let will = own_status(&settings, PeerState::Offline, wiring.clock.now())?;
        let connected = tokio::select! {
            connected = connect.connect(will) => connected,
            () = stopping(&mut wiring.shutdown) => return Ok(()),
        };
        let ended = match connected {
            Ok(link) => {
                let began = wiring.clock.now();
                let ended = Session::new(link, &settings, &mut wiring).run().await;
                if wiring.clock.now().since(began) >= WORKED {
                    backoff.reset();
                }
                ended
            }
            Err(e) => Err(e),
        };
        let Err(error) = ended else { return Ok(()) };
        if error.kind() == ErrorKind::Corrupt {
            return Err(error);
        }
        if quiet.may_speak("broker", wiring.clock.now()) {
            tracing::warn!(%error, "no connection to the broker");
        }
        wiring.health.send_modify(|h| (h.connected, h.trouble) = (false, Some(error.to_string())));
        tokio::select! {
            () = sleep(backoff.next_wait()) => {}
            () = stopping(&mut wiring.shutdown) => return Ok(()),
        }
    }
    Ok(())
}

fn own_status(settings: &Settings, state: PeerState, now: Stamp) -> Result<Message> {
    let at = rfc3339(now.wall_ms, &settings.timezone);
    status_message(centre_status(&settings.ward), state, &settings.boot_id, at)
}

struct Session<'a, L: Link, S> {
    link: L,
    settings: &'a Settings,
    wiring: &'a mut Wiring<S>,
    items: Vec<Item>,
    acks: Vec<L::Ack>,
    /// When the first of `items` came, and when they are committed.
    gathering: Option<(Instant, Instant)>,
    log: OncePerMinute,
    errands: Errands,
}

impl<'a, L: Link, S: CentreStore + CommandStore> Session<'a, L, S> {
    fn new(link: L, settings: &'a Settings, wiring: &'a mut Wiring<S>) -> Self {
        let log = OncePerMinute::default();
        Self {
            link,
            settings,
            wiring,
            items: Vec::new(),
            acks: Vec::new(),
            gathering: None,
            log,
            errands: Errands::default(),
        }
    }

    async fn run(mut self) -> Result<()> {
        self.link.subscribe(&ward_filters(&self.settings.ward))?;
        let mut shutdown = self.wiring.shutdown.clone();
        let mut asking = tokio::time::interval(ASK);
        asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.gathering.map(|(_, due)| due);
            tokio::select! {
                signal = self.link.next(), if self.items.len() < HELD => self.signal(signal?).await?,
                _ = asking.tick() => self.ask().await?,
                () = until(due) => self.commit().await?,
                () = stopping(&mut shutdown) => break,
            }
        }
        self.commit().await?;
        self.say(PeerState::Offline)?;
        self.link.close(FAREWELL).await;
        self.wiring.health.send_modify(|h| h.connected = false);
        Ok(())
    }

    async fn signal(&mut self, signal: Signal<L::Ack>) -> Result<()> {
        match signal {
            // Only now: whoever is told that we are here sends at once.
            Signal::Subscribed => {
                self.say(PeerState::Online)?;
                self.wiring.health.send_modify(|h| (h.connected, h.trouble) = (true, None));
                tracing::info!("listening to the nodes of the ward");
            }
            Signal::Acked { refused: Some(refusal), .. } => {
                tracing::error!(
                    reason = refusal.reason,
                    "the broker refuses a receipt or a command; check its access list"
                );
            }
            Signal::Acked { .. } => {}
            Signal::Arrived(arrived) => self.arrived(arrived).await?,
        }
        Ok(())
    }

    async fn arrived(&mut self, arrived: Arrived<L::Ack>) -> Result<()> {
        let Arrived { topic, payload, retained, properties, ack } = arrived;
        if topic == centre_status(&self.settings.ward) {
            self.link.ack(ack)?;
            return self.own_topic(&payload, retained);
        }
        match understand(&self.settings.ward, &topic, payload, &properties) {
            Ok(item) => {
                self.items.push(item);
                self.acks.push(ack);
            }
            Err(reason) => {
                self.refuse(reason, &topic);
                return self.link.ack(ack);
            }
        }
        let now = Instant::now();
        match self.gathering {
            // In trouble the retry keeps its time.
            Some((_, due)) if due > now + GATHER => {}
            _ if self.items.len() >= BATCH => return self.commit().await,
            gathering => {
                let first = gathering.map_or(now, |(first, _)| first);
                self.gathering = Some((first, (now + QUIET).min(first + GATHER)));
            }
        }
        Ok(())
    }

    /// Two centres would each have half of the truth: of two the younger yields, as with nodes.
    fn own_topic(&mut self, payload: &[u8], retained: bool) -> Result<()> {
        let Ok(seen) = serde_json::from_slice::<PeerStatus>(payload) else { return Ok(()) };
        match judge(&self.settings.boot_id, &seen, retained) {
            Verdict::Fine => Ok(()),
            Verdict::SayAgain => self.say(PeerState::Online),
            Verdict::TwinYounger => {
                tracing::error!(other_boot_id = seen.boot_id, "a second centre was started for this ward; stop it");
                self.say(PeerState::Online)
            }
            Verdict::TwinOlder => Err(Error::new(ErrorKind::Unavailable, "another centre of this ward was first")
                .hint("stop one of them, or give this one another [site] ward")),
        }
    }

    fn refuse(&mut self, reason: Reason, topic: &str) {
        metrics::counter!(telemetry::CENTRE_REFUSED, "reason" => reason.as_str()).increment(1);
        self.wiring.health.send_modify(|h| h.refused += 1);
        if self.log.may_speak(reason.as_str(), self.wiring.clock.now()) {
            let topic: String = topic.chars().take(200).flat_map(char::escape_debug).collect();
            tracing::warn!(reason = reason.as_str(), topic, "a message was refused (said once a minute)");
        }
    }

    /// Commits what was gathered, then acknowledges, then sends receipts. A store in passing trouble keeps the batch.
    async fn commit(&mut self) -> Result<()> {
        self.gathering = None;
        if self.items.is_empty() {
            return Ok(());
        }
        let items = Arc::new(std::mem::take(&mut self.items));
        let outcomes = match self.store(&items).await {
            Ok(outcomes) => outcomes,
            Err(error) if is_passing(&error) => {
                if self.log.may_speak("store", self.wiring.clock.now()) {
                    tracing::error!(%error, "the centre cannot commit; nothing is receipted until it can");
                }
                self.wiring.health.send_modify(|h| h.store_trouble = Some(error.to_string()));
                self.items = Arc::unwrap_or_clone(items);
                let now = Instant::now();
                self.gathering = Some((now, now + RETRY));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.wiring.health.send_if_modified(|h| h.store_trouble.take().is_some());
        for ack in std::mem::take(&mut self.acks) {
            self.link.ack(ack)?;
        }
        self.receipt(&items, &outcomes)?;
        let now = self.wiring.clock.now();
        for (item, outcome) in items.iter().zip(&outcomes) {
            if *outcome == Outcome::Conflict {
                self.refuse(Reason::Conflict, "");
            }
            if let Some(notice) = notice::of(item, outcome, now) {
                // Nobody need listen.
                self.wiring.notices.send(Arc::new(notice)).ok();
            }
        }
        Ok(())
    }

    /// Commits a batch; if the store stumbles over one item, the others one by one and that one not at all.
    async fn store(&mut self, items: &Arc<Vec<Item>>) -> Result<Vec<Outcome>> {
        let now_ms = self.wiring.clock.now().wall_ms;
        match self.wiring.store.commit(items.clone(), now_ms).await {
            Err(e) if matches!(e.kind(), ErrorKind::Internal | ErrorKind::Invalid) => {
                tracing::error!(error = %e, "a batch cannot be committed; trying its messages one by one");
            }
            other => return other,
        }
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items.iter() {
            match self.wiring.store.commit(Arc::new(vec![item.clone()]), now_ms).await {
                Ok(one) => outcomes.extend(one),
                Err(e) if matches!(e.kind(), ErrorKind::Internal | ErrorKind::Invalid) => {
                    self.refuse(Reason::Store, "");
                    outcomes.push(Outcome::Conflict);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(outcomes)
    }

    /// Tells each node what of its messages is on disk here, known before or not.
    fn receipt(&mut self, items: &[Item], outcomes: &[Outcome]) -> Result<()> {
        let mut receipts: BTreeMap<&str, Receipt> = BTreeMap::new();
        for (item, _) in items.iter().zip(outcomes).filter(|(_, o)| **o != Outcome::Conflict) {
            match item {
                Item::Event { node, event, .. } => {
                    receipts.entry(node).or_default().events.push((event.id.clone(), event.revision));
                }
                Item::Snapshot { node, sha256, .. } => {
                    receipts.entry(node).or_default().snapshots.push(sha256.clone());
                }
                Item::Answer { .. } | Item::Node { .. } | Item::Camera { .. } => {}
            }
        }
        for (node, receipt) in receipts {
            let payload = serde_json::to_vec(&receipt)
                .map_err(|e| Error::new(ErrorKind::Internal, "a receipt cannot be written as JSON").source(e))?;
            let topic = NodeTopics::new(&self.settings.ward, node).receipt();
            self.link.publish(Message { topic, payload: payload.into(), ..Default::default() }, 0)?;
        }
        Ok(())
    }

    /// Sends what nodes have not answered. A store in trouble is said where messages are committed.
    async fn ask(&mut self) -> Result<()> {
        let now = self.wiring.clock.now();
        let Ok(pending) = self.wiring.store.pending(now.wall_ms).await else { return Ok(()) };
        for command in self.errands.step(pending, now) {
            let topic = NodeTopics::new(&self.settings.ward, &command.node).command();
            self.link.publish(Message { topic, payload: command.body.into(), ..Default::default() }, 0)?;
        }
        Ok(())
    }

    fn say(&mut self, state: PeerState) -> Result<()> {
        let message = own_status(self.settings, state, self.wiring.clock.now())?;
        self.link.publish(message, 0)
    }
}

fn is_passing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::Io | ErrorKind::NotFound)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Lets each thing be said once a minute.
#[derive(Default)]
struct OncePerMinute(HashMap<&'static str, Stamp>);

impl OncePerMinute {
    fn may_speak(&mut self, what: &'static str, now: Stamp) -> bool {
        if self.0.get(what).is_some_and(|at| now.since(*at) < Duration::from_secs(60)) {
            return false;
        }
        self.0.insert(what, now);
        true
    }
}
