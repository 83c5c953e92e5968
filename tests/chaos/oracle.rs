//! Was anything lost, doubled or damaged? Two oracles against the centre's store: the script (what must have been said)
//! and the node's own database and log (what it has committed). Reads only; every disagreement is a sentence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use wardwatch::base::types::{EventReport, Phase};

use super::script::{Journal, Script, sha256};

/// Where a run has left its files.
pub struct Places {
    pub node_db: PathBuf,
    pub node_log: PathBuf,
    pub centre_db: PathBuf,
    /// The centre's pictures.
    pub snapshots: PathBuf,
    pub journal: PathBuf,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Events and reports that the worker began to say.
    pub said_events: usize,
    pub said: usize,
    /// Events and reports that the node committed, and revisions that the node made itself when a worker died.
    pub events: usize,
    pub committed: usize,
    pub ends_made: usize,
    /// Events that the node told of itself: a worker that died.
    pub system: usize,
    /// Commits that the node's log names.
    pub logged: usize,
    /// Reports that were in a socket when a worker or node was killed: the most of one kill, and in all.
    pub cut_at_once: usize,
    pub cut: usize,
    /// At the centre.
    pub revisions: usize,
    pub pictures: usize,
    /// UTC milliseconds of the commits, in order.
    pub node_commits: Vec<i64>,
    pub centre_commits: Vec<i64>,
    pub lost: Vec<String>,
    pub doubled: Vec<String>,
    /// Everything else: older than it should be, damaged, open, waiting.
    pub wrong: Vec<String>,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.wrong.is_empty()
    }

    /// The first of each kind of disagreement.
    pub fn problems(&self) -> String {
        let list = |name: &str, all: &[String]| {
            let shown: Vec<&str> = all.iter().take(10).map(String::as_str).collect();
            format!("{name}: {}{}", all.len(), shown.iter().map(|s| format!("\n  {s}")).collect::<String>())
        };
        [list("lost", &self.lost), list("doubled", &self.doubled), list("wrong", &self.wrong)].join("\n")
    }
}

/// An event as the node has it.
#[derive(Debug)]
struct AtNode {
    /// Event and last report of the script; none for what the node says of itself.
    said: Option<(u64, usize)>,
    revision: i64,
    phase: String,
    severity: String,
    snapshot: Option<String>,
    /// The node ended it on its worker's behalf.
    end_made: bool,
}

impl AtNode {
    fn name(&self) -> String {
        self.said.map_or_else(|| "of the node itself".to_owned(), |(n, _)| n.to_string())
    }
}

/// Compares what is there. Both databases must be at rest.
pub fn judge(places: &Places, script: &Script) -> Verdict {
    let mut verdict = Verdict::default();
    let journal = Journal::read(&places.journal);
    let said = journal.said();
    verdict.said_events = said.len();
    verdict.said = journal.lives.iter().map(Vec::len).sum();
    let node = open(&places.node_db);
    let at_node = node_events(&node, script, &said, &mut verdict);
    node_is_empty(&node, &mut verdict);
    nothing_vanished_before_the_node(&journal, &at_node, &mut verdict);
    log_agrees(&places.node_log, &at_node, &mut verdict);
    let centre = open(&places.centre_db);
    newest_agree(&centre, script, &at_node, &mut verdict);
    revisions_are_once(&centre, &at_node, &mut verdict);
    pictures_are_whole(&centre, &places.snapshots, &at_node, &mut verdict);
    verdict
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a database");
    connection.busy_timeout(Duration::from_secs(5)).expect("set");
    connection
}

fn rows<T>(db: &Connection, sql: &str, read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let mut statement = db.prepare(sql).expect("the schema is known");
    let rows = statement.query_map([], |r| read(r)).expect("readable");
    rows.collect::<rusqlite::Result<_>>().expect("readable")
}

fn count(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, [], |r| r.get(0)).expect("readable")
}

/// Event and report number that a report or a published event carries.
fn numbers(json: &Value) -> Option<(u64, usize)> {
    let tracks = json.get("tracks")?.as_array()?;
    Some((tracks.first()?.as_u64()?, tracks.get(1)?.as_u64()? as usize))
}

