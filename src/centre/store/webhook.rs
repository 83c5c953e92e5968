//! What receivers of webhooks are to be told, in the centre's database: a row for each receiver, written in the
//! transaction of what it tells of, so that neither is there without the other. The body is made then, once.

use std::collections::BTreeSet;
use std::future::Future;

use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use uuid::Uuid;

use super::read::list;
use super::sqlite::{SqliteStore, column, parse};
use crate::base::types::Severity;
use crate::base::{Error, ErrorKind, Result};
use crate::centre::account::CameraKey;
use crate::centre::webhook::{Delivery, Fate};
use crate::config::{WebhookConfig, What};
use crate::store::sqlite::{durable, fault};
use crate::wire::channel::CameraInfo;
use crate::wire::event::rfc3339;
use crate::wire::webhook::{SCHEMA, Told};

const DOING: &str = "cannot keep what receivers are to be told";
/// What waits for one receiver at most; beyond it the oldest are given up.
const MOST: i64 = 10_000;
/// What was given up stays so long, for whoever looks after it.
const KEPT_MS: i64 = 7 * 24 * 3_600_000;

/// Who is told of what.
pub struct Announce {
    pub ward: String,
    pub timezone: TimeZone,
    /// What addresses of the page begin with, without a slash at the end.
    pub public_url: Option<String>,
    hooks: Vec<Hook>,
}

/// One receiver's wishes.
struct Hook {
    name: String,
    events: BTreeSet<What>,
    cameras: BTreeSet<CameraKey>,
    areas: BTreeSet<String>,
}

impl Announce {
    /// Nobody is told of anything.
    pub fn nobody() -> Self {
        Self { ward: String::new(), timezone: TimeZone::UTC, public_url: None, hooks: Vec::new() }
    }

    /// The receivers of the configuration.
    pub fn new(ward: &str, timezone: TimeZone, public_url: Option<&str>, webhooks: &[WebhookConfig]) -> Self {
        let hook = |w: &WebhookConfig| Hook {
            name: w.name.clone(),
            events: w.events.clone(),
            cameras: w.cameras.clone(),
            areas: w.areas.clone(),
        };
        let public_url = public_url.map(|url| url.trim_end_matches('/').to_owned());
        Self { ward: ward.to_owned(), timezone, public_url, hooks: webhooks.iter().map(hook).collect() }
    }
}

impl Hook {
    fn wants(&self, told: &Told) -> bool {
        let of_camera = |camera: &String| self.cameras.contains(&(told.node.clone(), camera.clone()));
        self.events.contains(&told.what)
            && (self.cameras.is_empty() || told.camera.as_ref().is_some_and(of_camera))
            && (self.areas.is_empty() || self.areas.contains(&told.area))
    }
}

/// What is done about an event that receivers are told of.
pub(super) struct Deed<'a> {
    pub(super) what: What,
    pub(super) node: &'a str,
    pub(super) event: &'a str,
    /// User id, of a dispatch.
    pub(super) by: Option<&'a str>,
    pub(super) incident: Option<&'a str>,
}

/// Writes a row for each receiver that wants to know. An event that has not come yet is told of to nobody.
pub(super) fn tell(tx: &Transaction<'_>, announce: &Announce, deed: &Deed<'_>, now_ms: i64) -> Result<()> {
    if !announce.hooks.iter().any(|hook| hook.events.contains(&deed.what)) {
        return Ok(());
    }
    let Some(told) = told(tx, announce, deed, now_ms)? else { return Ok(()) };
    for hook in announce.hooks.iter().filter(|hook| hook.wants(&told)) {
        let id = Uuid::now_v7().to_string();
        let body = serde_json::to_string(&Told { id: id.clone(), ..told.clone() })
            .map_err(|e| Error::new(ErrorKind::Internal, "what is told cannot be written as JSON").source(e))?;
        tx.prepare_cached(
            "INSERT INTO webhook_delivery (id, webhook, body, created_ms, attempts, next_ms) VALUES (?1, ?2, ?3, ?4, 0, ?4)",
        )
        .and_then(|mut s| s.execute(params![id, hook.name, body, now_ms]))
        .map_err(|e| fault(DOING, e))?;
    }
    Ok(())
}

