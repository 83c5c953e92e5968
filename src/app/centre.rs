//! Wiring of the centre: store thread, receiver task, notices.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::base::{Clock, Error, ErrorKind, Result};
use crate::centre::receive::{self, Settings, Wiring};
use crate::centre::store::SqliteStore;
use crate::centre::{Health, Notice};
use crate::config::{CentreConfig, MqttConfig};

/// Notices a slow listener may be behind before it misses some.
const NOTICES: usize = 1024;

/// A running centre.
pub struct Centre {
    store: SqliteStore,
    notices: broadcast::Sender<Arc<Notice>>,
    health: watch::Receiver<Health>,
    quarantined: Option<PathBuf>,
    receiver: JoinHandle<Result<()>>,
    writer: std::thread::JoinHandle<()>,
}

impl Centre {
    /// Opens the store, then listens to the nodes of `ward` at the broker `mqtt` until `shutdown` becomes true.
    /// `timezone` is an IANA name, checked by the configuration.
    pub fn start(
        config: &CentreConfig,
        ward: &str,
        timezone: &str,
        mqtt: MqttConfig,
        clock: Arc<dyn Clock>,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Self> {
        let (store, writer, quarantined) = SqliteStore::open(&config.state_dir, clock.now().wall_ms)?;
        let writer = std::thread::Builder::new()
            .name("centre-store".into())
            .spawn(move || writer.run())
            .map_err(|e| Error::new(ErrorKind::Internal, "cannot start the centre's store thread").source(e))?;
        let (notices, _) = broadcast::channel(NOTICES);
        let (health_sender, health) = watch::channel(Health::default());
        let boot_id = Uuid::now_v7();
        let settings = Settings {
            ward: ward.to_owned(),
            boot_id: boot_id.to_string(),
            timezone: TimeZone::get(timezone).unwrap_or(TimeZone::UTC),
            jitter_seed: boot_id.as_u64_pair().1,
        };
        let wiring = Wiring { store: store.clone(), notices: notices.clone(), health: health_sender, clock, shutdown };
        let receiver = tokio::spawn(receive::run(mqtt, settings, wiring));
        Ok(Self { store, notices, health, quarantined, receiver, writer })
    }

    /// Everything committed from now on.
    pub fn notices(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.notices.subscribe()
    }

    /// For questions; drop it before [`Self::join`].
    pub fn store(&self) -> SqliteStore {
        self.store.clone()
    }

    /// How it stands.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Where a corrupt database was put at the start.
    pub fn quarantined(&self) -> Option<&PathBuf> {
        self.quarantined.as_ref()
    }

    /// Waits for the end after `shutdown`: the receiver first, then the store, which closes when its last handle is gone.
    pub async fn join(self) -> Result<()> {
        let Self { store, receiver, writer, .. } = self;
        let received = receiver
            .await
            .unwrap_or_else(|e| Err(Error::new(ErrorKind::Internal, "the centre's receiver died").source(e)));
        drop(store);
        let closed = tokio::task::spawn_blocking(move || writer.join());
        if !matches!(closed.await, Ok(Ok(()))) {
            return Err(Error::new(ErrorKind::Internal, "the centre's store thread died"));
        }
        received
    }

    /// Stops at once, as a power cut would: nothing is finished, no goodbye is said.
    pub async fn kill(self) {
        self.receiver.abort();
        self.receiver.await.ok();
        drop(self.store);
        tokio::task::spawn_blocking(move || self.writer.join()).await.map(drop).ok();
    }
}
