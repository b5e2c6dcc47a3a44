//! Roles and scopes from end to end: who may do what, how a refusal looks, and what does not get past it.

use std::fs;
use std::path::PathBuf;

use crate::admin::metrics;
use crate::harness::{Config, Gateway, Message, OK, Origin, Wire, wait_until};
use crate::jwt::{Issuer, folder};

/// A gateway that knows one issuer, and asks of requests to `/admin` what `rules` says; all else is open.
struct Guarded {
    folder: PathBuf,
    issuer: Issuer,
    gateway: Gateway,
    admin: Origin,
    open: Origin,
}

impl Guarded {
    #[track_caller]
    fn new(name: &str, rules: &str, top: &str, arguments: &[&str]) -> Self {
        let (admin, open, folder) = (Origin::answering(OK), Origin::answering(OK), folder(name));
        let issuer = Issuer::new(&folder, "ES256", "ec-1");
        let jwt = "{ jwt: { issuers: [{ issuer: \"https://id.test/\", audiences: [api], algorithms: [ES256], \
                   keys: [{ file: ec-1.pem, kid: ec-1 }] }], roles_claim: roles, consumer_claim: sub, \
                   claims_to_headers: { X-User: sub, X-Roles: roles } } }";
        let config = Config::empty()
            .service("admin", &[admin.address], "")
            .service("open", &[open.address], "")
            .route("admin", "admin", &format!("paths: [/admin], policies: [{jwt}, {{ authorize: {rules} }}]"))
            .route("open", "open", "paths: [\"/\"]")
            .with(top)
            .one_shard()
            .admin();
        let file = folder.join("gateway.yaml");
        fs::write(&file, config.yaml()).unwrap();
        let gateway = Gateway::start_on(&file, arguments);
        Self { folder, issuer, gateway, admin, open }
    }

