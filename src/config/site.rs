//! `wardwatch.toml`: what this machine is. Frozen at start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Document;
use super::link::{self, CentreLinkConfig, ClipStore, NodeLinkConfig, RawCentreLink, RawNodeLink, RawS3};
use super::record::{self, RawRecord, RecordConfig};
use super::secret::Secret;
use super::web::{self, RawWeb, WebConfig};
use super::webhook::{self, RawWebhook, WebhookConfig};
use crate::base::Result;
use crate::base::types::is_name;

/// The whole file, validated, with paths resolved against its own directory.
#[derive(Clone, Debug, PartialEq)]
pub struct WardwatchConfig {
    /// The ward's name in topics, for example `o-cho-dua`.
    pub ward: String,
    /// The ward's name for people.
    pub ward_name: String,
    /// IANA time zone of schedules and of everything people read.
    pub timezone: String,
    pub detect: DetectConfig,
    pub track: TrackConfig,
    pub snapshot: SnapshotConfig,
    pub broker: Option<BrokerConfig>,
    pub node: Option<NodeConfig>,
    pub centre: Option<CentreConfig>,
}

/// Where inference runs. A provider that cannot start falls back to the CPU, and the one really used is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    #[default]
    Cpu,
    Openvino,
    Cuda,
}

/// How a worker is shut in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// As far as the kernel allows; the log and the metrics say how far.
    #[default]
    BestEffort,
    /// A worker that cannot be shut in does not start.
    Require,
    /// Not at all.
    Off,
}

/// `[detect]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectConfig {
    /// A manifest: `<models_dir>/<model>.toml`.
    #[serde(default = "default_model")]
    pub model: String,
    #[serde(default = "default_models_dir")]
    pub models_dir: PathBuf,
    /// ONNX Runtime's shared library.
    pub runtime: PathBuf,
    #[serde(default)]
    pub provider: Provider,
}

fn default_model() -> String {
    "yolox-nano".into()
}

fn default_models_dir() -> PathBuf {
    "models".into()
}

/// `[track]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrackConfig {
    /// A track that is not seen for this long is over.
    pub lost_seconds: f32,
    /// An object that has not moved for this long is stationary (parked).
    pub stationary_seconds: f32,
    /// The same still place must look like an object for this long before it may be taken for a phantom.
    pub phantom_seconds: f32,
    /// Where objects went is kept on the node for this long; 0: not at all.
    pub keep_hours: u32,
}

impl Default for TrackConfig {
    fn default() -> Self {
        Self { lost_seconds: 3.0, stationary_seconds: 10.0, phantom_seconds: 10.0, keep_hours: 24 }
    }
}

/// `[snapshot]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotConfig {
    /// Pixels; a wider picture is scaled down.
    pub max_width: u32,
    /// JPEG quality, 1..=100.
    pub quality: u8,
    /// Draws the object's box into the picture. Off by default: the box is in the event.
    pub overlay: bool,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self { max_width: 1280, quality: 85, overlay: false }
    }
}

/// `[broker]`: mosquitto as a supervised child on loopback, with generated configuration, users and ACL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// 0 takes a free port at every start.
    #[serde(default = "default_broker_port")]
    pub port: u16,
    #[serde(default = "default_mosquitto")]
    pub program: PathBuf,
    /// Generated configuration, password file and ACL live here.
    pub state_dir: PathBuf,
    /// Lets the user `watch`, a person with `mosquitto_sub` on this machine, read pictures and not only events.
    #[serde(default)]
    pub watch_pictures: bool,
}

fn default_broker_port() -> u16 {
    1883
}

fn default_mosquitto() -> PathBuf {
    "mosquitto".into()
}

/// `[node.mqtt]`, `[centre.mqtt]`: how to reach the broker. May be left out when `[broker]` is in the same file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    pub host: String,
    /// Default: 8883 with TLS, 1883 without.
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    #[serde(default)]
    pub tls: bool,
    /// PEM file of the authority that signed the broker's certificate; default: the system's.
    pub ca: Option<PathBuf>,
    /// Allows an unencrypted connection to another machine.
    #[serde(default)]
    pub allow_plaintext: bool,
}

