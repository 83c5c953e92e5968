//! Answers what a camera's rules, as somebody is drafting them, would have made of the tracks that were kept. One at a
//! time; whoever drags a corner asks often, so a newer draft of a camera ends an older one's rehearsal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::app::camera::load_cameras_from;
use crate::base::{Clock, Error, ErrorKind, Result, Stamp};
use crate::config::edit::{self, Refused};
use crate::config::{Camera, DetectConfig};
use crate::detect::manifest::Manifest;
use crate::rules;
use crate::rules::rehearsal::{self, Draft, Way, join};
use crate::store::reader::Reader;
use crate::wire::inquiry::{
    Changed, Counts, Firing, MAX_FIRINGS, MAX_PATH_POINTS, MAX_PATHS, Path as Drawn, Rehearsed, Reply, Settings,
};

/// A day of many tracks takes a second; longer nobody waits.
const PATIENCE: Duration = Duration::from_secs(8);
/// Cameras of which it is known which draft is the newest.
const CAMERAS: usize = 64;
/// The text that errors point into.
const DRAFT: &str = "draft";
/// Streams are no matter of a rehearsal, and an address in it is no reason to look at files.
const ANY_STREAM: &str = "rtsp://127.0.0.1/";

/// Cloneable.
#[derive(Clone)]
pub(super) struct Rehearsals(Arc<Inner>);

struct Inner {
    database: PathBuf,
    cameras: PathBuf,
    detect: DetectConfig,
    timezone: TimeZone,
    clock: Arc<dyn Clock>,
    turn: Semaphore,
    newest: Mutex<HashMap<String, Arc<AtomicU64>>>,
}

/// Which draft of a camera this is.
struct Ticket {
    newest: Arc<AtomicU64>,
    mine: u64,
}

impl Ticket {
    fn is_newest(&self) -> bool {
        self.newest.load(Ordering::Relaxed) == self.mine
    }
}

impl Rehearsals {
    pub(super) fn new(
        database: PathBuf,
        cameras: PathBuf,
        detect: DetectConfig,
        timezone: TimeZone,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (turn, newest) = (Semaphore::new(1), Mutex::default());
        Self(Arc::new(Inner { database, cameras, detect, timezone, clock, turn, newest }))
    }

    /// What `draft`, a table `[[camera]]`, would have made of the tracks between `from_ms` and `to_ms`, beside the camera
    /// in force.
    ///
    /// # Errors
    /// When the tracks cannot be read, or a newer draft came. A draft that is wrong is an answer.
    pub(super) async fn answer(
        &self,
        draft: Settings,
        span: (i64, i64),
        in_force: impl Fn(&str) -> Option<Camera>,
    ) -> Result<Reply> {
        let id = draft.0.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (ticket, before) = (self.ticket(&id), in_force(&id));
        let gone = |_| Error::new(ErrorKind::Internal, "nothing is rehearsed any more");
        let _turn = self.0.turn.acquire().await.map_err(gone)?;
        let inner = self.0.clone();
        let work = move || inner.rehearse(&draft, before.as_ref(), span, &ticket);
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Error::new(ErrorKind::Internal, "the rehearsal failed").source(e))?
    }

    fn ticket(&self, id: &str) -> Ticket {
        let mut all = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= CAMERAS {
            all.clear();
        }
        let newest = all.entry(id.to_owned()).or_default().clone();
        let mine = newest.fetch_add(1, Ordering::Relaxed) + 1;
        Ticket { newest, mine }
    }
}

impl Inner {
    fn rehearse(&self, draft: &Settings, before: Option<&Camera>, span: (i64, i64), ticket: &Ticket) -> Result<Reply> {
        let begun = self.clock.now();
        let labels = Manifest::read(&self.detect.models_dir, &self.detect.model)?.labels;
        let text = document(draft, &self.cameras)?;
        let after = match load_cameras_from(text.clone(), Path::new(DRAFT), &labels) {
            Ok(mut document) => document.cameras.pop(),
            Err(e) => return Ok(Reply::Changed(rejected(&text, &e))),
        };
        let after = after.ok_or_else(|| Error::new(ErrorKind::Internal, "the draft has no camera"))?;
        let ways = join(Reader::open(&self.database)?.tracks(&after.id, span.0, span.1)?);
        let fired_before = before.map(|c| self.firings(&ways, c, span, ticket, begun)).transpose()?;
        let fired_after = match (&fired_before, before) {
            (Some(fired), Some(before)) if is_same(before, &after) => fired.clone(),
            _ => self.firings(&ways, &after, span, ticket, begun)?,
        };
        let before = before.zip(fired_before);
        Ok(Reply::Rehearsed(rehearsed(&ways, before.as_ref().map(|(c, f)| (*c, f.as_slice())), (&after, &fired_after))))
    }

    fn firings(
        &self,
        ways: &[Way],
        camera: &Camera,
        span: (i64, i64),
        ticket: &Ticket,
        begun: Stamp,
    ) -> Result<Vec<rehearsal::Firing>> {
        let settings =
            rules::Settings { config_revision: 0, zones: &camera.zones, lines: &camera.lines, rules: &camera.rules };
        let draft = Draft { camera: &camera.id, settings, fps: camera.detect_fps, timezone: &self.timezone };
        let wanted = || ticket.is_newest() && self.clock.now().since(begun) < PATIENCE;
        let fired = rehearsal::rehearse(ways, &draft, &wanted)?;
        let mut fired = fired.ok_or_else(|| match ticket.is_newest() {
            false => Error::new(ErrorKind::Unavailable, "a newer draft of this camera came"),
            true => {
                Error::new(ErrorKind::Timeout, "there are too many tracks for one rehearsal: choose a shorter time")
            }
        })?;
        fired.retain(|f| (span.0..=span.1).contains(&f.at_ms));
        fired.sort_by_key(|f| f.at_ms);
        Ok(fired)
    }
}

