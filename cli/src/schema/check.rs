//! Whether payloads match a JSON Schema. Pure.
//!
//! A schema stands alone: nothing that it refers to is ever fetched, from a file or
//! from the net, since it may come from a worker that nobody here knows.

use std::error::Error;
use std::io;

use boon::{CompileError, Compiler, SchemaIndex, Schemas, UrlLoader, ValidationError};
use homing_protocol::Schema;
use serde_json::Value;

use super::watch::Turns;
use crate::clean::for_terminal;

/// What the schema is called while it is read: a name that relative references can
/// be resolved against, and that leads nowhere.
const NAME: &str = "homing:///schema";

/// The stack of a thread that checks. Only what is used takes memory.
pub(crate) const STACK_BYTES: usize = 256 << 20;

/// What a part of a schema takes of the stack at most, once for every level of a
/// payload: each may refer to the next.
const PART_BYTES: usize = 4 << 10;

/// Things that are told of one payload.
const TOLD_MAX: usize = 3;

/// Characters of each that are told: it may name a value as large as a payload.
const CHARS_MAX: usize = 160;

/// A schema, ready to check payloads by.
pub(crate) struct Check {
    schemas: Schemas,
    index: SchemaIndex,
    /// How many schemas it is made of, at most.
    parts: usize,
    turns: Turns,
}

impl Check {
    /// Reads `schema`, as of draft 2020-12 if it names no other.
    ///
    /// # Errors
    ///
    /// Why nothing can be checked by it.
    pub(crate) fn new(schema: &Schema) -> Result<Self, String> {
        with_room(|| Self::compile(schema))
            .map_err(|error| format!("there is no room to check in: {error}"))?
    }

    fn compile(schema: &Schema) -> Result<Self, String> {
        let value: Value = serde_json::from_str(schema.as_str()).map_err(|e| e.to_string())?;
        let parts = parts(&value);
        let mut compiler = Compiler::new();
        compiler.use_loader(Box::new(Elsewhere));
        let mut schemas = Schemas::new();
        let added = compiler.add_resource(NAME, value);
        added.map_err(|error| unusable(&error))?;
        let index = compiler.compile(NAME, &mut schemas);
        let index = index.map_err(|error| unusable(&error))?;
        Ok(Self {
            schemas,
            index,
            parts,
            turns: Turns::default(),
        })
    }

    /// The beginnings and ends of its checks.
    pub(crate) fn turns(&self) -> Turns {
        self.turns.clone()
    }

    /// Where a payload, which is JSON, does not match, and how; `None` if it does, or
    /// has what nothing here can hold, such as a number beyond all ranges. To be called
    /// where there is a stack of [`STACK_BYTES`], and watched: it may have no end.
    pub(crate) fn misfit(&self, payload: &[u8]) -> Option<String> {
        let value: Value = serde_json::from_slice(payload).ok()?;
        // One level of room is for all else.
        if self.parts.saturating_mul(depth(&value) + 1) > STACK_BYTES / PART_BYTES {
            return Some("it is nested too deep to be checked by a schema so large".to_owned());
        }
        let check = || {
            let error = self.schemas.validate(&value, self.index).err()?;
            Some(told(&error))
        };
        self.turns.turn(check)
    }
}

/// How many objects and booleans, each of which may be a schema, are in `value`.
fn parts(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(parts).sum::<usize>(),
        Value::Array(items) => items.iter().map(parts).sum(),
        Value::Bool(_) => 1,
        _ => 0,
    }
}

/// How many arrays and objects are within one another, and what is innermost.
fn depth(value: &Value) -> usize {
    let within = match value {
        Value::Object(fields) => fields.values().map(depth).max(),
        Value::Array(items) => items.iter().map(depth).max(),
        _ => None,
    };
    1 + within.unwrap_or(0)
}

