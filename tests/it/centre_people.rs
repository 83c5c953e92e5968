//! What every store of the centre keeps of who works there, written against the traits: accounts, sessions, one-time links,
//! second factors, attempts, and the rows of the access log. The suite takes a store that can be written and the
//! reading side of its log.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use wardwatch::base::clock::SystemClock;
use wardwatch::base::{ErrorKind, Result};
use wardwatch::centre::account::backoff::FREE;
use wardwatch::centre::account::{Account, CameraKey, Change, LinkKind, MACHINE, Role, Session, User};
use wardwatch::centre::store::account::NewSession;
use wardwatch::centre::store::query::{MAX_PAGE, fold};
use wardwatch::centre::store::session::BEGUN_MS;
use wardwatch::centre::store::{
    AccessEntry, AccessQuery, AccessReader, AccessRecord, AccessStore, AccountStore, SqliteEvents, SqliteStore,
};

use crate::support::made::{NOW, reading};
use crate::support::post::new_id;

const MINUTE: i64 = 60_000;
const IDLE: i64 = 12 * 60 * MINUTE;
const LIFE: i64 = 7 * 24 * 60 * MINUTE;

/// A store under test.
struct Subject<W, R> {
    writer: W,
    reader: R,
    _directory: tempfile::TempDir,
}

fn sqlite() -> Subject<SqliteStore, SqliteEvents> {
    let directory = tempfile::tempdir().expect("a directory");
    let (writer, thread, _) = SqliteStore::open(directory.path(), NOW).expect("opens");
    std::thread::spawn(move || thread.run());
    let reader = reading(&writer, 2, Duration::from_secs(60), Arc::new(SystemClock));
    Subject { writer, reader, _directory: directory }
}

fn user(name: &str, role: Role) -> User {
    let (name, display_name) = (name.to_owned(), format!("{name} T."));
    User { id: new_id(), name, display_name, role, cameras: None, disabled: false }
}

/// A row of the access log that is told from others by its action.
fn row(action: &str) -> AccessEntry {
    let (action, object, session) = (action.into(), "x".into(), Some(MACHINE.into()));
    AccessEntry { at_ms: NOW, session, action, object, ..AccessEntry::default() }
}

/// Stands for the hash of the `n`th token.
fn sha(n: u64) -> String {
    format!("{n:064x}")
}

fn id_of(n: u64) -> String {
    format!("session-{n}")
}

fn camera(node: &str, camera: &str) -> CameraKey {
    (node.into(), camera.into())
}

fn role(role: Role) -> Change {
    Change { role: Some(role), ..Change::default() }
}

fn disabled(disabled: bool) -> Change {
    Change { disabled: Some(disabled), ..Change::default() }
}

fn opening(user: &User, n: u64, now_ms: i64, expires_ms: i64) -> NewSession {
    let session = Session { id: id_of(n), user: user.clone(), expires_ms };
    NewSession { token_sha256: sha(n), session, now_ms, address: "192.0.2.7".into(), user_agent: "Firefox".into() }
}

impl<W: AccountStore + AccessStore, R: AccessReader> Subject<W, R> {
    async fn add(&self, name: &str, role: Role) -> User {
        let user = user(name, role);
        self.writer.add_user(user.clone(), fold(name), NOW, row("add")).await.expect("added");
        user
    }

    async fn edit(&self, user: &User, change: Change, action: &str) -> Result<User> {
        self.writer.edit_user(user.id.clone(), change, row(action)).await
    }

    async fn account(&self, user: &User) -> Account {
        let found = self.writer.accounts().await.expect("readable");
        found.into_iter().find(|a| a.user.id == user.id).expect("there")
    }

    async fn password(&self, user: &User) -> Option<String> {
        self.writer.credentials(fold(&user.name)).await.expect("readable").expect("there").password
    }

    /// The newest rows of the log, with one of these actions if there are any.
    async fn log(&self, actions: Vec<String>) -> Vec<AccessRecord> {
        let query = AccessQuery { actions, limit: MAX_PAGE, ..AccessQuery::default() };
        self.reader.read(query).await.expect("answers").items
    }