impl MqttConfig {
    /// The port in force.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls { 8883 } else { 1883 })
    }

    /// Whether the address is this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// `[node]`
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    pub name: String,
    pub state_dir: PathBuf,
    pub cameras: PathBuf,
    pub cameras_per_worker: usize,
    /// Encoded video kept in memory for each stream.
    pub ring_bytes: usize,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub listen: SocketAddr,
    /// Pictures waiting for the centre may use this much disk; the oldest go first, never the events.
    pub snapshot_quota_bytes: u64,
    /// A published row that the centre has not receipted for this long is sent again.
    pub receipt_timeout_seconds: u64,
    /// An ended and receipted event is forgotten here after so many days; the centre has it.
    pub keep_events_days: u32,
    /// Memory of its own after which a worker is ended and started again.
    pub worker_memory_bytes: u64,
    /// A worker of which nothing is heard for this long, or one thread of which hangs, is ended and started again.
    pub worker_silence_seconds: u64,
    pub sandbox: Sandbox,
    /// For developers: every worker message as JSON lines.
    pub ipc_dump: Option<PathBuf>,
    /// `[record]`
    pub record: RecordConfig,
    pub mqtt: Option<MqttConfig>,
    /// `[node.link]`; without it clips stay on this machine.
    pub link: Option<NodeLinkConfig>,
}

/// `[centre]`
#[derive(Clone, Debug, PartialEq)]
pub struct CentreConfig {
    pub state_dir: PathBuf,
    pub listen: SocketAddr,
    pub mqtt: Option<MqttConfig>,
    /// Where delivered clips are kept.
    pub clips: ClipStore,
    /// `[centre.link]`; without it nodes cannot deliver clips.
    pub link: Option<CentreLinkConfig>,
    /// `[centre.web]`; without it there is no page.
    pub web: Option<WebConfig>,
    /// Who is told of alerts and dispatches.
    pub webhooks: Vec<WebhookConfig>,
    /// An alert that nobody takes for this long is called up. `None`: never.
    pub escalate_after: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    site: RawSite,
    detect: Option<DetectConfig>,
    track: Option<Spanned<TrackConfig>>,
    snapshot: Option<Spanned<SnapshotConfig>>,
    record: Option<Spanned<RawRecord>>,
    broker: Option<BrokerConfig>,
    node: Option<Spanned<RawNode>>,
    centre: Option<Spanned<RawCentre>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSite {
    ward: Spanned<String>,
    #[serde(default)]
    name: String,
    #[serde(default = "default_timezone")]
    timezone: Spanned<String>,
}

fn default_timezone() -> Spanned<String> {
    Spanned::new(0..0, "Asia/Ho_Chi_Minh".into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: Spanned<String>,
    state_dir: PathBuf,
    #[serde(default = "default_cameras")]
    cameras: PathBuf,
    #[serde(default = "default_per_worker")]
    cameras_per_worker: Spanned<usize>,
    #[serde(default = "default_ring_mb")]
    ring_mb: Spanned<usize>,
    #[serde(default = "default_node_listen")]
    listen: SocketAddr,
    #[serde(default = "default_quota_mb")]
    snapshot_quota_mb: u64,
    #[serde(default = "default_receipt_timeout")]
    receipt_timeout_seconds: Spanned<u64>,
    #[serde(default = "default_keep_events")]
    keep_events_days: Spanned<u32>,
    #[serde(default = "default_worker_memory")]
    worker_memory_mb: Spanned<u64>,
    #[serde(default = "default_worker_silence")]
    worker_silence_seconds: Spanned<u64>,
    #[serde(default)]
    sandbox: Sandbox,
    ipc_dump: Option<PathBuf>,
    mqtt: Option<Spanned<MqttConfig>>,
    link: Option<Spanned<RawNodeLink>>,
}

fn default_cameras() -> PathBuf {
    "cameras.toml".into()
}

fn default_per_worker() -> Spanned<usize> {
    Spanned::new(0..0, 8)
}

fn default_ring_mb() -> Spanned<usize> {
    Spanned::new(0..0, 8)
}

fn default_node_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9464))
}

fn default_quota_mb() -> u64 {
    2048
}

fn default_keep_events() -> Spanned<u32> {
    Spanned::new(0..0, 30)
}

fn default_worker_memory() -> Spanned<u64> {
    Spanned::new(0..0, 1024)
}

fn default_worker_silence() -> Spanned<u64> {
    Spanned::new(0..0, 15)
}

fn default_receipt_timeout() -> Spanned<u64> {
    Spanned::new(0..0, 30)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCentre {
    state_dir: PathBuf,
    #[serde(default = "default_centre_listen")]
    listen: SocketAddr,
    mqtt: Option<Spanned<MqttConfig>>,
    clips: Option<Spanned<String>>,
    link: Option<Spanned<RawCentreLink>>,
    #[serde(default = "default_escalate_after_seconds")]
    escalate_after_seconds: Spanned<u32>,
    s3: Option<Spanned<RawS3>>,
    web: Option<Spanned<RawWeb>>,
    #[serde(default)]
    webhook: Vec<RawWebhook>,
}

fn default_escalate_after_seconds() -> Spanned<u32> {
    Spanned::new(0..0, 120)
}

fn default_centre_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9465))
}

