//! Accounts at the centre's own machine, with the real binary: while the centre is stopped, beside a running one, and what
//! the log has of it. Secrets are nowhere to be seen.
//! And the table of roles in the documents against what `can` decides.

use std::process::Output;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;
use wardwatch::centre::account::can::{Action, Caller, Denial, Lent, Object, can};
use wardwatch::centre::account::{Role, User};
use wardwatch::config::Sharing;

use crate::api::{PASSWORD, Somebody};
use crate::support::site::{Process, Site, free_port, get, root, wardwatch};
use crate::support::wait::until;

const WEBHOOK_SECRET: &str = "whsec_3Uw8sVxT1JpKzKpZ0bUeHk9mQyY2nB5cF7dL4aR6gXo=";
const WEBHOOK_PATH: &str = "zalo-duong-dan-bi-mat";

/// A centre that was never started.
fn site() -> Site {
    let site = Site::new();
    let text = format!("{}{}", site.common("m"), site.centre("host = \"127.0.0.1\"\nport = 9\n"));
    site.write("centre.toml", &text);
    site
}

fn user(site: &Site, arguments: &[&str]) -> Output {
    let mut command = wardwatch();
    command.arg("user").arg("--config").arg(site.path("centre.toml")).args(arguments);
    command.env_remove("RUST_LOG").output().expect("it runs")
}