fn is_same(a: &Camera, b: &Camera) -> bool {
    (&a.zones, &a.lines, &a.rules, a.detect_fps) == (&b.zones, &b.lines, &b.rules, b.detect_fps)
}

/// A cameras document of one camera, `draft`, with the schedules of the file at `cameras`. Whatever may name a secret
/// stays out.
fn document(draft: &Settings, cameras: &Path) -> Result<String> {
    let unreadable = |e: &dyn std::fmt::Display| {
        tracing::warn!(path = %cameras.display(), "the schedules of the document cannot be read: {e}");
    };
    let file = std::fs::read_to_string(cameras).map_err(|e| Error::io("cannot read the schedules", cameras, e))?;
    // Its errors quote the text, which may hold a password.
    let file: toml::Table = toml::from_str(&file).map_err(|_| unreadable(&"malformed")).unwrap_or_default();
    let mut camera = draft.0.clone();
    for key in ["record", "recording"] {
        camera.remove(key);
    }
    let fps = camera.get("detect").and_then(|d| d.get("fps")).cloned().unwrap_or(Value::Null);
    camera.insert("detect".into(), serde_json::json!({ "url": ANY_STREAM, "fps": fps }));
    let mut whole = toml::Table::new();
    whole.insert("revision".into(), 1.into());
    if let Some(schedules) = file.get("schedule") {
        whole.insert("schedule".into(), schedules.clone());
    }
    if let Some(camera) = table(&Value::Object(camera)) {
        whole.insert("camera".into(), toml::Value::Array(vec![camera]));
    }
    toml::to_string(&whole).map_err(|_| Error::new(ErrorKind::Invalid, "the draft cannot be written as TOML"))
}

/// JSON as TOML; what is null is not there.
fn table(json: &Value) -> Option<toml::Value> {
    Some(match json {
        Value::Null => return None,
        Value::Bool(b) => (*b).into(),
        Value::Number(n) => match n.as_i64() {
            Some(whole) => whole.into(),
            None => n.as_f64()?.into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(all) => toml::Value::Array(all.iter().filter_map(table).collect()),
        Value::Object(all) => {
            all.iter().filter_map(|(k, v)| Some((k.clone(), table(v)?))).collect::<toml::Table>().into()
        }
    })
}

fn rejected(text: &str, error: &Error) -> Changed {
    let Refused { camera, key, message, hint } = edit::locate(text, error);
    Changed::rejected(camera, key, &message, hint)
}

fn rehearsed(
    ways: &[Way],
    before: Option<(&Camera, &[rehearsal::Firing])>,
    (after, fired): (&Camera, &[rehearsal::Firing]),
) -> Rehearsed {
    let count = |of: &[rehearsal::Firing], rule: &str| of.iter().filter(|f| f.rule == rule).count();
    let was = |rule: &str| before.filter(|(c, _)| c.rules.iter().any(|r| r.name == rule)).map(|(_, f)| count(f, rule));
    let has = |rule: &str| after.rules.iter().any(|r| r.name == rule);
    let now = after.rules.iter().map(|r| Counts {
        rule: r.name.clone(),
        before: was(&r.name),
        after: Some(count(fired, &r.name)),
    });
    let gone = before.into_iter().flat_map(|(c, _)| &c.rules).filter(|r| !has(&r.name));
    let gone = gone.map(|r| Counts { rule: r.name.clone(), before: was(&r.name), after: None });
    let mut rules_of: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for firing in fired {
        for way in &firing.ways {
            rules_of.entry(*way).or_default().insert(&firing.rule);
        }
    }
    let quiet = (0..ways.len()).rev().filter(|way| !rules_of.contains_key(way));
    let shown: Vec<usize> = rules_of.keys().copied().chain(quiet).take(MAX_PATHS).collect();
    let place: HashMap<usize, usize> = shown.iter().enumerate().map(|(at, way)| (*way, at)).collect();
    let firing = |f: &rehearsal::Firing| Firing {
        rule: f.rule.clone(),
        kind: f.kind.clone(),
        severity: f.severity,
        track: f.ways.first().and_then(|way| place.get(way).copied()),
        label: f.label.to_string(),
        at_ms: f.at_ms,
        end_ms: f.end_ms,
    };
    Rehearsed {
        rules: now.chain(gone).collect(),
        firings: fired.iter().take(MAX_FIRINGS).map(firing).collect(),
        tracks: shown.iter().map(|way| drawn(&ways[*way], rules_of.get(way))).collect(),
        tracks_total: ways.len(),
        cut: fired.len() > MAX_FIRINGS,
    }
}

fn drawn(way: &Way, fired: Option<&BTreeSet<&str>>) -> Drawn {
    // They are known to a part of a pixel: further digits would say nothing.
    let round = |x: f32| (x * 1e4).round() / 1e4;
    Drawn {
        label: way.label.to_string(),
        from_ms: way.from_ms(),
        to_ms: way.to_ms(),
        path: way.path(MAX_PATH_POINTS).iter().map(|p| [round(p.x), round(p.y)]).collect(),
        fired: fired.into_iter().flatten().map(|rule| (*rule).to_owned()).collect(),
    }
}
