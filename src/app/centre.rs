//! Wiring of the centre: store thread, receiver task, notices, the doors for clips and for a person at this machine.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::enrol::accounts_of;
use super::{join, page, stopped, webhooks};
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::centre::account::Accounts;
use crate::centre::api::{self, Door};
use crate::centre::control::{self, MAX_LINE, SOCKET};
use crate::centre::desk::Desk;
use crate::centre::incoming::Incoming;
use crate::centre::live::Hub;
use crate::centre::objects::Objects;
use crate::centre::receive::{self, Settings, Wiring};
use crate::centre::store::{Announce, SqliteStore};
use crate::centre::{Health, Notice};
use crate::config::{CentreConfig, ClipStore, MqttConfig};

/// Notices a slow listener may be behind before it misses some.
const NOTICES: usize = 1024;

/// A person's question must be there within this.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// A running centre.
pub struct Centre {
    store: SqliteStore,
    notices: broadcast::Sender<Arc<Notice>>,
    health: watch::Receiver<Health>,
    hub: Hub,
    quarantined: Option<PathBuf>,
    receiver: JoinHandle<Result<()>>,
    /// The doors, and who looks at what waits; each ends at `shutdown`.
    doors: Vec<JoinHandle<Result<()>>>,
    writer: std::thread::JoinHandle<()>,
    accounts: Option<Accounts<SqliteStore>>,
    /// Those that serve the page.
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Which ward a centre is for.
#[derive(Clone, Copy, Debug)]
pub struct Ward<'a> {
    /// As in topics.
    pub id: &'a str,
    /// As people call it.
    pub name: &'a str,
    /// IANA name, checked by the configuration.
    pub timezone: &'a str,
}