    /// What the rows with this action tell of.
    async fn rows(&self, action: &str) -> Vec<String> {
        self.log(vec![action.into()]).await.into_iter().map(|r| r.entry.object).collect()
    }

    async fn refuses<T: Debug>(&self, done: Result<T>, kind: ErrorKind, action: &str) {
        let refused = done.expect_err("refused");
        assert_eq!(refused.kind(), kind, "{refused}");
        assert!(self.rows(action).await.is_empty(), "the log tells of what was refused: {refused}");
    }

    async fn log_in(&self, user: &User, n: u64, now_ms: i64) {
        let new = opening(user, n, now_ms, now_ms + LIFE);
        self.writer.open_session(new, row(&format!("open-{n}"))).await.expect("opened");
        assert_eq!(self.rows(&format!("open-{n}")).await.len(), 1);
    }

    async fn is_in(&self, n: u64, now_ms: i64) -> bool {
        self.writer.session(sha(n), now_ms, IDLE).await.expect("readable").is_some()
    }

    /// The ids of somebody's open sessions.
    async fn sessions(&self, user: &User, now_ms: i64) -> Vec<String> {
        let found = self.writer.sessions(user.id.clone(), now_ms, IDLE).await.expect("readable");
        found.into_iter().map(|s| s.id).collect()
    }

    async fn offer(&self, user: &User, kind: LinkKind, n: u64, expires_ms: i64) {
        self.writer.offer_link(user.id.clone(), kind, sha(n), expires_ms, row("link")).await.expect("offered");
    }

    async fn link(&self, n: u64, now_ms: i64) -> Option<(LinkKind, String)> {
        let found = self.writer.find_link(sha(n), now_ms).await.expect("readable");
        found.map(|(kind, user)| (kind, user.name))
    }

    async fn use_link(&self, n: u64, now_ms: i64, hash: Option<&str>, action: &str) -> bool {
        self.writer.use_link(sha(n), now_ms, hash.map(Into::into), row(action)).await.expect("answers")
    }

