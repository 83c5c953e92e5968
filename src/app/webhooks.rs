//! Wiring of webhooks: looks at what is due, sends it, keeps what became of it. What is sent when, `centre::webhook`
//! decides; that nothing is forgotten, the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::{Shutdown, stopped};
use crate::base::{Clock, Result, telemetry};
use crate::centre::Health;
use crate::centre::sign::WebhookKey;
use crate::centre::store::{SqliteStore, WebhookStore};
use crate::centre::webhook::{Answered, Delivery, EACH, Fate, Flights, judge};
use crate::config::WebhookConfig;
use crate::link::receiver::{Receiver, Signed};

/// Between two looks at what is due.
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks at how receivers stand.
const STANDING: Duration = Duration::from_secs(2);
/// What is under way when the centre stops may end within this; otherwise it is sent again at the next start.
const FAREWELL: Duration = Duration::from_secs(1);

struct Hook {
    receiver: Receiver,
    key: WebhookKey,
    give_up: Duration,
}

/// Tells the receivers of `webhooks`, until `shutdown`; none where there are none.
///
/// # Errors
/// `Config` when an authority's file or a secret cannot be used.
pub(super) fn start(
    webhooks: &[WebhookConfig],
    store: &SqliteStore,
    health: &watch::Sender<Health>,
    clock: &Arc<dyn Clock>,
    shutdown: &Shutdown,
) -> Result<Option<JoinHandle<Result<()>>>> {
    if webhooks.is_empty() {
        // Whom an earlier configuration named is forgotten.
        let (store, now_ms) = (store.clone(), clock.now().wall_ms);
        return Ok(Some(tokio::spawn(async move { store.standings(Vec::new(), now_ms).await.map(drop) })));
    }
    let mut hooks = HashMap::new();
    for webhook in webhooks {
        let receiver = Receiver::new(webhook.url.clone(), webhook.ca.as_deref())?;
        let key = WebhookKey::new(&webhook.secret)?;
        hooks.insert(webhook.name.clone(), Hook { receiver, key, give_up: webhook.give_up_after });
    }
    let teller = Teller {
        hooks,
        names: webhooks.iter().map(|w| w.name.clone()).collect(),
        store: store.clone(),
        health: health.clone(),
        clock: clock.clone(),
        flights: Flights::default(),
        sending: JoinSet::new(),
        landed: Vec::new(),
        away: HashSet::new(),
        trouble: false,
    };
    Ok(Some(tokio::spawn(teller.run(shutdown.clone()))))
}

struct Teller {
    hooks: HashMap<String, Hook>,
    names: Vec<String>,
    store: SqliteStore,
    health: watch::Sender<Health>,
    clock: Arc<dyn Clock>,
    flights: Flights,
    sending: JoinSet<(Delivery, Answered)>,
    /// What became of attempts, and is not kept yet.
    landed: Vec<(String, Fate)>,
    /// Receivers of which it was said that they are away.
    away: HashSet<String>,
    /// It was said that the store cannot answer.
    trouble: bool,
}

