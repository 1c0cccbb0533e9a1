//! Reading what no one should send: what can't be read is left out, and the rest is read.
//!
//! A value is read as its type says. Where that fails, it is read again, the elements of its lists each by itself. Where that fails, too, the
//! error points at a member or an element: that is removed, and the rest is read again. So the types need no code for what may be wrong with
//! them, and what is as it should be costs nothing.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_path_to_error::Segment;

use super::text;

/// What a text is called that has a character which can't be made out.
pub(super) const TEXT: &str = "text";

/// The most that is left out of one value. A list of many is read element by element.
const LEFT_OUT_MAX: usize = 64;

thread_local! {
    /// Whether one element that can't be read makes its whole list unreadable. Then everything is read again without this.
    static STRICT: Cell<bool> = const { Cell::new(false) };
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub(in crate::finapi) struct Read<T> {
    /// All of it that can be read.
    pub(in crate::finapi) value: T,
    /// The names of the rest, from the outermost to the innermost.
    pub(in crate::finapi) unreadable: Vec<String>,
}

impl<T> Read<T> {
    fn whole(value: T) -> Self {
        let unreadable = Vec::new();
        Self { value, unreadable }
    }

    /// Whether this member was there and can't be read.
    pub(in crate::finapi) fn is_without(&self, name: &str) -> bool {
        self.unreadable.iter().any(|unreadable| unreadable == name)
    }
}

/// Reads a value.
pub(super) fn read<T: DeserializeOwned>(json: &str) -> serde_json::Result<Read<T>> {
    if let Ok(value) = read_strictly(json) {
        return Ok(Read::whole(value));
    }
    let (mut json, was_repaired) = text::repaired(json);
    let mut unreadable: Vec<String> = was_repaired.then(|| TEXT.to_owned()).into_iter().collect();
    loop {
        let mut deserializer = serde_json::Deserializer::from_str(&json);
        let error = match serde_path_to_error::deserialize(&mut deserializer) {
            Ok(value) => return deserializer.end().map(|()| Read { value, unreadable }),
            Err(error) => error,
        };
        let path: Vec<&Segment> = error.path().iter().take_while(|step| is_known(step)).collect();
        match without(&json, &path) {
            Some(rest) if unreadable.len() < LEFT_OUT_MAX => json = rest,
            _ => return Err(error.into_inner()),
        }
        let names = path.iter().filter_map(|step| match step {
            Segment::Map { key } => Some(key.as_str()),
            _ => None,
        });
        unreadable.push(names.collect::<Vec<_>>().join("."));
    }
}

fn read_strictly<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    STRICT.set(true);
    let value = serde_json::from_str(json);
    STRICT.set(false);
    value
}

fn is_known(step: &Segment) -> bool {
    matches!(step, Segment::Map { .. } | Segment::Seq { .. })
}

/// JSON without what is at a place, and without members that come twice there. None: it is the whole.
fn without(json: &str, path: &[&Segment]) -> Option<String> {
    let Some((step, rest)) = path.split_first() else {
        return once(json);
    };
    match step {
        Segment::Map { key } => {
            let Members(mut members) = serde_json::from_str(json).ok()?;
            let at = members.iter().rposition(|(name, _)| name == key)?;
            match without(&members[at].1, rest) {
                Some(changed) => members[at].1 = changed.into(),
                None => drop(members.remove(at)),
            }
            Some(object(&members))
        }
        Segment::Seq { index } => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            let changed = without(elements.get(*index)?.get(), rest);
            let elements = elements
                .iter()
                .enumerate()
                .filter_map(|(at, element)| match at == *index {
                    true => changed.as_deref(),
                    false => Some(element.get()),
                });
            Some(format!("[{}]", elements.collect::<Vec<_>>().join(",")))
        }
        _ => None,
    }
}

/// An object whose members come once each: the last counts. None: they do already.
fn once(json: &str) -> Option<String> {
    let Members(members) = serde_json::from_str(json).ok()?;
    let is_last = |at: usize| members[at + 1..].iter().all(|(name, _)| *name != members[at].0);
    let last: Vec<_> = (0..members.len())
        .filter(|at| is_last(*at))
        .map(|at| members[at].clone())
        .collect();
    (last.len() < members.len()).then(|| object(&last))
}

