//! Data that no one should send: members that are null or missing, of another type, unknown, or beyond what they can hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A place in an answer's JSON, and what stands there instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Odd {
    /// Names of members and numbers of elements, from 0, each after a `/`: `/transactions/0/valueDate`. A `*` is every element. A last
    /// member that is not there is added.
    pub at: String,
    /// What stands there, as JSON and as it is: `null`, `1e400`, `"2026-02-30"`. Nothing when not given: the member or the element is missing.
    #[serde(default)]
    pub json: Option<String>,
}

impl Odd {
    /// Something else at a place.
    #[must_use]
    pub fn new(at: &str, json: &str) -> Self {
        Self {
            at: at.to_owned(),
            json: Some(json.to_owned()),
        }
    }

    /// Nothing at a place.
    #[must_use]
    pub fn missing(at: &str) -> Self {
        Self {
            at: at.to_owned(),
            json: None,
        }
    }

    pub(super) fn apply_to(&self, body: Vec<u8>) -> Vec<u8> {
        match std::str::from_utf8(&body) {
            Ok(json) => self.apply(json).into_bytes(),
            Err(_) => body,
        }
    }

    /// The JSON with the change. What has no such place stays as it is.
    pub(super) fn apply(&self, json: &str) -> String {
        let path: Vec<&str> = self.at.split('/').skip(1).collect();
        changed(json, &path, self.json.as_deref()).unwrap_or_else(|| json.to_owned())
    }
}

/// None: the place itself, and nothing stands there.
fn changed(json: &str, path: &[&str], to: Option<&str>) -> Option<String> {
    let Some((first, rest)) = path.split_first() else {
        return to.map(str::to_owned);
    };
    if let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(json) {
        return Some(changed_object(&members, first, rest, to));
    }
    if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(json) {
        return Some(changed_array(&elements, first, rest, to));
    }
    Some(json.to_owned())
}

fn changed_object(members: &BTreeMap<String, &RawValue>, name: &str, rest: &[&str], to: Option<&str>) -> String {
    let mut written = Vec::new();
    for (key, value) in members {
        let value = if key == name {
            changed(value.get(), rest, to)
        } else {
            Some(value.get().to_owned())
        };
        written.extend(value.map(|value| member(key, &value)));
    }
    if let (false, [], Some(to)) = (members.contains_key(name), rest, to) {
        written.push(member(name, to));
    }
    format!("{{{}}}", written.join(","))
}

fn member(name: &str, value: &str) -> String {
    format!("{}:{value}", serde_json::Value::from(name))
}

fn changed_array(elements: &[&RawValue], number: &str, rest: &[&str], to: Option<&str>) -> String {
    let is_meant = |index: usize| number == "*" || number.parse() == Ok(index);
    let written = elements.iter().enumerate().filter_map(|(index, value)| {
        if is_meant(index) {
            changed(value.get(), rest, to)
        } else {
            Some(value.get().to_owned())
        }
    });
    format!("[{}]", written.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"list":[{"a":0.10},{"a":-90071992547409.93}],"text":"Ä"}"#;

    #[test]
    fn one_place_changes_and_every_other_digit_stays() {
        let cases = [
            (
                Odd::new("/list/0/a", "1e400"),
                r#"{"list":[{"a":1e400},{"a":-90071992547409.93}],"text":"Ä"}"#,
            ),
            (
                Odd::new("/list/*/a", "null"),
                r#"{"list":[{"a":null},{"a":null}],"text":"Ä"}"#,
            ),
            (Odd::missing("/list/1/a"), r#"{"list":[{"a":0.10},{}],"text":"Ä"}"#),
            (
                Odd::missing("/list/0"),
                r#"{"list":[{"a":-90071992547409.93}],"text":"Ä"}"#,
            ),
            (Odd::missing("/list"), r#"{"text":"Ä"}"#),
            (
                Odd::new("/new", "[1]"),
                r#"{"list":[{"a":0.10},{"a":-90071992547409.93}],"text":"Ä","new":[1]}"#,
            ),
            (Odd::new("/none/deeper", "1"), JSON),
            (Odd::new("/text/0", "1"), JSON),
        ];
        for (odd, expected) in cases {
            assert_eq!(odd.apply(JSON), expected, "{odd:?}");
        }
        assert_eq!(Odd::new("/a", "1").apply("<html>"), "<html>");
    }
}