impl Teller {
    async fn run(mut self, mut shutdown: Shutdown) -> Result<()> {
        let mut looks = tokio::time::interval(LOOK);
        let mut standings = tokio::time::interval(STANDING);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        standings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                _ = standings.tick() => self.stand().await,
                _ = looks.tick() => self.look().await,
                Some(answered) = self.sending.join_next() => {
                    self.answered(answered);
                    self.look().await
                }
                () = stopped(&mut shutdown) => break,
            };
            self.said(done);
        }
        let farewell = async {
            while let Some(answered) = self.sending.join_next().await {
                self.answered(answered);
            }
        };
        tokio::time::timeout(FAREWELL, farewell).await.ok();
        self.settle().await
    }

    /// Sends what is due.
    async fn look(&mut self) -> Result<()> {
        self.settle().await?;
        let now_ms = self.clock.now().wall_ms;
        let due = self.store.due(now_ms, EACH, self.flights.ids()).await?;
        let known = due.into_iter().filter(|d| self.hooks.contains_key(&d.webhook)).collect();
        for delivery in self.flights.step(known) {
            let Some(hook) = self.hooks.get(&delivery.webhook) else { continue };
            let timestamp = self.clock.now().wall_ms / 1000;
            let signed = Signed {
                id: delivery.id.clone(),
                timestamp,
                signature: hook.key.signature(&delivery.id, timestamp, &delivery.body),
                body: delivery.body.clone(),
            };
            let receiver = hook.receiver.clone();
            self.sending.spawn(async move {
                let answered = match receiver.post(&signed).await {
                    Ok((code, wait)) => Answered::Status { code, wait },
                    Err(error) => Answered::Nothing(error.to_string()),
                };
                (delivery, answered)
            });
        }
        Ok(())
    }

    fn answered(&mut self, answered: std::result::Result<(Delivery, Answered), tokio::task::JoinError>) {
        // Only a panic brings nothing back; then it stays under way until the next start.
        let Ok((delivery, answered)) = answered else { return };
        let Some(hook) = self.hooks.get(&delivery.webhook) else { return };
        let chance = (Uuid::new_v4().as_u128() as u32) as f64 / f64::from(u32::MAX);
        let fate = judge(&delivery, &answered, self.clock.now().wall_ms, chance, hook.give_up);
        self.tell(&delivery, &fate);
        self.landed.push((delivery.id, fate));
    }

    /// The log and the metrics. A receiver that is away is said once, and so is that it is back.
    fn tell(&mut self, delivery: &Delivery, fate: &Fate) {
        let webhook = delivery.webhook.clone();
        let count = |name: &'static str| metrics::counter!(name, "webhook" => webhook.clone()).increment(1);
        match fate {
            Fate::Taken => {
                count(telemetry::WEBHOOKS_TAKEN);
                if self.away.remove(&webhook) {
                    tracing::info!(webhook, "the receiver takes what it is told again");
                }
            }
            Fate::Again { why, .. } => {
                count(telemetry::WEBHOOKS_FAILED);
                if self.away.insert(webhook.clone()) {
                    tracing::warn!(webhook, why, "a receiver cannot be told of what happened; it is tried again");
                }
            }
            Fate::GivenUp { why } => {
                count(telemetry::WEBHOOKS_FAILED);
                count(telemetry::WEBHOOKS_GIVEN_UP);
                tracing::error!(webhook, id = delivery.id, why, "a receiver was not told of what happened: given up");
            }
        }
    }

    /// Keeps what became of attempts. What cannot be kept now is not sent again before it could.
    async fn settle(&mut self) -> Result<()> {
        while let Some((id, fate)) = self.landed.last().cloned() {
            self.store.settle(id.clone(), fate, self.clock.now().wall_ms).await?;
            self.flights.landed(&id);
            self.landed.pop();
        }
        Ok(())
    }

    /// Tells how receivers stand.
    async fn stand(&mut self) -> Result<()> {
        let standings = self.store.standings(self.names.clone(), self.clock.now().wall_ms).await?;
        for (standing, overdue) in &standings {
            let webhook = standing.webhook.clone();
            metrics::gauge!(telemetry::WEBHOOKS_WAITING, "webhook" => webhook.clone()).set(standing.waiting as f64);
            if *overdue > 0 {
                metrics::counter!(telemetry::WEBHOOKS_GIVEN_UP, "webhook" => webhook.clone()).increment(*overdue);
                tracing::error!(webhook, overdue, "too much waits for a receiver: the oldest of it was given up");
            }
        }
        let now: Vec<_> = standings.into_iter().map(|(standing, _)| standing).collect();
        self.health.send_if_modified(|h| std::mem::replace(&mut h.webhooks, now.clone()) != now);
        Ok(())
    }

    /// A store in trouble is said once; that nothing can be committed is said elsewhere, too.
    fn said(&mut self, done: Result<()>) {
        match done {
            Ok(()) => self.trouble = false,
            Err(error) if !self.trouble => {
                self.trouble = true;
                tracing::error!(%error, "receivers cannot be told of what happens");
            }
            Err(_) => {}
        }
    }
}
