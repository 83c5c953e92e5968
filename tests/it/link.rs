//! The link from node to centre with real processes: enrolment, delivery over TLS through kills of either side, and
//! strangers at the door.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wardwatch::base::{Clock, clock::SystemClock};
use wardwatch::store::{SCHEMA, sqlite};
use wardwatch::wire::link::{ClipNote, Problem, Trouble};

use crate::support::broker::Mosquitto;
use crate::support::s3::Seaweed;
use crate::support::site::{Process, Site, free_port, metric, wardwatch};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);

/// A post with a broker and a centre that has a door for clips.
struct Post {
    site: Site,
    broker: Mosquitto,
    port: u16,
}

impl Post {
    fn new() -> Self {
        Self { site: Site::new(), broker: Mosquitto::start(""), port: free_port() }
    }

    fn mqtt(&self) -> String {
        format!("host = \"127.0.0.1\"\nport = {}\n", self.broker.port)
    }

    fn centre(&self, link: &str) -> Process {
        self.centre_with(link, "")
    }

    /// `clips` are lines of `[centre]` itself.
    fn centre_with(&self, link: &str, clips: &str) -> Process {
        let text = format!(
            "{}{}[centre.link]\nlisten = \"127.0.0.1:{}\"\n{link}\n",
            self.site.common("m"),
            self.site.centre(&self.mqtt()).replace("[centre]\n", &format!("[centre]\n{clips}")),
            self.port
        );
        let config = self.site.write("centre.toml", &text);
        let centre = self.site.run(&config);
        until("the centre's door is open", LONG, || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok());
        centre
    }

    fn node_config(&self, link: &str) {
        let model = crate::support::stimulus::model(&self.site.path("models"));
        let node = self.site.node("", &self.mqtt());
        let text = format!("{}{node}[node.link]\n{link}\n", self.site.common(&model));
        self.site.write("node.toml", &text);
        self.site.write("cameras.toml", "revision = 1\n");
    }

    fn command(&self, arguments: &[&str], config: &str) -> Output {
        let mut command = wardwatch();
        command.arg(arguments[0]).arg("--config").arg(self.site.path(config)).args(&arguments[1..]);
        command.env_remove("RUST_LOG").output().expect("it runs")
    }

    fn code(&self, node: &str) -> String {
        let output = self.command(&["enrol-code", "--node", node], "centre.toml");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        text.lines().next().expect("a code").to_owned()
    }

    fn enrol(&self, code: &str) -> Output {
        self.command(&["enrol", "--code", code], "node.toml")
    }

    /// Enrols `node` over HTTP; gives its `Authorization` value.
    fn bearer(&self, node: &str) -> String {
        let body = format!("{{\"ward\":\"o-cho-dua\",\"node\":\"{node}\",\"code\":\"{}\"}}", self.code(node));
        let answer = self.request("POST", "/link/v1/enrol", &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let who: wardwatch::wire::link::Identity = serde_json::from_slice(&answer.body).expect("an identity");
        who.bearer()
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("the door is open");
        socket.set_read_timeout(Some(LONG)).expect("set");
        socket.write_all(head.as_bytes()).expect("sent");
        // The door may have answered and closed before it has read everything.
        socket.write_all(body).ok();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).ok();
        Answer::parse(&answer)
    }

    fn announce(&self, who: &str, note: &ClipNote) -> Answer {
        let body = serde_json::to_vec(note).expect("JSON");
        self.request("POST", "/link/v1/clips", &[("authorization", who)], &body)
    }

    fn append(&self, who: &str, sha256: &str, offset: u64, body: &[u8]) -> Answer {
        let offset = offset.to_string();
        let path = format!("/link/v1/clips/{sha256}");
        self.request("PATCH", &path, &[("authorization", who), ("upload-offset", &offset)], body)
    }

    /// Bytes of the only unfinished clip of `node-1`.
    fn unfinished(&self) -> u64 {
        let listing = std::fs::read_dir(self.site.path("centre/clips/incoming/node-1")).into_iter().flatten();
        let parts = listing.flatten().filter(|e| e.path().extension().is_some_and(|x| x == "part"));
        parts.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
    }

    fn object(&self, sha256: &str) -> Option<Vec<u8>> {
        std::fs::read(self.site.path(&format!("centre/clips/{}/{sha256}.mp4", &sha256[..2]))).ok()
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer: {bytes:?}"));
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).expect("a status");
        Self { status, head, body: bytes[end + 4..].to_vec() }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn offset(&self) -> Option<u64> {
        self.head.lines().find_map(|l| l.strip_prefix("upload-offset: "))?.trim().parse().ok()
    }