/// Reads and validates `wardwatch.toml`.
pub fn load_site(path: &Path) -> Result<WardwatchConfig> {
    let doc = Document::read(path)?;
    let raw: RawFile = doc.parse()?;
    let ward = named(&doc, "ward", raw.site.ward)?;
    let timezone = raw.site.timezone;
    if jiff::tz::TimeZone::get(timezone.get_ref()).is_err() {
        return Err(doc
            .error(Some(timezone.span()), format!("`{}` is not a time zone", timezone.get_ref()))
            .hint("use an IANA name, for example \"Asia/Ho_Chi_Minh\""));
    }
    let embedded = raw.broker.is_some();
    if let (Some(record), None) = (&raw.record, &raw.node) {
        return Err(doc.error(Some(record.span()), "only a node records: [record] needs [node]"));
    }
    let record = raw.record.map(Spanned::into_inner);
    let centre = raw.centre.map(|c| centre(&doc, c, embedded)).transpose()?;
    let door = centre.as_ref().and_then(|c| c.link.as_ref());
    let node = raw.node.map(|n| node(&doc, n, record, embedded, door)).transpose()?;
    if node.is_none() && centre.is_none() {
        return Err(doc.error(None, "neither [node] nor [centre] is here").hint("add the role this machine plays"));
    }
    let detect = match (raw.detect, node.is_some()) {
        (Some(d), _) => DetectConfig { models_dir: doc.resolve(&d.models_dir), runtime: doc.resolve(&d.runtime), ..d },
        (None, true) => {
            return Err(doc.error(None, "a [node] needs a [detect] section").hint("runtime = \"…/libonnxruntime.so\""));
        }
        (None, false) => DetectConfig {
            model: default_model(),
            models_dir: doc.resolve(&default_models_dir()),
            runtime: PathBuf::new(),
            provider: Provider::Cpu,
        },
    };
    let snapshot = check_snapshot(&doc, raw.snapshot)?;
    let track = check_track(&doc, raw.track)?;
    Ok(WardwatchConfig {
        ward_name: if raw.site.name.is_empty() { ward.clone() } else { raw.site.name },
        ward,
        timezone: timezone.into_inner(),
        detect,
        track,
        snapshot,
        broker: raw.broker.map(|b| BrokerConfig { state_dir: doc.resolve(&b.state_dir), ..b }),
        node,
        centre,
    })
}

fn named(doc: &Document, key: &str, raw: Spanned<String>) -> Result<String> {
    if is_name(raw.get_ref()) {
        return Ok(raw.into_inner());
    }
    Err(doc
        .error(Some(raw.span()), format!("{key} `{}` cannot stand in a topic", raw.get_ref()))
        .hint("use 1 to 64 of a-z, 0-9 and -"))
}

fn node(
    doc: &Document,
    raw: Spanned<RawNode>,
    record: Option<RawRecord>,
    embedded: bool,
    door: Option<&CentreLinkConfig>,
) -> Result<NodeConfig> {
    let span = raw.span();
    let raw = raw.into_inner();
    let per_worker = raw.cameras_per_worker;
    if !(1..=8).contains(per_worker.get_ref()) {
        return Err(doc.error(Some(per_worker.span()), "cameras_per_worker must be between 1 and 8"));
    }
    if !(1..=256).contains(raw.ring_mb.get_ref()) {
        return Err(doc.error(Some(raw.ring_mb.span()), "ring_mb must be between 1 and 256"));
    }
    if !(1..=3600).contains(raw.receipt_timeout_seconds.get_ref()) {
        let span = raw.receipt_timeout_seconds.span();
        return Err(doc.error(Some(span), "receipt_timeout_seconds must be between 1 and 3600"));
    }
    if !(1..=3650).contains(raw.keep_events_days.get_ref()) {
        return Err(doc.error(Some(raw.keep_events_days.span()), "keep_events_days must be between 1 and 3650"));
    }
    if !(64..=65536).contains(raw.worker_memory_mb.get_ref()) {
        return Err(doc.error(Some(raw.worker_memory_mb.span()), "worker_memory_mb must be between 64 and 65536"));
    }
    if !(5..=600).contains(raw.worker_silence_seconds.get_ref()) {
        let span = raw.worker_silence_seconds.span();
        return Err(doc.error(Some(span), "worker_silence_seconds must be between 5 and 600"));
    }
    if raw.name.get_ref() == "centre" {
        return Err(doc
            .error(Some(raw.name.span()), "no node may be called `centre`: the command centre's topics are")
            .hint("for example name = \"node-1\""));
    }
    let state_dir = doc.resolve(&raw.state_dir);
    Ok(NodeConfig {
        name: named(doc, "node name", raw.name)?,
        record: record::record(doc, record, &state_dir)?,
        state_dir,
        cameras: doc.resolve(&raw.cameras),
        cameras_per_worker: per_worker.into_inner(),
        ring_bytes: raw.ring_mb.into_inner() << 20,
        listen: raw.listen,
        snapshot_quota_bytes: raw.snapshot_quota_mb << 20,
        receipt_timeout_seconds: raw.receipt_timeout_seconds.into_inner(),
        keep_events_days: raw.keep_events_days.into_inner(),
        worker_memory_bytes: raw.worker_memory_mb.into_inner() << 20,
        worker_silence_seconds: raw.worker_silence_seconds.into_inner(),
        sandbox: raw.sandbox,
        ipc_dump: raw.ipc_dump.map(|p| doc.resolve(&p)),
        mqtt: mqtt(doc, "node", span, raw.mqtt, embedded)?,
        link: raw.link.map(|l| link::node_link(doc, l, door)).transpose()?,
    })
}

