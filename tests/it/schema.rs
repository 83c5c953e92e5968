//! Schemas: however a database got to this version, it is the same; and long lists are read along an index.

use std::time::Duration;

use rusqlite::StatementStatus;
use wardwatch::base::ErrorKind;
use wardwatch::centre::store::STATEMENTS;
use wardwatch::store::{SCHEMA, sqlite};

use crate::support::wait::until;

#[test]
fn an_upgraded_database_equals_a_fresh_one() {
    for (name, schema, first) in [
        ("node", SCHEMA, include_str!("../fixtures/node-schema-1.sql")),
        ("centre", wardwatch::centre::store::sqlite::SCHEMA, include_str!("../fixtures/centre-schema-1.sql")),
    ] {
        let directory = tempfile::tempdir().expect("dir");
        let old = directory.path().join("old.db");
        let connection = rusqlite::Connection::open(&old).expect("opens");
        connection.execute_batch(first).expect("version 1");
        connection.pragma_update(None, "user_version", 1).expect("set");
        drop(connection);
        let upgraded = sqlite::open(&old, schema, 0).expect("upgrades");
        let fresh = sqlite::open(&directory.path().join("new.db"), schema, 0).expect("opens");
        assert_eq!(
            sqlite::shape(&upgraded.connection).expect("readable"),
            sqlite::shape(&fresh.connection).expect("readable"),
            "{name}: schema.sql changed without a step in UPGRADES"
        );
    }
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let directory = tempfile::tempdir().expect("dir");
    let path = directory.path().join("node.db");
    let opened = sqlite::open(&path, SCHEMA, 0).expect("opens");
    opened.connection.pragma_update(None, "user_version", 99).expect("set");
    drop(opened);
    let e = sqlite::open(&path, SCHEMA, 0).err().expect("refused");
    assert_eq!(e.kind(), ErrorKind::Config);
    assert!(path.exists());
}

#[test]
fn two_steps_lead_from_the_first_version_to_the_third() {
    let directory = tempfile::tempdir().expect("dir");
    let path = directory.path().join("a.db");
    let v1 = sqlite::Schema { fresh: "CREATE TABLE a (x INTEGER) STRICT;", upgrades: &[] };
    drop(sqlite::open(&path, v1, 0).expect("opens"));
    let v3 = sqlite::Schema {
        fresh: "CREATE TABLE a (x INTEGER) STRICT; CREATE TABLE b (y INTEGER) STRICT; CREATE INDEX b_y ON b (y);",
        upgrades: &["CREATE TABLE b (y INTEGER) STRICT;", "CREATE INDEX b_y ON b (y);"],
    };
    let upgraded = sqlite::open(&path, v3, 0).expect("upgrades");
    let fresh = sqlite::open(&directory.path().join("b.db"), v3, 0).expect("opens");
    assert_eq!(sqlite::shape(&upgraded.connection).expect("ok"), sqlite::shape(&fresh.connection).expect("ok"));
}

#[test]
fn a_database_that_is_in_use_for_a_moment_is_waited_for_and_one_that_stays_so_is_not() {
    let directory = tempfile::tempdir().expect("dir");
    let path = directory.path().join("node.db");
    let first = sqlite::open(&path, SCHEMA, 0).expect("opens");
    let e = sqlite::open(&path, SCHEMA, 0).err().expect("refused");
    assert_eq!(e.kind(), ErrorKind::Unavailable);

    let lock = directory.path().join("node.db.lock");
    let opened = || {
        let all = std::fs::read_dir("/proc/self/fd").expect("Linux").flatten();
        all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == lock)).count()
    };
    let before = opened();
    let second = std::thread::spawn({
        let path = path.clone();
        move || sqlite::open(&path, SCHEMA, 0).map(drop)
    });
    until("it stands before the lock", Duration::from_secs(10), || opened() > before || second.is_finished());
    drop(first);
    second.join().expect("it ends").expect("it opens");
}

#[test]
fn lists_of_events_are_read_along_an_index_and_never_sorted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("centre.db");
    let opened = sqlite::open(&path, wardwatch::centre::store::sqlite::SCHEMA, 0).expect("opens");
    for (name, sql) in STATEMENTS.iter().filter(|(name, _)| *name != "facets") {
        let mut statement = opened.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("prepares");
        let mut rows = statement.raw_query();
        let mut plan = String::new();
        while let Some(row) = rows.next().expect("explains") {
            plan += &row.get::<_, String>(3).expect("text");
            plan.push('\n');
        }
        assert!(plan.contains("SEARCH event USING"), "{name}: {plan}");
        assert!(!plan.contains("SCAN event") && !plan.contains("TEMP B-TREE"), "{name}: {plan}");
    }
}

#[test]
fn statements_are_compiled_once_whatever_is_bound_to_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("centre.db");
    let schema = wardwatch::centre::store::sqlite::SCHEMA;
    let opened = sqlite::open(&path, schema, 0).expect("opens");
    let reading = sqlite::open_to_read(&path, schema).expect("opens");
    for connection in [&opened.connection, &reading] {
        for (name, sql) in STATEMENTS {
            let mut statement = connection.prepare(sql).expect("prepares");
            for value in [1, 2] {
                for at in 1..=statement.parameter_count() {
                    statement.raw_bind_parameter(at, value).expect("binds");
                }
                statement.raw_query().next().expect("steps");
            }
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{name}");
        }
    }
}