impl Centre {
    /// Opens the store, then listens to the nodes of `ward` at the broker `mqtt` until `shutdown` becomes true.
    pub fn start(
        config: &CentreConfig,
        ward: Ward<'_>,
        mqtt: MqttConfig,
        clock: Arc<dyn Clock>,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Self> {
        let timezone = TimeZone::get(ward.timezone).unwrap_or(TimeZone::UTC);
        let public_url = config.web.as_ref().and_then(|web| web.public_url.as_ref()).map(|url| url.as_str());
        let announce = Announce::new(ward.id, timezone.clone(), public_url, &config.webhooks);
        let (store, writer, quarantined) =
            SqliteStore::open_announcing(&config.state_dir, clock.now().wall_ms, announce)?;
        let writer = std::thread::Builder::new()
            .name("centre-store".into())
            .spawn(move || writer.run())
            .map_err(|e| Error::new(ErrorKind::Internal, "cannot start the centre's store thread").source(e))?;
        let (notices, _) = broadcast::channel(NOTICES);
        let (health_sender, health) = watch::channel(Health::default());
        let boot_id = Uuid::now_v7();
        let settings = Settings {
            ward: ward.id.to_owned(),
            boot_id: boot_id.to_string(),
            timezone,
            jitter_seed: boot_id.as_u64_pair().1,
        };
        let mut doors = Vec::new();
        let hub = Hub::default();
        doors.extend(clip_door(config, ward.id, &store, (&hub, &notices), &health_sender, &clock, &shutdown)?);
        doors.extend(webhooks::start(&config.webhooks, &store, &health_sender, &clock, &shutdown)?);
        doors.extend(control_door(&config.state_dir, &store, &clock, &shutdown)?);
        if let Some(after) = config.escalate_after {
            let desk = Desk::new(store.clone(), notices.clone(), clock.clone());
            doors.push(tokio::spawn(call_up(desk, after, shutdown.clone())));
        }
        let (mut accounts, mut threads) = (None, Vec::new());
        if let Some(web) = config.web.clone() {
            let joined = page::Joined {
                store: &store,
                hub: &hub,
                notices: &notices,
                health: &health,
                clock: &clock,
                shutdown: &shutdown,
            };
            let page = page::start(config, web, ward, boot_id.to_string(), joined)?;
            doors.extend(page.tasks);
            (accounts, threads) = (Some(page.accounts), page.threads);
        }
        let wiring = Wiring { store: store.clone(), notices: notices.clone(), health: health_sender, clock, shutdown };
        let receiver = tokio::spawn(receive::run(mqtt, settings, wiring));
        Ok(Self { store, notices, health, hub, quarantined, receiver, doors, writer, accounts, threads })
    }

    /// Everything committed from now on.
    pub fn notices(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.notices.subscribe()
    }

    /// For questions; drop it before [`Self::join`].
    pub fn store(&self) -> SqliteStore {
        self.store.clone()
    }

    /// What is live.
    pub fn hub(&self) -> Hub {
        self.hub.clone()
    }

    /// The accounts, where there is a page; drop them before [`Self::join`].
    pub fn accounts(&self) -> Option<Accounts<SqliteStore>> {
        self.accounts.clone()
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
        let Self { store, receiver, doors, writer, accounts, threads, .. } = self;
        let received = receiver
            .await
            .unwrap_or_else(|e| Err(Error::new(ErrorKind::Internal, "the centre's receiver died").source(e)));
        for door in doors {
            match door.await {
                Ok(Err(e)) => tracing::error!("{e}"),
                Err(e) => tracing::error!("a door of the centre died: {e}"),
                Ok(Ok(())) => {}
            }
        }
        drop((store, accounts));
        let closed = tokio::task::spawn_blocking(move || {
            threads.into_iter().for_each(join);
            writer.join()
        });
        if !matches!(closed.await, Ok(Ok(()))) {
            return Err(Error::new(ErrorKind::Internal, "the centre's store thread died"));
        }
        received
    }

    /// Stops at once, as a power cut would: nothing is finished, no goodbye is said.
    pub async fn kill(self) {
        self.hub.close();
        self.receiver.abort();
        self.receiver.await.ok();
        for door in self.doors {
            door.abort();
            door.await.ok();
        }
        drop((self.store, self.accounts));
        tokio::task::spawn_blocking(move || self.writer.join()).await.map(drop).ok();
    }
}

type DoorTask = JoinHandle<Result<()>>;

/// The door for clips, where `[centre.link]` wants one.
fn clip_door(
    config: &CentreConfig,
    ward: &str,
    store: &SqliteStore,
    (hub, notices): (&Hub, &broadcast::Sender<Arc<Notice>>),
    health: &watch::Sender<Health>,
    clock: &Arc<dyn Clock>,
    shutdown: &watch::Receiver<bool>,
) -> Result<Option<DoorTask>> {
    let Some(link) = config.link.clone() else { return Ok(None) };
    let incoming = match &config.clips {
        // Beside the objects, so that a verified clip is linked and not copied.
        ClipStore::Directory(directory) => directory.join("incoming"),
        ClipStore::S3(_) => config.state_dir.join("incoming"),
    };
    let health = health.clone();
    let door = Door {
        ward: ward.to_owned(),
        store: store.clone(),
        objects: Objects::open(&config.clips)?,
        incoming: Incoming::new(incoming, link.incoming_bytes)?,
        hub: hub.clone(),
        notices: notices.clone(),
        max_clip_bytes: link.max_clip_bytes,
        clock: clock.clone(),
        trouble: Arc::new(move |trouble| {
            health.send_if_modified(|h| std::mem::replace(&mut h.clip_trouble, trouble.clone()) != trouble);
        }),
    };
    let listener = api::bind(link.listen)?;
    let mut shutdown = shutdown.clone();
    Ok(Some(tokio::spawn(async move {
        api::serve(listener, &link, door, async move { stopped(&mut shutdown).await }).await
    })))
}

/// Once a second, marks alerts that nobody took in time and tells of them.
async fn call_up(desk: Desk<SqliteStore>, after: Duration, mut shutdown: watch::Receiver<bool>) -> Result<()> {
    let mut looks = tokio::time::interval(Duration::from_secs(1));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut trouble = false;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = stopped(&mut shutdown) => return Ok(()),
        }
        match desk.escalate(after.as_millis() as i64).await {
            Ok(0) => trouble = false,
            Ok(alerts) => {
                trouble = false;
                tracing::warn!(alerts, "nobody has taken alerts in time");
            }
            // Said once; that nothing can be committed is said elsewhere, too.
            Err(error) if !trouble => {
                trouble = true;
                tracing::error!(%error, "alerts that nobody takes cannot be called up");
            }
            Err(_) => {}
        }
    }
}

/// The door for a person at this machine. A path that is too long for a socket leaves the centre without one.
fn control_door(
    state_dir: &Path,
    store: &SqliteStore,
    clock: &Arc<dyn Clock>,
    shutdown: &watch::Receiver<bool>,
) -> Result<Option<DoorTask>> {
    let path = state_dir.join(SOCKET);
    // The database's lock is ours: a socket that is there is a dead centre's.
    std::fs::remove_file(&path).ok();
    let private = |listener| std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).map(|()| listener);
    let listener = match UnixListener::bind(&path).and_then(private) {
        Ok(listener) => listener,
        Err(e) => {
            tracing::error!(error = %e, path = %path.display(), "there is no door for `enrol-code` while the centre runs");
            return Ok(None);
        }
    };
    let accounts = accounts_of(store, clock.clone())?;
    let (store, clock, mut shutdown) = (store.clone(), clock.clone(), shutdown.clone());
    Ok(Some(tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut shutdown) => break,
            };
            if let Ok((stream, _)) = stream {
                tokio::time::timeout(QUESTION_TIMEOUT, converse(stream, &store, &accounts, clock.as_ref())).await.ok();
            }
        }
        std::fs::remove_file(&path).ok();
        Ok(())
    })))
}

async fn converse(
    stream: UnixStream,
    store: &SqliteStore,
    accounts: &Accounts<SqliteStore>,
    clock: &dyn Clock,
) -> std::io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reading.take(MAX_LINE)).read_line(&mut line).await?;
    let reply = control::answer(store, accounts, &line, clock.now().wall_ms).await;
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    writing.write_all(&text).await
}