/// What it printed; it must have succeeded.
fn said(site: &Site, arguments: &[&str]) -> String {
    let output = user(site, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Why it was refused.
fn refused(site: &Site, arguments: &[&str]) -> String {
    let output = user(site, arguments);
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?} was done");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A site whose centre has a page, and tells a receiver that is away; its address.
fn paged(site: &Site) -> String {
    let port = free_port();
    let text = format!(
        "{}{}[centre.web]\nlisten = \"127.0.0.1:{port}\"\n\
         [[centre.webhook]]\nname = \"radio\"\nurl = \"http://127.0.0.1:9/{WEBHOOK_PATH}\"\nsecret = \"{WEBHOOK_SECRET}\"\n",
        site.common("m"),
        site.centre("host = \"127.0.0.1\"\nport = 9\n")
    );
    site.write("centre.toml", &text);
    format!("http://127.0.0.1:{port}")
}

/// The centre of [`paged`], running, with everything in its log.
fn running(site: &Site) -> Process {
    let process = site.run_with(&site.path("centre.toml"), &[("RUST_LOG", "trace,hyper=debug")]);
    let port = site.centre_port;
    until("the centre is there", Duration::from_secs(60), || {
        get(port, "/healthz").is_some_and(|(code, _)| code == 200)
    });
    process
}

/// The cookie of whoever uses the one-time link that `user add` printed.
async fn with_link(base: &str, printed: &str) -> (Somebody, String) {
    let token = printed.lines().next().expect("a token").to_owned();
    let mut who = Somebody::at(base);
    let answer = who.ask(Method::POST, "/session/link", Some(json!({ "token": token, "password": PASSWORD }))).await;
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
    who.cookie = cookie.split(';').next().map(str::to_owned);
    (who, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_change_beside_a_running_centre_and_sessions_outlive_a_kill_and_no_more() {
    let site = Site::new();
    let base = paged(&site);
    let mut first = running(&site);
    let (chief, _) = with_link(&base, &said(&site, &["add", "chi-huy", "--role", "commander"])).await;
    let (officer, _) = with_link(&base, &said(&site, &["add", "lan", "--role", "duty_officer"])).await;
    assert!(said(&site, &["list"]).contains("lan  duty_officer  dùng được / ready"));
    // These two, and the first commander, who has not come.
    assert_eq!(chief.json("/users").await["items"].as_array().map(Vec::len), Some(3));
    // What was looked at is on disk when it was answered: as many at the same time as may
    // search, and then the power is cut.
    let searches = (0..60).map(|n| {
        let who = officer.clone();
        tokio::spawn(async move { who.status(Method::GET, &format!("/events?text=tim-{n:03}"), None).await })
    });
    for answered in searches.collect::<Vec<_>>() {
        assert_eq!(answered.await.expect("no panic"), 200);
    }
    first.kill();
    let rows = "SELECT COUNT(DISTINCT object) FROM access_log WHERE action = 'search' AND object LIKE '%tim-%'";
    assert_eq!(count(&site, rows), 60);

    let second = running(&site);
    assert_eq!(officer.status(Method::GET, "/session", None).await, 200, "the session outlives the centre's end");
    let own = officer.json("/me/sessions").await;
    assert_eq!(own["items"].as_array().map(Vec::len), Some(1));
    // It ends with the account's change, and at its time.
    said(&site, &["role", "lan", "auditor"]);
    assert_eq!(officer.status(Method::GET, "/session", None).await, 401);
    let (officer, _) = with_link(&base, &said(&site, &["link", "lan"])).await;
    said(&site, &["disable", "lan"]);
    assert_eq!(officer.status(Method::GET, "/session", None).await, 401);
    assert_eq!(chief.status(Method::GET, "/session", None).await, 200);
    let age = |sql: &str| {
        let database = rusqlite::Connection::open(site.path("centre/centre.db")).expect("opens");
        database.execute(sql, []).expect("changed")
    };
    assert_eq!(age("UPDATE session SET last_seen_ms = last_seen_ms - 12 * 3600 * 1000 - 60000"), 1);
    assert_eq!(chief.status(Method::GET, "/session", None).await, 401, "nobody used it for a shift");
    let (chief, _) = with_link(&base, &said(&site, &["link", "chi-huy"])).await;
    assert_eq!(chief.status(Method::GET, "/session", None).await, 200);
    age("UPDATE session SET expires_ms = last_seen_ms");
    assert_eq!(chief.status(Method::GET, "/session", None).await, 401, "seven days are over");
    assert_eq!(second.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_commander_comes_in_by_a_link_that_only_the_machine_knows() {
    let site = Site::new();
    let base = paged(&site);
    let link = || {
        let path = site.path("centre/first-link");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("there").permissions());
        assert_eq!(mode & 0o777, 0o600);
        std::fs::read_to_string(path).expect("readable").trim().to_owned()
    };
    let process = running(&site);
    let nobody = Somebody::at(&base);
    assert_eq!(nobody.json("/site").await["setup_needed"], true);
    let first = link();
    assert!(first.starts_with(&format!("{base}/#/link/")), "{first}");
    let log = process.log();
    assert!(!log.contains(first.rsplit('/').next().expect("a token")), "it is in the log");
    assert!(log.contains("first-link"), "{log}");
    assert_eq!(process.stop(), 0);
    // A link that was not used is replaced at the next start.
    let process = running(&site);
    let second = link();
    assert_ne!(first, second);
    let token = |link: &str| link.rsplit('/').next().expect("a token").to_owned();
    let set = |link: &str| Some(json!({ "token": token(link), "password": PASSWORD }));
    assert_eq!(nobody.status(Method::POST, "/session/link", set(&first)).await, 401);
    let (chief, _) = with_link(&base, &token(&second)).await;
    let me = chief.json("/session").await;
    assert_eq!((&me["user"]["role"], &me["user"]["name"]), (&json!("commander"), &json!("chihuy")));
    assert_eq!(nobody.json("/site").await["setup_needed"], false);
    assert_eq!(process.stop(), 0);
    let process = running(&site);
    assert!(!site.path("centre/first-link").exists(), "nobody needs it any more");
    assert_eq!(process.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_log_answer_or_metric() {
    let site = Site::new();
    let base = paged(&site);
    let process = running(&site);
    let (chief, link) = with_link(&base, &said(&site, &["add", "chi-huy", "--role", "commander"])).await;
    let begun: Value = {
        let answer = chief.ask(Method::POST, "/me/totp", Some(json!({ "password": PASSWORD }))).await;
        serde_json::from_slice(&answer.bytes().await.expect("read")).expect("JSON")
    };
    let factor = begun["secret"].as_str().expect("shown once").to_owned();
    let now = SystemClock.now().wall_ms / 30_000;
    let key = data_encoding::BASE32.decode(factor.as_bytes()).expect("base32");
    let code = wardwatch::centre::sign::one_time_code(&key, now.unsigned_abs(), 6);
    assert_eq!(chief.status(Method::PUT, "/me/totp", Some(json!({ "code": code }))).await, 204);
    let wrong = json!({ "name": "chi-huy", "password": "mat-khau-sai-kanarienvogel", "code": "918273" });
    assert_eq!(chief.status(Method::POST, "/session", Some(wrong)).await, 401);
    let token = chief.cookie.as_deref().and_then(|c| c.split_once('=')).expect("a cookie").1.to_owned();
    let secrets =
        [PASSWORD, "kanarienvogel", &factor, &token, &link, &WEBHOOK_SECRET["whsec_".len()..], WEBHOOK_PATH, "918273"];
    let mut seen = vec![("metrics".to_owned(), get(site.centre_port, "/metrics").expect("there").1)];
    for path in ["/session", "/me/sessions", "/users", "/log?limit=200", "/nodes", "/cameras", "/events", "/holds"] {
        seen.push((path.to_owned(), chief.json(path).await.to_string()));
    }
    let listed = said(&site, &["list"]);
    said(&site, &["no-totp", "chi-huy"]);
    seen.extend([("list".to_owned(), listed), ("log".to_owned(), process.log())]);
    assert!(seen.last().is_some_and(|(_, log)| log.contains("a login failed")), "the log was not written");
    for (place, text) in seen {
        let shown: Vec<_> = secrets.iter().filter(|secret| text.contains(**secret)).collect();
        assert!(shown.is_empty(), "{place} shows {shown:?}");
    }
    assert_eq!(count(&site, "SELECT COUNT(*) FROM user WHERE totp IS NOT NULL"), 0);
    assert_eq!(process.stop(), 0);
}

fn count(site: &Site, sql: &str) -> i64 {
    site.number("centre/centre.db", sql).expect("a number")
}

#[test]
fn accounts_are_made_and_changed_at_the_machine_and_the_log_says_so() {
    let site = site();
    let added = said(&site, &["add", "Lan-Anh", "--role", "commander", "--display-name", "Trần Lan Anh"]);
    let token = added.lines().next().expect("a token").to_owned();
    assert!(token.len() == 64 && added.contains(&format!("#/link/{token}")), "{added}");
    assert!(refused(&site, &["add", "LAN-ANH", "--role", "owner"]).contains("has this name"));
    assert!(refused(&site, &["disable", "lan-anh"]).contains("commander"), "nobody could make accounts any more");
    assert!(refused(&site, &["role", "lan-anh", "auditor"]).contains("commander"));
    said(&site, &["add", "binh", "--role", "owner", "--camera", "node-1/ngo-12"]);
    assert_eq!(count(&site, "SELECT COUNT(*) FROM user_camera WHERE node = 'node-1' AND camera = 'ngo-12'"), 1);
    let again = said(&site, &["link", "binh"]);
    assert_eq!(count(&site, "SELECT COUNT(*) FROM login_link"), 2, "a new link takes the place of the old one");
    said(&site, &["role", "binh", "duty_officer"]);
    said(&site, &["disable", "binh"]);
    assert!(refused(&site, &["link", "binh"]).contains("disabled"));
    assert!(said(&site, &["list"]).contains("binh  duty_officer  đã khóa / disabled"));
    said(&site, &["enable", "binh"]);
    assert!(refused(&site, &["link", "nobody"]).contains("nobody is called"));

    let by_machine = "SELECT COUNT(*) FROM access_log WHERE session = 'machine' AND user IS NULL";
    assert_eq!(count(&site, by_machine), count(&site, "SELECT COUNT(*) FROM access_log"));
    for name in ["Lan-Anh", "binh"] {
        let about = format!("SELECT COUNT(*) FROM access_log WHERE object LIKE 'user/{name}%'");
        assert!(count(&site, &about) >= 2, "{name}");
    }
    // A token is shown once and is nowhere on disk.
    let database = std::fs::read(site.path("centre/centre.db")).expect("readable");
    for shown in [token.as_str(), again.lines().next().expect("a token")] {
        assert!(!database.windows(shown.len()).any(|w| w == shown.as_bytes()));
    }
}

#[test]
fn names_that_could_deceive_are_refused() {
    let site = site();
    for name in ["", " an", "an\nbinh", "an\u{200b}", "an\u{a0}binh", "an\u{202e}", &"a".repeat(65), "an\u{1b}[2J"] {
        let why = refused(&site, &["add", "--role", "owner", "--", name]);
        assert!(why.contains("no name to log in with"), "{name:?}: {why}");
        assert!(!why.contains('\u{1b}'), "{why:?}");
    }
    said(&site, &["add", "nguyễn.văn.bình", "--role", "auditor"]);
    assert!(refused(&site, &["add", "nguyen.van.binh", "--role", "auditor"]).contains("has this name"));
}

#[test]
fn a_restored_centre_has_its_accounts_but_neither_sessions_nor_links() {
    let site = site();
    said(&site, &["add", "an", "--role", "commander"]);
    let copy = site.path("copy.db");
    wardwatch::centre::store::backup::copy(&site.path("centre/centre.db"), &copy).expect("copied");
    let all = "SELECT (SELECT COUNT(*) FROM user) * 1000 + (SELECT COUNT(*) FROM session) * 100
                 + (SELECT COUNT(*) FROM login_link) * 10 + (SELECT COUNT(*) FROM login_failure)";
    let open = || rusqlite::Connection::open(&copy).expect("opens");
    open()
        .execute_batch(
            "INSERT INTO session SELECT 'aa', 'bb', id, 1, 1, 1, '', '' FROM user;
             INSERT INTO login_failure VALUES ('name', 'x', 9, 1);",
        )
        .expect("inserted");
    let count = || open().query_row(all, [], |r| r.get::<_, i64>(0)).expect("a number");
    assert_eq!(count(), 1111);
    wardwatch::centre::store::backup::settle(&copy).expect("settled");
    assert_eq!(count(), 1000);
}

fn person(role: Role) -> User {
    let (id, name) = ("u".to_owned(), "an".to_owned());
    let cameras = (role == Role::Owner).then(|| [("node-1".to_owned(), "own".to_owned())].into());
    User { id, display_name: name.clone(), name, role, cameras, disabled: false }
}

fn lent(camera: &str, sharing: Sharing, emergency: bool) -> Lent<'_> {
    Lent { node: "node-1", camera, sharing: Some(sharing), emergency }
}

/// On what terms at least `role` may do `action`: the cell of the table.
fn cell(role: Role, action: Action) -> &'static str {
    let user = person(role);
    let may = |object: &Object<'_>, case| can(Caller { user: &user, case }, action, object);
    let at = |sharing| lent("own", sharing, false);
    let camera = Object::Camera(at(Sharing::ScheduledLive));
    let event = Object::Event(at(Sharing::ScheduledLive));
    match (may(&Object::Ward, Some("1")).is_ok(), may(&camera, Some("1")).is_ok(), may(&event, Some("1")).is_ok()) {
        (_, false, false) => match may(&Object::Node("node-1"), None) {
            Ok(()) => "node",
            Err(_) => "–",
        },
        (_, false, true) => "event",
        _ if may(&event, None) == Err(Denial::Case) => "case",
        _ if role == Role::Owner => "own",
        _ if may(&Object::Camera(at(Sharing::Listed)), None) == Err(Denial::Sharing) => "terms",
        _ => "yes",
    }
}

#[test]
fn the_documents_table_is_what_can_decides() {
    let roles: Vec<&str> = Role::ALL.iter().map(|r| r.as_str()).collect();
    let mut wanted = format!("| action | {} |\n|---|{}\n", roles.join(" | "), "---|".repeat(roles.len()));
    for action in Action::ALL {
        let cells: Vec<&str> = Role::ALL.into_iter().map(|role| cell(role, action)).collect();
        wanted.push_str(&format!("| `{}` | {} |\n", action.as_str(), cells.join(" | ")));
    }
    let document = std::fs::read_to_string(root().join("docs/accounts.md")).unwrap_or_default();
    assert!(document.contains(&wanted), "docs/accounts.md must have this table:\n{wanted}");
}

#[test]
fn nobody_gains_by_losing_something() {
    let levels = [Sharing::Listed, Sharing::EventsOnly, Sharing::OnRequest, Sharing::ScheduledLive];
    for (role, action) in Role::ALL.into_iter().flat_map(|r| Action::ALL.map(|a| (r, a))) {
        for (sharing, emergency) in levels.into_iter().flat_map(|s| [(s, false), (s, true)]) {
            let whole = person(role);
            let nothing = User { cameras: Some([].into()), ..whole.clone() };
            let disabled = User { disabled: true, ..whole.clone() };
            for object in
                [Object::Camera(lent("own", sharing, emergency)), Object::Event(lent("own", sharing, emergency))]
            {
                let may = |user: &User| can(Caller { user, case: Some("1") }, action, &object);
                assert!(may(&nothing).is_err(), "{role:?} {action:?} without a camera");
                assert_eq!(may(&disabled), Err(Denial::Disabled));
                if action == Action::LiveView && sharing != Sharing::ScheduledLive && !emergency {
                    assert_eq!(may(&whole).is_ok(), role == Role::Owner, "{role:?} {sharing:?}");
                }
            }
            let strange = Object::Event(lent("others", sharing, emergency));
            let asked = can(Caller { user: &whole, case: Some("1") }, action, &strange);
            assert!(role != Role::Owner || asked.is_err(), "an owner does {action:?} to another's camera");
        }
    }
}
