//! Reading openapi.yaml: which replies it names, and whether a value is as a schema says.

use std::collections::BTreeSet;

use regex_lite::Regex;
use serde_json::Value;

use crate::harness::Reply;

/// The description, parsed.
pub struct Document(Value);

impl Document {
    pub fn parse(yaml: &str) -> Self {
        Self(serde_saphyr::from_str(yaml).unwrap())
    }

    /// What stands at a JSON pointer, references followed.
    pub fn at(&self, pointer: &str) -> &Value {
        let mut here = &self.0;
        for name in pointer.split('/').skip(1) {
            let name = name.replace("~1", "/");
            here = self.resolve(&here[&name]);
        }
        assert!(!here.is_null(), "openapi.yaml has nothing at {pointer}");
        here
    }

    /// Every path, and the methods it takes.
    pub fn paths(&self) -> Vec<(&str, BTreeSet<String>)> {
        let paths = self.0["paths"].as_object().unwrap();
        let methods = |path: &Value| path.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect();
        paths.iter().map(|(path, its)| (path.as_str(), methods(its))).collect()
    }

    /// The replies that this method of this path may give, by status.
    pub fn replies(&self, path: &str, method: &str) -> &Value {
        let path = path.replace('/', "~1");
        self.at(&format!("/paths/{path}/{}/responses", method.to_lowercase()))
    }

    /// The replies where there is no such path or method.
    pub fn elsewhere(&self) -> &Value {
        self.at("/x-elsewhere")
    }

    /// The names of all examples of these replies.
    pub fn names(&self, replies: &Value) -> BTreeSet<String> {
        let replies = replies.as_object().unwrap().values();
        let examples = replies
            .filter_map(|reply| self.resolve(reply)["content"]["application/json"]["examples"].as_object());
        examples.flat_map(|examples| examples.keys().cloned()).collect()
    }

