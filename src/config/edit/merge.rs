//! JSON put into the text of a document, so that whatever stays the same keeps its place, its spelling and its comments.

use serde_json::{Map, Number, Value};
use toml_edit::{Array, ArrayOfTables, InlineTable, Item, Table, TableLike, Value as Toml};

use super::{List, Settings};

/// The order of a new table's keys, as in the example file; others come after them.
const ORDER: [&str; 26] = [
    "id",
    "name",
    "kind",
    "severity",
    "area",
    "position",
    "sharing",
    "mode",
    "url",
    "user",
    "password",
    "transport",
    "latency_ms",
    "tls_pin",
    "fps",
    "schedule",
    "labels",
    "zones",
    "line",
    "direction",
    "detect",
    "record",
    "recording",
    "mask",
    "zone",
    "rule",
];
/// Keys whose list of tables is written as `[[…]]`.
const LISTS: [&str; 4] = ["mask", "zone", "line", "rule"];
/// Keys whose table is written as `[…]`.
const TABLES: [&str; 3] = ["detect", "record", "recording"];

/// Sets the table called `name`, or adds it at the end.
pub(super) fn put(document: &mut Table, list: List, name: &str, settings: &Settings) {
    let item = document.entry(list.array).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    if let Item::ArrayOfTables(tables) = item {
        let place = tables.iter().position(|t| t.get(list.key).and_then(Item::as_str) == Some(name));
        match place.and_then(|place| tables.get_mut(place)) {
            Some(table) => merge_table(table, settings),
            None => tables.push(fresh_table(settings)),
        }
    } else if let Some(tables) = item.as_array_mut() {
        let named = |t: &Toml| t.as_inline_table().and_then(|t| t.get(list.key)).and_then(Toml::as_str) == Some(name);
        let place = tables.iter().position(named);
        match place.and_then(|place| tables.get_mut(place)).and_then(Toml::as_inline_table_mut) {
            Some(table) => merge_table(table, settings),
            None => tables.push(value(&Value::Object(settings.clone()))),
        }
    }
}

/// Takes the table called `name` out.
pub(super) fn remove(document: &mut Table, list: List, name: &str) {
    match document.get_mut(list.array) {
        Some(Item::ArrayOfTables(tables)) => {
            tables.retain(|t| t.get(list.key).and_then(Item::as_str) != Some(name));
        }
        Some(Item::Value(Toml::Array(tables))) => {
            tables.retain(|t| t.as_inline_table().and_then(|t| t.get(list.key)).and_then(Toml::as_str) != Some(name))
        }
        _ => {}
    }
}

/// Sets one key of a table.
pub(super) fn set(table: &mut dyn TableLike, key: &str, wanted: &Value) {
    match table.get_mut(key) {
        Some(item) => merge(item, key, wanted),
        None => drop(table.insert(key, fresh(key, wanted))),
    }
}

fn merge_table(table: &mut dyn TableLike, wanted: &Settings) {
    let is_empty_list = |v: &Value| v.as_array().is_some_and(Vec::is_empty);
    let gone: Vec<String> = table
        .iter()
        .filter(|(key, item)| match wanted.get(*key) {
            None => true,
            // A list of tables that has none is not there.
            Some(value) => item.is_array_of_tables() && is_empty_list(value),
        })
        .map(|(key, _)| key.to_owned())
        .collect();
    for key in gone {
        table.remove(&key);
    }
    for key in ordered(wanted) {
        let value = &wanted[key];
        if !(is_empty_list(value) && LISTS.contains(&key.as_str()) && !table.contains_key(key)) {
            set(table, key, value);
        }
    }
}

fn merge(item: &mut Item, key: &str, wanted: &Value) {
    if same(&json(item), wanted) {
        return;
    }
    if let Item::ArrayOfTables(tables) = item
        && let Value::Array(wanted) = wanted
        && wanted.iter().all(Value::is_object)
    {
        return merge_list(tables, wanted);
    }
    if let Value::Object(wanted) = wanted
        && let Some(table) = item.as_table_like_mut()
    {
        return merge_table(table, wanted);
    }
    let mut new = fresh(key, wanted);
    if let (Some(new), Some(old)) = (new.as_value_mut(), item.as_value()) {
        // The comment behind it stays.
        *new.decor_mut() = old.decor().clone();
    }
    *item = new;
}