fn object(members: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
    let member = |(name, value): &(Cow<'_, str>, Cow<'_, str>)| format!("{}:{value}", serde_json::Value::from(&**name));
    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((name.into(), value.get().into()));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// A list whose elements are read each by itself where they are not all as they should be.
pub(in crate::finapi) struct List<T> {
    /// Those that can be read.
    pub(in crate::finapi) items: Vec<Read<T>>,
    /// The others, as they came.
    pub(in crate::finapi) skipped: Vec<Box<RawValue>>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            skipped: Vec::new(),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<T>(PhantomData<T>);

        impl<'de, T: DeserializeOwned> Visitor<'de> for Each<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<List<T>, A::Error> {
                let mut list = List::default();
                if STRICT.get() {
                    while let Some(item) = elements.next_element()? {
                        list.items.push(Read::whole(item));
                    }
                    return Ok(list);
                }
                while let Some(element) = elements.next_element::<&RawValue>()? {
                    match read(element.get()) {
                        Ok(item) => list.items.push(item),
                        Err(_) => list.skipped.push(element.to_owned()),
                    }
                }
                Ok(list)
            }
        }

        deserializer.deserialize_seq(Each(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finapi::wire::amount::Amount;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    struct Record {
        id: i64,
        name: Option<String>,
        amount: Option<Amount>,
        inner: Option<Inner>,
        list: Option<Vec<Inner>>,
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    struct Inner {
        id: i64,
        text: Option<String>,
    }

    fn record(json: &str) -> (Record, String) {
        let read: Read<Record> = read(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        (read.value, read.unreadable.join(" "))
    }

    #[test]
    fn what_is_as_it_should_be_is_read_whole() {
        let (read, unreadable) = record(r#"{"id":7,"name":null,"new":{"a":[1e400]},"inner":{"id":8,"text":"x"}}"#);
        assert_eq!(
            (read.id, read.inner.expect("it is there").text.as_deref()),
            (7, Some("x"))
        );
        assert_eq!(unreadable, "");
    }

    #[test]
    fn what_cant_be_read_is_left_out_and_named() {
        for (json, unreadable) in [
            (r#"{"id":7,"name":7}"#, "name"),
            (r#"{"id":7,"name":"a","name":"b"}"#, ""),
            (r#"{"id":7,"amount":1e400,"name":{}}"#, "amount name"),
            (r#"{"id":7,"amount":"x"}"#, "amount"),
            (r#"{"id":7,"inner":{"id":8,"text":[]}}"#, "inner.text"),
            (r#"{"id":7,"inner":{"id":"x","text":"a"}}"#, "inner.id inner"),
            (r#"{"id":7,"inner":{"text":"a"}}"#, "inner"),
            (
                r#"{"id":7,"list":[{"id":1},{"id":2,"text":1},{},null]}"#,
                "list.text list list",
            ),
            (r#"{"id":7,"list":{}}"#, "list"),
            (r#"{"id":7,"name":"a\ud800b"}"#, "text"),
            ("{\"id\":7,\"name\":\"a\nb\"}", ""),
        ] {
            let (read, named) = record(json);
            assert_eq!((read.id, named.as_str()), (7, unreadable), "{json}");
        }
        let (read, _) = record(r#"{"id":7,"name":"a","name":"b","list":[{"id":1},{"id":2,"text":1},{},null]}"#);
        assert_eq!(
            (read.name.as_deref(), read.list.map(|list| list.len())),
            (Some("b"), Some(2))
        );
        assert_eq!(
            record(r#"{"id":7,"name":"a\ud800b"}"#).0.name.as_deref(),
            Some("a\u{fffd}b")
        );
    }

    #[test]
    fn what_has_no_id_or_is_no_json_is_not_read() {
        for json in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"id":null}"#,
            r#"{"id":"7"}"#,
            r#"{"id":7"#,
            r#"{"id":7}x"#,
        ] {
            assert!(read::<Record>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn each_element_of_a_list_is_read_by_itself() {
        let json = r#"[{"id":1},{"id":2,"name":[]},{"name":"no id"},null,7,{"id":3}]"#;
        let list: List<Record> = serde_json::from_str(json).expect("a list");
        let ids: Vec<i64> = list.items.iter().map(|item| item.value.id).collect();
        assert_eq!((ids, list.skipped.len()), (vec![1, 2, 3], 3));
        assert_eq!(list.items[1].unreadable, ["name"]);
        let many = format!("[{}]", vec![r#"{"id":1,"name":[]}"#; 1000].join(","));
        let list: List<Record> = serde_json::from_str(&many).expect("a list");
        assert_eq!(list.items.len(), 1000);
    }
}
