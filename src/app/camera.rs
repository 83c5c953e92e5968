//! One camera's rules and pictures put together, the same for a worker and for replay: tracks in, events with snapshots
//! out. Detector and tracker belong to the caller. Spawns nothing and asks no clock.

use std::path::Path;

use jiff::tz::TimeZone;

use crate::base::types::{CameraId, EventReport, Frame, NamedLine, Snapshot, Track, Zone};
use crate::base::{Error, ErrorKind, Result, Stamp};
use crate::config::{self, CamerasDocument, DetectConfig, KeyError, RuleConfig, SnapshotConfig};
use crate::detect::manifest::Manifest;
use crate::privacy::Masks;
use crate::rules::{self, IdSource, RuleSet, Scene, Settings};
use crate::snapshot;
use crate::wire::ipc::CameraAssignment;

/// Reads and validates `cameras.toml` with the rules' own checks, and its labels against the model's.
///
/// # Errors
/// Names file, line, key and mend; also when the model's manifest cannot be read.
pub fn load_cameras(path: &Path, detect: &DetectConfig) -> Result<CamerasDocument> {
    let manifest = Manifest::read(&detect.models_dir, &detect.model)?;
    load_cameras_for(path, &manifest.labels)
}

/// [`load_cameras`] for a model that knows `model_labels`.
///
/// # Errors
/// Names file, line, key and mend.
pub fn load_cameras_for<L: AsRef<str>>(path: &Path, model_labels: &[L]) -> Result<CamerasDocument> {
    config::load_cameras(path, &|rule, zones, lines| check(rule, zones, lines, model_labels))
}

/// [`load_cameras_for`] of a text that was read already; `path` is for messages.
///
/// # Errors
/// Names file, line, key and mend.
pub fn load_cameras_from<L: AsRef<str>>(text: String, path: &Path, model_labels: &[L]) -> Result<CamerasDocument> {
    config::cameras_from(text, path, &|rule, zones, lines| check(rule, zones, lines, model_labels))
}

fn check<L: AsRef<str>>(
    rule: &RuleConfig,
    zones: &[Zone],
    lines: &[NamedLine],
    model_labels: &[L],
) -> Result<(), KeyError> {
    rules::check(rule, zones, lines)?;
    let known = |label: &str| model_labels.iter().any(|l| l.as_ref() == label);
    match rule.labels.iter().find(|l| !known(l)) {
        None => Ok(()),
        Some(label) => Err(KeyError::new("labels", format!("the model knows no `{label}`"))
            .hint(format!("it knows {}", listed(model_labels)))),
    }
}