fn node_events(
    db: &Connection,
    script: &Script,
    said: &BTreeMap<u64, usize>,
    verdict: &mut Verdict,
) -> BTreeMap<String, AtNode> {
    let mut events: BTreeMap<String, AtNode> = BTreeMap::new();
    let all = rows(db, "SELECT id, revision, phase, severity, snapshot, report FROM event", |r| {
        Ok((r.get::<_, String>(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get::<_, String>(5)?))
    });
    for (id, revision, phase, severity, snapshot, report) in all {
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let phase: String = phase;
        if report["kind"] == EventReport::SYSTEM {
            verdict.system += 1;
            events.insert(id, AtNode { said: None, revision, phase, severity, snapshot, end_made: false });
            continue;
        }
        let (n, k) = numbers(&report).expect("the script's own report");
        let end_made = phase == Phase::Ended.as_str() && script.reports(n)[k - 1].phase != Phase::Ended;
        if script.id(n) != id || said.get(&n).is_none_or(|most| *most < k) {
            verdict.wrong.push(format!("the node has report {k} of event {n}, which nobody said"));
        }
        // One revision a report: fewer would be a loss that nobody noticed, more a report taken twice.
        if revision != k as i64 + i64::from(end_made) {
            verdict.wrong.push(format!("event {n} is at revision {revision} after {k} reports"));
        }
        if phase != Phase::Ended.as_str() {
            verdict.wrong.push(format!("event {n} is still open at the node"));
        }
        verdict.ends_made += usize::from(end_made);
        events.insert(id, AtNode { said: Some((n, k)), revision, phase, severity, snapshot, end_made });
    }
    verdict.events = events.len() - verdict.system;
    events
}

fn node_is_empty(db: &Connection, verdict: &mut Verdict) {
    for (table, what) in [("outbox", "rows wait in the outbox"), ("snapshot", "pictures wait at the node")] {
        let n = count(db, &format!("SELECT COUNT(*) FROM {table}"));
        if n > 0 {
            verdict.wrong.push(format!("{n} {what}"));
        }
    }
}

/// A socket keeps its order: of each life the node has the reports up to one point and none after it, and of the last
/// life, which was not killed, all.
fn nothing_vanished_before_the_node(journal: &Journal, at_node: &BTreeMap<String, AtNode>, verdict: &mut Verdict) {
    let committed: BTreeMap<u64, usize> = at_node.values().filter_map(|e| e.said).collect();
    for (number, life) in journal.lives.iter().enumerate() {
        let has = |(n, k): &(u64, usize)| committed.get(n).is_some_and(|most| most >= k);
        let taken = life.iter().rposition(has).map_or(0, |last| last + 1);
        verdict.committed += life[..taken].iter().filter(|r| has(r)).count();
        for (n, k) in life[..taken].iter().filter(|r| !has(r)) {
            verdict.lost.push(format!("report {k} of event {n}: the node has what was said after it"));
        }
        let cut = life.len() - taken;
        if cut > 0 && number + 1 == journal.lives.len() {
            verdict.lost.push(format!("the last {cut} reports of a worker that nobody killed"));
        }
        verdict.cut += cut;
        verdict.cut_at_once = verdict.cut_at_once.max(cut);
    }
}

/// The log's lines are written after the commit: each names a revision that is there, and none twice.
fn log_agrees(path: &Path, at_node: &BTreeMap<String, AtNode>, verdict: &mut Verdict) {
    let mut seen = BTreeSet::new();
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    for line in text.lines().filter(|l| l.contains("\"event committed\"")) {
        // A line that a kill tore is no JSON.
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let (Some(id), Some(revision)) = (line["event"].as_str(), line["revision"].as_i64()) else { continue };
        verdict.logged += 1;
        if at_node.get(id).is_none_or(|e| e.revision < revision) {
            verdict.lost.push(format!("revision {revision} of {id}: in the node's log, not in its database"));
        }
        if !seen.insert((id.to_owned(), revision)) {
            verdict.doubled.push(format!("revision {revision} of {id} was committed twice by the node"));
        }
        let at = line["timestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        verdict.node_commits.extend(at.map(|t| t.as_millisecond()));
    }
    verdict.node_commits.sort_unstable();
}

fn newest_agree(db: &Connection, script: &Script, at_node: &BTreeMap<String, AtNode>, verdict: &mut Verdict) {
    let mut missing: BTreeSet<&String> = at_node.keys().collect();
    let all = rows(db, "SELECT id, revision, phase, severity, snapshot FROM event", |r| {
        Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?, r.get::<_, String>(2)?, r.get(3)?, r.get(4)?))
    });
    for (id, revision, phase, severity, snapshot) in all {
        let Some(node) = at_node.get(&id) else {
            verdict.wrong.push(format!("the centre has {id}, which the node does not know"));
            continue;
        };
        missing.remove(&id);
        let (severity, snapshot): (String, Option<String>) = (severity, snapshot);
        if revision != node.revision || phase != node.phase {
            verdict.lost.push(format!(
                "event {}: the centre has revision {revision} ({phase}), the node {} ({})",
                node.name(),
                node.revision,
                node.phase
            ));
        }
        let (picture, wanted) = match node.said {
            Some((n, k)) => (script.picture(n, k).map(|jpeg| sha256(&jpeg)), script.severity(n).as_str()),
            None => (None, node.severity.as_str()),
        };
        let wanted = (wanted, &picture);
        if (node.severity.as_str(), &node.snapshot) != wanted || (severity.as_str(), &snapshot) != wanted {
            verdict.wrong.push(format!("event {} has another severity or picture than the script says", node.name()));
        }
    }
    for id in missing {
        verdict.lost.push(format!("event {}: the centre has never heard of it ({id})", at_node[id].name()));
    }
}

