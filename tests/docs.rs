//! The reference page of policies is what the comments on their configuration say: `make docs` writes it anew.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use shardgate::policy::Kind;

/// Each policy and the example that shows it.
const EXAMPLES: &[(&str, &str)] = &[
    ("request_id", "policy-request-id.yaml"),
    ("cors", "policy-cors.yaml"),
    ("jwt", "policy-jwt.yaml"),
    ("api_key", "policy-api-key.yaml"),
    ("basic_auth", "policy-basic-auth.yaml"),
    ("anonymous", "policy-anonymous.yaml"),
    ("ip_filter", "policy-ip-filter.yaml"),
    ("request_size", "policy-request-size.yaml"),
    ("authorize", "policy-authorize.yaml"),
    ("rate_limit", "policy-rate-limit.yaml"),
    ("request_transform", "policy-request-transform.yaml"),
    ("response_transform", "policy-response-transform.yaml"),
    ("security_headers", "policy-security-headers.yaml"),
    ("request_termination", "policy-request-termination.yaml"),
];

const PAGE: &str = "docs/policies.md";

const INTRODUCTION: &str = "# Policies

What happens to a request beside being carried to its service. This page is made of the comments in `src/policy`.

A policy is attached by an entry of a `policies` list: at the top of the file for every request, in a service, in a
route, or in a listener. Of one kind a request meets the closest: that of its route stands in for that of its service,
and that one for the file's. Those of a listener come in addition, before a route is looked for. Requests without a
route meet those of the listener and of the file.

Those of a consumer, and then those of its groups, stand in for all but a listener's, once it is known who asks: they
may be of any kind that runs after the policies that find that out.

Where several policies find out who asks (`jwt`, `api_key`, `basic_auth`), one of them is enough. A request that has no
credential for one goes on to the next, and is refused with all their challenges after the last. A credential that is
wrong is refused at once, whatever else the request has, and so are two of different kinds. `anonymous` lets those in
that have none. All of these belong to listeners, or all to what lies behind them: a service is told of one who asks.
Whatever a request itself says of that, in `X-Consumer-*`, `X-Credential-Identifier` or `X-Anonymous-Consumer`, is taken
away where one of these policies runs, also of a request that comes from a proxy of `trust.proxies`.

Policies run in the order of this page, whatever the order in the file: that is the order of Kong's plugins, by the
priority that is given with each. `policy_order: [a, b]` at the top of the file changes it. The first one that refuses
or answers a request ends its way; policies that change responses see such an answer too. A change is seen by the
policies after it. A request whose changes are more than 16384 bytes is answered 431, a response 502.

A refusal is a problem document (RFC 9457), a line of the access log with `policy`, `reason` and `error`, and a count of
`shardgate_policy_refusals_total{policy,reason}`.
";

#[test]
#[expect(clippy::disallowed_methods, reason = "whether the page is to be written, `make docs` says by the environment")]
fn the_page_of_policies_is_what_the_comments_say() {
    let path = root().join(PAGE);
    let rendered = render();
    if std::env::var_os("SHARDGATE_RENDER").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &rendered).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(rendered.lines()).find(|(written, rendered)| written != rendered);
    assert!(written == rendered, "{PAGE} is old: run `make docs`; the first difference: {differs:#?}");
}

#[test]
fn every_policy_has_a_page_and_an_example_that_uses_it() {
    let names: Vec<&str> = in_order().iter().map(|kind| kind.name()).collect();
    assert_eq!(EXAMPLES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    for (name, file) in EXAMPLES {
        assert!(example(file).contains(&format!("- {name}:")), "{file} does not use {name}");
    }
}

#[test]
fn no_key_is_without_a_comment() {
    for kind in in_order() {
        for (key, comment) in keys(&source(kind.name()), "Config", "") {
            assert!(comment.ends_with('.') && comment.len() > 10, "{} of {}: {comment:?}", key, kind.name());
        }
    }
}

fn in_order() -> Vec<Kind> {
    let mut kinds = Kind::ALL.to_vec();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.priority()));
    kinds
}

fn render() -> String {
    let mut page = INTRODUCTION.to_owned();
    for kind in in_order() {
        let (name, source) = (kind.name(), source(kind.name()));
        let comment = Struct::find(&source, "Config").expect("every policy has a configuration").comment;
        writeln!(page, "\n## `{name}`\n\n{comment} Priority {}.\n", kind.priority()).unwrap();
        writeln!(page, "| key | |\n| --- | --- |").unwrap();
        for (key, comment) in keys(&source, "Config", "") {
            writeln!(page, "| `{key}` | {} |", comment.replace('|', "\\|")).unwrap();
        }
        let file = EXAMPLES.iter().find(|(example, _)| *example == name).map_or("", |(_, file)| file);
        writeln!(page, "\n`config/{file}`:\n\n```yaml\n{}```", example(file)).unwrap();
    }
    page
}

/// Keys with their comments; those of a struct in a struct have its key before their own.
fn keys(source: &str, name: &str, before: &str) -> Vec<(String, String)> {
    let mut keys = Vec::new();
    for Field { name, kind, comment } in Struct::find(source, name).expect("the struct is in the file").fields {
        let key = format!("{before}{name}");
        let inner = kind.trim_start_matches("Option<").trim_start_matches("Vec<").trim_end_matches('>').to_owned();
        let is_struct = Struct::find(source, &inner).is_some();
        keys.push((key.clone(), comment));
        if is_struct {
            keys.extend(self::keys(source, &inner, &format!("{key}.")));
        }
    }
    keys
}

/// A public struct as its source text shows it.
struct Struct {
    comment: String,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    kind: String,
    comment: String,
}

impl Struct {
    fn find(source: &str, name: &str) -> Option<Self> {
        let lines: Vec<&str> = source.lines().collect();
        let start = lines.iter().position(|line| *line == format!("pub struct {name} {{"))?;
        let end = start + lines[start..].iter().position(|line| *line == "}")?;
        let field = |(index, line): (usize, &&str)| {
            let (name, kind) = line.trim().trim_start_matches("pub ").trim_end_matches(',').split_once(": ")?;
            let comment = comment_above(&lines[..start + 1 + index]);
            Some(Field { name: name.to_owned(), kind: kind.to_owned(), comment })
        };
        let body = lines[start + 1..end].iter().enumerate().filter(|(_, line)| line.starts_with("    pub "));
        Some(Self { comment: comment_above(&lines[..start]), fields: body.filter_map(field).collect() })
    }
}

/// The comment that ends at the last of these lines, attributes between not counted, as one line.
fn comment_above(lines: &[&str]) -> String {
    let lines = lines.iter().rev().skip_while(|line| line.trim().starts_with("#["));
    let mut comment: Vec<&str> = lines.map_while(|line| line.trim().strip_prefix("///")).map(str::trim).collect();
    comment.reverse();
    comment.join(" ")
}

fn source(policy: &str) -> String {
    let folder = root().join("src/policy");
    let file = folder.join(format!("{policy}.rs"));
    // That of a policy with a folder has a file of its own.
    fs::read_to_string(if file.exists() { file } else { folder.join(policy).join("config.rs") }).unwrap()
}

fn example(file: &str) -> String {
    fs::read_to_string(root().join("config").join(file)).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
