//! The JSON of API v1, apart from what the store keeps.

use std::sync::PoisonError;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::base::Result;
use crate::base::types::Severity;
use crate::centre::store::query::{Counts, EventDetail, EventSummary};
use crate::centre::triage::{Triage, TriageState, Verdict};
use crate::rules;
use crate::wire::event::{Event, parse_rfc3339};

/// An event in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EventJson {
    pub(super) node: String,
    pub(super) id: String,
    /// Null: the node itself.
    pub(super) camera: Option<String>,
    /// What people call the camera.
    pub(super) camera_name: String,
    /// Alley or block.
    pub(super) area: String,
    pub(super) revision: u32,
    /// `started`, `updated`, `ended`
    #[schema(value_type = String)]
    pub(super) phase: crate::base::types::Phase,
    /// `alert`, `notice`
    #[schema(value_type = String)]
    pub(super) severity: Severity,
    pub(super) kind: String,
    pub(super) rule: String,
    pub(super) label: Option<String>,
    /// UTC milliseconds, as all times here.
    pub(super) started_ms: i64,
    pub(super) updated_ms: i64,
    pub(super) ended_ms: Option<i64>,
    /// SHA-256 of its picture.
    pub(super) snapshot: Option<String>,
    /// The picture is here.
    pub(super) has_snapshot: bool,
    /// A clip is here.
    pub(super) has_clip: bool,
    pub(super) first_committed_ms: i64,
    pub(super) committed_ms: i64,
    /// Of the object in its picture: left, top, right, bottom as fractions.
    #[serde(rename = "box")]
    pub(super) bbox: Option<[f32; 4]>,
    pub(super) triage: TriageJson,
}

/// How far officers are with an event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TriageJson {
    /// `new`, `owned`, `dispatched`, `resolved`
    #[schema(value_type = String)]
    state: TriageState,
    /// `true_alarm`, `false_alarm`
    #[schema(value_type = Option<String>)]
    verdict: Option<Verdict>,
    owner: Option<PersonJson>,
    /// To be named by whoever changes it.
    version: u32,
    updated_ms: Option<i64>,
    /// Nobody took it in time, and nobody has it yet.
    escalated: bool,
    /// Its camera or rule calls nobody now.
    snoozed: bool,
    /// Events that belong together have the same.
    incident: Option<String>,
}

/// Somebody who works here.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PersonJson {
    pub(super) id: String,
    pub(super) display_name: String,
}

/// How many events there are; 10,000 means that many or more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CountsJson {
    pub(super) alerts: u64,
    pub(super) notices: u64,
    /// Alerts that nobody has and that are not snoozed now.
    pub(super) new_alerts: u64,
    /// Of alerts and notices.
    pub(super) owned: u64,
    /// Of alerts and notices.
    pub(super) dispatched: u64,
}

impl From<Counts> for CountsJson {
    fn from(c: Counts) -> Self {
        let Counts { alerts, notices, new_alerts, owned, dispatched } = c;
        Self { alerts, notices, new_alerts, owned, dispatched }
    }
}

/// One event with everything about it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DetailJson {
    pub(super) summary: EventJson,
    /// `wardwatch.event/1`, as published.
    #[schema(value_type = Object)]
    pub(super) event: Event,
    pub(super) snapshots: Vec<SnapshotJson>,
    pub(super) clips: Vec<ClipJson>,
    /// What became of it, oldest first.
    pub(super) history: Vec<HistoryJson>,
    /// Other cameras' events about that time, the nearest cameras first.
    pub(super) nearby: Vec<EventJson>,
    /// The others of its incident, as they began; 50 at most.
    pub(super) members: Vec<EventJson>,
    pub(super) why: WhyJson,
}

/// A picture of an event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotJson {
    pub(super) sha256: String,
    pub(super) bytes: u64,
    pub(super) committed_ms: i64,
    /// Its file is here.
    pub(super) available: bool,
}

/// A clip that was delivered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClipJson {
    pub(super) sha256: String,
    pub(super) bytes: u64,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    /// The camera's masks are burned in.
    pub(super) masked: bool,
    /// False: the event was going on when it was made.
    pub(super) complete: bool,
}

