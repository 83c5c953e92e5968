//! Accounts at the centre's own machine, with the real binary: while the centre is stopped, and what the log has of it.
//! And the table of roles in the documents against what `can` decides.

use std::process::Output;

use wardwatch::centre::account::can::{Action, Caller, Denial, Lent, Object, can};
use wardwatch::centre::account::{Role, User};
use wardwatch::config::Sharing;

use crate::support::site::{Site, root, wardwatch};

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