fn revisions_are_once(db: &Connection, at_node: &BTreeMap<String, AtNode>, verdict: &mut Verdict) {
    let all = rows(db, "SELECT id, revision, seq, json, committed_ms FROM revision ORDER BY id, revision", |r| {
        Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?, r.get::<_, String>(3)?, r.get(4)?))
    });
    let (mut seqs, mut begun) = (BTreeSet::new(), BTreeSet::new());
    let mut last: Option<(String, i64)> = None;
    verdict.revisions = all.len();
    for (id, revision, seq, json, committed_ms) in all {
        verdict.centre_commits.push(committed_ms);
        let Some(node) = at_node.get(&id) else { continue };
        let Ok(json) = serde_json::from_str::<Value>(&json) else {
            verdict.wrong.push(format!("revision {revision} of {id} cannot be read"));
            continue;
        };
        // Report k is revision k; the end that the node made itself repeats the last report under the next number.
        let its_end = node.end_made && revision == node.revision;
        if let (Some((n, _)), Some((said, k))) = (node.said, numbers(&json))
            && (said != n || k as i64 + i64::from(its_end) != revision)
        {
            verdict.doubled.push(format!("report {k} of event {said} stands as revision {revision} of {id}"));
        }
        if !seqs.insert(seq) {
            verdict.doubled.push(format!("sequence number {seq} was given twice"));
        }
        if last.as_ref().is_some_and(|(of, before)| *of == id && *before >= seq) {
            verdict.wrong.push(format!("event {}: sequence numbers do not grow with its revisions", node.name()));
        }
        if revision == 1 {
            begun.insert(id.clone());
        }
        last = Some((id, seq));
    }
    verdict.centre_commits.sort_unstable();
    for (id, node) in at_node.iter().filter(|(id, _)| !begun.contains(*id)) {
        verdict.lost.push(format!("the beginning of event {} ({id})", node.name()));
    }
}

fn pictures_are_whole(db: &Connection, snapshots: &Path, at_node: &BTreeMap<String, AtNode>, verdict: &mut Verdict) {
    let all = rows(db, "SELECT sha256, bytes FROM snapshot", |r| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?)));
    verdict.pictures = all.len();
    for (sha, bytes) in all {
        let path = snapshots.join(&sha[..2]).join(&sha[2..4]).join(format!("{sha}.jpg"));
        let jpeg = std::fs::read(&path).unwrap_or_default();
        if jpeg.is_empty() {
            verdict.lost.push(format!("picture {sha}: its file is not there"));
        } else if jpeg.len() as i64 != bytes || sha256(&jpeg) != sha || image::load_from_memory(&jpeg).is_err() {
            verdict.wrong.push(format!("picture {sha} is damaged"));
        }
    }
    let came: BTreeSet<(String, String)> =
        rows(db, "SELECT event, sha256 FROM event_snapshot", |r| Ok((r.get(0)?, r.get(1)?))).into_iter().collect();
    for (id, node) in at_node {
        if let Some(sha) = &node.snapshot
            && !came.contains(&(id.clone(), sha.clone()))
        {
            verdict.lost.push(format!("the picture of event {}", node.name()));
        }
    }
}
