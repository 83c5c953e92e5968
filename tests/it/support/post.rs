//! A police post in a test: a node's store and publisher, a centre, and the events between them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;
use wardwatch::app::centre::{Centre, Ward};
use wardwatch::base::clock::SystemClock;
use wardwatch::base::geometry::{Point, Polygon, RelativeBox};
use wardwatch::base::types::{EventReport, PathPoint, Phase, Severity, Snapshot, SnapshotInfo, Zone};
use wardwatch::base::{Clock, Result, Stamp};
use wardwatch::config::{CentreConfig, ClipStore, MqttConfig};
use wardwatch::publish::link::{Connect, Link, Message, Refusal, Signal};
use wardwatch::publish::mqtt::MqttConnect;
use wardwatch::publish::presence::CameraStatuses;
use wardwatch::publish::{self, Health};
use wardwatch::store::{OpenReport, Settings, Store};
use wardwatch::wire::event::{Event, Origin};
use wardwatch::wire::status::CameraStatus;
use wardwatch::wire::topic::NodeTopics;

pub const WARD: &str = "o-cho-dua";
pub const NODE: &str = "node-1";
pub const CAMERA: &str = "ngo-12-a";
const PATIENCE: Duration = Duration::from_secs(30);

pub fn now() -> Stamp {
    SystemClock.now()
}

pub fn origin() -> Origin {
    Origin {
        ward: WARD.into(),
        node: NODE.into(),
        boot_id: Uuid::now_v7().to_string(),
        timezone: TimeZone::get("Asia/Ho_Chi_Minh").expect("bundled"),
    }
}

/// A report of a new event.
pub fn report(id: &str, phase: Phase) -> EventReport {
    let at = now();
    EventReport {
        id: id.into(),
        camera: Some(CAMERA.parse().expect("valid")),
        model: "yolox-nano@615e2661".into(),
        rule: "night-intrusion".into(),
        kind: "intrusion".into(),
        message: None,
        phase,
        severity: Severity::Alert,
        started_at: at,
        updated_at: at,
        ended_at: (phase == Phase::Ended).then_some(at),
        best_at: at,
        arrived_at: at,
        camera_time_ms: None,
        clock_suspect: false,
        zones: vec![Zone {
            name: "san-sau".into(),
            polygon: Polygon(vec![Point::new(0.1, 0.5), Point::new(0.9, 0.5), Point::new(0.5, 0.9)]),
        }],
        line: None,
        direction: None,
        label: "person".into(),
        score: 0.84,
        count: 1,
        tracks: vec![17],
        bbox: RelativeBox { left: 0.41, top: 0.22, right: 0.46, bottom: 0.37 },
        path: vec![PathPoint { seconds: 0.0, at: Point::new(0.4, 0.71) }],
        snapshot: None,
        clip: None,
        config_revision: 12,
    }
}

pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// Something that passes for a JPEG, different each time.
pub fn picture(bytes: usize) -> Snapshot {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut jpeg = vec![0xff, 0xd8, 0xff, 0xe0];
    jpeg.extend(NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    jpeg.resize(bytes.max(8), 0x55);
    let info =
        SnapshotInfo { sha256: hex::encode(Sha256::digest(&jpeg)), bytes: jpeg.len() as u64, width: 1280, height: 720 };
    Snapshot { info, jpeg: Bytes::from(jpeg) }
}

pub fn with_picture(mut report: EventReport, snapshot: &Snapshot) -> EventReport {
    report.snapshot = Some(snapshot.info.clone());
    report
}

/// Opens a store with its thread.
pub fn open_store(directory: &Path, quota: u64) -> (Store, OpenReport) {
    let settings = Settings { origin: origin(), snapshot_quota_bytes: quota, ballast_bytes: 8 << 20 };
    let (store, writer, report) = Store::open(&directory.join("node.db"), settings, now()).expect("opens");
    std::thread::spawn(move || writer.run());
    (store, report)
}

/// A node that publishes.
pub struct Publisher {
    pub store: Store,
    pub cameras: watch::Sender<CameraStatuses>,
    pub health: watch::Receiver<Health>,
    pub boot_id: String,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Publisher {
    pub fn start(store: Store, mqtt: MqttConfig) -> Self {
        Self::start_with(store, mqtt, Duration::from_secs(2))
    }

    pub fn start_with(store: Store, mqtt: MqttConfig, receipt_timeout: Duration) -> Self {
        let boot_id = Uuid::now_v7().to_string();
        let settings = publish::Settings {
            topics: NodeTopics::new(WARD, NODE),
            boot_id: boot_id.clone(),
            timezone: TimeZone::UTC,
            receipt_timeout,
            jitter_seed: 7,
        };
        let (cameras, camera_statuses) = watch::channel(CameraStatuses::new());
        let (health_sender, health) = watch::channel(Health::default());
        let (shutdown, stop) = watch::channel(false);
        let wiring = publish::Wiring {
            pulse: Default::default(),
            desk: publish::command::Desk::closed(),
            store: store.clone(),
            cameras: camera_statuses,
            health: health_sender,
            clock: Arc::new(SystemClock),
            shutdown: stop,
        };
        let task = tokio::spawn(publish::run(mqtt, settings, wiring));
        Self { store, cameras, health, boot_id, shutdown, task }
    }

    /// Waits until nothing waits for a receipt.
    pub async fn drained(&self) {
        until("the outbox is empty", || async {
            let depths = self.store.depths().await.expect("readable");
            depths.pending + depths.sent + depths.parked == 0
        })
        .await;
    }

    pub async fn until_health(&mut self, what: &str, holds: impl Fn(&Health) -> bool) {
        tokio::time::timeout(PATIENCE, self.health.wait_for(|h| holds(h)))
            .await
            .unwrap_or_else(|_| panic!("never: {what}"))
            .expect("running");
    }

    pub async fn stop(self) -> Result<()> {
        self.shutdown.send(true).ok();
        self.task.await.expect("no panic")
    }

    /// As kill -9 would.
    pub async fn kill(self) {
        self.task.abort();
        self.task.await.ok();
    }
}

/// A centre that can be stopped.
pub struct Running {
    pub centre: Centre,
    shutdown: watch::Sender<bool>,
}

impl Running {
    pub fn start(directory: &Path, mqtt: MqttConfig) -> Self {
        let (shutdown, stop) = watch::channel(false);
        let config = CentreConfig {
            state_dir: directory.to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
            mqtt: None,
            clips: ClipStore::Directory(directory.join("clips")),
            link: None,
            web: None,
            webhooks: Vec::new(),
            escalate_after: None,
        };
        let ward = Ward { id: WARD, name: WARD, timezone: "Asia/Ho_Chi_Minh" };
        let centre = Centre::start(&config, ward, mqtt, Arc::new(SystemClock), stop).expect("the centre starts");
        Self { centre, shutdown }
    }

    pub async fn connected(&self) {
        let mut health = self.centre.health();
        let connected = tokio::time::timeout(PATIENCE, health.wait_for(|h| h.connected)).await;
        connected.expect("the centre connects").expect("running");
    }

    pub async fn stop(self) -> Result<()> {
        self.shutdown.send(true).ok();
        self.centre.join().await
    }

    pub async fn kill(self) {
        self.centre.kill().await;
    }
}

pub fn camera_status(state: &str, boot_id: &str) -> CameraStatus {
    CameraStatus {
        state: state.into(),
        fault: None,
        detail: None,
        since: "2026-11-24T02:11:04.120+07:00".into(),
        codec: Some("h264".into()),
        width: 640,
        height: 360,
        fps: 10.0,
        last_frame: None,
        boot_id: boot_id.into(),
        config_revision: 1,
        retry_at: None,
    }
}

/// Waits for a condition; panics when it does not come true in time.
pub async fn until<F: Future<Output = bool>>(what: &str, holds: impl FnMut() -> F) {
    super::wait::until_async(what, PATIENCE, holds).await;
}

/// A bare client of the broker.
pub struct Client(pub <MqttConnect as Connect>::Link);

impl Client {
    pub async fn connect(mqtt: MqttConfig) -> Result<Self> {
        let connect = MqttConnect::new(mqtt, format!("test-{}", Uuid::now_v7()), false)?;
        Ok(Self(connect.connect(Message { topic: "test/will".into(), ..Default::default() }).await?))
    }

    pub async fn subscribe(&mut self, filters: &[String]) {
        self.0.subscribe(filters).expect("room");
        while !matches!(self.0.next().await.expect("connected"), Signal::Subscribed) {}
    }

    /// Publishes and waits for the broker's word.
    pub async fn publish(&mut self, message: Message) -> Option<Refusal> {
        let topic = message.topic.clone();
        self.0.publish(message, 1).expect("room");
        loop {
            let signal = self.0.next().await.unwrap_or_else(|e| panic!("publishing to {topic}: {e}"));
            if let Signal::Acked { refused, .. } = signal {
                return refused;
            }
        }
    }

    /// The next message for which `wanted` holds: topic, payload, retained.
    pub async fn hear(&mut self, what: &str, wanted: impl Fn(&str, &[u8]) -> bool) -> (String, Bytes, bool) {
        let found = async {
            loop {
                if let Signal::Arrived(a) = self.0.next().await.expect("connected")
                    && wanted(&a.topic, &a.payload)
                {
                    return (a.topic, a.payload, a.retained);
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never heard: {what}"))
    }
}

pub fn topics() -> NodeTopics {
    NodeTopics::new(WARD, NODE)
}

/// An event message as a node would send it.
pub fn event_message(event: &Event) -> Message {
    Message {
        topic: match &event.camera {
            Some(camera) => topics().event(&camera.parse().expect("valid")),
            None => topics().system_event(),
        },
        payload: event.to_json().expect("JSON").into(),
        ..Default::default()
    }
}

/// A picture's message as a node would send it.
pub fn picture_message(event: &str, snapshot: &Snapshot) -> Message {
    Message {
        topic: topics().snapshot(&CAMERA.parse().expect("valid"), event),
        payload: snapshot.jpeg.clone(),
        properties: vec![
            ("event-id".into(), event.into()),
            ("sha256".into(), snapshot.info.sha256.clone()),
            ("content-type".into(), "image/jpeg".into()),
        ],
        ..Default::default()
    }
}

/// Lets the log be seen with `RUST_LOG` when a test fails.
pub fn log() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init()
        .ok();
}
