//! Request termination: an answer without a service, for what is closed, moved away or not there yet.

use serde::Deserialize;

use super::{Context, Hooks, Invalid, Member, Response, Verdict};
use crate::http::view::{FieldValue, RequestView};
use crate::stdx::number::Bounded;

/// Answers every request itself; no service hears of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The answer's status, from 200 to 599. Default: 503.
    pub status: Option<Bounded<200, 599>>,
    /// What the answer says, as JSON in the key `message`. Not together with `body`. Default: none.
    pub message: Option<String>,
    /// The whole body. Default: none.
    pub body: Option<String>,
    /// The type of `body`. Default: `application/json; charset=utf-8`.
    pub content_type: Option<FieldValue>,
}

#[derive(Debug, Eq, PartialEq)]
pub struct RequestTermination {
    response: Response,
}

impl Member for RequestTermination {
    type Config = Config;
    const HOOKS: Hooks = Hooks::REQUEST;

    fn new(config: Config) -> Result<Self, Invalid> {
        let status = config.status.map_or(STATUS, Bounded::get) as u16;
        let body = match (config.message, config.body) {
            (Some(_), Some(_)) => return Err(Invalid::new("both a `message` and a `body`", "keep one")),
            (Some(_), None) if config.content_type.is_some() => {
                return Err(Invalid::new("a `content_type` for a `message`, which is JSON", "write a `body` instead"));
            }
            (Some(message), None) => serde_json::json!({ "message": message }).to_string(),
            (None, body) => body.unwrap_or_default(),
        };
        if !body.is_empty() && matches!(status, 204 | 205 | 304) {
            return Err(Invalid::new(format!("a body with status {status}"), "leave it out, or choose another status"));
        }
        if body.len() > BODY_BYTES_MAX {
            return Err(Invalid::new(format!("a body of more than {BODY_BYTES_MAX} bytes"), "let a service answer"));
        }
        let content_type = match config.content_type {
            None if body.is_empty() => None,
            None => FieldValue::new(CONTENT_TYPE),
            given => given,
        };
        Ok(Self { response: Response { status, content_type, body: body.into_bytes().into() } })
    }

    fn on_request<'a>(&'a self, _request: &mut RequestView<'_>, _context: &mut Context<'_>) -> Verdict<'a> {
        Verdict::Respond(&self.response)
    }
}

const STATUS: u64 = 503;
const CONTENT_TYPE: &str = "application/json; charset=utf-8";
/// With its head it must fit into one buffer.
const BODY_BYTES_MAX: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::super::Trial;
    use super::*;

    #[track_caller]
    fn check(config: &str, status: u16, content_type: Option<&str>, body: &str) {
        let trial = Trial::<RequestTermination>::new(config);
        let tried = trial.request("GET / HTTP/1.1\nHost: a");
        let response = tried.response().expect("an answer");
        assert_eq!((response.status, response.content_type.as_ref().map(FieldValue::text)), (status, content_type));
        assert_eq!(std::str::from_utf8(&response.body).unwrap(), body, "{config}");
    }

    #[test]
    fn the_answer_is_as_configured() {
        check("{}", 503, None, "");
        check("message: \"a \\\"b\\\"\"", 503, Some(CONTENT_TYPE), r#"{"message":"a \"b\""}"#);
        check("{ status: 410, body: <p>gone, content_type: text/html }", 410, Some("text/html"), "<p>gone");
        check("{ status: 200, body: x }", 200, Some(CONTENT_TYPE), "x");
        check("status: 204", 204, None, "");
    }

    #[test]
    fn what_contradicts_itself_is_a_mistake() {
        let check = Trial::<RequestTermination>::refused;
        check("{ message: a, body: b }", "both a `message` and a `body`: keep one");
        check(
            "{ message: a, content_type: text/html }",
            "a `content_type` for a `message`, which is JSON: write a `body` instead",
        );
        check("{ status: 204, body: b }", "a body with status 204: leave it out, or choose another status");
        check("{ status: 205, message: b }", "a body with status 205: leave it out, or choose another status");
        check(&format!("body: {}", "x".repeat(32769)), "a body of more than 32768 bytes: let a service answer");
        Trial::<RequestTermination>::unread("status: 199", "from 200 to 599");
    }
}
