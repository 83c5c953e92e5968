//! The JSON of commands and answers against its goldens and its JSON Schemas.

use serde_json::{Value, json};
use wardwatch::wire::command::{Answer, AnswerState, Command, HoldState, MissingJson, hear, json_schemas};
use wardwatch::wire::event::ClipJson;

use crate::event::assert_file;

const ID: &str = "01980000-0000-7000-8000-000000000000";

/// Whether `value` keeps to the schema in `docs/`.
pub fn keeps_to(schema: &str, value: &Value) -> bool {
    let text = std::fs::read_to_string(crate::support::site::root().join("docs").join(schema)).expect("there");
    jsonschema::is_valid(&serde_json::from_str(&text).expect("JSON"), value)
}

fn command(ask: Value) -> Value {
    let mut command = json!({
        "schema": "wardwatch.command/1", "id": ID, "issuer": "an (local:truc-ban)", "reason": "vụ việc 7",
        "issued_at": "2026-11-24T19:00:00.000+07:00", "expires_at": "2026-12-01T19:00:00.000+07:00",
    });
    command.as_object_mut().expect("an object").extend(ask.as_object().expect("an object").clone());
    command
}

fn commands() -> [Value; 3] {
    let (from, to) = ("2026-11-24T18:00:00+07:00", "2026-11-24T18:10:00+07:00");
    [
        command(json!({"kind": "clip", "camera": "ngo-12", "from": from, "to": to})),
        command(json!({"kind": "hold", "camera": "ngo-12", "from": from, "to": to})),
        command(json!({"kind": "release", "hold": ID})),
    ]
}

fn answers() -> Vec<Answer> {
    let time = |minute: u32| format!("2026-11-24T18:{minute:02}:00.000+07:00");
    let missing = || vec![MissingJson { from: time(3), to: time(4), why: "offline".into() }];
    let clip = ClipJson {
        sha256: "ab".repeat(32),
        bytes: 1_009_187,
        from: time(0),
        to: time(10),
        codec: "h264".into(),
        masked: true,
        complete: true,
        missing_ms: 60_000,
    };
    let done = |detail: &str| Answer::new(ID, AnswerState::Done, detail).without(missing());
    vec![
        Answer { clip: Some(clip), changed_at: Some(time(10)), ..done("a clip") },
        Answer { hold: Some(HoldState::Held), ..done("2 recordings, 1 clips") },
        Answer { hold: Some(HoldState::TooLate), ..done("nothing is left") },
        Answer { hold: Some(HoldState::Released), ..Answer::new(ID, AnswerState::Done, "it may leave again") },
        Answer::new(ID, AnswerState::Failed, "nothing is recorded").without(missing()),
        Answer::new(ID, AnswerState::Expired, "too late"),
        Answer::new(ID, AnswerState::Refused, "no such camera"),
    ]
}

#[test]
fn the_schemas_in_docs_are_those_the_code_makes() {
    let [command, answer] = json_schemas().expect("schemas");
    assert_file("docs/command.schema.json", &command);
    assert_file("docs/answer.schema.json", &answer);
}

#[test]
fn the_json_does_not_change_unnoticed() {
    let read = commands().map(|c| serde_json::from_value::<Command>(c).expect("a command"));
    let pretty = |value: Value| serde_json::to_string_pretty(&value).expect("JSON") + "\n";
    let commands = serde_json::to_value(&read).expect("JSON");
    let answers = serde_json::to_value(answers()).expect("JSON");
    for command in commands.as_array().expect("a list") {
        assert!(keeps_to("command.schema.json", command), "{command}");
        assert!(matches!(hear(command.to_string().as_bytes()), wardwatch::wire::command::Heard::Command(_)));
    }
    for answer in answers.as_array().expect("a list") {
        assert!(keeps_to("answer.schema.json", answer), "{answer}");
        assert!(serde_json::from_value::<Answer>(answer.clone()).expect("reads back").is_sound());
    }
    assert_file("tests/fixtures/command.json", &pretty(commands));
    assert_file("tests/fixtures/answer.json", &pretty(answers));
}

#[test]
fn the_schema_objects_to_what_is_no_command() {
    for (key, value) in
        [("kind", json!("format")), ("reason", Value::Null), ("issued_at", json!(7)), ("camera", json!(["a"]))]
    {
        let mut wrong = commands()[1].clone();
        wrong[key] = value;
        assert!(!keeps_to("command.schema.json", &wrong), "{wrong}");
        assert!(!matches!(hear(wrong.to_string().as_bytes()), wardwatch::wire::command::Heard::Command(_)));
    }
    let mut later = commands()[0].clone();
    later["invented_later"] = 7.into();
    assert!(keeps_to("command.schema.json", &later), "unknown fields are allowed");
    assert!(!keeps_to("answer.schema.json", &json!({"schema": "wardwatch.answer/1", "id": ID, "state": "perhaps"})));
}