/// The first labels of a model; a detector of everyday things has eighty.
fn listed<L: AsRef<str>>(labels: &[L]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<&str> = labels.iter().take(SHOWN).map(AsRef::as_ref).collect();
    let more = if labels.len() > SHOWN { " …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// What a site's cameras share.
#[derive(Clone, Debug)]
pub struct SiteSettings {
    /// Schedules are evaluated in it.
    pub timezone: TimeZone,
    pub snapshot: SnapshotConfig,
    /// Model name and the first eight hex digits of its SHA-256.
    pub model: String,
}

impl SiteSettings {
    /// Settings with the IANA zone called `timezone`.
    ///
    /// # Errors
    /// When there is no such zone.
    pub fn new(timezone: &str, snapshot: SnapshotConfig, model: impl Into<String>) -> Result<Self> {
        let timezone = TimeZone::get(timezone)
            .map_err(|_| Error::new(ErrorKind::Config, format!("`{timezone}` is not a time zone")))?;
        Ok(Self { timezone, snapshot, model: model.into() })
    }
}

/// Rules, masks and snapshots of one camera.
pub struct CameraTask {
    camera: CameraId,
    snapshot: SnapshotConfig,
    masks: Masks,
    rules: RuleSet,
}

impl CameraTask {
    /// A camera as assigned.
    ///
    /// # Errors
    /// When a rule is wrong.
    pub fn new(assignment: &CameraAssignment, site: &SiteSettings, ids: IdSource) -> Result<Self> {
        let rules =
            RuleSet::new(assignment.id.clone(), site.model.clone(), site.timezone.clone(), ids, &settings(assignment))?;
        Ok(Self {
            camera: assignment.id.clone(),
            snapshot: site.snapshot.clone(),
            masks: Masks::new(assignment.masks.clone()),
            rules,
        })
    }

    /// `frame` with the camera's masks burned in; what the detector gets.
    pub fn mask(&mut self, frame: &Frame) -> Frame {
        self.masks.burn(frame)
    }

    /// Looks at one frame and the tracks after it. `better` may give the record stream's frame nearest to a moment; a
    /// picture is taken of it, or of `frame` itself. Either is masked here, whether or not it was before.
    pub fn step(
        &mut self,
        frame: &Frame,
        tracks: &[Track],
        better: &mut dyn FnMut(Stamp) -> Option<Frame>,
    ) -> Vec<(EventReport, Option<Snapshot>)> {
        let scene = Scene {
            now: frame.arrived,
            camera_time_ms: frame.camera_time_ms,
            width: frame.width,
            height: frame.height,
            tracks,
            sharpness: &|area| snapshot::sharpness(frame, area),
        };
        let outcomes = self.rules.step(&scene);
        // Several events of one frame share the picture that lies behind their snapshots.
        let mut source: Option<Frame> = None;
        let mut out = Vec::with_capacity(outcomes.len());
        for mut outcome in outcomes {
            let mut shot = None;
            if outcome.picture {
                let picture = source.get_or_insert_with(|| {
                    let chosen = better(frame.arrived).unwrap_or_else(|| frame.clone());
                    self.masks.burn(&chosen)
                });
                shot = self.picture(picture, frame, &mut outcome.report);
            }
            out.push((outcome.report, shot));
        }
        out
    }

    /// Lets time pass while no frame comes, so that events end.
    pub fn tick(&mut self, now: Stamp) -> Vec<EventReport> {
        self.rules.tick(now)
    }

    /// Takes over new zones, masks and rules; tracks go on. Returns the ends of events whose rule is gone.
    ///
    /// # Errors
    /// When a rule is wrong; then nothing has changed.
    pub fn reconfigure(&mut self, assignment: &CameraAssignment, now: Stamp) -> Result<Vec<EventReport>> {
        let ended = self.rules.reconfigure(&settings(assignment), now)?;
        self.masks = Masks::new(assignment.masks.clone());
        Ok(ended)
    }

    /// Ends every open event: the camera is let go of, or the process stops.
    pub fn end_all(&mut self, now: Stamp) -> Vec<EventReport> {
        self.rules.end_all(now)
    }

    /// Whether an event is open.
    pub fn has_open_events(&self) -> bool {
        self.rules.has_open_events()
    }

    /// An event must go out even if its picture cannot be made.
    fn picture(&mut self, picture: &Frame, frame: &Frame, report: &mut EventReport) -> Option<Snapshot> {
        let taken = snapshot::take(picture, Some(&report.bbox), &self.snapshot)
            .map(|shot| (shot, picture.arrived))
            .or_else(|e| {
                tracing::warn!(camera = %self.camera, event = %report.id, "no snapshot from the record stream: {e}");
                let masked = self.masks.burn(frame);
                snapshot::take(&masked, Some(&report.bbox), &self.snapshot).map(|shot| (shot, frame.arrived))
            });
        match taken {
            Ok((shot, at)) => {
                self.rules.attach(report, shot.info.clone(), at);
                Some(shot)
            }
            Err(e) => {
                tracing::warn!(camera = %self.camera, event = %report.id, "event without a snapshot: {e}");
                self.rules.picture_failed(&report.id);
                None
            }
        }
    }
}

fn settings(assignment: &CameraAssignment) -> Settings<'_> {
    Settings {
        config_revision: assignment.config_revision,
        zones: &assignment.zones,
        lines: &assignment.lines,
        rules: &assignment.rules,
    }
}