    async fn attempt(&self, keys: &[(&'static str, &str)], now_ms: i64) -> Option<u64> {
        let keys = keys.iter().map(|(kind, key)| (*kind, (*key).to_owned())).collect();
        self.writer.attempt(keys, now_ms).await.expect("counted")
    }

    /// As many attempts as cost nothing.
    async fn exhaust(&self, key: (&'static str, &str), now_ms: i64) {
        for _ in 0..FREE {
            assert_eq!(self.attempt(&[key], now_ms).await, None);
        }
    }

    async fn names_are_unique_when_folded(&self) {
        let lan = self.add("Lan Ánh", Role::DutyOfficer).await;
        let same = self.writer.add_user(user("lan anh", Role::Auditor), fold("lan anh"), NOW, row("again")).await;
        self.refuses(same, ErrorKind::Invalid, "again").await;
        let add = |name| self.writer.add_user(user(name, Role::Owner), fold(name), NOW, row("at-once"));
        let (first, second) = tokio::join!(add("Bình"), add("BINH"));
        assert!(first.is_ok() != second.is_ok(), "of two at once one gets the name");
        assert_eq!(self.rows("at-once").await.len(), 1);
        let found = self.writer.credentials("lan anh".into()).await.expect("readable").expect("there");
        assert_eq!((found.user, found.password), (lan, None));
        assert!(self.writer.credentials("lan".into()).await.expect("readable").is_none());
    }

    async fn accounts_are_as_they_were_added_and_by_name(&self) {
        let cameras = BTreeSet::from([camera("node-1", "ngo-12"), camera("node-2", "ngo-12")]);
        let mut added = Vec::new();
        // In the order of their folded names, which is that of the list.
        for (name, cameras, disabled) in [
            ("ánh", None, false),
            ("Bình", Some(cameras), true),
            ("đạt", Some(BTreeSet::new()), false),
            ("Ê", None, false),
        ] {
            added.push(User { cameras, disabled, ..user(name, Role::Owner) });
        }
        for user in added.iter().rev() {
            self.writer.add_user(user.clone(), fold(&user.name), NOW + 5, row("add")).await.expect("added");
        }
        let found = self.writer.accounts().await.expect("readable");
        let of = |user| Account { user, ready: false, created_ms: NOW + 5, last_login_ms: None, second_factor: false };
        assert_eq!(found, added.into_iter().map(of).collect::<Vec<_>>());
    }

    async fn an_edit_ends_sessions_unless_it_is_of_the_name_alone(&self) {
        let (lan, other) = (self.add("lan", Role::DutyOfficer).await, self.add("an", Role::DutyOfficer).await);
        self.log_in(&other, 1, NOW).await;
        let cameras = |list: Option<BTreeSet<CameraKey>>| Change { cameras: Some(list), ..Change::default() };
        let named = Change { display_name: Some("Lan mới".into()), ..Change::default() };
        let mut wanted = lan.clone();
        for (n, (change, told, stays)) in [
            (named, "Lan mới", true),
            (role(Role::Investigator), "investigator", false),
            (cameras(Some([camera("node-1", "a"), camera("node-1", "b")].into())), "2 cameras", false),
            (cameras(Some(BTreeSet::new())), "0 cameras", false),
            (cameras(None), "all cameras", false),
            (disabled(true), "disabled", false),
            (disabled(false), "enabled", false),
        ]
        .into_iter()
        .enumerate()
        {
            let (n, action) = (10 + n as u64, format!("edit-{n}"));
            if !wanted.disabled {
                self.log_in(&wanted, n, NOW).await;
            }
            wanted.display_name = change.display_name.clone().unwrap_or(wanted.display_name);
            wanted.role = change.role.unwrap_or(wanted.role);
            wanted.cameras = change.cameras.clone().unwrap_or(wanted.cameras);
            wanted.disabled = change.disabled.unwrap_or(wanted.disabled);
            assert_eq!(self.edit(&lan, change, &action).await.expect("edited"), wanted);
            assert_eq!(self.account(&lan).await.user, wanted, "what was not named stays");
            assert_eq!(self.is_in(n, NOW).await, stays, "{told}");
            let [object] = self.rows(&action).await.try_into().expect("one row");
            assert!(object.starts_with("user/lan: ") && object.contains(told), "{object}");
        }
        assert!(self.is_in(1, NOW).await, "the other's session is not touched");
        let nobody = self.edit(&user("none", Role::Owner), role(Role::Owner), "none").await;
        self.refuses(nobody, ErrorKind::NotFound, "none").await;
    }

    async fn the_last_commander_stays_one(&self) {
        let (first, second) = (self.add("chief", Role::Commander).await, self.add("vice", Role::Commander).await);
        self.add("auditor", Role::Auditor).await;
        let (one, two) = tokio::join!(
            self.edit(&first, role(Role::Technician), "at-once"),
            self.edit(&second, disabled(true), "at-once"),
        );
        assert!(one.is_ok() != two.is_ok(), "of two at once one is the last");
        assert_eq!(self.rows("at-once").await.len(), 1);
        let left = if one.is_ok() { second } else { first };
        self.log_in(&left, 1, NOW).await;
        for change in [role(Role::Auditor), disabled(true), Change { disabled: Some(true), ..role(Role::Owner) }] {
            let change = Change { display_name: Some("x".into()), cameras: Some(Some(BTreeSet::new())), ..change };
            let done = self.edit(&left, change, "last").await;
            self.refuses(done, ErrorKind::Invalid, "last").await;
            assert_eq!(self.account(&left).await.user, left, "nothing of it was done");
            assert!(self.is_in(1, NOW).await);
        }
        let third = self.add("third", Role::Commander).await;
        self.edit(&left, role(Role::Auditor), "two").await.expect("another is left");
        let done = self.edit(&third, disabled(true), "last").await;
        self.refuses(done, ErrorKind::Invalid, "last").await;
    }

    async fn a_new_password_leaves_one_session(&self) {
        let (lan, other) = (self.add("lan", Role::DutyOfficer).await, self.add("an", Role::DutyOfficer).await);
        assert!(!self.writer.is_begun().await.expect("readable"), "there are accounts, and nobody was ever in");
        self.writer.set_password(other.id.clone(), "hash-0".into(), String::new(), row("zero")).await.expect("set");
        assert!(self.writer.is_begun().await.expect("readable"));
        for n in 1..4 {
            self.log_in(&lan, n, NOW).await;
        }
        self.log_in(&other, 4, NOW).await;
        self.offer(&lan, LinkKind::Login, 5, NOW + MINUTE).await;
        self.writer.set_password(lan.id.clone(), "hash-1".into(), id_of(2), row("set")).await.expect("set");
        assert_eq!(self.password(&lan).await.as_deref(), Some("hash-1"));
        assert_eq!(self.password(&other).await.as_deref(), Some("hash-0"));
        assert!(self.account(&lan).await.ready);
        assert_eq!(self.sessions(&lan, NOW).await, [id_of(2)]);
        assert!(self.is_in(4, NOW).await);
        assert_eq!(self.link(5, NOW).await, None, "no way in from before is left");
        assert_eq!(self.rows("set").await.len(), 1);
    }

    async fn a_session_ends_at_its_time(&self) {
        let lan = self.add("lan", Role::DutyOfficer).await;
        self.log_in(&lan, 2, NOW).await;
        assert!(self.writer.is_begun().await.expect("readable"), "who came by a link has no password");
        self.log_in(&lan, 1, NOW + 1).await;
        let end = NOW + 2 + IDLE / 2;
        self.writer.open_session(opening(&lan, 3, NOW + 2, end), row("short")).await.expect("opened");
        assert_eq!(self.account(&lan).await.last_login_ms, Some(NOW + 2));
        let found = self.writer.session(sha(3), NOW + 2, IDLE).await.expect("readable");
        assert_eq!(found, Some(Session { id: id_of(3), user: lan.clone(), expires_ms: end }));
        let shown = self.writer.sessions(lan.id.clone(), NOW + 2, IDLE).await.expect("readable").swap_remove(0);
        assert_eq!((shown.id, shown.created_ms, shown.expires_ms), (id_of(3), NOW + 2, end));
        assert_eq!((shown.address.as_str(), shown.user_agent.as_str()), ("192.0.2.7", "Firefox"));
        // Whatever is done with it.
        assert!(self.is_in(3, end - 1).await);
        assert_eq!(self.sessions(&lan, end - 1).await, [id_of(3), id_of(1), id_of(2)], "the newest first");
        assert!(!self.is_in(3, end).await);
        assert_eq!(self.sessions(&lan, end).await, [id_of(1), id_of(2)]);
        // Being listed is no use of it; being asked for is.
        assert_eq!(self.sessions(&lan, NOW + IDLE - 1).await, [id_of(1), id_of(2)]);
        assert!(self.is_in(1, NOW + IDLE - 1).await);
        let used = self.writer.sessions(lan.id.clone(), NOW + IDLE - 1, IDLE).await.expect("readable");
        let used = used.into_iter().find(|s| s.id == id_of(1)).expect("open").last_seen_ms;
        assert!((NOW + IDLE - MINUTE..NOW + IDLE).contains(&used), "to the minute: {used}");
        assert!(!self.is_in(2, NOW + IDLE).await);
        assert_eq!(self.sessions(&lan, NOW + IDLE).await, [id_of(1)]);
        assert!(self.is_in(1, used + IDLE - 1).await, "that was a use, again");
        assert!(!self.is_in(99, NOW).await, "a token that nobody has");
    }

    async fn a_user_has_twenty_sessions_at_most(&self) {
        let (lan, other) = (self.add("lan", Role::DutyOfficer).await, self.add("an", Role::DutyOfficer).await);
        self.log_in(&other, 100, NOW).await;
        for n in 1..=20 {
            self.log_in(&lan, n, NOW + n as i64).await;
        }
        assert!(self.is_in(1, NOW + 20).await);
        self.log_in(&lan, 21, NOW + 21).await;
        let newest: Vec<String> = (2..=21).rev().map(id_of).collect();
        assert_eq!(self.sessions(&lan, NOW + 21).await, newest, "the oldest has ended");
        assert!(!self.is_in(1, NOW + 21).await && self.is_in(100, NOW + 21).await);
    }

    async fn sessions_are_ended_by_whom_they_belong_to(&self) {
        let (lan, other) = (self.add("lan", Role::DutyOfficer).await, self.add("an", Role::DutyOfficer).await);
        for n in 1..=4 {
            self.log_in(&lan, n, NOW + n as i64).await;
        }
        self.log_in(&other, 5, NOW + 5).await;
        let end_own = async |user: &User, n, action| {
            self.writer.end_own(user.id.clone(), id_of(n), row(action)).await.expect("answers")
        };
        assert!(!end_own(&other, 1, "foreign").await && !end_own(&lan, 99, "foreign").await);
        assert!(self.rows("foreign").await.is_empty());
        assert!(end_own(&lan, 1, "own").await && !end_own(&lan, 1, "own").await);
        self.writer.end_session(id_of(2), row("close")).await.expect("ended");
        assert_eq!(self.sessions(&lan, NOW + 5).await, [id_of(4), id_of(3)]);
        self.writer.end_all(lan.id.clone(), row("all")).await.expect("ended");
        assert_eq!(self.sessions(&lan, NOW + 5).await, [] as [String; 0]);
        for action in ["own", "close", "all"] {
            assert_eq!(self.rows(action).await.len(), 1, "{action}");
        }
        assert!(self.is_in(5, NOW + 5).await);
        let nobody = self.writer.end_all(new_id(), row("none")).await;
        self.refuses(nobody, ErrorKind::NotFound, "none").await;
        self.edit(&lan, disabled(true), "off").await.expect("edited");
        let late = self.writer.open_session(opening(&lan, 6, NOW + 9, NOW + LIFE), row("late")).await;
        self.refuses(late, ErrorKind::NotFound, "late").await;
        assert_eq!(self.account(&lan).await.last_login_ms, Some(NOW + 4));
    }

    async fn a_link_is_good_until_it_ends_or_a_newer_one_comes(&self) {
        let (lan, an) = (self.add("lan", Role::DutyOfficer).await, self.add("an", Role::DutyOfficer).await);
        let end = NOW + 60 * MINUTE;
        for (who, kind, n) in [
            (&lan, LinkKind::Setup, 1),
            (&lan, LinkKind::Login, 2),
            (&an, LinkKind::Setup, 3),
            (&lan, LinkKind::Setup, 4),
        ] {
            self.offer(who, kind, n, end).await;
        }
        assert_eq!(self.link(1, NOW).await, None, "another took its place");
        for (n, kind, name) in [(2, LinkKind::Login, "lan"), (3, LinkKind::Setup, "an"), (4, LinkKind::Setup, "lan")] {
            assert_eq!(self.link(n, end - 1).await, Some((kind, name.into())));
        }
        tokio::join!(self.offer(&lan, LinkKind::Setup, 5, end), self.offer(&lan, LinkKind::Setup, 6, end));
        assert_eq!(self.link(4, NOW).await, None);
        assert!(self.link(5, NOW).await.is_some() != self.link(6, NOW).await.is_some(), "one of a kind");
        self.log_in(&lan, 7, NOW).await;
        assert!(self.use_link(2, end - 1, None, "login").await && !self.use_link(2, end - 1, None, "login").await);
        assert!(self.is_in(7, NOW).await && self.rows("login").await.is_empty(), "no password was changed");
        assert_eq!(self.link(3, end).await, None);
        assert!(!self.use_link(3, end, Some("hash"), "late").await && !self.use_link(99, NOW, None, "late").await);
        assert_eq!((self.password(&an).await, self.rows("late").await), (None, Vec::new()));
        self.offer(&an, LinkKind::Setup, 8, end).await;
        self.edit(&an, disabled(true), "off").await.expect("edited");
        self.offer(&an, LinkKind::Login, 9, end).await;
        assert_eq!((self.link(8, NOW).await, self.link(9, NOW).await), (None, None), "a disabled account has none");
        self.edit(&an, disabled(false), "on").await.expect("edited");
        assert_eq!(self.link(8, NOW).await, None, "what it had before is void");
        assert!(self.rows("link").await.iter().all(|object| object.starts_with("user/")));
        let nobody = self.writer.offer_link(new_id(), LinkKind::Setup, sha(10), end, row("none")).await;
        self.refuses(nobody, ErrorKind::NotFound, "none").await;
    }

    async fn a_link_sets_one_password_once(&self) {
        let (lan, an) = (self.add("lan", Role::DutyOfficer).await, self.add("an", Role::DutyOfficer).await);
        self.log_in(&lan, 1, NOW).await;
        self.log_in(&an, 2, NOW).await;
        self.offer(&lan, LinkKind::Setup, 3, NOW + MINUTE).await;
        let (one, two) =
            tokio::join!(self.use_link(3, NOW, Some("one"), "one"), self.use_link(3, NOW, Some("two"), "two"));
        assert!(one != two, "of two at once one is first");
        let (first, second) = if one { ("one", "two") } else { ("two", "one") };
        assert_eq!(self.password(&lan).await.as_deref(), Some(first));
        assert_eq!((self.rows(first).await.len(), self.rows(second).await.len()), (1, 0));
        assert!(!self.is_in(1, NOW).await && self.is_in(2, NOW).await, "its user's sessions ended");
        assert_eq!((self.link(3, NOW).await, self.password(&an).await), (None, None));
        assert!(self.account(&lan).await.ready && !self.account(&an).await.ready);
    }

    async fn a_second_factor_is_confirmed_and_each_step_taken_once(&self) {
        let (lan, an) = (self.add("lan", Role::DutyOfficer).await, self.add("an", Role::DutyOfficer).await);
        let (id, store) = (|| lan.id.clone(), &self.writer);
        let begin = async |secret: &str| store.begin_factor(id(), secret.into(), NOW).await.expect("answers");
        let begun = async |now_ms| store.begun_factor(id(), now_ms).await.expect("readable");
        let factor = async || store.factor(id()).await.expect("readable");
        let take = async |step| store.take_code(id(), step).await.expect("answers");
        let confirm = async |secret: &str, action| {
            let done = store.confirm_factor(id(), secret.into(), 100, id_of(2), row(action)).await;
            (done.expect("answers"), self.rows(action).await.len())
        };
        for n in [1, 2] {
            self.log_in(&lan, n, NOW).await;
        }
        self.log_in(&an, 3, NOW).await;
        assert_eq!((begun(NOW).await, take(1).await, confirm("A", "none").await), (None, false, (false, 0)));
        assert!(begin("A").await && begin("B").await);
        assert_eq!((begun(NOW + BEGUN_MS - 1).await.as_deref(), factor().await), (Some("B"), None));
        assert_eq!(begun(NOW + BEGUN_MS).await, None, "it took too long");
        assert_eq!((confirm("A", "old").await, factor().await), ((false, 0), None), "another was begun since");
        assert!(self.is_in(1, NOW).await);
        assert_eq!(confirm("B", "on").await, (true, 1));
        assert_eq!((confirm("B", "twice").await, factor().await.as_deref()), ((false, 0), Some("B")));
        assert_eq!((self.sessions(&lan, NOW).await, self.is_in(3, NOW).await), (vec![id_of(2)], true));
        assert!(!begin("C").await && begun(NOW).await.is_none(), "there is one already");
        assert!(self.account(&lan).await.second_factor && !self.account(&an).await.second_factor);
        let other = "E".to_owned();
        assert!(store.begin_factor(an.id.clone(), other.clone(), NOW).await.expect("answers"));
        assert!(store.confirm_factor(an.id.clone(), other, 1, id_of(3), row("other")).await.expect("answers"));
        assert!(!take(99).await && !take(100).await, "its own code was used to confirm it");
        let both = tokio::join!(take(101), take(101));
        assert!(both.0 != both.1 && !take(101).await && take(103).await && !take(102).await);
        assert!(store.take_code(an.id.clone(), 2).await.expect("answers"), "each has codes of his own");
        store.drop_factor(id(), row("off")).await.expect("dropped");
        assert_eq!((factor().await, take(200).await, self.rows("off").await.len()), (None, false, 1));
        assert!(begin("D").await);
        store.drop_factor(id(), row("begun")).await.expect("dropped");
        assert_eq!(begun(NOW).await, None);
        let nobody = store.drop_factor(new_id(), row("nobody")).await;
        self.refuses(nobody, ErrorKind::NotFound, "nobody").await;
    }

    async fn attempts_count_together_or_not_at_all(&self) {
        let (name, address, own) = (("name", "x"), ("address", "x"), ("user", "x"));
        self.exhaust(own, NOW).await;
        assert_eq!(self.attempt(&[own], NOW).await, Some(1000));
        assert_eq!(self.attempt(&[own], NOW + 999).await, Some(1));
        // Neither counts, whichever is looked at first.
        for _ in 0..FREE {
            assert_eq!(self.attempt(&[address, own], NOW).await, Some(1000));
            assert_eq!(self.attempt(&[own, address], NOW).await, Some(1000));
        }
        self.exhaust(address, NOW).await;
        assert_eq!(self.attempt(&[address], NOW).await, Some(1000));
        assert_eq!(self.attempt(&[own, address], NOW + 1000).await, None);
        for key in [own, address] {
            assert_eq!(self.attempt(&[key], NOW + 1000).await, Some(2000), "{key:?} waits twice as long");
        }
        assert_eq!(self.attempt(&[name], NOW).await, None, "one of another kind");
        self.writer.succeeded(vec![("user", "x".into()), ("name", "none".into())]).await.expect("forgotten");
        self.exhaust(own, NOW + 1000).await;
        assert_eq!(self.attempt(&[address], NOW + 1000).await, Some(2000), "of this one nothing is forgotten");
        let keys = [("name", "many"), ("address", "many")];
        let many = join_all((0..30).map(|_| self.attempt(&keys, NOW))).await;
        assert_eq!(many.iter().filter(|wait| wait.is_none()).count(), FREE as usize, "many at once are counted");
    }

    async fn only_accounts_are_counted_however_many_there_are(&self) {
        for kind in ["name", "address", "user"] {
            let (first, second) = ((kind, "first"), (kind, "second"));
            self.exhaust(first, NOW).await;
            self.exhaust(second, NOW + 1).await;
            let others = (0..1022).map(|n| (kind, format!("other-{n}"))).collect();
            assert_eq!(self.writer.attempt(others, NOW + 2).await.expect("counted"), None);
            for key in [first, second] {
                assert!(self.attempt(&[key], NOW + 2).await.is_some(), "{key:?}: there is room for 1,024");
            }
            assert_eq!(self.attempt(&[(kind, "one more")], NOW + 3).await, None);
            assert!(self.attempt(&[second], NOW + 3).await.is_some(), "{kind}");
            let forgotten = self.attempt(&[first], NOW + 3).await.is_none();
            assert_eq!(forgotten, kind != "user", "{kind}: the oldest is forgotten, but no account");
        }
    }

    async fn rows_are_written_all_or_none_and_stay(&self) {
        let lan = self.add("lan", Role::DutyOfficer).await;
        let (long, longer) = ("ừ".repeat(1000), "ừ".repeat(1001));
        let full = AccessEntry {
            at_ms: NOW + 1,
            user: Some(lan.id.clone()),
            session: Some(long.clone()),
            action: long.clone(),
            object: long.clone(),
            node: Some(long.clone()),
            camera: Some(long.clone()),
            reason: Some(long.clone()),
            case: Some(long),
        };
        self.writer.record(vec![full.clone(), row("bare")]).await.expect("just allowed");
        let text = || Some(longer.clone());
        for bad in [
            AccessEntry { user: text(), ..row("sound") },
            AccessEntry { session: text(), ..row("sound") },
            AccessEntry { action: longer.clone(), ..row("sound") },
            AccessEntry { object: longer.clone(), ..row("sound") },
            AccessEntry { node: text(), ..row("sound") },
            AccessEntry { camera: text(), ..row("sound") },
            AccessEntry { reason: text(), ..row("sound") },
            AccessEntry { case: text(), ..row("sound") },
        ] {
            let done = self.writer.record(vec![row("sound"), bad]).await;
            self.refuses(done, ErrorKind::Invalid, "sound").await;
        }
        let many = join_all((0..60).map(|n| self.writer.record(vec![row(&format!("many-{n}")), row("pair")]))).await;
        assert!(many.iter().all(Result::is_ok));
        assert_eq!(self.rows("pair").await.len(), 60);
        let before = self.log(Vec::new()).await;
        assert_eq!((before.len(), &before[0].entry), (1 + 2 + 120, &full));
        assert_eq!(before.iter().map(|r| r.id).collect::<BTreeSet<_>>().len(), before.len());
        let [bare] = before.iter().filter(|r| r.entry.action == "bare").collect::<Vec<_>>().try_into().expect("one");
        assert_eq!((&bare.entry, &bare.display_name), (&row("bare"), &None));
        assert_eq!(before[0].display_name.as_deref(), Some("lan T."));
        let named = Change { display_name: Some("Lan Mới".into()), ..Change::default() };
        self.edit(&lan, named, "edit").await.expect("edited");
        let mut after = self.log(Vec::new()).await;
        assert_eq!(after[0].display_name.as_deref(), Some("Lan Mới"), "what colleagues call the user now");
        after[0].display_name = before[0].display_name.clone();
        assert!(after.iter().any(|r| r.entry.action == "edit"));
        after.retain(|r| r.entry.action != "edit");
        assert_eq!(after, before);
    }
}

#[tokio::test]
async fn nobody_can_be_taken_for_another() {
    sqlite().names_are_unique_when_folded().await;
}

#[tokio::test]
async fn accounts_are_listed() {
    sqlite().accounts_are_as_they_were_added_and_by_name().await;
}

#[tokio::test]
async fn whoever_was_changed_logs_in_again() {
    sqlite().an_edit_ends_sessions_unless_it_is_of_the_name_alone().await;
}

#[tokio::test]
async fn somebody_can_always_make_accounts() {
    sqlite().the_last_commander_stays_one().await;
}

#[tokio::test]
async fn a_new_password_locks_others_out() {
    sqlite().a_new_password_leaves_one_session().await;
}

#[tokio::test]
async fn sessions_end_when_nobody_uses_them_and_in_any_case() {
    sqlite().a_session_ends_at_its_time().await;
}

#[tokio::test]
async fn the_oldest_of_too_many_sessions_ends() {
    sqlite().a_user_has_twenty_sessions_at_most().await;
}

#[tokio::test]
async fn sessions_are_ended_one_by_one_and_all() {
    sqlite().sessions_are_ended_by_whom_they_belong_to().await;
}

#[tokio::test]
async fn links_are_replaced_and_end() {
    sqlite().a_link_is_good_until_it_ends_or_a_newer_one_comes().await;
}

#[tokio::test]
async fn a_link_is_used_once() {
    sqlite().a_link_sets_one_password_once().await;
}

#[tokio::test]
async fn no_code_is_taken_twice() {
    sqlite().a_second_factor_is_confirmed_and_each_step_taken_once().await;
}

#[tokio::test]
async fn whoever_guesses_waits() {
    sqlite().attempts_count_together_or_not_at_all().await;
}

#[tokio::test]
async fn guessing_at_many_names_makes_no_account_forgotten() {
    sqlite().only_accounts_are_counted_however_many_there_are().await;
}

#[tokio::test]
async fn the_log_is_never_changed() {
    sqlite().rows_are_written_all_or_none_and_stay().await;
}
