//! Webhooks: a real centre tells real receivers of alerts and dispatches, signed, at least once, whatever happens to the
//! receiver or to the centre.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use wardwatch::app::centre::{Centre, Ward};
use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;
use wardwatch::base::types::Severity;
use wardwatch::centre::account::Role;
use wardwatch::centre::store::{CameraInfoStore, CentreStore, TriageStore};
use wardwatch::centre::triage::{Act, Officer, Snooze};
use wardwatch::config::{CentreConfig, ClipStore, RecordingMode, Secret, Sharing, WebConfig, WebhookConfig, What};
use wardwatch::wire::channel::CameraInfo;
use wardwatch::wire::event::{Event, SeverityJson};
use wardwatch::wire::webhook::Told;

use crate::event::assert_file;
use crate::support::broker::Mosquitto;
use crate::support::made::Made;
use crate::support::post::{Client, event_message, new_id, origin, report, until};
use crate::support::receiver::{Came, Mode, Receiver};
use crate::support::site::{Site, free_port, root};

const SECRET: &str = "3Uw8sVxT1JpKzKpZ0bUeHk9mQyY2nB5cF7dL4aR6gXo=";

fn ok() -> Mode {
    Mode::Answer(204, String::new())
}

fn webhook(name: &str, port: u16) -> WebhookConfig {
    WebhookConfig {
        name: name.into(),
        url: format!("http://127.0.0.1:{port}/hook").parse().expect("a URL"),
        ca: None,
        secret: Secret::new(SECRET),
        events: What::ALL.into(),
        cameras: Default::default(),
        areas: Default::default(),
        give_up_after: Duration::from_secs(24 * 3600),
    }
}

/// A centre without a broker; events are committed as its receiver would.
struct Post {
    directory: tempfile::TempDir,
    centre: Centre,
    shutdown: watch::Sender<bool>,
}

impl Post {
    fn start(directory: tempfile::TempDir, webhooks: Vec<WebhookConfig>) -> Self {
        let (shutdown, stop) = watch::channel(false);
        let web = WebConfig {
            listen: ([127, 0, 0, 1], free_port()).into(),
            tls: None,
            base_path: String::new(),
            trusted_proxies: Vec::new(),
            public_url: Some("https://trucban.phuong.example/".parse().expect("a URL")),
            map: Default::default(),
        };
        let config = CentreConfig {
            state_dir: directory.path().to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
            mqtt: None,
            clips: ClipStore::Directory(directory.path().join("clips")),
            link: None,
            web: Some(web),
            webhooks,
            escalate_after: None,
        };
        let ward = Ward { id: "o-cho-dua", name: "Ô Chợ Dừa", timezone: "Asia/Ho_Chi_Minh" };
        let mqtt = Mosquitto::stopped("").mqtt();
        let centre = Centre::start(&config, ward, mqtt, Arc::new(SystemClock), stop).expect("starts");
        Self { directory, centre, shutdown }
    }

    async fn commit(&self, made: &Made) {
        let now_ms = SystemClock.now().wall_ms;
        self.centre.store().commit(Arc::new(vec![made.item()]), now_ms).await.expect("committed");
    }

    async fn stop(self) -> tempfile::TempDir {
        self.shutdown.send(true).ok();
        self.centre.join().await.expect("stops");
        self.directory
    }
}

async fn received(receiver: &Receiver, n: usize) -> Vec<Came> {
    until(&format!("{n} messages came"), || async { receiver.came().len() >= n }).await;
    receiver.came()
}

