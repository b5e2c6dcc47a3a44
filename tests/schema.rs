//! The JSON Schema of the file is what the model and its comments say: `make docs` writes it anew.

#[path = "schema/check.rs"]
mod check;
#[path = "schema/render.rs"]
mod render;
#[path = "schema/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use shardgate::config::ids::Ids;
use shardgate::config::load::load_text;
use shardgate::policy::Kind;

const FILE: &str = "docs/shardgate.schema.json";

#[test]
#[expect(clippy::disallowed_methods, reason = "whether the file is to be written, `make docs` says by the environment")]
fn the_schema_is_what_the_model_says() {
    let rendered = format!("{:#}\n", render::schema(&root()));
    if std::env::var_os("SHARDGATE_RENDER").is_some() {
        fs::write(root().join(FILE), &rendered).unwrap();
    }
    let written = fs::read_to_string(root().join(FILE)).unwrap_or_default();
    let differs = written.lines().zip(rendered.lines()).find(|(written, rendered)| written != rendered);
    assert!(written == rendered, "{FILE} is old: run `make docs`; the first difference: {differs:#?}");
}

#[test]
fn every_example_is_valid() {
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("config")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    assert!(files.len() > 10);
    for path in files {
        let wrong = wrong(&fs::read_to_string(&path).unwrap());
        assert!(wrong.is_empty(), "{path:?}: {wrong:#?}");
    }
}

/// What is wrong with a file, by the schema.
fn wrong(yaml: &str) -> Vec<String> {
    let schema: Value = serde_json::from_str(&fs::read_to_string(root().join(FILE)).unwrap()).unwrap();
    let file: Value = serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"));
    check::check(&schema, &file)
}

/// `rest` follows what every file has.
#[track_caller]
fn refused(rest: &str, at: &str) {
    let yaml = format!("version: 1\nlisteners: [{{ name: a, address: \"127.0.0.1:1\" }}]\n{rest}");
    let wrong = wrong(&yaml);
    assert!(wrong.iter().any(|line| line.contains(at)), "{rest}: {wrong:#?}");
    let loaded = load_text("f", &yaml, &mut Ids::default(), &|_| Ok(vec![([127, 0, 0, 1], 1).into()]));
    assert!(loaded.is_err(), "the gateway takes it: {rest}");
}

#[test]
fn a_file_that_the_gateway_cannot_read_is_not_valid() {
    let route = |rest: &str| {
        format!("services: [{{ name: s, endpoints: [\"a:1\"] }}]\nroutes: [{{ name: r, service: s, {rest} }}]")
    };
    for (rest, at) in [
        ("lisen: []", "/: `lisen`"),
        ("limits: { head_byte_max: 1 }", "/limits: `head_byte_max`"),
        ("limits: { fields_max: 0 }", "/limits/fields_max: less than 1"),
        ("limits: { head_bytes_max: 65536 }", "/limits/head_bytes_max: more than 65535"),
        ("limits: { fields_max: \"100\" }", "/limits/fields_max: not "),
        ("limits: { fields_max: 1.5 }", "/limits/fields_max: not "),
        ("services: [{ name: s }]", "/services/0: no `endpoints`"),
        ("services: { name: s }", "/services: not "),
        ("runtime: { event_loop: kqueue }", "/runtime/event_loop: not "),
        ("runtime: { shards: 0 }", "/runtime/shards: less than 1"),
        ("logging: { level: trace }", "/logging/level: not "),
        ("authentication: { bypass_local: maybe }", "/authentication/bypass_local: not "),
        ("profiles: { testing: {} }", "/profiles: `testing`"),
        ("profiles: { staging: { rate_limiting: { enable: true } } }", "/profiles/staging/rate_limiting: `enable`"),
        ("policies: [{ jwt: {} }]", "/policies/0/jwt: no `issuers`"),
        ("policies: [{ nothing: {} }]", "/policies/0: `nothing`"),
        ("policies: [{ ip_filter: { allow: [], denies: [] } }]", "/policies/0/ip_filter: `denies`"),
        ("policies: [{ ip_filter: { allow: [\"10.0.0.0/8\"] }, cors: {} }]", "/policies/0: more than 1 key"),
        ("policies: [{ rate_limit: { requests_per_second: 0 } }]", "/policies/0/rate_limit/requests_per_second: less"),
        ("policies: [{ rate_limit: { requests_per_second: 1, key: [ip] } }]", "/policies/0/rate_limit/key/0: not "),
        ("policies: [{ authorize: { roles: [admin] } }]", "/policies/0/authorize/roles: not "),
        ("policy_order: [jwt, nobody]", "/policy_order/1: not "),
        (&route("paths: [{ prefixed: /a }]"), "/routes/0/paths/0: `prefixed`"),
        (&route("upgrade: [h2c]"), "/routes/0/upgrade/0: not "),
        (&route("split: { arms: [{ service: s, percent: 101 }] }"), "/routes/0/split/arms/0/percent: more than 100"),
        (&route("rewrite: { path: { whole: 1 } }"), "/routes/0/rewrite/path"),
    ] {
        refused(rest, at);
    }
    assert_eq!(wrong("version: 1"), ["/: no `listeners`"]);
}

/// The keys are those that the parser tells to who writes an unknown one.
#[test]
fn the_schema_has_every_key_that_the_parser_knows_and_no_other() {
    let schema: Value = serde_json::from_str(&fs::read_to_string(root().join(FILE)).unwrap()).unwrap();
    let same = |place: &str, inner: &str| {
        let text = format!("{{version: 1, listeners: [], {inner}}}");
        let problems = load_text("f", &text, &mut Ids::default(), &|_| Ok(Vec::new())).unwrap_err();
        let (_, known) = problems.list[0].help.split_once("known keys here: ").expect("the help lists the keys");
        let mut known: Vec<&str> = known.split(", ").collect();
        known.sort_unstable();
        let described = check::properties(&schema, place);
        assert_eq!(described.iter().map(String::as_str).collect::<Vec<_>>(), known, "{place}");
    };
    same("/", "zzzzzzzzzzzz: 1");
    for section in check::properties(&schema, "/") {
        let place = format!("/{section}");
        if !check::properties(&schema, &place).is_empty() {
            same(&place, &format!("{section}: {{ zzzzzzzzzzzz: 1 }}"));
        }
    }
    for kind in Kind::ALL {
        let name = kind.name();
        same(&format!("/policies/0/{name}"), &format!("policies: [{{ {name}: {{ zzzzzzzzzzzz: 1 }} }}]"));
    }
    for objects in ["services", "routes"] {
        same(&format!("/{objects}/0"), &format!("{objects}: [{{ zzzzzzzzzzzz: 1 }}]"));
    }
}

#[test]
fn every_key_is_described_and_defaults_and_bounds_are_there() {
    let schema: Value = serde_json::from_str(&fs::read_to_string(root().join(FILE)).unwrap()).unwrap();
    let fields = check::at(&schema, "/limits/fields_max");
    let member = |name: &str| fields.get(name).and_then(Value::as_u64);
    assert_eq!((member("minimum"), member("maximum"), member("default")), (Some(1), Some(256), Some(100)));
    assert!(fields["description"].as_str().is_some_and(|text| text.contains("431")), "{fields}");
    assert_eq!(check::at(&schema, "/access_log/enabled")["default"], true);
    assert_eq!(check::at(&schema, "/logging/level")["default"], "info");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
