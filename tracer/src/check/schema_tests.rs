//! `docs/policy.schema.json`: made from the same tables as the parser, and held against it both ways.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::metric::{Metric, ROWS, Selector, Unit};
use super::parse::MAX_REPEAT;
use super::policy::{Bound, Coverage, Policy, Severity};
use super::units::BYTE_UNITS;
use crate::config::node::{self, Node, Value as Yaml};

fn bytes() -> Value {
    let units = BYTE_UNITS.map(|(name, _)| name).join("|");
    let pattern = format!(r"^[0-9]+(\.[0-9]+)? ?({units})?$");
    json!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": pattern}]})
}

fn duration(least: u32) -> Value {
    let unit = "(ns|nsec|us|usec|ms|msec|s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|hrs|hour|hours|d|day|days)";
    let pattern = format!("^[0-9]+ ?{unit}( ?[0-9]+ ?{unit})*$");
    match least {
        0 => json!({"anyOf": [{"const": 0}, {"type": "string", "pattern": pattern}]}),
        _ => json!({"type": "string", "pattern": pattern}),
    }
}

const PERCENT: &str = r"^[0-9]+(\.[0-9]+)? ?%$";

/// Written once, below `$defs`.
fn shared(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn amount(unit: Unit) -> Value {
    shared(match unit {
        Unit::Bytes => "bytes",
        Unit::Count => "count",
        Unit::Ratio => "ratio",
        Unit::Share => "share",
    })
}

fn written(unit: Unit) -> Value {
    match unit {
        Unit::Bytes => bytes(),
        Unit::Count => json!({"type": "integer", "minimum": 0}),
        Unit::Ratio => json!({"type": "number", "minimum": 0}),
        Unit::Share => json!({"anyOf": [
            {"type": "number", "minimum": 0, "maximum": 1},
            {"type": "string", "pattern": r"^(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?) ?%$"},
        ]}),
    }
}

/// What one metric allows: its selectors, and limits in its unit.
fn of_metric(metric: Metric) -> Value {
    let row = metric.row();
    let mut properties = Map::new();
    for selector in Selector::ALL {
        let schema = match (row.selectors.contains(&selector), selector.words(metric)) {
            (false, _) => json!(false),
            (true, Some(_)) if selector != Selector::Kind => shared(selector.name()),
            (true, Some(words)) => json!({"enum": words}),
            (true, None) => json!({"type": ["string", "integer"]}),
        };
        properties.insert(selector.name().to_owned(), schema);
    }
    let percent = shared("percent");
    for key in Bound::KEYS {
        let schema = match key {
            "max_increase" | "max_decrease" if row.unit == Unit::Share => percent.clone(),
            "max_increase" | "max_decrease" => json!({"anyOf": [percent, amount(row.unit)]}),
            _ => amount(row.unit),
        };
        properties.insert(key.to_owned(), schema);
    }
    let mut then = json!({"properties": properties});
    if metric == Metric::PayloadShare {
        then["required"] = json!(["path"]);
    }
    json!({"if": {"properties": {"metric": {"const": row.name}}, "required": ["metric"]}, "then": then})
}

fn assertion() -> Value {
    let mut properties = Map::new();
    let mut add = |key: &str, schema: Value| properties.insert(key.to_owned(), schema);
    add(
        "name",
        json!({"type": ["string", "number", "boolean"], "description": "how reports call it; unique"}),
    );
    let described: Vec<Value> =
        ROWS.iter().map(|row| json!({"const": row.name, "description": row.help})).collect();
    add("metric", json!({"oneOf": described}));
    for selector in Selector::ALL {
        add(selector.name(), json!(true));
    }
    for key in Bound::KEYS {
        add(key, json!(true));
    }
    add(
        "baseline",
        json!({"type": "string", "description": "a file saved by `tracer record`, relative to the policy"}),
    );
    add("severity", json!({"enum": Severity::WORDS, "default": "error"}));
    let limits: Vec<Value> = Bound::KEYS.iter().map(|key| json!({"required": [key]})).collect();
    json!({
        "type": "object",
        "required": ["metric"],
        "additionalProperties": false,
        "properties": properties,
        "anyOf": limits,
        "dependentRequired": {"max_increase": ["baseline"], "max_decrease": ["baseline"]},
        "allOf": ROWS.iter().map(|row| of_metric(row.metric)).collect::<Vec<_>>(),
    })
}

fn schema() -> Value {
    let command = json!({"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}});
    let pid = json!({"type": "integer", "minimum": 1, "maximum": 4_194_304});
    let object = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties});
    let mut target = object(
        &[],
        json!({
            "command": command,
            "pid": {"anyOf": [pid, {"type": "array", "minItems": 1, "items": pid}]},
            "comm": {"type": ["string", "number"]},
            "cgroup": {"type": "string"},
            "children": {"type": "boolean", "default": true},
        }),
    );
    let one_of = ["command", "pid", "comm", "cgroup"].map(|key| json!({"required": [key]}));
    target["oneOf"] = json!(one_of);
    let properties = json!({
        "version": {"const": 1},
        "target": target,
        "driver": object(&["command"], json!({"command": command})),
        "window": object(&[], json!({
            "warmup": duration(0),
            "settle": duration(0),
            "repeat": {"type": "integer", "minimum": 1, "maximum": MAX_REPEAT},
            "duration": duration(1),
        })),
        "require": object(&[], json!({
            "coverage": {"enum": Coverage::WORDS},
            "missed_events": {"type": "integer", "minimum": 0},
            "min_payload": shared("bytes"),
            "calibrate": {"type": "boolean"},
        })),
        "assertions": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/assertion"}},
        "allow": {"type": "array", "items": object(&["what", "path", "max_bytes_per_call"], json!({
            "what": {"type": ["string", "number", "boolean"]},
            "path": shared("path"),
            "direction": shared("direction"),
            "max_bytes_per_call": shared("bytes"),
        }))},
    });
    let mut schema = object(&["version", "assertions"], properties);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("tracer check policy, version 1");
    let mut defs = Map::new();
    defs.insert("assertion".to_owned(), assertion());
    defs.insert("percent".to_owned(), json!({"type": "string", "pattern": PERCENT}));
    for (name, unit) in
        [("bytes", Unit::Bytes), ("count", Unit::Count), ("ratio", Unit::Ratio), ("share", Unit::Share)]
    {
        defs.insert(name.to_owned(), written(unit));
    }
    for selector in Selector::ALL.into_iter().filter(|selector| *selector != Selector::Kind) {
        if let Some(words) = selector.words(Metric::CopiedBytes) {
            defs.insert(selector.name().to_owned(), json!({"enum": words}));
        }
    }
    schema["$defs"] = defs.into();
    schema
}

/// A document as JSON has it: plain words may be numbers or booleans.
fn as_json(node: &Node) -> Value {
    match &node.value {
        Yaml::Scalar { text, plain: true } if node.is_null() || text.is_empty() => Value::Null,
        Yaml::Scalar { text, plain: true } => match (text.parse::<u64>(), text.parse::<f64>(), text.as_str())
        {
            (Ok(whole), ..) => json!(whole),
            (_, Ok(number), _) if number.is_finite() => json!(number),
            (_, _, "true") => json!(true),
            (_, _, "false") => json!(false),
            _ => json!(text),
        },
        Yaml::Scalar { text, .. } => json!(text),
        Yaml::List(nodes) => nodes.iter().map(as_json).collect(),
        Yaml::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), as_json(&entry.node)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

struct Validator {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
}

impl Validator {
    fn new() -> Self {
        let mut schemas = boon::Schemas::new();
        let mut compiler = boon::Compiler::new();
        compiler.add_resource("policy.schema.json", schema()).expect("a resource");
        let index =
            compiler.compile("policy.schema.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
        Validator { schemas, index }
    }

    fn accepts(&self, text: &str) -> Result<(), String> {
        let root =
            node::parse(text.as_bytes(), &super::parse::KIND).map_err(|problem| problem.to_string())?;
        self.schemas.validate(&as_json(&root), self.index).map_err(|error| format!("{error:#}"))
    }
}

#[test]
fn the_file_is_what_the_tables_say() {
    let path = Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells it"))
        .join("../docs/policy.schema.json");
    let text = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("written");
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(file == text, "{} is old: UPDATE_GOLDEN=1 writes it", path.display());
}

#[test]
fn what_the_parser_takes_the_schema_takes() {
    let validator = Validator::new();
    let mut policies = vec![include_str!("../../../docs/policy.yaml").to_owned()];
    for row in &ROWS {
        let limit = match row.unit {
            Unit::Bytes => "64 MiB",
            Unit::Count => "40",
            Unit::Ratio => "0.5",
            Unit::Share => "99.5%",
        };
        let path = if row.metric == Metric::PayloadShare { ", path: send" } else { "" };
        for bound in ["min", "max", "equals"] {
            policies
                .push(format!("version: 1\nassertions: [{{metric: {}, {bound}: {limit}{path}}}]", row.name));
        }
        policies.push(format!(
            "version: 1\nassertions: [{{metric: {}, baseline: a, max_increase: 5 %{path}, severity: warn}}]",
            row.name
        ));
        for selector in row.selectors {
            let words = selector.words(row.metric).unwrap_or_else(|| vec!["word", "17"]);
            for word in words {
                let path = if *selector == Selector::Path { "" } else { path };
                let (name, selector) = (row.name, selector.name());
                policies.push(format!(
                    "version: 1\nassertions: [{{metric: {name}, {selector}: {word}, max: {limit}{path}}}]"
                ));
            }
        }
    }
    for addition in GOOD {
        policies.push(format!("version: 1\nassertions: [{{metric: copies, max: 0}}]\n{addition}\n"));
    }
    for text in &policies {
        Policy::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
        validator.accepts(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    }
}

const GOOD: [&str; 9] = [
    "target: {pid: 1}",
    "target: {pid: [1, 4194304], children: false}",
    "target: {comm: nginx}",
    "target: {cgroup: /system.slice}",
    "target: {command: [a, 1, 1.5, true, 'null']}",
    "window: {warmup: 0, settle: 0s, repeat: 1000, duration: 1m 30s}",
    "require: {coverage: unproven, missed_events: 9, min_payload: 1.5GiB, calibrate: false}",
    "allow: []",
    "allow: [{what: x, path: write, direction: to_user, max_bytes_per_call: 144}]",
];

/// What the parser refuses and the schema too. (It cannot tell duplicate names, or a minimum above a
/// maximum; an editor shows those only when tracer runs.)
const BAD: [&str; 26] = [
    "windw: {warmup: 2s}",
    "window: {warm_up: 2s}",
    "window: {warmup: -2s}",
    "window: {warmup: 2parsecs}",
    "window: {duration: 0}",
    "window: {repeat: 0}",
    "window: {repeat: 1001}",
    "window: {repeat: 1.5}",
    "window: 2s",
    "require: {coverage: partial}",
    "require: {min_payload: 64Mib}",
    "require: {missed_events: -1}",
    "require: {calibrate: yes}",
    "target: {}",
    "target: {pid: 1, comm: x}",
    "target: {pid: 0}",
    "target: {pid: []}",
    "target: {command: ./server}",
    "target: {command: []}",
    "target: {command: [a, [b]]}",
    "driver: {}",
    "allow: {what: x}",
    "allow: [{path: write, max_bytes_per_call: 4KiB}]",
    "allow: [{what: x, path: wriet, max_bytes_per_call: 4KiB}]",
    "allow: [{what: x, path: write}]",
    "version: 2",
];

#[test]
fn what_the_schema_refuses_the_parser_refuses() {
    let validator = Validator::new();
    let with =
        |addition: &&str| format!("version: 1\nassertions: [{{metric: copies, max: 0}}]\n{addition}\n");
    let mut policies: Vec<String> = BAD.iter().map(with).collect();
    let asserting = [
        "metric: copied_byte, max: 0",
        "metric: copies",
        "max: 0",
        "metric: copies, maximum: 0",
        "metric: copies, path: sendfiles, max: 0",
        "metric: mode_switches, path: read, max: 0",
        "metric: copies, max: 4KiB",
        "metric: copied_bytes, max: 40ms",
        "metric: copied_bytes, max: -1",
        "metric: copies_per_byte, max: .nan",
        "metric: payload_share, path: send, min: 99",
        "metric: payload_share, path: send, min: 101%",
        "metric: payload_share, min: 0.9",
        "metric: copies, max_increase: 5%",
        "metric: copies, max: 0, severity: fatal",
        "metric: context_switches, kind: copy, max: 0",
    ];
    policies.extend(asserting.iter().map(|keys| format!("version: 1\nassertions: [{{{keys}}}]\n")));
    policies.extend(
        ["version: 1\n", "version: 1\nassertions: []\n", "assertions: [{metric: copies, max: 0}]"]
            .map(str::to_owned),
    );
    for text in &policies {
        assert!(Policy::parse(text.as_bytes()).is_err(), "the parser takes\n{text}");
        assert!(validator.accepts(text).is_err(), "the schema takes\n{text}");
    }
}