/// A step in an event's life.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryJson {
    pub(super) at_ms: i64,
    /// `revision`, `clip`, or what an officer did.
    pub(super) kind: String,
    pub(super) revision: Option<u32>,
    /// Null: the centre itself.
    pub(super) by: Option<PersonJson>,
    pub(super) text: Option<String>,
    #[schema(value_type = Option<String>)]
    pub(super) verdict: Option<Verdict>,
}

/// Why a rule fired.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WhyJson {
    pub(super) rule: String,
    pub(super) kind: String,
    /// The first of its zones.
    pub(super) zone: Option<String>,
    pub(super) line: Option<String>,
    /// Seconds within the zone that the rule asks for, as it stands now.
    pub(super) dwell_seconds: Option<f64>,
    pub(super) score: f32,
    pub(super) label: Option<String>,
    /// The rule's schedule, as it stands now; null: always.
    pub(super) schedule: Option<String>,
    pub(super) config_revision: u64,
}

impl Api {
    /// Somebody by his id. Who has no account any more, or none yet known here, is called by it.
    pub(super) fn person(&self, id: &str) -> PersonJson {
        let people = self.people.read().unwrap_or_else(PoisonError::into_inner);
        let display_name = people.get(id).cloned().unwrap_or_else(|| id.to_owned());
        PersonJson { id: id.to_owned(), display_name }
    }

    /// Learns what people are called.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub(super) async fn learn_people(&self) -> Result<()> {
        let accounts = self.accounts.accounts().await?;
        let named = accounts.into_iter().map(|a| (a.user.id, a.user.display_name)).collect();
        *self.people.write().unwrap_or_else(PoisonError::into_inner) = named;
        Ok(())
    }

    /// What people call a camera; of an empty one, its node.
    pub(super) fn camera_name(&self, node: &str, camera: &str) -> String {
        let named = self.directory.get(node, camera).and_then(|k| k.info).map(|i| i.name);
        let id = if camera.is_empty() { node } else { camera };
        named.filter(|name| !name.is_empty()).unwrap_or_else(|| id.to_owned())
    }

    pub(super) fn triage_json(&self, t: Triage, snoozed: bool) -> TriageJson {
        TriageJson {
            state: t.state,
            verdict: t.verdict,
            owner: t.owner.map(|id| self.person(&id)),
            version: t.version,
            updated_ms: t.updated_ms,
            escalated: t.escalated,
            snoozed,
            incident: t.incident,
        }
    }

    /// An event for a list.
    pub(crate) fn event_json(&self, e: EventSummary) -> EventJson {
        let triage = self.triage_json(e.triage, e.snoozed);
        let info = e.camera.as_ref().and_then(|c| self.directory.get(&e.node, c)).and_then(|k| k.info);
        EventJson {
            camera_name: self.camera_name(&e.node, e.camera.as_deref().unwrap_or_default()),
            area: info.map(|i| i.area).unwrap_or_default(),
            node: e.node,
            id: e.id,
            camera: e.camera,
            revision: e.revision,
            phase: e.phase,
            severity: e.severity,
            kind: e.kind,
            rule: e.rule,
            label: e.label,
            started_ms: e.started_ms,
            updated_ms: e.updated_ms,
            ended_ms: e.ended_ms,
            snapshot: e.snapshot,
            has_snapshot: e.has_snapshot,
            has_clip: e.has_clip,
            first_committed_ms: e.first_committed_ms,
            committed_ms: e.committed_ms,
            bbox: e.bbox,
            triage,
        }
    }

    pub(super) fn detail_json(&self, detail: EventDetail, nearby: Vec<EventSummary>) -> DetailJson {
        let EventDetail { summary, event, snapshots, clips, history, triage_history, members } = detail;
        let rule = summary.camera.as_ref().and_then(|c| self.directory.get(&summary.node, c)?.info);
        let rule = rule.and_then(|i| i.rules.into_iter().find(|r| r.name == summary.rule));
        let why = WhyJson {
            rule: event.rule.clone(),
            kind: event.kind.clone(),
            zone: event.zones.first().map(|z| z.name.clone()),
            line: event.line.as_ref().map(|l| l.name.clone()),
            dwell_seconds: rule.as_ref().and_then(|r| r.dwell_seconds),
            score: event.score,
            label: event.label.clone(),
            schedule: rule.and_then(|r| r.schedule),
            config_revision: event.config_revision,
        };
        let mut steps: Vec<HistoryJson> = history
            .into_iter()
            .map(|r| HistoryJson {
                at_ms: r.committed_ms,
                kind: "revision".into(),
                revision: Some(r.revision),
                by: None,
                text: None,
                verdict: None,
            })
            .collect();
        steps.extend(triage_history.into_iter().map(|row| HistoryJson {
            at_ms: row.at_ms,
            kind: row.deed.as_str().into(),
            revision: None,
            by: row.by.map(|id| self.person(&id)),
            text: row.text,
            verdict: row.verdict,
        }));
        steps.sort_by_key(|s| s.at_ms);
        DetailJson {
            summary: self.event_json(summary),
            event,
            snapshots: snapshots
                .into_iter()
                .map(|s| SnapshotJson {
                    sha256: s.sha256,
                    bytes: s.bytes,
                    committed_ms: s.committed_ms,
                    available: s.path.is_some(),
                })
                .collect(),
            clips: clips.into_iter().map(ClipJson::from).collect(),
            history: steps,
            nearby: nearby.into_iter().map(|e| self.event_json(e)).collect(),
            members: members.into_iter().map(|e| self.event_json(e)).collect(),
            why,
        }
    }
}