    /// A header with a token of somebody with roles (JSON) and scopes.
    fn bearer(&self, roles: &str, scopes: &str) -> String {
        let token = self.issuer.token(600, &format!(r#","roles":{roles},"scope":"{scopes}""#));
        format!("Authorization: Bearer {token}\r\n")
    }

    #[track_caller]
    fn ask(&self, line: &str, fields: &str) -> Message {
        let mut client = self.gateway.client();
        client.send(format!("{line} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n"));
        client.response_to(line.split(' ').next().unwrap())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Whatever is left lies in the folder of the build.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn whoever_lacks_something_is_told_what() {
    let rules = "{ roles: { any_of: [editor] }, scopes: { all_of: [\"a:read\", \"a:write\"] } }";
    let guarded = Guarded::new("authorize-told", rules, "roles: { chief: { includes: [editor] } }", &[]);
    let refused = [
        (String::new(), 401, "token_missing", "token_missing", "Bearer realm=\"gateway\""),
        (
            guarded.bearer(r#"["editor"]"#, "a:read"),
            403,
            "insufficient_scope",
            "scope_missing",
            "Bearer realm=\"gateway\", error=\"insufficient_scope\", scope=\"a:read a:write\"",
        ),
        (
            guarded.bearer(r#"["author"]"#, "a:read a:write"),
            403,
            "insufficient_role",
            "role_missing",
            "Bearer realm=\"gateway\", error=\"insufficient_scope\"",
        ),
    ];
    for (fields, status, kind, _, challenge) in &refused {
        let response = guarded.ask("GET /admin", fields);
        assert_eq!((response.status(), response.values("www-authenticate")), (*status, vec![*challenge]));
        assert_eq!(response.problem()["type"], format!("urn:shardgate:problem:{kind}"));
    }
    for role in ["editor", "chief"] {
        let fields = guarded.bearer(&format!("[{role:?}]"), "a:write other a:read");
        assert_eq!(guarded.ask("GET /admin", &fields).status(), 200, "{role}");
    }
    assert_eq!((guarded.admin.requests().len(), guarded.open.requests().len()), (2, 0));
    for (line, (_, status, kind, reason, _)) in guarded.gateway.log_lines(5).iter().zip(&refused) {
        assert_eq!((&line["status"], &line["error"]), (&(*status).into(), &(*kind).into()));
        assert_eq!(line["reason"], *reason);
        assert_eq!(line["consumer"].as_str(), (*status == 403).then_some("ann"), "who it was that may not");
    }
    let counted = "shardgate_policy_refusals_total{policy=\"authorize\",reason=\"scope_missing\"} 1\n";
    wait_until("the counter", || metrics(&guarded.gateway).contains(counted));
    let text = metrics(&guarded.gateway);
    assert!(text.contains("authentication_attempts_total 5\n"), "whoever may not has proved who it is");
    assert!(text.contains("authentication_failures_total{policy=\"jwt\",reason=\"token_missing\"} 1\n"));
    assert!(!text.contains("authentication_failures_total{policy=\"authorize\""));
}

#[test]
fn a_rule_on_trial_refuses_nobody_and_is_logged_and_counted() {
    let guarded = Guarded::new("authorize-shadow", "{ roles: { any_of: [editor] }, shadow: true }", "", &[]);
    for role in ["author", "editor"] {
        assert_eq!(guarded.ask("GET /admin", &guarded.bearer(&format!("[{role:?}]"), "")).status(), 200);
    }
    assert_eq!(guarded.ask("GET /admin", "").status(), 401, "who asks has to be known all the same");
    let lines = guarded.gateway.log_lines(3);
    assert_eq!((&lines[0]["would_refuse"], &lines[0]["status"]), (&"role_missing".into(), &200.into()));
    assert!(lines[0]["policy"].is_null() && lines[1]["would_refuse"].is_null() && lines[2]["would_refuse"].is_null());
    let counted = "shardgate_policy_would_refuse_total{policy=\"authorize\",reason=\"role_missing\"} 1\n";
    wait_until("the counter", || metrics(&guarded.gateway).contains(counted));
    assert!(
        metrics(&guarded.gateway).contains("policy=\"authorize\",reason=\"role_missing\"} 0\n"),
        "none was refused"
    );
}

/// Of routes by raw and policies by normalised paths, or the other way round, whole families of bypasses are made.
#[test]
fn no_spelling_of_a_path_gets_past() {
    let guarded = Guarded::new("authorize-paths", "{ roles: { any_of: [editor] } }", "", &[]);
    let lacking = guarded.bearer(r#"["author"]"#, "");
    let mut spellings: Vec<String> = ["/admin", "//admin", "/./admin", "/x/../admin", "/%2e/admin", "/x/%2e%2e/admin"]
        .iter()
        .flat_map(|path| ["", "/", "/x", "?x", "//", "/.", "/x/..", "?/../x"].map(|end| format!("{path}{end}")))
        .collect();
    for place in 1.."/admin".len() {
        let byte = "/admin".as_bytes()[place];
        spellings.push(format!("{}%{byte:02x}{}", &"/admin"[..place], &"/admin"[place + 1..]));
        spellings.push(format!("{}%{byte:02X}{}/x", &"/admin"[..place], &"/admin"[place + 1..]));
    }
    spellings.extend(["http://a.test/admin", "http://a.test//%61dmin", "HTTP://A.TEST:80/admin"].map(str::to_owned));
    assert!(spellings.len() > 40);
    for target in &spellings {
        for (fields, want) in [("", 401), (&*lacking, 403)] {
            let response = guarded.ask(&format!("GET {target}"), fields);
            assert_eq!(response.status(), want, "{target} with {fields:?}");
        }
    }
    assert_eq!((guarded.admin.requests().len(), guarded.open.requests().len()), (0, 0));
    // What the gateway takes for other paths must not become that one at a service that reads them otherwise.
    for target in ["/admin%2fx", "/ADMIN", "/x%2f..%2fadmin", "/admin;x", "/admin%00", "/admin\\x", "/admin#x"] {
        guarded.ask(&format!("GET {target}"), "");
    }
    assert!(guarded.open.targets().iter().all(|target| *target != "/admin" && !target.starts_with("/admin/")));
    assert_eq!(guarded.admin.requests().len(), 0);
}

const BY_METHOD: &str = "{ roles: { any_of: [admin] }, methods: { GET: {}, POST: { roles: { any_of: [editor] } } } }";

#[test]
fn no_spelling_of_a_method_gets_past() {
    let guarded = Guarded::new("authorize-methods", BY_METHOD, "http: { underscores_in_headers: true }", &[]);
    let (anybody, editor) = (guarded.bearer("[]", ""), guarded.bearer(r#"["editor"]"#, ""));
    for (fields, lines) in [
        (&anybody, ["GET /admin", "HEAD /admin", "GET /admin?method=DELETE"]),
        (&editor, ["GET /admin", "POST /admin", "POST /admin?_methods=DELETE"]),
    ] {
        for line in lines {
            assert_eq!(guarded.ask(line, fields).status(), 200, "{line}");
        }
    }
    let let_on = guarded.admin.requests().len();
    for line in ["POST /admin", "post /admin", "get /admin", "Head /admin", "DELETE /admin", "PROPFIND /admin"] {
        assert_eq!(guarded.ask(line, &anybody).status(), 403, "{line}");
    }
    for line in ["post /admin", "POST /admin?_method=DELETE", "POST /admin?a&%5Fmethod=d%45lete"] {
        assert_eq!(guarded.ask(line, &editor).status(), 403, "{line}");
    }
    for field in [
        "X-HTTP-Method-Override: DELETE",
        "x-http-method-override: delete",
        "X_HTTP_Method_Override: DELETE",
        "X-HTTP-Method_Override: DELETE",
        "X-HTTP-Method: DELETE",
        "X-Method-Override: DELETE",
        "X-Method-Override: GET\r\nX-Method-Override: DELETE",
        "X-Method-Override: GET, DELETE",
        "X-Method-Override: \"DELETE\"",
        "X-Method-Override:",
    ] {
        let fields = format!("{field}\r\n{editor}");
        assert_eq!(guarded.ask("GET /admin", &fields).status(), 403, "{field}");
        assert_eq!(guarded.ask("POST /admin", &fields).status(), 403, "{field}");
    }
    assert_eq!(guarded.admin.requests().len(), let_on);
}

#[test]
fn who_somebody_is_says_the_token_and_nothing_else_of_a_request() {
    let guarded = Guarded::new("authorize-headers", "{ roles: { any_of: [editor] } }", "", &[]);
    let (author, editor) = (guarded.bearer(r#"["author"]"#, ""), guarded.bearer(r#"["editor"]"#, ""));
    for field in [
        "X-Role: editor",
        "X-Roles: author\r\nX-Roles: editor",
        "x-roles: author,editor",
        "X_Roles: editor",
        "X-Consumer-Groups: editor",
        "X-Consumer-Username: root",
        "X-Forwarded-User: root\r\nX-Forwarded-For: 127.0.0.1",
        "X-Real-IP: 127.0.0.1",
        "X-Original-URL: /open\r\nX-Rewrite-URL: /open",
    ] {
        assert_eq!(guarded.ask("GET /admin", &format!("{field}\r\n{author}")).status(), 403, "{field}");
        assert_eq!(guarded.ask("GET /admin", &format!("{field}\r\n")).status(), 401, "{field}");
    }
    // A client that names them as its connection's own neither takes away what the service is told, nor gets by.
    let named = "Connection: close, X-User, X-Roles\r\nX-User: root\r\nx_user: root\r\nX_Roles: admin\r\n";
    assert_eq!(guarded.ask("GET /admin", &format!("{named}{editor}")).status(), 200);
    let told = guarded.admin.only_request();
    assert_eq!((told.values("x-user"), told.values("x-roles")), (vec!["ann"], vec!["editor"]));
    assert!(!told.has("x_user") && !told.has("x_roles"), "{told:?}");
    let named = format!("Connection: close, Authorization\r\n{editor}");
    assert_eq!(guarded.ask("GET /admin", &named).status(), 200);
    assert!(guarded.admin.requests()[1].has("authorization"), "what was judged is what the service gets");
}

#[test]
fn a_request_is_judged_by_the_route_that_it_met_whatever_its_path_becomes() {
    let guarded = Guarded::new("authorize-rewrite", "{ roles: { any_of: [editor] } }", "", &[]);
    let file = guarded.folder.join("gateway.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("paths: [/admin]", "paths: [/admin], rewrite: { path: { prefix: /open } }")).unwrap();
    guarded.gateway.wait_said("is in force");
    let editor = guarded.bearer(r#"["editor"]"#, "");
    for (target, sent) in [("/admin/a//b/../c", "/open/a/c"), ("/x/../admin/%61", "/open/a"), ("/admin", "/open")] {
        assert_eq!(guarded.ask(&format!("GET {target}"), "").status(), 401, "{target}");
        assert_eq!(guarded.ask(&format!("GET {target}"), &editor).status(), 200, "{target}");
        assert_eq!(guarded.admin.targets().last().map(String::as_str), Some(sent));
        let line = guarded.gateway.log_lines(2 * guarded.admin.requests().len()).pop().expect("a line");
        assert_eq!(line["path"], sent, "what was judged is what was sent and logged");
    }
}

#[test]
fn a_configuration_that_changes_changes_what_known_tokens_may() {
    let guarded = Guarded::new("authorize-reload", "{ roles: { any_of: [editor] } }", "", &[]);
    let file = guarded.folder.join("gateway.yaml");
    let author = guarded.bearer(r#"["author"]"#, "");
    assert_eq!(guarded.ask("GET /admin", &author).status(), 403);
    let text = fs::read_to_string(&file).unwrap();
    for (rules, status) in [("[author]", 200), ("[chief]", 403), ("[zz, author]", 200), ("[editor]", 403)] {
        fs::write(&file, text.replace("any_of: [editor]", &format!("any_of: {rules}"))).unwrap();
        wait_until("the new rule", || guarded.ask("GET /admin", &author).status() == status);
    }
    let included = "roles: { author: { includes: [editor] } }\n";
    fs::write(&file, format!("{text}{included}")).unwrap();
    wait_until("the role that includes another", || guarded.ask("GET /admin", &author).status() == 200);
}

/// From `source`, an address of this machine.
#[track_caller]
fn ask_from(guarded: &Guarded, source: &str, fields: &str) -> u16 {
    let mut client = Wire::connect_from(source, guarded.gateway.address);
    client.send(format!("GET /admin HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n"));
    client.response().status()
}

#[test]
fn in_development_whoever_is_on_this_machine_needs_no_token() {
    let top = "trust: { proxies: [127.0.0.2] }\nprofiles: { development: { authentication: { bypass_local: true } } }";
    let rules = "{ roles: { any_of: [editor] } }";
    let guarded = Guarded::new("authorize-bypass", rules, top, &["--profile", "development"]);
    guarded.gateway.wait_said("authentication.bypass_local is on");
    let author = guarded.bearer(r#"["author"]"#, "");
    for (source, fields, status) in [
        ("127.0.0.1", "", 200),
        ("127.0.0.1", "X-User: root\r\n", 200),
        ("127.0.0.1", "Authorization: Bearer x\r\n", 401),
        ("127.0.0.1", &*author, 403),
        // What a proxy that nobody trusts passes on is from anywhere.
        ("127.0.0.1", "X-Forwarded-For: 127.0.0.1\r\n", 401),
        ("127.0.0.1", "Forwarded: for=127.0.0.1\r\n", 401),
        ("127.0.0.1", "X-Real-IP: 127.0.0.1\r\n", 401),
        ("127.0.0.1", "Via: 1.1 p\r\n", 401),
        ("127.0.0.2", "X-Forwarded-For: 192.0.2.1\r\n", 401),
        ("127.0.0.2", "X-Forwarded-For: 192.0.2.1, 127.0.0.2\r\n", 401),
        ("127.0.0.2", "X-Forwarded-For: 127.0.0.1\r\n", 200),
    ] {
        assert_eq!(ask_from(&guarded, source, fields), status, "{source} with {fields:?}");
    }
    for request in guarded.admin.requests() {
        assert!(!request.has("x-user"), "nobody is whom the request says: {request:?}");
    }
    let text = fs::read_to_string(guarded.folder.join("gateway.yaml")).unwrap();
    fs::write(guarded.folder.join("gateway.yaml"), text.replace("bypass_local: true", "bypass_local: false")).unwrap();
    wait_until("the bypass is closed", || ask_from(&guarded, "127.0.0.1", "") == 401);
}

#[test]
fn how_much_the_gateway_says_can_be_changed_while_it_runs() {
    let guarded = Guarded::new("authorize-level", "{}", "", &[]);
    let file = guarded.folder.join("gateway.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let write = |level: &str, path: &str| {
        let text = text.replace("paths: [\"/\"]", &format!("paths: [\"{path}\"]"));
        fs::write(&file, format!("{text}logging: {{ level: {level} }}\n")).unwrap();
        wait_until("the configuration", || guarded.ask(&format!("GET {path}"), "").status() == 200);
    };
    write("debug", "/a");
    guarded.gateway.wait_said("debug: ~ route open");
    write("error", "/b");
    let said = guarded.gateway.stderr().len();
    write("error", "/c");
    assert_eq!(guarded.gateway.stderr()[said..].join(""), "", "nothing went wrong");
    fs::write(&file, "version: 2\n").unwrap();
    guarded.gateway.wait_said("the configuration in force stays");
    let said = guarded.gateway.stderr().len();
    write("info", "/d");
    wait_until("it is said again", || guarded.gateway.stderr()[said..].join("").contains("is in force"));
}