/// Has the handbook's own example look at what came.
fn verified(came: &Came, secret: &str) -> bool {
    let manual = std::fs::read_to_string(root().join("docs/webhook.md")).expect("readable");
    let example = manual.split("```python\n").nth(1).and_then(|t| t.split("```").next()).expect("an example");
    let asked = json!({ "secret": secret, "headers": came.headers, "body": String::from_utf8_lossy(&came.body) });
    let script = format!(
        "{example}\nimport json, sys\na = json.loads(sys.argv[1])\n\
         print(verified(a['secret'], a['headers'], a['body'].encode()))\n"
    );
    let output = Command::new("python3").arg("-c").arg(script).arg(asked.to_string()).output().expect("python3");
    match String::from_utf8_lossy(&output.stdout).trim() {
        "True" => true,
        "False" => false,
        other => panic!("{other} {}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn schema() -> Value {
    serde_json::from_str(&Told::json_schema().expect("a schema")).expect("JSON")
}

#[test]
fn the_schema_and_the_example_in_docs_are_what_is_sent() {
    assert_file("docs/webhook.schema.json", &Told::json_schema().expect("a schema"));
    let full = Told {
        schema: "wardwatch.webhook/1".into(),
        id: "01980000-0000-7000-8000-000000000002".into(),
        what: What::Dispatch,
        at: "2026-11-24T22:14:09.310+07:00".into(),
        ward: "o-cho-dua".into(),
        node: "node-1".into(),
        event: "01980000-0000-7000-8000-000000000001".into(),
        camera: Some("ngo-12-a".into()),
        name: "Đầu ngõ 12".into(),
        area: "Tổ 5".into(),
        place: Some([21.0213, 105.8287]),
        rule: "xam-nhap".into(),
        kind: "intrusion".into(),
        severity: SeverityJson::Alert,
        label: Some("person".into()),
        started_at: "2026-11-24T22:13:02.000+07:00".into(),
        incident: Some("node-1/01980000-0000-7000-8000-000000000001".into()),
        by: Some("Trần Lan Anh".into()),
        page: Some("https://trucban.phuong.example/#/event/node-1/01980000-0000-7000-8000-000000000001".into()),
    };
    let json = serde_json::to_string_pretty(&full).expect("JSON") + "\n";
    assert_file("tests/fixtures/webhook.json", &json);
    let manual = std::fs::read_to_string(root().join("docs/webhook.md")).expect("readable");
    let example = manual.split("```json\n").nth(1).and_then(|t| t.split("```").next()).expect("an example");
    let shown: Told = serde_json::from_str(example).expect("it is one");
    let keys = |v: &Value| v.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>());
    assert_eq!(keys(&serde_json::from_str(example).expect("JSON")), keys(&serde_json::to_value(&shown).expect("JSON")));
    assert!(jsonschema::is_valid(&schema(), &serde_json::to_value(&full).expect("JSON")));
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dispatches_are_told_signed_to_who_wants_them() {
    let (all, some) = (Receiver::start(0, ok()), Receiver::start(0, ok()));
    let only = WebhookConfig {
        events: [What::Dispatch].into(),
        areas: ["Tổ 5".to_owned()].into(),
        cameras: [("node-1".to_owned(), "ngo-12-a".to_owned())].into(),
        ..webhook("some", some.port)
    };
    let elsewhere = WebhookConfig { areas: ["Tổ 9".to_owned()].into(), ..webhook("elsewhere", some.port) };
    let post = Post::start(tempfile::tempdir().expect("dir"), vec![webhook("all", all.port), only, elsewhere]);
    let info = CameraInfo {
        id: "ngo-12-a".parse().expect("a name"),
        name: "Đầu ngõ 12".into(),
        area: "Tổ 5".into(),
        position: Some([21.0213, 105.8287]),
        sharing: Sharing::EventsOnly,
        recording: RecordingMode::Off,
        audio: false,
        zones: Vec::new(),
        lines: Vec::new(),
        masks: Vec::new(),
        rules: Vec::new(),
    };
    let store = post.centre.store();
    store.describe("node-1".into(), 3, vec![info], 1).await.expect("described");
    let accounts = post.centre.accounts().expect("there is a page");
    let (lan, _, _) = accounts.add("lan", "Trần Lan Anh", Role::DutyOfficer, None, None).await.expect("added");
    drop(accounts);

    let (alert, notice) = (Made::new(), Made { severity: Severity::Notice, ..Made::new() });
    post.commit(&notice).await;
    post.commit(&alert).await;
    // A later revision, and the same again, are nothing new.
    post.commit(&Made { revision: 2, ..alert.clone() }).await;
    post.commit(&alert).await;
    let came = received(&all, 1).await;
    let told = came[0].json();
    assert!(jsonschema::is_valid(&schema(), &told), "{told}");
    assert_eq!((told["what"].as_str(), told["event"].as_str()), (Some("alert"), Some(alert.id.as_str())));
    assert_eq!((told["name"].as_str(), told["area"].as_str()), (Some("Đầu ngõ 12"), Some("Tổ 5")));
    assert_eq!(told["page"], format!("https://trucban.phuong.example/#/event/node-1/{}", alert.id));
    assert_eq!(told["started_at"], "2026-11-24T19:00:00.000+07:00");
    assert_eq!(came[0].id(), told["id"]);
    assert!(verified(&came[0], &format!("whsec_{SECRET}")));
    assert!(!verified(&came[0], &SECRET.replace('3', "4")), "another secret");
    let mut forged = came[0].clone();
    forged.body.push(b' ');
    assert!(!verified(&forged, SECRET), "another body");

    let officer = Officer { id: lan.id.clone(), commander: false };
    let key = ("node-1".to_owned(), alert.id.clone());
    let sent = store.act(key, Act::Dispatch, officer, 0, SystemClock.now().wall_ms).await.expect("kept");
    sent.expect("allowed");
    let told = received(&some, 1).await[0].json();
    assert_eq!((told["what"].as_str(), told["by"].as_str()), (Some("dispatch"), Some("Trần Lan Anh")));
    assert_eq!(received(&all, 2).await[1].json()["event"], told["event"]);
    // A snoozed camera calls nobody.
    let now_ms = SystemClock.now().wall_ms;
    let snooze = Snooze {
        id: new_id(),
        node: "node-1".into(),
        camera: "ngo-12-a".into(),
        rule: None,
        until_ms: now_ms + 60_000,
        reason: "mưa".into(),
        by: lan.id,
        created_ms: now_ms,
    };
    store.snooze(snooze).await.expect("begins");
    post.commit(&Made::new()).await;
    let other = Made { camera: "ngo-12-b".into(), ..Made::new() };
    post.commit(&other).await;
    assert_eq!(received(&all, 3).await[2].json()["event"], other.id, "and nothing of the snoozed one before");
    drop(store);
    let directory = post.stop().await;
    let left = rusqlite::Connection::open(directory.path().join("centre.db")).expect("opens");
    let rows: i64 = left.query_row("SELECT COUNT(*) FROM webhook_delivery", [], |r| r.get(0)).expect("a number");
    assert_eq!((rows, all.came().len(), some.came().len()), (0, 3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_slow_or_broken_is_told_later_and_holds_no_other_up() {
    let away = free_port();
    let (slow, broken, other) =
        (Receiver::start(0, Mode::Hang), Receiver::start(0, Mode::Hang), Receiver::start(0, ok()));
    // Where a redirect leads nobody must come.
    let trap = Receiver::start(0, ok());
    broken.set(Mode::Answer(307, format!("location: {}\r\n", trap.url())));
    let hooks = vec![
        webhook("away", away),
        webhook("slow", slow.port),
        webhook("broken", broken.port),
        webhook("other", other.port),
    ];
    let post = Post::start(tempfile::tempdir().expect("dir"), hooks);
    let many: Vec<Made> = (0..20).map(|_| Made::new()).collect();
    for made in &many {
        post.commit(made).await;
    }
    let came = received(&other, many.len()).await;
    assert_eq!(came.len(), many.len());
    assert!(slow.came().len() <= wardwatch::centre::webhook::EACH, "more are under way than may be");
    let health = post.centre.health();
    let stands = |name: &'static str, holds: fn(&wardwatch::centre::store::webhook::Standing) -> bool| {
        let wait = health.clone();
        async move {
            let mut wait = wait;
            let seen = wait.wait_for(|h| h.webhooks.iter().any(|w| w.webhook == name && holds(w))).await;
            seen.map(drop).expect("running");
        }
    };
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, stands("away", |w| w.waiting == 20 && w.trouble.is_some())).await.expect("told");
    broken.set(Mode::Answer(500, String::new()));
    let tried = broken.came().len();
    until("the broken one is tried again", || async { broken.came().len() > tried }).await;
    broken.set(ok());
    let back = Receiver::start(away, ok());
    for receiver in [&back, &broken] {
        let whole = || {
            let ids: std::collections::BTreeSet<_> =
                receiver.came().iter().map(|c| c.json()["event"].to_string()).collect();
            ids.len() == many.len()
        };
        crate::support::wait::until_async("everything came", patience, || async { whole() }).await;
    }
    tokio::time::timeout(patience, stands("away", |w| w.waiting == 0)).await.expect("told");
    assert!(health.borrow().webhooks.iter().any(|w| w.webhook == "slow" && w.waiting == 20));
    // The receiver knows a message that comes again by its id.
    let first = broken.came().first().map(Came::id).expect("came");
    assert!(broken.came().iter().filter(|c| c.id() == first).count() > 1);
    assert_eq!(trap.came().len(), 0, "a redirect was followed");
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_does_not_want_is_given_up_and_seen() {
    let gone = Receiver::start(0, Mode::Answer(410, String::new()));
    let post = Post::start(tempfile::tempdir().expect("dir"), vec![webhook("gone", gone.port)]);
    post.commit(&Made::new()).await;
    let mut health = post.centre.health();
    let seen = health.wait_for(|h| h.webhooks.iter().any(|w| w.given_up == 1 && w.waiting == 0));
    let seen = tokio::time::timeout(Duration::from_secs(30), seen).await.expect("in time").expect("running").clone();
    assert!(seen.webhooks[0].trouble.as_ref().is_some_and(|t| t.contains("410")), "{seen:?}");
    let directory = post.stop().await;
    // Whoever is no longer in the configuration is forgotten; what was given up stays for a while.
    let post = Post::start(directory, vec![webhook("new", gone.port)]);
    post.commit(&Made::new()).await;
    received(&gone, 2).await;
    post.stop().await;
}

/// `[centre]` with a webhook at `port`, and nothing else.
fn configuration(site: &Site, broker: &Mosquitto, port: u16) -> PathBuf {
    let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
    let hook = format!(
        "[[centre.webhook]]\nname = \"radio\"\nurl = \"http://127.0.0.1:{port}/hook\"\nsecret = \"whsec_{SECRET}\"\n"
    );
    site.write("centre.toml", &format!("{}{}{hook}", site.common("m"), site.centre(&mqtt)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_centre_that_is_killed_between_commit_and_delivery_tells_after_its_start() {
    let (site, broker, port) = (Site::new(), Mosquitto::start(""), free_port());
    let config = configuration(&site, &broker, port);
    let mut first = site.run(&config);
    until("the centre listens", || async {
        crate::support::site::get(site.centre_port, "/readyz").is_some_and(|(code, _)| code == 200)
    })
    .await;
    let mut node = Client::connect(broker.mqtt()).await.expect("connects");
    let id = new_id();
    let event = Event::new(&report(&id, wardwatch::base::types::Phase::Started), 1, 1, &origin());
    node.publish(event_message(&event)).await;
    let waiting = "SELECT COUNT(*) FROM webhook_delivery WHERE attempts > 0";
    until("it is on disk, and the receiver is away", || async { site.number("centre/centre.db", waiting) == Some(1) })
        .await;
    first.kill();
    let rows = site.rows("centre/centre.db", "SELECT id FROM webhook_delivery").expect("readable");
    let receiver = Receiver::start(port, ok());
    let second = site.run(&config);
    let came = received(&receiver, 1).await;
    assert_eq!((came[0].id(), came[0].json()["event"].as_str()), (rows[0][0].clone(), Some(id.as_str())));
    assert!(verified(&came[0], SECRET));
    until("nothing waits", || async {
        site.number("centre/centre.db", "SELECT COUNT(*) FROM webhook_delivery") == Some(0)
    })
    .await;
    let log = second.log();
    assert!(!log.contains(&SECRET[..12]) && !log.contains("/hook"), "{log}");
    assert_eq!(second.stop(), 0);
}
