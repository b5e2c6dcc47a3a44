//! Request id: the id that the gateway gives each request, under the name that services and clients know.

use serde::Deserialize;

use super::{Context, Hooks, Invalid, Member, Verdict};
use crate::http::view::{FieldName, RequestView, ResponseView};

/// Sends an id of each request to its service under another name than `X-Request-Id`, which always is sent, and back to
/// the client. In the log `request_id` is what was sent as `X-Request-Id`, and `request_id_sent` what was sent under
/// this name, where that is another.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The header. Default: `X-Request-Id`.
    pub header_name: Option<FieldName>,
    /// Its form: `hex`, 32 digits as in the log, or `uuid`, the same as a UUID of version 4, which changes two of the
    /// digits. Default: hex.
    pub generator: Option<Generator>,
    /// Whether an id that the client sent in this header stays, if it has at most 128 letters, digits or `-_.:/+=@`.
    /// For `X-Request-Id` that is for `trust` to say. Default: false.
    pub accept: Option<bool>,
    /// Whether the response has the header too. Default: false.
    pub echo_downstream: Option<bool>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    Hex,
    Uuid,
}

#[derive(Debug, Eq, PartialEq)]
pub struct RequestId {
    /// `None` is `X-Request-Id`, which the gateway writes itself.
    header: Option<FieldName>,
    generator: Generator,
    accept: bool,
    echo: bool,
}

impl Member for RequestId {
    type Config = Config;
    const HOOKS: Hooks = Hooks::BOTH;

    fn new(config: Config) -> Result<Self, Invalid> {
        let header = config.header_name.filter(|name| !name.is(X_REQUEST_ID.text().as_bytes()));
        let (accept, echo) = (config.accept.unwrap_or(false), config.echo_downstream.unwrap_or(false));
        let generator = config.generator.unwrap_or(Generator::Hex);
        match &header {
            Some(name) if name.is_the_gateways() => {
                let what = format!("the header `{}`, which the gateway writes or goes by itself", name.text());
                return Err(Invalid::new(what, "choose another"));
            }
            None if accept || generator != Generator::Hex => {
                let what = "`accept` or `generator: uuid` for `X-Request-Id`";
                return Err(Invalid::new(what, "choose another header, or leave them out"));
            }
            None if !echo => return Err(Invalid::new("nothing to do", "choose a header, or `echo_downstream: true`")),
            _ => {}
        }
        Ok(Self { header, generator, accept, echo })
    }

    fn on_request<'a>(&'a self, request: &mut RequestView<'_>, context: &mut Context<'_>) -> Verdict<'a> {
        let Some(header) = &self.header else { return Verdict::Continue };
        match self.accepted(header, request) {
            Some(id) => context.found.sent_id.note(id),
            None => {
                let mut room = [0; UUID_BYTES];
                let id = self.id(context.request_id, &mut room);
                context.found.sent_id.note(id);
                request.headers.set(header, id);
            }
        }
        Verdict::Continue
    }

    fn on_response(&self, request: &RequestView<'_>, response: &mut ResponseView<'_>, context: &Context<'_>) {
        if !self.echo {
            return;
        }
        match &self.header {
            None => response.headers.set(&X_REQUEST_ID, context.request_id),
            // A request that was refused before it came here still has what the client sent.
            Some(header) => {
                let mut room = [0; UUID_BYTES];
                let id = match self.accepted(header, request) {
                    Some(id) => id,
                    None => self.id(context.request_id, &mut room),
                };
                context.found.sent_id.note(id);
                response.headers.set(header, id);
            }
        }
    }
}

impl RequestId {
    /// The client's id, where that is to stay.
    fn accepted<'a>(&self, header: &'a FieldName, request: &'a RequestView<'_>) -> Option<&'a [u8]> {
        request.headers.only(header).filter(|id| self.accept && is_id(id))
    }

    /// An id that a trusted peer chose is no number to make another form of.
    fn id<'a>(&self, id: &'a [u8], room: &'a mut [u8; UUID_BYTES]) -> &'a [u8] {
        match (self.generator, <&[u8; 32]>::try_from(id)) {
            (Generator::Uuid, Ok(digits)) if digits.iter().all(u8::is_ascii_hexdigit) => {
                *room = uuid(digits);
                room
            }
            _ => id,
        }
    }
}

/// RFC 9562 §5.4: the version is the thirteenth digit, the variant the upper half of the seventeenth.
fn uuid(digits: &[u8; 32]) -> [u8; UUID_BYTES] {
    let mut uuid = [b'-'; UUID_BYTES];
    let mut at = 0;
    for (index, digit) in digits.iter().enumerate() {
        at += usize::from(matches!(index, 8 | 12 | 16 | 20));
        uuid[at] = match index {
            12 => b'4',
            16 => b"89ab"[usize::from(digit & 3)],
            _ => *digit,
        };
        at += 1;
    }
    uuid
}

