//! What the fault suite (`tests/chaos`) rests on: its plan follows from its seed, and its oracle sees what must not be.

#[allow(dead_code)] // the suite's own parts; it uses more of them
#[path = "../chaos/oracle.rs"]
mod oracle;
#[allow(dead_code)]
#[path = "../chaos/plan.rs"]
mod plan;
#[allow(dead_code)]
#[path = "../chaos/script.rs"]
mod script;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wardwatch::base::types::{Snapshot, SnapshotInfo};
use wardwatch::centre::message::understand;
use wardwatch::centre::store::{CentreStore, SqliteStore};
use wardwatch::store::{Body, Store};
use wardwatch::wire::receipt::Receipt;

use crate::support::post::{WARD, now, open_store, topics};
use crate::support::proxy::{Blow, Line, Proxy};
use oracle::{Places, Verdict, judge};
use plan::Kind;
use script::{JournalWriter, Script};

const SEED: u64 = 5;
const EVENTS: u64 = 12;

#[test]
fn a_plan_follows_from_its_seed_and_has_every_kind_of_fault() {
    let plan = plan::plan(7, 500);
    assert_eq!(plan, plan::plan(7, 500));
    assert_ne!(plan, plan::plan(8, 500));
    for kind in Kind::ALL {
        let of_kind: Vec<_> = plan.iter().filter(|c| c.fault.kind == kind).collect();
        assert_eq!(of_kind.len(), 100);
        assert_eq!(of_kind.iter().filter(|c| c.fault.at_commit).count(), 50);
    }
    let meeting = plan.iter().filter(|c| c.second.is_some()).count();
    assert!((50..120).contains(&meeting), "{meeting} meet another one");
}

/// Says the script to a node's store as a worker does, and writes the node's log.
async fn say(store: &Store, places: &Places, script: &Script) {
    let mut journal = JournalWriter::open(&places.journal).expect("writable");
    let mut log = String::new();
    for n in 0..EVENTS {
        let begun = now();
        for k in 1..=script.reports(n).len() {
            let (report, jpeg) = script.report(n, k, begun, now());
            let snapshot = report
                .snapshot
                .clone()
                .filter(|_| !jpeg.is_empty())
                .map(|info: SnapshotInfo| Snapshot { info, jpeg: jpeg.clone() });
            journal.said(n, k).expect("writable");
            let done = store.commit(report, snapshot, now()).await.expect("commits");
            let (id, revision) = (done.id, done.revision);
            let line = serde_json::json!({
                "timestamp": "2026-11-24T02:11:04Z", "message": "event committed", "event": id, "revision": revision,
            });
            writeln!(log, "{line}").expect("a string");
        }
    }
    journal.finished().expect("writable");
    std::fs::write(&places.node_log, log).expect("writable");
}

/// Carries everything from the node's store to the centre's, and the receipts back.
async fn carry(store: &Store, centre: &SqliteStore) {
    loop {
        let rows = store.next_batch(16, 1 << 20, now()).await.expect("readable");
        if rows.is_empty() {
            return;
        }
        let mut receipt = Receipt::default();
        let mut items = Vec::new();
        store.mark_sent(rows.iter().map(|r| r.id).collect(), now()).await.expect("marked");
        for row in rows {
            let camera = row.camera.clone().expect("a camera's");
            let item = match row.body {
                Body::Event(json) => {
                    receipt.events.push((row.event.clone(), row.revision));
                    understand(WARD, &topics().event(&camera), json, &[])
                }
                Body::Snapshot { sha256, jpeg } => {
                    receipt.snapshots.push(sha256.clone());
                    let properties = [("event-id".into(), row.event.clone()), ("sha256".into(), sha256)];
                    understand(WARD, &topics().snapshot(&camera, &row.event), jpeg, &properties)
                }
            };
            items.push(item.expect("well formed"));
        }
        centre.commit(Arc::new(items), now().wall_ms).await.expect("commits");
        store.receipt(receipt, now()).await.expect("receipted");
    }
}

fn places(directory: &Path) -> Places {
    let at = |name: &str| directory.join(name);
    Places {
        node_db: at("node/node.db"),
        node_log: at("node.log"),
        centre_db: at("centre/centre.db"),
        snapshots: at("centre/snapshots"),
        journal: at("journal"),
    }
}