    fn is(&self, trouble: Trouble) {
        assert_eq!(self.status, trouble.status(), "{}", self.text());
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let problem: Problem = serde_json::from_slice(&self.body).expect("a problem");
        assert_eq!(Trouble::from_urn(&problem.kind), Some(trouble));
    }
}

/// Something that passes for a clip.
fn clip(bytes: usize, seed: u8) -> (Vec<u8>, ClipNote) {
    let content: Vec<u8> = (0..bytes).map(|i| (i / 7 + i * 31) as u8 ^ seed).collect();
    let note = ClipNote {
        sha256: hex::encode(Sha256::digest(&content)),
        bytes: bytes as u64,
        camera: "ngo-12-a".parse().expect("valid"),
        event: Some("01980000-0000-7000-8000-000000000000".into()),
        command: None,
        from_ms: 1_000,
        to_ms: 9_000,
        masked: true,
        complete: true,
    };
    (content, note)
}

/// Puts a clip on the node: its file and a row that wants it delivered.
fn put(site: &Site, name: &str, content: &[u8], note: &ClipNote) {
    std::fs::create_dir_all(site.path("node/record/.clips")).expect("writable");
    std::fs::write(site.path(&format!("node/record/.clips/{name}")), content).expect("writable");
    let database = site.path("node/node.db");
    if !database.exists() {
        drop(sqlite::open(&database, SCHEMA, SystemClock.now().wall_ms).expect("made"));
    }
    let connection = rusqlite::Connection::open(&database).expect("opens");
    connection.busy_timeout(LONG).expect("set");
    connection
        .execute(
            "INSERT INTO clip (camera, event, path, sha256, bytes, from_ms, to_ms, masked, complete, created_ms, deliver)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 1)",
            rusqlite::params![
                note.camera.as_str(),
                note.event,
                name,
                note.sha256,
                note.bytes,
                note.from_ms,
                note.to_ms,
                note.masked,
                note.complete
            ],
        )
        .expect("inserted");
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_clip_arrives_whole_over_tls_though_centre_and_node_are_killed() {
    const TLS: &str = "cert = \"cert.pem\"\nkey = \"key.pem\"";
    let post = Post::new();
    post.site.certificates();
    let mut centre = post.centre(TLS);
    post.node_config(&format!("url = \"https://localhost:{}\"\nca = \"ca.pem\"\nbandwidth_kbit = 1600", post.port));
    let code = post.code("node-1");
    let enrolled = post.enrol(&code);
    assert!(enrolled.status.success(), "{}", String::from_utf8_lossy(&enrolled.stderr));
    assert_eq!(mode(&post.site.path("node/link.json")), 0o600);
    let (content, note) = clip(1_200_000, 0);
    put(&post.site, "a.mp4", &content, &note);

    let mut node = post.site.run(&post.site.path("node.toml"));
    until("some of it came", LONG, || post.unfinished() > 100_000);
    centre.kill();
    let before = post.unfinished();
    assert!(before < note.bytes);
    let centre = post.centre(TLS);
    until("it goes on", LONG, || post.unfinished() > before);
    node.kill();
    assert!(post.unfinished() < note.bytes);
    let delivered = || post.site.number("node/node.db", "SELECT COUNT(*) FROM clip WHERE delivered_ms IS NOT NULL");
    assert_eq!(delivered(), Some(0), "nothing is delivered before all of it is there");
    assert!(post.object(&note.sha256).is_none());

    let node = post.site.run(&post.site.path("node.toml"));
    until("the centre has it", LONG, || delivered() == Some(1));
    assert!(post.object(&note.sha256) == Some(content), "byte for byte");
    let channel = || metric(post.site.node_port, "wardwatch_channel_connected") == Some(1.0);
    until("the channel stands, encrypted by the same certificates", LONG, channel);
    let rows = post.site.rows("centre/centre.db", "SELECT node, sha256, bytes, masked, complete FROM clip");
    assert_eq!(rows.expect("readable"), [["node-1", &note.sha256, "1200000", "1", "1"]]);
    let left = std::fs::read_dir(post.site.path("centre/clips/incoming/node-1")).expect("there").count();
    assert_eq!(left, 0, "nothing is left of the upload");
    let sent = metric(post.site.centre_port, "wardwatch_centre_clip_bytes_total").expect("counted");
    assert_eq!(sent, (note.bytes - before) as f64, "it went on where it stood, twice");
    let secret = std::fs::read_to_string(post.site.path("node/link.json")).expect("readable");
    let secret = secret.split('"').find(|s| s.len() == 64).expect("a secret");
    for log in [node.log(), centre.log()] {
        assert!(!log.contains(secret) && !log.contains(&code), "a secret is in a log");
    }
    assert_eq!((node.stop(), centre.stop()), (0, 0));
}

#[test]
fn a_clip_whose_file_is_not_what_its_row_says_is_put_aside_and_holds_up_nobody() {
    let post = Post::new();
    let centre = post.centre("");
    post.node_config(&format!("url = \"http://127.0.0.1:{}\"", post.port));
    assert!(post.enrol(&post.code("node-1")).status.success());
    let (mut bad, bad_note) = clip(50_000, 1);
    bad[777] ^= 1;
    put(&post.site, "bad.mp4", &bad, &bad_note);
    let (good, good_note) = clip(60_000, 2);
    put(&post.site, "good.mp4", &good, &good_note);
    let node = post.site.run(&post.site.path("node.toml"));
    until("the good one is there", LONG, || {
        post.site.number("node/node.db", "SELECT COUNT(*) FROM clip WHERE delivered_ms IS NOT NULL") == Some(1)
    });
    let parked = post.site.rows("node/node.db", "SELECT sha256, parked FROM clip WHERE parked IS NOT NULL");
    let parked = parked.expect("readable");
    assert_eq!((parked.len(), &parked[0][0]), (1, &bad_note.sha256));
    assert!(parked[0][1].contains("SHA-256"), "{parked:?}");
    assert!(post.object(&bad_note.sha256).is_none());
    assert!(post.object(&good_note.sha256) == Some(good));
    assert_eq!((node.stop(), centre.stop()), (0, 0));
}

#[test]
fn a_code_is_good_once_for_its_node_and_a_new_secret_replaces_the_old() {
    let post = Post::new();
    post.node_config(&format!("url = \"http://127.0.0.1:{}\"", post.port));
    // Made while the centre is stopped, used when it runs.
    let centre = post.centre("");
    assert_eq!(centre.stop(), 0);
    let code = post.code("node-1");
    let centre = post.centre("");
    let typed = code.to_lowercase().replace('-', " ");
    assert!(post.enrol(&typed).status.success(), "small letters and blanks do not matter");
    let first = std::fs::read_to_string(post.site.path("node/link.json")).expect("there");
    let again = post.enrol(&code);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("not valid"), "{again:?}");
    let other = post.code("node-2");
    assert_eq!(post.enrol(&other).status.code(), Some(1), "another node's code");
    let superseded = post.code("node-1");
    let newest = post.code("node-1");
    assert_eq!(post.enrol(&superseded).status.code(), Some(1), "a newer code was made");
    assert!(post.enrol(&newest).status.success());
    assert_ne!(std::fs::read_to_string(post.site.path("node/link.json")).expect("there"), first);
    let who: wardwatch::wire::link::Identity = serde_json::from_str(&first).expect("an identity");
    post.announce(&who.bearer(), &clip(10, 0).1).is(Trouble::Unauthorized);
    let kept = std::fs::read(post.site.path("centre/centre.db")).expect("there");
    assert!(!kept.windows(64).any(|w| w == who.secret.as_bytes()), "the centre keeps hashes only");
    // Guessing: after ten failures from one address even the right code has to wait.
    let guess = br#"{"ward":"o-cho-dua","node":"node-1","code":"0000-0000-0000-0000"}"#;
    let statuses: Vec<u16> = (0..30).map(|_| post.request("POST", "/link/v1/enrol", &[], guess).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(centre.stop(), 0);
}

#[test]
fn strangers_and_broken_uploads_get_nothing_and_break_nothing() {
    let post = Post::new();
    let centre = post.centre("max_clip_mb = 1\nincoming_mb = 1");
    let (one, two) = (post.bearer("node-1"), post.bearer("node-2"));
    let (content, note) = clip(100_000, 3);
    post.announce("Bearer node-1.0000", &note).is(Trouble::Unauthorized);
    post.announce(&one.replace("node-1", "node-3"), &note).is(Trouble::Unauthorized);
    post.request("POST", "/link/v1/clips", &[("authorization", &one)], b"{}").is(Trouble::Malformed);
    post.request("GET", "/link/v1/clips", &[("authorization", &one)], b"").is(Trouble::NotFound);
    for sha256 in ["..%2f..%2fcentre.db", &"A".repeat(64), "%00"] {
        post.append(&one, sha256, 0, b"x").is(Trouble::NotFound);
    }
    post.announce(&one, &ClipNote { sha256: "../../x".into(), ..note.clone() }).is(Trouble::Malformed);
    post.announce(&one, &ClipNote { bytes: 2 << 20, ..note.clone() }).is(Trouble::TooLarge);
    let large = serde_json::to_vec(&ClipNote { command: Some("x".repeat(20_000)), ..note.clone() }).expect("JSON");
    assert_eq!(post.request("POST", "/link/v1/clips", &[("authorization", &one)], &large).status, 413);

    assert_eq!(post.announce(&one, &note).offset(), Some(0));
    post.append(&two, &note.sha256, 0, &content).is(Trouble::NotFound);
    let early = post.append(&one, &note.sha256, 5, &content[5..]);
    early.is(Trouble::WrongOffset);
    assert_eq!(early.offset(), Some(0));
    post.append(&one, &note.sha256, 0, &[content.clone(), vec![0; 10]].concat()).is(Trouble::TooLarge);
    // What came before the end that should not have been is kept or not, but the hash has the last word.
    let stands = post.announce(&one, &note).offset().expect("an offset");
    let rest = post.append(&one, &note.sha256, stands, &content[stands as usize..]);
    assert_eq!((rest.status, rest.offset()), (204, Some(note.bytes)));
    assert!(rest.head.contains("upload-complete: ?1"));
    // The same again, and for another event: known at once.
    assert!(post.announce(&one, &note).head.contains("upload-complete: ?1"));
    // Another node has to bring the bytes itself.
    assert!(post.announce(&two, &note).head.contains("upload-complete: ?0"));
    let wrong = post.append(&two, &note.sha256, 0, &vec![7; content.len()]);
    wrong.is(Trouble::WrongHash);
    assert_eq!(post.announce(&two, &note).offset(), Some(0), "it begins again");
    // The quota of unfinished clips.
    let big = |seed| ClipNote { bytes: 600_000, ..clip(10, seed).1 };
    assert_eq!(post.announce(&two, &big(10)).status, 204);
    post.announce(&two, &big(11)).is(Trouble::TooMany);
    let rows = post.site.number("centre/centre.db", "SELECT COUNT(*) FROM clip");
    assert_eq!(rows, Some(1));
    assert!(post.object(&note.sha256) == Some(content));
    assert_eq!(centre.stop(), 0);
}

#[test]
fn a_bucket_that_dies_in_the_middle_costs_nothing() {
    let Some(mut bucket) = Seaweed::start() else {
        eprintln!("not tested: there is no S3 server; scripts/setup.sh fetches it");
        return;
    };
    let post = Post::new();
    let s3 = format!(
        "[centre.s3]\nendpoint = \"http://127.0.0.1:{}\"\naccess_key_id = \"wardwatch\"\nsecret_access_key = \"{}\"",
        bucket.port(),
        Seaweed::SECRET
    );
    let centre = post.centre_with(&s3, "clips = \"s3://clips/ward\"\n");
    // Larger than one part of a multipart upload, and slow enough for the bucket to die meanwhile.
    post.node_config(&format!("url = \"http://127.0.0.1:{}\"\nbandwidth_kbit = 24000", post.port));
    assert!(post.enrol(&post.code("node-1")).status.success());
    let (content, note) = clip(9 << 20, 4);
    put(&post.site, "a.mp4", &content, &note);
    let node = post.site.run(&post.site.path("node.toml"));
    let incoming = post.site.path("centre/incoming/node-1");
    let has = |end: &str| {
        let listing = std::fs::read_dir(&incoming).into_iter().flatten().flatten();
        listing.filter(|e| e.path().extension().is_some_and(|x| x == end)).count() == 1
    };
    until("some of it came", LONG, || has("part"));
    bucket.kill();
    until("all of it came and the bucket is away", LONG, || {
        has("whole")
            && metric(post.site.centre_port, "wardwatch_centre_link_refused_total{reason=\"unavailable\"}").is_some()
    });
    let delivered = || post.site.number("node/node.db", "SELECT COUNT(*) FROM clip WHERE delivered_ms IS NOT NULL");
    assert_eq!(delivered(), Some(0));
    bucket.go();
    until("the node is told that it is there", LONG * 2, || delivered() == Some(1));
    let object = bucket.read(&format!("clips/ward/{}/{}.mp4", &note.sha256[..2], note.sha256));
    assert!(object == content, "{} bytes in the bucket", object.len());
    assert_eq!(post.site.number("centre/centre.db", "SELECT COUNT(*) FROM clip"), Some(1));
    assert!(!has("whole") && !has("part"), "nothing is left of the upload");
    assert!(!centre.log().contains(Seaweed::SECRET), "the bucket's key is in the log");
    assert_eq!((node.stop(), centre.stop()), (0, 0));
}