/// What is told, but for its id.
fn told(tx: &Transaction<'_>, announce: &Announce, deed: &Deed<'_>, now_ms: i64) -> Result<Option<Told>> {
    let (node, event) = (deed.node, deed.event);
    let sql = "SELECT camera, rule, kind, severity, label, started_ms,
                 (SELECT json FROM camera_info i WHERE i.node = event.node AND i.camera = event.camera),
                 (SELECT display_name FROM user WHERE id = ?3)
               FROM event WHERE node = ?1 AND id = ?2";
    let found = list(tx, sql, params![node, event, deed.by], |r| {
        let (camera, label, info): (String, String, Option<String>) = (column(r, 0)?, column(r, 4)?, column(r, 6)?);
        let info = info.as_deref().map(parse::<CameraInfo>).transpose()?;
        let (name, area, place) = info.map_or_else(Default::default, |i| (i.name, i.area, i.position));
        let severity: String = column(r, 3)?;
        let severity = if severity == Severity::Alert.as_str() { Severity::Alert } else { Severity::Notice };
        let known = [name.as_str(), camera.as_str(), node].into_iter().find(|n| !n.is_empty());
        Ok(Told {
            schema: SCHEMA.to_owned(),
            id: String::new(),
            what: deed.what,
            at: rfc3339(now_ms, &announce.timezone),
            ward: announce.ward.clone(),
            node: node.to_owned(),
            event: event.to_owned(),
            name: known.unwrap_or_default().to_owned(),
            camera: (!camera.is_empty()).then_some(camera),
            area,
            place,
            rule: column(r, 1)?,
            kind: column(r, 2)?,
            severity: severity.into(),
            label: (!label.is_empty()).then_some(label),
            started_at: rfc3339(column(r, 5)?, &announce.timezone),
            incident: deed.incident.map(str::to_owned),
            by: column(r, 7)?,
            page: announce.public_url.as_ref().map(|url| format!("{url}/#/event/{node}/{event}")),
        })
    })?;
    Ok(found.into_iter().next())
}

/// How one receiver stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub webhook: String,
    /// What waits, or is being sent.
    pub waiting: u64,
    /// Since when the oldest of it waits, UTC milliseconds.
    pub waiting_since_ms: Option<i64>,
    /// What was given up in the last seven days.
    pub given_up: u64,
    /// Why the last attempt failed, of what waits or was given up.
    pub trouble: Option<String>,
}

/// What receivers have not been told yet.
pub trait WebhookStore: Clone + Send + Sync + 'static {
    /// What is due, at most `each` of one receiver, the longest due first; `flying` is left out.
    fn due(&self, now_ms: i64, each: usize, flying: Vec<String>) -> impl Future<Output = Result<Vec<Delivery>>> + Send;

    /// Keeps what became of an attempt.
    fn settle(&self, id: String, fate: Fate, now_ms: i64) -> impl Future<Output = Result<()>> + Send;

    /// How each receiver in `known` stands. What waits for others is forgotten, what was given up long ago too, and of
    /// more than 10,000 that wait for one the oldest are given up: their number is given beside.
    fn standings(&self, known: Vec<String>, now_ms: i64) -> impl Future<Output = Result<Vec<(Standing, u64)>>> + Send;
}

impl WebhookStore for SqliteStore {
    async fn due(&self, now_ms: i64, each: usize, flying: Vec<String>) -> Result<Vec<Delivery>> {
        self.handle.call(move |db| due(&db.connection, now_ms, each, &flying)).await
    }

    async fn settle(&self, id: String, fate: Fate, now_ms: i64) -> Result<()> {
        self.handle.call(move |db| durable(&mut db.connection, DOING, |tx| settle(tx, &id, &fate, now_ms))).await
    }

    async fn standings(&self, known: Vec<String>, now_ms: i64) -> Result<Vec<(Standing, u64)>> {
        self.handle
            .call(move |db| {
                let overdue = clean_up(&mut db.connection, &known, now_ms)?;
                let stands = |(name, over)| Ok((standing(&db.connection, name)?, over));
                known.into_iter().zip(overdue).map(stands).collect()
            })
            .await
    }
}