/// A run in which nothing went wrong.
async fn good_run(directory: &Path, script: &Script) -> Places {
    let places = places(directory);
    let (store, _) = open_store(&directory.join("node"), 1 << 30);
    let (centre, writer, _) = SqliteStore::open(&directory.join("centre"), now().wall_ms).expect("opens");
    let writing = std::thread::spawn(move || writer.run());
    say(&store, &places, script).await;
    carry(&store, &centre).await;
    drop(centre);
    writing.join().expect("it closes");
    places
}

fn change(database: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(database).expect("there");
    connection.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// Makes a good run, spoils it, and looks.
async fn spoiled(spoil: impl FnOnce(&Places, &Script)) -> Verdict {
    let directory = tempfile::tempdir().expect("dir");
    let script = Script::new(SEED);
    let places = good_run(directory.path(), &script).await;
    spoil(&places, &script);
    judge(&places, &script)
}

/// A picture's file at the centre: of the last event that has one.
fn a_picture(places: &Places) -> std::path::PathBuf {
    let db = rusqlite::Connection::open(&places.centre_db).expect("there");
    let sql = "SELECT snapshot FROM event WHERE snapshot IS NOT NULL ORDER BY id DESC LIMIT 1";
    let sha: String = db.query_row(sql, [], |r| r.get(0)).expect("some event has one");
    places.snapshots.join(&sha[..2]).join(&sha[2..4]).join(format!("{sha}.jpg"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_is_content_with_a_run_in_which_nothing_went_wrong() {
    let verdict = spoiled(|_, _| ()).await;
    assert!(verdict.is_clean(), "{}", verdict.problems());
    assert_eq!((verdict.events as u64, verdict.cut), (EVENTS, 0));
    assert!(verdict.pictures > 2 && verdict.revisions > EVENTS as usize && verdict.logged == verdict.said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_sees_every_loss() {
    type Spoil = fn(&Places, &Script);
    let losses: [(&str, Spoil); 9] = [
        ("an event is not at the centre", |p, s| {
            let id = s.id(3);
            change(
                &p.centre_db,
                &format!("DELETE FROM revision WHERE id = '{id}'; DELETE FROM event WHERE id = '{id}'"),
            );
        }),
        ("its last revision is not", |p, s| {
            let id = s.id(3);
            change(
                &p.centre_db,
                &format!("UPDATE event SET revision = revision - 1, phase = 'started' WHERE id = '{id}'"),
            );
        }),
        ("its beginning is not", |p, s| {
            change(&p.centre_db, &format!("DELETE FROM revision WHERE id = '{}' AND revision = 1", s.id(3)));
        }),
        ("a picture has no file", |p, _| std::fs::remove_file(a_picture(p)).expect("removed")),
        ("a picture belongs to nobody", |p, _| change(&p.centre_db, "DELETE FROM event_snapshot")),
        ("the node has skipped an event", |p, s| {
            for db in [&p.node_db, &p.centre_db] {
                change(db, &format!("DELETE FROM event WHERE id = '{}'", s.id(3)));
            }
        }),
        ("the node has not got the last report", |p, _| {
            let mut journal = JournalWriter::open(&p.journal).expect("writable");
            journal.said(EVENTS, 1).expect("writable");
        }),
        ("the node has forgotten what its log names", |p, s| {
            let line = format!("{{\"message\":\"event committed\",\"event\":\"{}\",\"revision\":9}}\n", s.id(3));
            let log = std::fs::read_to_string(&p.node_log).expect("there");
            std::fs::write(&p.node_log, log + &line).expect("written");
        }),
        ("the node has another last revision", |p, s| {
            change(&p.node_db, &format!("UPDATE event SET revision = revision + 1 WHERE id = '{}'", s.id(3)));
        }),
    ];
    for (what, spoil) in losses {
        let verdict = spoiled(spoil).await;
        assert!(!verdict.lost.is_empty(), "{what}, and nobody noticed: {}", verdict.problems());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_sees_what_is_doubled_or_wrong() {
    let doubled = spoiled(|p, s| {
        // The same report under a second revision.
        let id = s.id(3);
        let sql = format!(
            "INSERT INTO revision SELECT node, id, revision + 10, seq + 1000, boot_id, json, committed_ms FROM revision
             WHERE id = '{id}' AND revision = 1"
        );
        change(&p.centre_db, &sql);
    });
    assert_eq!(doubled.await.doubled.len(), 1);
    let same_number = spoiled(|p, _| change(&p.centre_db, "UPDATE revision SET seq = 1")).await;
    assert!(!same_number.doubled.is_empty());
    let logged = spoiled(|p, _| {
        let log = std::fs::read_to_string(&p.node_log).expect("there");
        std::fs::write(&p.node_log, format!("{log}{log}")).expect("written");
    });
    assert!(!logged.await.doubled.is_empty());
    let damaged = spoiled(|p, _| {
        let picture = a_picture(p);
        let mut jpeg = std::fs::read(&picture).expect("there");
        let last = jpeg.len() - 1;
        jpeg[last] ^= 1;
        std::fs::write(&picture, jpeg).expect("written");
    });
    assert_eq!(damaged.await.wrong.len(), 1);
    let invented = spoiled(|p, _| {
        change(&p.centre_db, "UPDATE event SET snapshot = NULL WHERE snapshot IS NOT NULL");
    });
    assert!(!invented.await.wrong.is_empty());
    let waiting = spoiled(|p, s| {
        let sql = format!("UPDATE event SET phase = 'updated' WHERE id = '{}'", s.id(3));
        change(&p.node_db, &sql);
    });
    assert!(!waiting.await.wrong.is_empty());
}

/// A server that sends back what it gets, and a way to it that can be broken.
struct Echo {
    line: Proxy,
    /// What became of the connections that the server saw, in the order of their ends.
    ends: std::sync::mpsc::Receiver<std::io::ErrorKind>,
}

impl Echo {
    fn start() -> Self {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let line = Proxy::start(server.local_addr().expect("bound").port());
        let (ended, ends) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in server.incoming().flatten() {
                let ended = ended.clone();
                std::thread::spawn(move || {
                    let mut chunk = [0; 1024];
                    let end = loop {
                        match stream.read(&mut chunk) {
                            Ok(0) => break std::io::ErrorKind::UnexpectedEof,
                            Ok(n) => stream.write_all(&chunk[..n]).expect("the line reads what is sent"),
                            Err(e) => break e.kind(),
                        }
                    };
                    ended.send(end).ok();
                });
            }
        });
        Self { line, ends }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.line.port)).expect("the proxy listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        stream
    }
}

fn echoes(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"xin chao")?;
    stream.read_exact(&mut [0; 8])
}

fn kind(result: std::io::Result<()>) -> std::io::ErrorKind {
    result.expect_err("the line is broken").kind()
}

#[test]
fn a_line_breaks_as_it_is_told_and_mends() {
    use std::io::ErrorKind::{ConnectionReset, UnexpectedEof, WouldBlock};
    let echo = Echo::start();
    let mut stream = echo.connect();
    echoes(&mut stream).expect("whole");

    // Nothing passes, and nothing is lost.
    echo.line.set(Line::BlackHole);
    stream.write_all(b"xin chao").expect("the line is open");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
    assert_eq!(kind(stream.read_exact(&mut [0; 8])), WouldBlock);
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    echo.line.set(Line::Slow(100));
    stream.read_exact(&mut [0; 8]).expect("it comes late");
    echo.line.set(Line::Cut);
    assert_eq!(kind(stream.read_exact(&mut [0; 8])), UnexpectedEof);
    assert_eq!(echo.ends.recv_timeout(Duration::from_secs(30)), Ok(UnexpectedEof));
    assert!(echoes(&mut echo.connect()).is_err());
    echo.line.set(Line::Whole);

    let mut stream = echo.connect();
    echoes(&mut stream).expect("mended");
    echo.line.strike(Blow::Reset);
    assert_eq!(kind(stream.read_exact(&mut [0; 8])), ConnectionReset);
    assert_eq!(echo.ends.recv_timeout(Duration::from_secs(30)), Ok(ConnectionReset));

    let mut stream = echo.connect();
    echoes(&mut stream).expect("new connections are none of its business");
    echo.line.strike(Blow::ServerUnaware);
    assert_eq!(kind(stream.read_exact(&mut [0; 8])), ConnectionReset);
    assert!(echo.ends.try_recv().is_err(), "the server has heard nothing");

    let mut stream = echo.connect();
    echoes(&mut stream).expect("new connections are none of its business");
    echo.line.strike(Blow::ClientUnaware);
    assert_eq!(echo.ends.recv_timeout(Duration::from_secs(30)), Ok(ConnectionReset));
    stream.write_all(b"xin chao").expect("the client has heard nothing");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
    assert_eq!(kind(stream.read_exact(&mut [0; 8])), WouldBlock);
}
