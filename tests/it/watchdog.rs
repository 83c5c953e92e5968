//! What systemd hears: a datagram socket of the test stands for it.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::broker::Mosquitto;
use crate::support::site::Site;
use crate::support::stimulus;
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);
/// As in the unit's `WatchdogSec=`, but shorter than SQLite's patience with a lock.
const WATCHDOG: Duration = Duration::from_secs(4);

/// The next thing said within `patience`.
fn heard(socket: &UnixDatagram, patience: Duration) -> Option<String> {
    socket.set_read_timeout(Some(patience)).expect("a time");
    let mut text = [0; 256];
    let length = socket.recv(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text[..length]).trim().to_owned())
}

#[test]
fn systemd_hears_ready_and_signs_of_life_only_while_the_store_can_commit() {
    let site = Site::new();
    let model = stimulus::model(&site.path("models"));
    let broker = Mosquitto::start("");
    let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
    let config = site.write("node.toml", &(site.common(&model) + &site.node("", &mqtt) + &site.centre(&mqtt)));
    site.write("cameras.toml", "revision = 1\n");
    let path = site.path("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    let period = WATCHDOG.as_micros().to_string();
    let socket = path.display().to_string();
    let mut node = site.run_with(&config, &[("NOTIFY_SOCKET", &socket), ("WATCHDOG_USEC", &period)]);

    assert_eq!(heard(&systemd, LONG).as_deref(), Some("READY=1"), "nothing is said before it stands");
    assert_eq!(heard(&systemd, LONG).as_deref(), Some("WATCHDOG=1"));

    for database in ["node/node.db", "centre/centre.db"] {
        let lock = rusqlite::Connection::open(site.path(database)).expect("the database");
        lock.busy_timeout(LONG).expect("a time");
        lock.execute_batch("BEGIN IMMEDIATE").expect("a lock");
        // Silent for as long as systemd waits before it ends the process.
        until("the signs of life end", LONG, || heard(&systemd, WATCHDOG).is_none());
        lock.execute_batch("ROLLBACK").expect("unlocked");
        assert_eq!(heard(&systemd, LONG).as_deref(), Some("WATCHDOG=1"), "{database} is free again");
    }

    node.signal("TERM");
    until("the stop is told", LONG, || heard(&systemd, LONG).as_deref() == Some("STOPPING=1"));
    assert_eq!(node.exit_code(), 0);
}