fn is_id(value: &[u8]) -> bool {
    (1..=ACCEPTED_BYTES_MAX).contains(&value.len())
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
}

static X_REQUEST_ID: FieldName = FieldName::fixed("X-Request-Id");
const UUID_BYTES: usize = 36;
const ACCEPTED_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::super::Trial;
    use super::*;

    #[track_caller]
    fn check(config: &str, request: &str, up: &[&str], down: &[&str]) {
        let trial = Trial::<RequestId>::new(config);
        let mut tried = trial.request(&format!("GET / HTTP/1.1\nHost: h{request}"));
        assert_eq!(tried.fields()[1..], *up, "{config}");
        assert_eq!(tried.answered(200, &[("X-Trace", "service's")]), down, "{config}");
    }

    #[test]
    fn the_id_goes_where_it_is_wanted() {
        let id = "00112233445566778899aabbccddeeff";
        check("echo_downstream: true", "", &[], &["X-Trace: service's", &format!("X-Request-Id: {id}")]);
        let trace = &*format!("X-Trace: {id}");
        check("header_name: X-Trace", "\nX-Trace: mine", &[trace], &["X-Trace: service's"]);
        check("{ header_name: X-Trace, echo_downstream: true }", "", &[trace], &[trace]);
        let uuid = "X-Trace: 00112233-4455-4677-8899-aabbccddeeff";
        check("{ header_name: X-Trace, generator: uuid, echo_downstream: true }", "", &[uuid], &[uuid]);
    }

    #[test]
    fn a_clients_id_stays_if_it_is_one() {
        let config = "{ header_name: X-Trace, accept: true, echo_downstream: true }";
        let ours = "X-Trace: 00112233445566778899aabbccddeeff";
        check(config, "\nx-trace: a-1", &["x-trace: a-1"], &["X-Trace: a-1"]);
        check(config, "\nX-Trace: a\nX-Trace: b", &[ours], &[ours]);
        check(config, "\nX-Trace: {\"a\"}", &[ours], &[ours]);
        check(config, &format!("\nX-Trace: {}", "a".repeat(129)), &[ours], &[ours]);
    }

    #[test]
    fn a_client_whose_request_never_came_here_is_told_the_id_of_the_log() {
        let answered = |config: &str| {
            let trial = Trial::<RequestId>::new(config);
            trial.refused_before("GET / HTTP/1.1\nHost: h\nX-Trace: <mine>").answered(403, &[])
        };
        let ours = ["X-Trace: 00112233445566778899aabbccddeeff"];
        assert_eq!(answered("{ header_name: X-Trace, echo_downstream: true }"), ours);
        assert_eq!(answered("{ header_name: X-Trace, accept: true, echo_downstream: true }"), ours);
    }

    #[test]
    fn the_log_is_told_what_was_sent() {
        #[track_caller]
        fn check(config: &str, request: &str, want: &str) {
            let trial = Trial::<RequestId>::new(config);
            let tried = trial.request(&format!("GET / HTTP/1.1\nHost: h{request}"));
            assert_eq!(&tried.found().sent_id.bytes()[..], want.as_bytes(), "{config}");
        }
        check("echo_downstream: true", "", "");
        check("header_name: X-Trace", "\nX-Trace: mine", "00112233445566778899aabbccddeeff");
        let config = "{ header_name: X-Trace, generator: uuid, accept: true, echo_downstream: true }";
        check(config, "\nX-Trace: <mine>", "00112233-4455-4677-8899-aabbccddeeff");
        check(config, "\nX-Trace: mine", "mine");
        let trial = Trial::<RequestId>::new(config);
        let mut refused = trial.refused_before("GET / HTTP/1.1\nHost: h\nX-Trace: mine");
        assert_eq!(refused.answered(403, &[]), ["X-Trace: mine"]);
        assert_eq!(&refused.found().sent_id.bytes()[..], b"mine");
    }

    #[test]
    fn what_makes_no_sense_is_a_mistake() {
        let refused = Trial::<RequestId>::refused;
        refused("{}", "nothing to do: choose a header, or `echo_downstream: true`");
        refused("header_name: Host", "the header `Host`, which the gateway writes or goes by itself: choose another");
        refused(
            "{ accept: true, echo_downstream: true }",
            "`accept` or `generator: uuid` for `X-Request-Id`: choose another header, or leave them out",
        );
    }
}