/// Each wanted table takes the place of the one that is the same, has its name, or, without names, is at its place.
fn merge_list(tables: &mut ArrayOfTables, wanted: &[Value]) {
    let mut old: Vec<Option<Table>> = tables.iter().cloned().map(Some).collect();
    let given = |table: &Option<Table>| table.as_ref().map(|t| json(&Item::Table(t.clone())));
    let shown: Vec<Option<Value>> = old.iter().map(given).collect();
    let mut places: Vec<Option<usize>> = vec![None; wanted.len()];
    let mut taken = vec![false; old.len()];
    let alike = |a: &Value, b: &Value| same(a, b);
    let namesake = |a: &Value, b: &Value| a.get("name").is_some() && a.get("name") == b.get("name");
    for fits in [&alike as &dyn Fn(&Value, &Value) -> bool, &namesake] {
        for (place, value) in places.iter_mut().zip(wanted).filter(|(place, _)| place.is_none()) {
            let found =
                shown.iter().enumerate().find(|(i, s)| !taken[*i] && s.as_ref().is_some_and(|s| fits(s, value)));
            if let Some((index, _)) = found {
                (taken[index], *place) = (true, Some(index));
            }
        }
    }
    for (index, place) in places.iter_mut().enumerate() {
        if place.is_none() && wanted[index].get("name").is_none() && taken.get(index) == Some(&false) {
            (taken[index], *place) = (true, Some(index));
        }
    }
    let moved = places.iter().flatten().is_sorted();
    tables.clear();
    for (place, value) in places.into_iter().zip(wanted) {
        let Value::Object(value) = value else { continue };
        let mut table = match place.and_then(|p| old[p].take()) {
            Some(mut table) => {
                merge_table(&mut table, value);
                table
            }
            None => fresh_table(value),
        };
        if !moved {
            afloat(&mut table);
        }
        tables.push(table);
    }
}

/// Forgets where the table stood in the text: it comes after the one before it.
fn afloat(table: &mut Table) {
    table.set_position(None);
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(table) => afloat(table),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(afloat),
            _ => {}
        }
    }
}

fn ordered(settings: &Settings) -> Vec<&String> {
    let mut keys: Vec<&String> = settings.keys().collect();
    keys.sort_by_key(|key| (ORDER.iter().position(|o| o == key).unwrap_or(ORDER.len()), key.as_str()));
    keys
}

fn fresh(key: &str, wanted: &Value) -> Item {
    match wanted {
        Value::Array(list) if LISTS.contains(&key) && !list.is_empty() && list.iter().all(Value::is_object) => {
            let tables = list.iter().filter_map(Value::as_object).map(fresh_table).collect();
            Item::ArrayOfTables(tables)
        }
        Value::Object(table) if TABLES.contains(&key) => Item::Table(fresh_table(table)),
        _ => Item::Value(value(wanted)),
    }
}

fn fresh_table(settings: &Settings) -> Table {
    let mut table = Table::new();
    for key in ordered(settings) {
        let wanted = &settings[key];
        if !(LISTS.contains(&key.as_str()) && wanted.as_array().is_some_and(Vec::is_empty)) {
            table.insert(key, fresh(key, wanted));
        }
    }
    table
}

fn value(wanted: &Value) -> Toml {
    match wanted {
        Value::Null => Toml::from(""),
        Value::Bool(bool) => Toml::from(*bool),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Toml::from(number),
            None => Toml::from(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Toml::from(text.as_str()),
        Value::Array(values) => Toml::Array(values.iter().map(value).collect::<Array>()),
        Value::Object(settings) => {
            let mut table = InlineTable::new();
            for key in ordered(settings) {
                table.insert(key, value(&settings[key]));
            }
            Toml::InlineTable(table)
        }
    }
}

/// An item as JSON.
pub(super) fn json(item: &Item) -> Value {
    match item {
        Item::None => Value::Null,
        Item::Value(value) => json_value(value),
        Item::Table(table) => Value::Object(table.iter().map(|(k, v)| (k.to_owned(), json(v))).collect()),
        Item::ArrayOfTables(tables) => {
            let table =
                |t: &Table| Value::Object(t.iter().map(|(k, v)| (k.to_owned(), json(v))).collect::<Map<_, _>>());
            Value::Array(tables.iter().map(table).collect())
        }
    }
}

fn json_value(value: &Toml) -> Value {
    match value {
        Toml::String(text) => Value::from(text.value().as_str()),
        Toml::Integer(number) => Value::from(*number.value()),
        Toml::Float(number) => Number::from_f64(*number.value()).map_or(Value::Null, Value::Number),
        Toml::Boolean(bool) => Value::from(*bool.value()),
        Toml::Datetime(time) => Value::from(time.value().to_string()),
        Toml::Array(values) => Value::Array(values.iter().map(json_value).collect()),
        Toml::InlineTable(table) => Value::Object(table.iter().map(|(k, v)| (k.to_owned(), json_value(v))).collect()),
    }
}

/// Whether two values mean the same: 5 and 5.0 do.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => same_table(a, b),
        (a, b) => a == b,
    }
}

/// [`same`], of tables. A list of tables that is empty says as little as one that is not there.
pub(super) fn same_table(a: &Settings, b: &Settings) -> bool {
    let within = |a: &Settings, b: &Settings| {
        a.iter().all(|(key, value)| match b.get(key) {
            Some(other) => same(value, other),
            None => LISTS.contains(&key.as_str()) && value.as_array().is_some_and(Vec::is_empty),
        })
    };
    within(a, b) && within(b, a)
}
