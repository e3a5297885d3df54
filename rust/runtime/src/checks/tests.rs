//! Every field of a full config.json wrong in turn, generated from the document itself: a sentence that names the field.
//! What is taken although it looks wrong stands in `tables`, with the reason.

use std::sync::OnceLock;

use serde_json::{Value, json};

mod hostile;
mod tables;

use tables::{ACCEPTED, LENIENT, REQUIRED};

use crate::spec;

/// Every field that the specification has for Linux, once.
const FULL: &str = include_str!("full.json");

/// One wrong value: how it is called here, and its JSON text (which may be a number that no type holds).
fn wrong_values(good: &Value) -> Vec<(&'static str, String)> {
    let all = [
        ("null", "null"),
        ("bool", "true"),
        ("number", "7"),
        ("fraction", "1.5"),
        ("text", "\"nonsense\""),
        ("list", "[]"),
        ("object", "{}"),
        ("empty", "\"\""),
        ("nul", "\"a\\u0000b\""),
        ("-1", "-1"),
        ("-2", "-2"),
        ("2^32", "4294967296"),
        ("2^63", "9223372036854775808"),
        ("2^64", "18446744073709551616"),
    ];
    let same_type = |kind: &str| match good {
        Value::Bool(_) => kind == "bool",
        Value::Number(_) => kind == "number",
        Value::Array(_) => kind == "list",
        Value::Object(_) => kind == "object",
        _ => false,
    };
    let strings = |kind: &str| matches!(kind, "text" | "empty" | "nul");
    let numbers = |kind: &str| matches!(kind, "-1" | "-2" | "2^32" | "2^63" | "2^64" | "fraction");
    all.into_iter()
        .filter(|(kind, _)| !same_type(kind))
        // The variants of a type are for fields of that type; of the others one of each type is enough.
        .filter(|(kind, _)| !strings(kind) || good.is_string() || *kind == "text")
        .filter(|(kind, _)| !numbers(kind) || good.is_number())
        .map(|(kind, text)| (kind, text.to_owned()))
        .collect()
}

/// JSON pointer, dotted path and value of everything below.
fn walk(value: &Value, pointer: &str, dotted: &str, found: &mut Vec<(String, String, Value)>) {
    if !pointer.is_empty() {
        found.push((pointer.to_owned(), dotted.to_owned(), value.clone()));
    }
    match value {
        Value::Object(all) => {
            for (key, child) in all {
                let dotted = if dotted.is_empty() {
                    key.clone()
                } else {
                    format!("{dotted}.{key}")
                };
                walk(child, &format!("{pointer}/{key}"), &dotted, found);
            }
        }
        Value::Array(all) => {
            for (index, child) in all.iter().enumerate() {
                walk(
                    child,
                    &format!("{pointer}/{index}"),
                    &format!("{dotted}[{index}]"),
                    found,
                );
            }
        }
        _ => {}
    }
}

fn full() -> Value {
    static PARSED: OnceLock<Value> = OnceLock::new();
    PARSED
        .get_or_init(|| serde_json::from_str(FULL).unwrap())
        .clone()
}

fn any_index(dotted: &str) -> String {
    let mut text = String::new();
    for part in dotted.split_inclusive(['[', ']']) {
        let index = part
            .strip_suffix(']')
            .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        text.push_str(if index { "]" } else { part });
    }
    text
}

fn is(dotted: &str, path: &str) -> bool {
    dotted == path || any_index(dotted) == path
}

fn accepted(dotted: &str, kind: &str) -> bool {
    let listed =
        |(path, kinds, _): &(&str, &[&str], &str)| is(dotted, path) && kinds.contains(&kind);
    ACCEPTED.iter().any(listed)
}

/// The text of the document with the JSON text `wrong` at `pointer`.
fn with(pointer: &str, wrong: &str) -> String {
    let mut document = full();
    *document.pointer_mut(pointer).unwrap() = json!("@wrong@");
    document.to_string().replace("\"@wrong@\"", wrong)
}

fn without(pointer: &str) -> String {
    let mut document = full();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    document
        .pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove(key);
    document.to_string()
}

/// Whether `null` stands for a field that may as well be absent.
fn optional(pointer: &str) -> bool {
    !pointer.ends_with(|c: char| c.is_ascii_digit())
        && spec::parse(without(pointer).as_bytes()).is_ok()
}

/// One sentence that names the field, or the list that lacks something without this element.
fn complaint(dotted: &str, message: &str) -> Option<String> {
    let list = dotted
        .strip_suffix(']')
        .and_then(|rest| rest.rsplit_once('['));
    let names = message.contains(dotted) || list.is_some_and(|(list, _)| message.contains(list));
    (!names || message.contains('\n')).then(|| format!("{dotted}: {message}"))
}

#[test]
fn the_full_document_is_right() {
    spec::parse(FULL.as_bytes()).unwrap();
}

fn apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with(b"Y"))
}

#[test]
fn every_field_wrong_in_turn() {
    let (mut fields, mut cases, mut failures) = (Vec::new(), 0, Vec::new());
    walk(&full(), "", "", &mut fields);
    for (pointer, dotted, good) in &fields {
        for (kind, text) in wrong_values(good) {
            cases += 1;
            let parsed = spec::parse(with(pointer, &text).as_bytes());
            let listed = accepted(dotted, kind);
            match parsed {
                Ok(_) if listed || (kind == "null" && optional(pointer)) => {}
                // Which profiles there are, the kernel says at the exec.
                Ok(_) if kind == "text" && dotted == "process.apparmorProfile" && apparmor() => {}
                Ok(_) => failures.push(format!("{dotted} = {text} ({kind}) is taken")),
                Err(error) if listed => failures.push(format!("listed as taken: {error}")),
                Err(error) => failures.extend(complaint(dotted, &error.message)),
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {cases}:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(cases > 1500, "{cases}");
}

#[test]
fn every_required_field_missing_in_turn() {
    let (mut fields, mut failures, mut met) = (Vec::new(), Vec::new(), Vec::new());
    walk(&full(), "", "", &mut fields);
    for (pointer, dotted, _) in fields
        .iter()
        .filter(|(_, dotted, _)| !dotted.ends_with(']'))
    {
        let pattern = any_index(dotted);
        let required = REQUIRED.contains(&pattern.as_str());
        if required {
            met.push(pattern.clone());
        }
        match (spec::parse(without(pointer).as_bytes()), required) {
            (Ok(_), true) => failures.push(format!("{dotted} may be missing")),
            (Err(error), true) => failures.extend(complaint(dotted, &error.message)),
            // Another field may need it; then that one is named, or this.
            (Err(error), false) if !error.message.contains(": ") => failures.push(error.message),
            _ => {}
        }
    }
    for (path, _) in LENIENT {
        let (pointer, ..) = fields
            .iter()
            .find(|(_, dotted, _)| is(dotted, path))
            .unwrap();
        spec::parse(without(pointer).as_bytes()).expect(path);
    }
    let unknown = REQUIRED
        .iter()
        .filter(|path| !met.iter().any(|other| other == *path));
    failures.extend(unknown.map(|path| format!("{path} is not in the full document")));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_entry_of_the_table_is_used() {
    let mut fields = Vec::new();
    walk(&full(), "", "", &mut fields);
    for (path, kinds, reason) in ACCEPTED {
        assert!(reason.len() > 6, "{path} has no reason");
        for kind in *kinds {
            let met = fields.iter().any(|(_, dotted, good)| {
                is(dotted, path) && wrong_values(good).iter().any(|(other, _)| other == kind)
            });
            assert!(met, "{path}: no case {kind}");
        }
    }
}