    /// Compares a reply with what these replies say, and gives the name of the example it is like.
    ///
    /// `asked` is what the name begins with. A reply without a body to name is named by its status.
    pub fn recognize(&self, replies: &Value, asked: &str, reply: &Reply) -> String {
        let status = reply.status.to_string();
        let documented = self.resolve(&replies[&status]);
        assert!(!documented.is_null(), "status not in openapi.yaml: {asked}: {reply:?}");
        for (name, header) in documented["headers"].as_object().unwrap() {
            let header = self.resolve(header);
            assert_eq!(header["required"], true, "{name}");
            let value = reply.header(&name.to_lowercase());
            let value = value.unwrap_or_else(|| panic!("{asked}: without {name}: {reply:?}"));
            self.must_fit(&header["schema"], &value.into(), name);
        }
        for name in ["Retry-After", "Access-Control-Expose-Headers"] {
            let documented = documented["headers"].get(name).is_some();
            assert_eq!(reply.header(&name.to_lowercase()).is_some(), documented, "{name}: {reply:?}");
        }
        let Some(content) = documented["content"].as_object() else {
            assert_eq!(reply.body, "", "{asked}: {reply:?}");
            return format!("{asked}: {status}");
        };
        let media = reply.header("content-type").unwrap().split(';').next().unwrap();
        let media = content.get(media).unwrap_or_else(|| panic!("{asked}: {media} is not in openapi.yaml"));
        let Some(examples) = media["examples"].as_object() else {
            return format!("{asked}: {status}");
        };
        if reply.body.is_empty() {
            return format!("{asked}: {status}");
        }

        let body = reply.json();
        self.must_fit(&media["schema"], &body, asked);
        let name = format!("{asked}: {}", result(asked, &body));
        let example = examples.get(&name);
        let example = example.unwrap_or_else(|| panic!("{name:?} is not in openapi.yaml: {reply:?}"));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(&body), keys(&example["value"]), "{name}");
        if body["ok"] == false {
            assert_eq!(body["error"], example["value"]["error"]);
            let seconds = body.get("retryAfter").map(Value::to_string);
            assert_eq!(reply.header("retry-after"), seconds.as_deref());
        }
        name
    }

    /// Every example that stands beside a schema, with it.
    pub fn examples(&self) -> Vec<(&str, &Value, &Value)> {
        let mut found = Vec::new();
        collect_examples(&self.0, &mut found);
        found
    }

    pub fn must_fit(&self, schema: &Value, value: &Value, what: &str) {
        if let Err(why) = self.fits(schema, value) {
            panic!("{what}: {value} does not fit the schema in openapi.yaml: {why}");
        }
    }

    /// Whether a value is as this schema says; if not, why.
    pub fn fits(&self, schema: &Value, value: &Value) -> Result<(), String> {
        match schema {
            Value::Bool(true) => Ok(()),
            Value::Bool(false) => Err("must not be there".into()),
            _ => {
                let rules = schema.as_object().unwrap();
                rules.iter().try_for_each(|(name, rule)| self.obeys(name, rule, value))
            }
        }
    }

    /// One keyword of JSON Schema. One that is unknown here fails the test rather than pass unseen.
    fn obeys(&self, keyword: &str, rule: &Value, value: &Value) -> Result<(), String> {
        let fitting = || rule.as_array().unwrap().iter().filter(|schema| self.fits(schema, value).is_ok());
        let number = |value: &Value| value.as_f64();
        let length = value.as_str().map(|text| text.chars().count() as u64);
        let items = value.as_array().map(|items| items.len() as u64);
        let holds = match keyword {
            "description" | "default" | "discriminator" | "format" => true,
            "$ref" => return self.fits(self.reference(rule), value),
            "type" => match rule {
                Value::Array(types) => types.iter().any(|name| is_a(name, value)),
                name => is_a(name, value),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "allOf" => {
                return rule.as_array().unwrap().iter().try_for_each(|schema| self.fits(schema, value));
            }
            "anyOf" => fitting().count() > 0,
            "oneOf" => fitting().count() == 1,
            "not" => self.fits(rule, value).is_err(),
            "required" => value.as_object().is_none_or(|object| all_in(rule, object)),
            "dependentRequired" => value.as_object().is_none_or(|object| {
                let mut rules = rule.as_object().unwrap().iter();
                rules.all(|(name, needs)| !object.contains_key(name) || all_in(needs, object))
            }),
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        self.fits(schema, value).map_err(|why| format!("{name}: {why}"))?;
                    }
                }
                true
            }
            "items" => {
                let mut items = value.as_array().into_iter().flatten();
                return items.try_for_each(|item| self.fits(rule, item));
            }
            "minItems" => items.is_none_or(|items| items >= rule.as_u64().unwrap()),
            "maxItems" => items.is_none_or(|items| items <= rule.as_u64().unwrap()),
            "minimum" => number(value).is_none_or(|value| value >= number(rule).unwrap()),
            "maximum" => number(value).is_none_or(|value| value <= number(rule).unwrap()),
            "minLength" => length.is_none_or(|length| length >= rule.as_u64().unwrap()),
            "maxLength" => length.is_none_or(|length| length <= rule.as_u64().unwrap()),
            "pattern" => {
                let pattern = Regex::new(rule.as_str().unwrap()).unwrap();
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            unknown => panic!("openapi.yaml has a keyword that this test does not know: {unknown}"),
        };
        if holds { Ok(()) } else { Err(format!("{keyword} {rule}")) }
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        value.get("$ref").map_or(value, |name| self.reference(name))
    }

    fn reference(&self, name: &Value) -> &Value {
        let pointer = name.as_str().unwrap().strip_prefix('#').unwrap();
        self.0.pointer(pointer).unwrap_or_else(|| panic!("openapi.yaml has no {name}"))
    }
}

/// What came of it, as the names of the examples say it.
fn result<'a>(asked: &str, body: &'a Value) -> &'a str {
    if let Some(error) = body["error"].as_str() {
        return error;
    }
    let has = |name: &str| body.get(name).is_some();
    match asked {
        "check" if has("boxes") && body["found"] == true => "found among many",
        "check" if has("boxes") => "nothing in many",
        "check" if body["found"] == true => "found",
        "check" if has("question") => "asked",
        "check" => "nothing",
        "receive" if has("messages") => "many",
        "receive" if has("data") => "one",
        "receive" => "nothing",
        _ => "ok",
    }
}

fn is_a(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        // As the relay does: 1.0 is not an integer.
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("openapi.yaml has a type that this test does not know: {other}"),
    }
}

fn all_in(names: &Value, object: &serde_json::Map<String, Value>) -> bool {
    let mut names = names.as_array().unwrap().iter();
    names.all(|name| object.contains_key(name.as_str().unwrap()))
}

fn collect_examples<'a>(here: &'a Value, found: &mut Vec<(&'a str, &'a Value, &'a Value)>) {
    match here {
        Value::Object(object) => {
            if let (Some(schema), Some(examples)) = (object.get("schema"), object.get("examples")) {
                let examples = examples.as_object().unwrap();
                found.extend(
                    examples.iter().map(|(name, example)| (name.as_str(), schema, &example["value"])),
                );
            }
            object.values().for_each(|value| collect_examples(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_examples(item, found)),
        _ => {}
    }
}