fn due(db: &Connection, now_ms: i64, each: usize, flying: &[String]) -> Result<Vec<Delivery>> {
    // Most often nothing is.
    let any = "SELECT EXISTS (SELECT 1 FROM webhook_delivery WHERE next_ms <= ?1)";
    if !db.query_row(any, [now_ms], |r| r.get::<_, bool>(0)).map_err(|e| fault(DOING, e))? {
        return Ok(Vec::new());
    }
    let sql = "SELECT id, webhook, body, created_ms, attempts FROM (
                 SELECT *, ROW_NUMBER() OVER (PARTITION BY webhook ORDER BY next_ms, id) AS place
                 FROM webhook_delivery WHERE next_ms <= ?1
                   AND id NOT IN (SELECT value FROM json_each(?3)))
               WHERE place <= ?2 ORDER BY next_ms, id";
    let flying = serde_json::Value::from(flying.to_vec()).to_string();
    list(db, sql, params![now_ms, each as i64, flying], |r| {
        Ok(Delivery {
            id: column(r, 0)?,
            webhook: column(r, 1)?,
            body: column(r, 2)?,
            created_ms: column(r, 3)?,
            attempts: column(r, 4)?,
        })
    })
}

fn settle(tx: &Transaction<'_>, id: &str, fate: &Fate, now_ms: i64) -> Result<()> {
    match fate {
        Fate::Taken => tx.execute("DELETE FROM webhook_delivery WHERE id = ?1", [id]),
        Fate::Again { at_ms, why } => tx.execute(
            // One that was given up on its way stays so.
            "UPDATE webhook_delivery SET attempts = attempts + 1, next_ms = ?2, detail = ?3
             WHERE id = ?1 AND given_up_ms IS NULL",
            params![id, at_ms, why],
        ),
        Fate::GivenUp { why } => tx.execute(
            "UPDATE webhook_delivery SET attempts = attempts + 1, next_ms = NULL, given_up_ms = ?2, detail = ?3
             WHERE id = ?1",
            params![id, now_ms, why],
        ),
    }
    .map(drop)
    .map_err(|e| fault(DOING, e))
}

/// For each of `known`, how many were given up now.
fn clean_up(connection: &mut Connection, known: &[String], now_ms: i64) -> Result<Vec<u64>> {
    let failed = |e| fault(DOING, e);
    let names = serde_json::Value::from(known.to_vec()).to_string();
    let old = "given_up_ms < ?1 OR (next_ms IS NOT NULL AND webhook NOT IN (SELECT value FROM json_each(?2)))";
    let any = format!("SELECT EXISTS (SELECT 1 FROM webhook_delivery WHERE {old})");
    if connection.query_row(&any, params![now_ms - KEPT_MS, names], |r| r.get(0)).map_err(failed)? {
        let gone = format!("DELETE FROM webhook_delivery WHERE {old}");
        durable(connection, DOING, |tx| tx.execute(&gone, params![now_ms - KEPT_MS, names]).map(drop).map_err(failed))?;
    }
    let mut overdue = Vec::with_capacity(known.len());
    for name in known {
        let many = "SELECT created_ms, id FROM webhook_delivery WHERE webhook = ?1 AND next_ms IS NOT NULL
                    ORDER BY created_ms DESC, id DESC LIMIT 1 OFFSET ?2";
        let read = |r: &Row<'_>| Ok((r.get(0)?, r.get(1)?));
        let last: Option<(i64, String)> =
            connection.query_row(many, params![name, MOST], read).optional().map_err(failed)?;
        let Some((last_ms, last_id)) = last else {
            overdue.push(0);
            continue;
        };
        let sql = "UPDATE webhook_delivery SET next_ms = NULL, given_up_ms = ?3, detail = 'too many wait'
                   WHERE webhook = ?1 AND next_ms IS NOT NULL AND (created_ms, id) <= (?2, ?4)";
        let values = params![name, last_ms, now_ms, last_id];
        let given_up = durable(connection, DOING, |tx| tx.execute(sql, values).map_err(failed))?;
        overdue.push(given_up as u64);
    }
    Ok(overdue)
}

fn standing(db: &Connection, webhook: String) -> Result<Standing> {
    let sql = "SELECT COUNT(next_ms), MIN(CASE WHEN next_ms IS NOT NULL THEN created_ms END), COUNT(given_up_ms),
                 (SELECT detail FROM webhook_delivery WHERE webhook = ?1 AND detail IS NOT NULL
                  ORDER BY COALESCE(given_up_ms, next_ms) DESC LIMIT 1)
               FROM webhook_delivery WHERE webhook = ?1";
    db.prepare_cached(sql)
        .and_then(|mut s| {
            s.query_row([&webhook], |r| {
                Ok(Standing {
                    webhook: webhook.clone(),
                    waiting: r.get(0)?,
                    waiting_since_ms: r.get(1)?,
                    given_up: r.get(2)?,
                    trouble: r.get(3)?,
                })
            })
        })
        .map_err(|e| fault(DOING, e))
}