fn centre(doc: &Document, raw: Spanned<RawCentre>, embedded: bool) -> Result<CentreConfig> {
    let span = raw.span();
    let raw = raw.into_inner();
    let state_dir = doc.resolve(&raw.state_dir);
    if *raw.escalate_after_seconds.get_ref() > 86_400 {
        let span = raw.escalate_after_seconds.span();
        return Err(doc.error(Some(span), "escalate_after_seconds must be between 0 (never) and 86400"));
    }
    let escalate_after = Duration::from_secs(raw.escalate_after_seconds.into_inner().into());
    Ok(CentreConfig {
        escalate_after: (!escalate_after.is_zero()).then_some(escalate_after),
        clips: link::clip_store(doc, raw.clips, raw.s3, &state_dir)?,
        state_dir,
        listen: raw.listen,
        mqtt: mqtt(doc, "centre", span, raw.mqtt, embedded)?,
        link: raw.link.map(|l| link::centre_link(doc, l)).transpose()?,
        web: raw.web.map(|w| web::web(doc, w)).transpose()?,
        webhooks: webhook::webhooks(doc, raw.webhook)?,
    })
}

fn mqtt(
    doc: &Document,
    role: &str,
    role_span: std::ops::Range<usize>,
    raw: Option<Spanned<MqttConfig>>,
    embedded: bool,
) -> Result<Option<MqttConfig>> {
    let Some(raw) = raw else {
        if embedded {
            return Ok(None);
        }
        return Err(doc
            .error(Some(role_span), format!("[{role}] does not say where the broker is"))
            .hint(format!("add [{role}.mqtt] with host, user and password, or [broker] to run one here")));
    };
    let span = raw.span();
    let mqtt = raw.into_inner();
    if !mqtt.tls && !mqtt.is_loopback() && !mqtt.allow_plaintext {
        return Err(doc
            .error(Some(span), format!("[{role}.mqtt] would send pictures to {} unencrypted", mqtt.host))
            .hint("set tls = true (and ca = \"…\" for an own authority), or allow_plaintext = true if the network itself is encrypted"));
    }
    Ok(Some(MqttConfig { ca: mqtt.ca.as_deref().map(|p| doc.resolve(p)), ..mqtt }))
}

fn check_snapshot(doc: &Document, raw: Option<Spanned<SnapshotConfig>>) -> Result<SnapshotConfig> {
    let Some(raw) = raw else { return Ok(SnapshotConfig::default()) };
    let s = raw.get_ref();
    if !(1..=100).contains(&s.quality) {
        return Err(doc.error(Some(doc.key_span(&raw.span(), "quality")), "quality must be between 1 and 100"));
    }
    if !(160..=7680).contains(&s.max_width) {
        return Err(doc.error(Some(doc.key_span(&raw.span(), "max_width")), "max_width must be between 160 and 7680"));
    }
    Ok(raw.into_inner())
}

fn check_track(doc: &Document, raw: Option<Spanned<TrackConfig>>) -> Result<TrackConfig> {
    let Some(raw) = raw else { return Ok(TrackConfig::default()) };
    let t = raw.get_ref();
    for (key, value) in [
        ("lost_seconds", t.lost_seconds),
        ("stationary_seconds", t.stationary_seconds),
        ("phantom_seconds", t.phantom_seconds),
    ] {
        if !(0.1..=3600.0).contains(&value) {
            return Err(doc.error(Some(doc.key_span(&raw.span(), key)), format!("{key} must be between 0.1 and 3600")));
        }
    }
    if t.keep_hours > 168 {
        return Err(doc.error(Some(doc.key_span(&raw.span(), "keep_hours")), "keep_hours must be between 0 and 168"));
    }
    Ok(raw.into_inner())
}
