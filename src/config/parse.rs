//! Text to [`Model`]: whatever the YAML parser or serde objects to becomes a [`Problem`] in our words.

use serde_saphyr::{DefaultMessageFormatter, Error, MessageFormatter};

use super::model::Model;
use super::problem::{Origin, Problem};
use super::suggest::nearest;

/// Reads one file. The parser stops at the first problem.
pub fn parse(file: &str, text: &str) -> Result<Model, Problem> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        // `yes` and `on` are words in YAML 1.2.
        strict_booleans: true,
        budget: serde_saphyr::budget! { max_nodes: NODES_MAX, max_events: 4 * NODES_MAX },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| problem(file, &error))
}

fn problem(file: &str, error: &Error) -> Problem {
    let origin = origin(file, error);
    let new = |what: String, help: String| Problem::new(&origin, what, help);
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => problem(file, error),
        Error::SerdeUnknownField { field, expected, .. } => {
            new(format!("unknown key `{}`", field.escape_debug()), instead(field, expected, "keys"))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            new(format!("unknown value `{}`", variant.escape_debug()), instead(variant, expected, "values"))
        }
        Error::SerdeMissingField { field, .. } => new(format!("key `{field}` is missing"), "add it".into()),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            new(format!("key `{}` is given twice", key.escape_debug()), "keep one".into())
        }
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            new(format!("{unexpected} cannot stand here"), format!("write {expected}"))
        }
        Error::Unexpected { expected: "sequence start", .. } => {
            new("no list".into(), "write `[a, b]`, or lines of `- a`".into())
        }
        Error::Unexpected { expected: "mapping start", .. } => {
            new("no keys and values".into(), "write `{ key: value }`, or lines of `key: value`".into())
        }
        Error::Unexpected { expected: "mapping end", .. } => new("a second key".into(), "keep one".into()),
        Error::Unexpected { expected: "string scalar", .. } | Error::NullIntoString { .. } => {
            new("no text".into(), "write one word, or text in quotes".into())
        }
        Error::InvalidBooleanStrict { .. } => new("neither true nor false".into(), "write `true` or `false`".into()),
        Error::MultipleDocuments { .. } => new("a second document".into(), "remove it with its `---`".into()),
        Error::Eof { .. } => new("the file ends too early".into(), "begin with `version: 1`".into()),
        _ => {
            let message = DefaultMessageFormatter.format_message(error);
            new(one_line(&message), "correct the YAML here or just above".into())
        }
    }
}

fn origin(file: &str, error: &Error) -> Origin {
    match error.location() {
        Some(location) => Origin {
            file: file.into(),
            line: u32::try_from(location.line()).unwrap_or(0),
            column: u32::try_from(location.column()).unwrap_or(0),
        },
        None => Origin::whole(file),
    }
}

fn instead(word: &str, known: &[&'static str], kind: &str) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known {kind} here: {}", known.join(", ")),
    }
}

fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(", ")
}

/// Keys, values, lists: some 100,000 routes. The parser's other bounds (depth, aliases) are its own.
const NODES_MAX: usize = 2_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// `rest` follows a valid beginning of two lines.
    #[track_caller]
    fn check(rest: &str, want: &str) {
        let text = format!("version: 1\nlisteners: [{{ name: a, address: \"127.0.0.1:1\" }}]\n{rest}");
        match parse("f.yaml", &text) {
            Ok(_) => assert_eq!("ok", want, "{rest}"),
            Err(problem) => assert_eq!(problem.to_string(), want, "{rest}"),
        }
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        check("lisen: []", "f.yaml:3:1: unknown key `lisen`: did you mean `listeners`?");
        check(
            "services:\n  - name: s\n    endpoint: [\"a:1\"]",
            "f.yaml:5:5: unknown key `endpoint`: did you mean `endpoints`?",
        );
        check(
            "limits: { head_byte_max: 1 }",
            "f.yaml:3:11: unknown key `head_byte_max`: did you mean `head_bytes_max`?",
        );
        check(
            "plugins: []",
            "f.yaml:3:1: unknown key `plugins`: known keys here: version, listeners, services, routes, \
             consumers, consumer_groups, api_keys, policies, policy_order, rate_limiting, limits, trust, http, \
             access_log, admin, runtime, shutdown, profiles",
        );
    }

    #[test]
    fn a_missing_or_repeated_key_is_named() {
        check("services: [{ name: s }]", "f.yaml:3:14: key `endpoints` is missing: add it");
        check("limits: {}\nlimits: {}", "f.yaml:4:1: key `limits` is given twice: keep one");
        check("trust: { proxies: [], proxies: [] }", "f.yaml:3:23: key `proxies` is given twice: keep one");
    }

    #[test]
    fn a_wrong_value_says_what_fits() {
        check(
            "limits: { fields_max: 257 }",
            "f.yaml:3:11: integer `257` cannot stand here: write a whole number from 1 to 256",
        );
        check(
            "limits: { idle_timeout_ms: 10s }",
            "f.yaml:3:11: string \"10s\" cannot stand here: write a whole number from 1 to 86400000",
        );
        check(
            "routes:\n  - { name: r, service: s, paths: [{ glob: /a }] }",
            "f.yaml:4:38: unknown value `glob`: known values here: prefix, exact, regex",
        );
        check(
            "routes: [{ name: r, service: s, paths: [1] }]",
            "f.yaml:3:41: integer `1` cannot stand here: \
             write a path, `{ prefix: \"/path\" }`, `{ exact: \"/path\" }` or `{ regex: \"/path\" }`",
        );
        check(
            "routes: [{ name: r, service: s, upgrade: [websockets] }]",
            "f.yaml:3:43: unknown value `websockets`: did you mean `websocket`?",
        );
        check("access_log: { enabled: yes }", "f.yaml:3:24: neither true nor false: write `true` or `false`");
        check("services: 7", "f.yaml:3:11: no list: write `[a, b]`, or lines of `- a`");
        check("services: [7]", "f.yaml:3:12: no keys and values: write `{ key: value }`, or lines of `key: value`");
        check("routes: [{ name: [], service: s }]", "f.yaml:3:18: no text: write one word, or text in quotes");
        check("routes: [{ name: null, service: s }]", "f.yaml:3:18: no text: write one word, or text in quotes");
        check(
            "routes: [{ name: r, service: s, paths: [{ prefix: /a, exact: /b }] }]",
            "f.yaml:3:55: a second key: keep one",
        );
    }

    #[test]
    fn broken_yaml_says_where() {
        check("routes: [", "f.yaml:3:9: unclosed bracket '[': correct the YAML here or just above");
        check(
            "\troutes: []",
            "f.yaml:3:2: while parsing a block mapping, did not find expected key: correct the YAML here or just above",
        );
        check("---\nx: y", "f.yaml:4:1: a second document: remove it with its `---`");
        check("http: *b", "f.yaml:3:7: alias references unknown anchor: correct the YAML here or just above");
    }

    #[test]
    fn null_and_empty_sections_are_defaults() {
        check("limits: { body_bytes_max: null, idle_timeout_ms: ~ }\nhttp: {}", "ok");
    }

    #[test]
    fn an_empty_file_says_how_to_begin() {
        let problem = parse("f.yaml", "").unwrap_err();
        assert_eq!(problem.to_string(), "f.yaml:1:1: the file ends too early: begin with `version: 1`");
    }
}