impl From<crate::wire::link::ClipNote> for ClipJson {
    fn from(c: crate::wire::link::ClipNote) -> Self {
        Self {
            sha256: c.sha256,
            bytes: c.bytes,
            from_ms: c.from_ms,
            to_ms: c.to_ms,
            masked: c.masked,
            complete: c.complete,
        }
    }
}

/// RFC 3339 of a status as UTC milliseconds.
pub(super) fn millis(text: &str) -> Option<i64> {
    parse_rfc3339(text).ok()
}

/// Events as a table that a spreadsheet opens: UTF-8 with its mark, local times.
pub(super) fn csv(rows: &[EventJson], timezone: &TimeZone) -> String {
    let mut text = String::from("\u{feff}Bắt đầu,Kết thúc,Mức độ,Loại,Quy tắc,Camera,Khu vực,Máy trạm,Mã sự kiện\r\n");
    for e in rows {
        let time = |ms: i64| local(ms, timezone);
        let severity = match e.severity {
            Severity::Alert => "Cảnh báo",
            Severity::Notice => "Lưu ý",
        };
        let cells = [
            time(e.started_ms),
            e.ended_ms.map(time).unwrap_or_default(),
            severity.to_owned(),
            kind_in_vietnamese(&e.kind).to_owned(),
            e.rule.clone(),
            e.camera_name.clone(),
            e.area.clone(),
            e.node.clone(),
            e.id.clone(),
        ];
        text.push_str(&cells.map(|c| cell(&c)).join(","));
        text.push_str("\r\n");
    }
    text
}

/// What people here call a kind of rule; one that nobody here knows keeps its name.
fn kind_in_vietnamese(kind: &str) -> &str {
    match rules::kind(kind) {
        _ if kind == "system" => "Hệ thống",
        Some(known) => known.vietnamese,
        None => kind,
    }
}

/// `ms` as people here write it.
fn local(ms: i64, timezone: &TimeZone) -> String {
    Timestamp::from_millisecond(ms)
        .map(|t| t.to_zoned_datetime(timezone.clone()).strftime("%d/%m/%Y %H:%M:%S").to_string())
        .unwrap_or_default()
}

/// One cell (RFC 4180). What a spreadsheet would take for a formula is kept from being one.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_hold_anything_and_run_nothing() {
        assert_eq!(cell("Ngõ 12"), "Ngõ 12");
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(local(0, &TimeZone::UTC), "01/01/1970 00:00:00");
    }
}
