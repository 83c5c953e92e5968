//! A camera whose clock is wrong, all the way to the centre's database.

use std::time::Duration;

use serde_json::Value;

use crate::support::broker::Mosquitto;
use crate::support::rtsp::{Bad, BadCamera};
use crate::support::site::Site;
use crate::support::stimulus;
use crate::support::wait::until;

#[test]
fn an_event_of_a_camera_whose_clock_is_wrong_has_both_times_and_says_so_at_the_centre() {
    let site = Site::new();
    let model = stimulus::model(&site.path("models"));
    let broker = Mosquitto::start("");
    let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
    let config = site.common(&model) + &site.node("", &mqtt) + &site.centre(&mqtt);
    let config = site.write("both.toml", &config);
    let camera = BadCamera::start(Bad::WrongClock);
    let text = crate::event_clips::camera("ngo-1", &camera.url(), "off", "");
    site.write("cameras.toml", &format!("revision = 1\n{text}"));
    let both = site.run(&config);
    let sql = "SELECT json FROM revision WHERE json_extract(json, '$.camera') = 'ngo-1'";
    until("an event is at the centre", Duration::from_secs(60), || {
        site.rows("centre/centre.db", sql).is_some_and(|rows| !rows.is_empty())
    });
    let rows = site.rows("centre/centre.db", sql).expect("just read");
    assert_eq!(both.stop(), 0);
    let event: Value = serde_json::from_str(&rows[0][0]).expect("JSON");
    assert_eq!(event["clock_suspect"], true, "{event}");
    let ms = |key: &str| {
        let text = event[key].as_str().unwrap_or_else(|| panic!("{key}: {event}"));
        wardwatch::wire::event::parse_rfc3339(text).expect("a time")
    };
    let behind = ms("best_at") - ms("camera_time");
    assert!((3_590_000..3_610_000).contains(&behind), "{behind} ms: {event}");
}
