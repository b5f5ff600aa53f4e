//! JSON objects as peers write them to each other, read strictly: two readers must never see two things in one text.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Reads a `T` from a JSON object in UTF-8. Unknown fields are ignored, but a name that stands twice in one object, at
/// any depth, is refused. `None` if it is anything else.
pub(crate) fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let text = std::str::from_utf8(json).ok()?;
    serde_json::from_str::<NoNameTwice>(text).ok()?;
    from_object(text)
}

/// For `#[serde(deserialize_with = "json::object")]`: an object inside an object.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(input: D) -> Result<T, D::Error> {
    from_object(<&RawValue>::deserialize(input)?.get()).ok_or_else(|| D::Error::custom("not an object"))
}

/// For `#[serde(default, deserialize_with = "json::present")]`: a field that may be absent, but not null.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(input).map(Some)
}

/// serde would also read a struct from an array, its fields in order.
fn from_object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Any JSON in which no object has a name twice.
struct NoNameTwice;

impl<'de> Deserialize<'de> for NoNameTwice {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for NoNameTwice {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value::<Self>()?;
            if !seen.insert(name) {
                return Err(A::Error::custom("a name stands twice in an object"));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer<'a> {
        n: u64,
        #[serde(borrow, deserialize_with = "object")]
        inner: Inner<'a>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        text: Cow<'a, str>,
    }

    #[test]
    fn objects_and_nothing_else() {
        for right in [
            r#"{"n":1,"inner":{"text":"x"}}"#,
            " {\"n\" : 1, \"inner\": {\"text\":\"\\u0078\"} }\n",
            r#"{"n":1,"inner":{"text":"x","more":[{"a":1},{"a":-1.5e3}]},"more":[true,null]}"#,
        ] {
            assert_eq!(
                read(right.as_bytes()),
                Some(Outer { n: 1, inner: Inner { text: "x".into() } }),
                "{right}"
            );
        }
        for wrong in [
            "",
            "1",
            "null",
            r#"{"n":1}"#,
            // What serde_json reads as structs, too.
            r#"[1,{"text":"x"}]"#,
            r#"{"n":1,"inner":["x"]}"#,
            // A name twice: known, unknown, spelled with an escape, deep inside what is ignored.
            r#"{"n":1,"n":1,"inner":{"text":"x"}}"#,
            r#"{"n":1,"inner":{"text":"x"},"a":1,"a":1}"#,
            r#"{"n":1,"inner":{"text":"x"},"\u006e":1}"#,
            r#"{"n":1,"inner":{"text":"x"},"a":[[{"b":1,"b":1}]]}"#,
            // Not the integer digits say, or none.
            r#"{"n":1.0,"inner":{"text":"x"}}"#,
            r#"{"n":1e0,"inner":{"text":"x"}}"#,
            r#"{"n":-0,"inner":{"text":"x"}}"#,
            r#"{"n":"1","inner":{"text":"x"}}"#,
            r#"{"n":18446744073709551616,"inner":{"text":"x"}}"#,
            // Text that is no Unicode, anything after the object.
            r#"{"n":1,"inner":{"text":"\ud800"}}"#,
            r#"{"n":1,"inner":{"text":"x"}} {}"#,
            r#"{"n":1,"inner":{"text":"x"}"#,
        ] {
            assert_eq!(read::<Outer<'_>>(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(read::<Outer<'_>>(b"{\"n\":1,\"inner\":{\"text\":\"x\"},\"a\":\"\xFF\"}"), None);
        let deep =
            format!(r#"{{"n":1,"inner":{{"text":"x"}},"a":{}{}}}"#, "[".repeat(8000), "]".repeat(8000));
        assert_eq!(read::<Outer<'_>>(deep.as_bytes()), None);
    }
}
