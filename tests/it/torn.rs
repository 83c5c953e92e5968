//! Damaged files, a sample of what `make chaos-recording ARGS=torn` goes through whole.

use crate::support::torn;

#[test]
fn a_torn_database_opens_with_what_can_be_read_and_stays_open() {
    for file in ["node.db", "node.db-wal"] {
        let tally = torn::database(file, 13);
        assert!(tally.cases > 10, "{file}: {tally:?}");
        assert!(file != "node.db" || tally.aside > 0, "{tally:?}");
    }
}

#[test]
fn a_torn_recording_is_cut_to_what_is_whole_or_named_as_damaged() {
    let video = torn::recording(false, 3);
    assert!(video.cases > 20 && video.told == video.cases, "damage is never passed over: {video:?}");
    let sidecar = torn::recording(true, 1);
    assert!(sidecar.cases > 4 && sidecar.told == sidecar.cases, "{sidecar:?}");
    assert!(torn::sidecar_at_every_byte() > 500);
}

#[test]
fn a_torn_configuration_or_model_is_refused_with_a_reason() {
    let configuration = torn::configuration(1);
    assert!(configuration.told > 0 && configuration.cases > configuration.told, "{configuration:?}");
    let model = torn::model(1);
    assert!(model.cases > 4 && model.told == model.cases, "{model:?}");
}