/// Does `work` on a thread whose stack no schema exhausts.
///
/// # Errors
///
/// There is no room for that thread.
fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        let done = builder.spawn_scoped(scope, work)?.join();
        Ok(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Fetches nothing.
struct Elsewhere;

impl UrlLoader for Elsewhere {
    fn load(&self, _: &str) -> Result<Value, Box<dyn Error>> {
        Err("it is outside of the schema".into())
    }
}

fn unusable(error: &CompileError) -> String {
    let text = match error {
        CompileError::LoadUrlError { url, .. } => {
            let outside = url.strip_prefix("homing:///").unwrap_or(url);
            format!("it refers to `{outside}`, and what is outside of it is not fetched")
        }
        CompileError::ValidationError { src, .. } => return told(src),
        other => format!("{other:#}").replace(NAME, ""),
    };
    cut(&for_terminal(&text))
}

/// The first things that do not match, each with where it is as a JSON pointer.
fn told(error: &ValidationError<'_, '_>) -> String {
    let (mut texts, mut more) = (Vec::new(), 0_usize);
    gather(error, &mut texts, &mut more);
    let mut text = texts.join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

/// What lies at the bottom of an error: what is above it only says that there is one.
fn gather(error: &ValidationError<'_, '_>, texts: &mut Vec<String>, more: &mut usize) {
    if !error.causes.is_empty() {
        let causes = error.causes.iter();
        return causes.for_each(|cause| gather(cause, texts, more));
    }
    if texts.len() == TOLD_MAX {
        *more += 1;
        return;
    }
    let what = cut(&for_terminal(&error.kind.to_string()));
    let text = match for_terminal(&error.instance_location.to_string()) {
        root if root.is_empty() => what,
        pointer => format!("{}: {what}", cut(&pointer)),
    };
    if !texts.contains(&text) {
        texts.push(text);
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value) -> Result<Check, String> {
        Check::new(&Schema::new(schema).unwrap())
    }

    fn misfit(schema: &Value, payload: &Value) -> Option<String> {
        let check = check(schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
        with_room(|| check.misfit(payload.to_string().as_bytes())).unwrap()
    }

    #[test]
    fn what_does_not_match_is_told_with_its_place() {
        let schema = json!({
            "type": "object",
            "required": ["path"],
            "properties": {
                "path": { "type": "string" },
                "a/b": { "items": { "type": "integer" } },
            },
            "additionalProperties": false,
        });

        assert_eq!(misfit(&schema, &json!({ "path": "x" })), None);
        assert_eq!(
            misfit(&schema, &json!({ "pth": "x" })).unwrap(),
            "missing properties 'path'; additionalProperties 'pth' not allowed"
        );
        assert_eq!(
            misfit(&schema, &json!({ "path": 1, "a/b": [1, "x\n"] })).unwrap(),
            "/a~1b/1: want integer, but got string; /path: want string, but got number"
        );
    }

    #[test]
    fn of_many_things_the_first_are_told_and_none_at_length() {
        let schema = json!({ "items": { "pattern": "^a*$" } });
        let long = "b\u{1b}[2J".repeat(1_000);
        let payload = json!([&long, &long, &long, &long, &long]);

        let text = misfit(&schema, &payload).unwrap();

        assert!(text.ends_with("; and 2 more"), "{text}");
        assert!(
            text.chars().count() < 600 && !text.contains('\u{1b}'),
            "{text}"
        );
    }

    #[test]
    fn each_way_that_was_open_is_told() {
        let schema = json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] });

        assert_eq!(misfit(&schema, &json!(null)), None);
        assert_eq!(
            misfit(&schema, &json!(1)).unwrap(),
            "want string, but got number; want null, but got number"
        );
    }

    #[test]
    fn nothing_outside_of_a_schema_is_fetched() {
        let error = |to: &str| check(&json!({ "$ref": to })).err().unwrap();

        for to in ["file:///etc/passwd", "https://example.com/x.json"] {
            let text = format!("it refers to `{to}`, and what is outside of it is not fetched");
            assert_eq!(error(to), text);
        }
        assert!(error("other.json").starts_with("it refers to `other.json`"));
        let meta = json!({ "$schema": "https://example.com/meta" });
        assert!(check(&meta).is_err());
    }

    #[test]
    fn a_schema_may_refer_to_itself_and_one_that_goes_in_circles_matches_nothing() {
        let tree = json!({
            "$defs": { "tree": { "type": "object", "additionalProperties": { "$ref": "#/$defs/tree" } } },
            "$ref": "#/$defs/tree",
        });

        assert_eq!(misfit(&tree, &json!({ "a": { "b": {} } })), None);
        assert!(misfit(&tree, &json!({ "a": { "b": 1 } })).is_some());
        assert!(misfit(&json!({ "$ref": "#" }), &json!(1)).is_some());
    }

    #[test]
    fn a_schema_that_leads_from_one_reference_to_the_next_takes_no_more_than_there_is() {
        let to = |next: usize| json!({ "$ref": format!("#/$defs/{next}") });
        let mut defs: serde_json::Map<_, _> = (0..1_500)
            .map(|number| (number.to_string(), json!({ "not": to(number + 1) })))
            .collect();
        defs.insert("1500".to_owned(), json!({ "items": to(0) }));
        let schema = json!({ "$defs": defs, "$ref": "#/$defs/0" });

        assert_eq!(misfit(&schema, &json!([[[1]]])), None);
        let deep = (0..62).fold(json!(1), |within, _| json!([within]));
        let text = misfit(&schema, &deep).unwrap();
        assert!(text.starts_with("it is nested too deep"), "{text}");
        // The deepest that is checked.
        let deep = (0..18).fold(json!(1), |within, _| json!([within]));
        assert_eq!(misfit(&schema, &deep), None);
    }

    #[test]
    fn a_schema_with_too_many_ways_to_go_is_left_after_a_while() {
        let twice = |next: usize| {
            let to = format!("#/$defs/{next}");
            json!({ "allOf": [{ "$ref": to }, { "$ref": to }] })
        };
        let mut defs: serde_json::Map<_, _> = (0..60)
            .map(|number| (number.to_string(), twice(number + 1)))
            .collect();
        defs.insert("60".to_owned(), json!(true));
        let schema = json!({ "$defs": defs, "$ref": "#/$defs/0" });
        let check = check(&schema).unwrap_or_else(|error| panic!("{error}"));
        let (turns, time) = (check.turns(), std::time::Duration::from_millis(100));

        let checked = super::super::in_time(time, turns, move || check.misfit(b"1"));

        assert_eq!(checked.unwrap(), None);
    }

    #[test]
    fn what_nothing_here_can_hold_is_left_to_the_worker() {
        let check = check(&json!({ "type": "integer" })).unwrap_or_else(|e| panic!("{e}"));

        assert_eq!(with_room(|| check.misfit(b"1e999")).unwrap(), None);
    }

    #[test]
    fn very_many_misfits_of_one_payload_are_counted() {
        let payload: Vec<_> = (0..50_000).collect();

        let text = misfit(&json!({ "items": { "type": "string" } }), &json!(payload)).unwrap();

        assert!(text.ends_with("; and 49997 more"), "{text}");
    }

    #[test]
    fn a_pattern_that_would_take_too_much_memory_is_refused() {
        assert!(check(&json!({ "pattern": "((a{1,999}){1,999}){1,999}" })).is_err());
    }

    #[test]
    fn a_schema_that_is_none_is_told_with_its_place() {
        for (schema, text) in [
            (
                json!({ "type": "text" }),
                "/type: value must be one of 'array'",
            ),
            (
                json!({ "pattern": "(" }),
                "/pattern: '(' is not valid regex",
            ),
            (
                json!({ "$ref": "#/nowhere" }),
                "json-pointer in #/nowhere not found",
            ),
        ] {
            let error = check(&schema).err().unwrap();

            assert!(error.starts_with(text), "{error}");
        }
    }

    #[test]
    fn true_takes_anything_and_false_nothing() {
        assert_eq!(misfit(&json!(true), &json!([1])), None);
        assert!(misfit(&json!(false), &json!([1])).is_some());
    }
}
