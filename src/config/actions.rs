//! What routes of our own file do with a request.

use serde_saphyr::{Location, Spanned};

use super::ir::{Action, Arm};
use super::matcher::path_bytes;
use super::model::{self, StickyBy};
use super::predicates::{Kind, demand, is_token, pattern};
use super::translate::Translate;
use crate::http::authority::Authority;
use crate::http::field::Known;
use crate::route::{
    OwnField, PathEdit, Pattern, Patterns, Piece, RESPOND_FIELDS_MAX, Redirect, Respond, Rewrite, SHARES, Sticky,
};
use crate::stdx::number::Bounded;

/// Reads the actions of one route.
pub(super) struct Actions<'a> {
    pub merge_slashes: bool,
    pub patterns: &'a mut Patterns,
    /// The route's paths all have a prefix that can be replaced.
    pub by_prefix: bool,
}

/// What a route may do, as it is written.
type Given = (
    Option<Spanned<String>>,
    Option<Spanned<model::Split>>,
    Option<Spanned<model::Redirect>>,
    Option<Spanned<model::Respond>>,
);

impl Actions<'_> {
    pub(super) fn action(&mut self, at: Location, given: Given, translate: &mut Translate<'_>) -> Action {
        match given {
            (Some(service), None, None, None) => Action::Service(translate.name(service)),
            (None, Some(split), None, None) => self.split(split.value, translate),
            (None, None, Some(redirect), None) => self.redirect(redirect, translate),
            (None, None, None, Some(respond)) => Action::Respond(self::respond(respond, translate)),
            (None, None, None, None) => {
                let help = "add `service`, `split`, `redirect` or `respond`";
                translate.problem(at, "the route does nothing", help);
                Action::Nothing
            }
            _ => {
                let what = "more than one of `service`, `split`, `redirect` and `respond`";
                translate.problem(at, what, "keep one");
                Action::Nothing
            }
        }
    }

    pub(super) fn rewrite(&mut self, given: model::Rewrite, translate: &mut Translate<'_>) -> Option<Rewrite> {
        let strip = given.strip_path.filter(|strip| strip.value);
        if let (Some(strip), Some(_)) = (&strip, &given.path) {
            translate.problem(strip.referenced, "both `strip_path` and `path`", "keep one");
        }
        let strip = strip.map(|Spanned { referenced, defined, .. }| {
            let value = model::PathEdit::Prefix("/".to_owned());
            Spanned { value, referenced, defined }
        });
        let path = given.path.or(strip).and_then(|edit| self.path_edit(edit, translate));
        let host = given.host.and_then(|host| self::host(host, true, translate));
        let rewrite = Rewrite { path, host };
        (rewrite != Rewrite::default()).then_some(rewrite)
    }

    fn split(&mut self, split: model::Split, translate: &mut Translate<'_>) -> Action {
        let at = split.arms.referenced;
        let shares: u32 = split.arms.value.iter().map(|arm| arm.percent.value.0).sum();
        let count = split.arms.value.len();
        if !(1..=ARMS_MAX).contains(&count) {
            translate.problem(at, format!("{count} arms"), format!("write 1 to {ARMS_MAX}"));
        } else if shares != SHARES {
            let sum = f64::from(shares) / 100.0;
            translate.problem(at, format!("the arms have {sum} % together"), "make it 100");
        }
        let arms = split.arms.value.into_iter().map(|arm| {
            let forced_by = arm.forced_by.and_then(|Spanned { value, referenced, .. }| {
                demand(value, referenced, Kind::Header, self.patterns, translate)
            });
            let forced_by_group = arm.forced_by_group.map(|group| translate.name(group));
            Arm { service: translate.name(arm.service), share: arm.percent.value.0, forced_by, forced_by_group }
        });
        let arms = arms.collect();
        let sticky = match split.sticky_by {
            None => Sticky::No,
            Some(StickyBy::Client) => Sticky::Client,
            Some(StickyBy::Consumer) => Sticky::Consumer,
            Some(StickyBy::Header(name)) => Sticky::Header(token(&name, translate).to_ascii_lowercase().into()),
            Some(StickyBy::Cookie(name)) => Sticky::Cookie(token(&name, translate).into()),
        };
        Action::Split { arms, sticky }
    }

    fn redirect(&mut self, redirect: Spanned<model::Redirect>, translate: &mut Translate<'_>) -> Action {
        let Spanned { value: redirect, referenced: at, .. } = redirect;
        let status = match redirect.status {
            None => STATUS_REDIRECT,
            Some(status) => {
                let number = status.value.get() as u16;
                if !STATUSES_REDIRECT.contains(&number) {
                    let what = format!("{number} does not redirect");
                    translate.problem(status.referenced, what, "write 301, 302, 303, 307 or 308");
                }
                number
            }
        };
        let redirect = Redirect {
            status,
            scheme: redirect.scheme.map(|scheme| match scheme {
                model::Scheme::Http => "http",
                model::Scheme::Https => "https",
            }),
            host: redirect.host.and_then(|host| self::host(host, false, translate)),
            port: redirect.port.map(|port| port.get() as u16),
            path: redirect.path.and_then(|edit| self.path_edit(edit, translate)),
        };
        if redirect == (Redirect { status, scheme: None, host: None, port: None, path: None }) {
            translate.problem(at, "a redirect to where it came from", "add `scheme`, `host`, `port` or `path`");
        }
        Action::Redirect(redirect)
    }

    fn path_edit(&mut self, edit: Spanned<model::PathEdit>, translate: &mut Translate<'_>) -> Option<PathEdit> {
        let Spanned { value: edit, referenced: at, .. } = edit;
        let path = |text: &str, translate: &mut Translate<'_>| {
            let read = path_bytes(text, self.merge_slashes);
            let read = read.map_err(|error| format!("`{}` is not a path, {error}", text.escape_debug()));
            read.map_err(|what| translate.problem(at, what, "write one as in `/users`")).ok()
        };
        match edit {
            model::PathEdit::Prefix(text) if self.by_prefix => path(&text, translate).map(PathEdit::Prefix),
            model::PathEdit::Prefix(_) => {
                translate.problem(at, "a regex has no prefix to replace", "use `regex`, with groups");
                None
            }
            model::PathEdit::Whole(text) => path(&text, translate).map(PathEdit::Whole),
            model::PathEdit::Regex(model::RegexEdit { matches, to }) => {
                let pattern = pattern(&matches, at, self.patterns, translate)?;
                let longest = pattern.captured_bytes_max();
                if longest < CAPTURED_BYTES_MIN {
                    let text = pattern.text().escape_debug();
                    let what = format!("the groups of `{text}` could be found in paths of {longest} bytes at most");
                    translate.problem(at, what, "write it shorter, or so that no byte leaves it a choice");
                    return None;
                }
                let pieces = pieces(&to, &pattern);
                let pieces = pieces.and_then(|pieces| self.is_path(&pieces).map(|()| pieces));
                let pieces = pieces.map_err(|what| {
                    translate.problem(at, what, "write it as in `/users/$1`, where the regex has a group");
                });
                Some(PathEdit::Regex { pattern, to: pieces.ok()?.into() })
            }
        }
    }

    /// With groups that match nothing it must be a path.
    fn is_path(&self, pieces: &[Piece]) -> Result<(), String> {
        let begin: &[u8] = if matches!(pieces.first(), Some(Piece::Group(_))) { b"/" } else { b"" };
        let texts = pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(&**text),
            Piece::Group(_) => None,
        });
        let text = [begin].into_iter().chain(texts).collect::<Vec<_>>().concat();
        let text = String::from_utf8_lossy(&text);
        if text.split('/').any(|segment| segment == "..") {
            return Err("it climbs, which no path that is made of groups may".to_owned());
        }
        path_bytes(&text, self.merge_slashes).map(|_| ()).map_err(|error| format!("that makes no path, {error}"))
    }
}

fn respond(respond: Spanned<model::Respond>, translate: &mut Translate<'_>) -> Respond {
    let Spanned { value: respond, referenced: at, .. } = respond;
    let status = respond.status.map_or(STATUS_RESPOND, |status| Bounded::get(status) as u16);
    let mut fields: Vec<OwnField> = Vec::new();
    let has_type = respond.headers.iter().any(|line| line.value.name.eq_ignore_ascii_case("content-type"));
    if respond.body.is_some() && !has_type {
        fields.push(((*b"Content-Type").into(), (*b"text/plain; charset=utf-8").into()));
    }
    if respond.headers.len() > LINES_MAX {
        translate.problem(at, format!("more than {LINES_MAX} headers"), "let a service answer");
    }
    for Spanned { value: model::Line { name, value }, referenced, .. } in respond.headers {
        let fits = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte) || byte >= 0x80;
        if !is_token(&name) || name.len() + value.len() > LINE_BYTES_MAX || !value.bytes().all(fits) {
            let what = format!("`{}` is no header, or has more than {LINE_BYTES_MAX} bytes", name.escape_debug());
            translate.problem(referenced, what, "write a name and a value of one line");
        } else if OURS.contains(&Known::of(name.as_bytes())) {
            translate.problem(referenced, format!("`{name}` is written by the gateway itself"), "remove it");
        }
        fields.push((name.into_bytes().into(), value.trim().as_bytes().into()));
    }
    let body = respond.body.map_or(Vec::new(), |body| {
        let Spanned { value: body, referenced, .. } = body;
        if body.len() > BODY_BYTES_MAX {
            translate.problem(referenced, format!("more than {BODY_BYTES_MAX} bytes"), "let a service answer");
        } else if matches!(status, 204 | 205 | 304) && !body.is_empty() {
            translate.problem(referenced, format!("an answer of status {status} has no body"), "remove it");
        }
        body.into_bytes()
    });
    Respond { status, fields: fields.into(), body: body.into() }
}

/// `$1`, `${name}` and `$$`.
fn pieces(to: &str, pattern: &Pattern) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut text, mut rest) = (Vec::new(), Vec::new(), to);
    while let Some((before, after)) = rest.split_once('$') {
        text.extend_from_slice(before.as_bytes());
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (group, behind) = if let Some(behind) = after.strip_prefix('$') {
            text.push(b'$');
            rest = behind;
            continue;
        } else if digits > 0 {
            (after[..digits].parse().ok(), &after[digits..])
        } else {
            let named = after.strip_prefix('{').and_then(|name| name.split_once('}'));
            let (name, behind) = named.ok_or("a `$` is followed by neither a number nor `{name}` nor `$`")?;
            (pattern.group_named(name), behind)
        };
        let group = group.filter(|group| *group < pattern.groups());
        let group = group.ok_or_else(|| format!("`{}` names a group that the regex has not", to.escape_debug()))?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text).into()));
        }
        pieces.push(Piece::Group(group));
        rest = behind;
    }
    text.extend_from_slice(rest.as_bytes());
    if !text.is_empty() {
        pieces.push(Piece::Text(text.into()));
    }
    if pieces.len() > PIECES_MAX { Err(format!("more than {PIECES_MAX} pieces")) } else { Ok(pieces) }
}

fn host(host: Spanned<String>, with_port: bool, translate: &mut Translate<'_>) -> Option<Box<[u8]>> {
    let read = Authority::read(host.value.as_bytes(), &mut Vec::new());
    if read.is_some_and(|authority| with_port || authority.port.is_none()) {
        return Some(host.value.into_bytes().into());
    }
    let what = format!("`{}` is not a host", host.value.escape_debug());
    translate.problem(host.referenced, what, "write one as in `example.com`");
    None
}

fn token<'t>(name: &'t Spanned<String>, translate: &mut Translate<'_>) -> &'t [u8] {
    if !is_token(&name.value) {
        let what = format!("`{}` is not a name", name.value.escape_debug());
        translate.problem(name.referenced, what, "write the name alone, as in `x-user`");
    }
    name.value.as_bytes()
}

const STATUS_REDIRECT: u16 = 302;
const STATUSES_REDIRECT: [u16; 5] = [301, 302, 303, 307, 308];
const STATUS_RESPOND: u16 = 200;
/// What frames an answer, belongs to its connection, or names its request.
const OURS: [Known; 8] = [
    Known::ContentLength,
    Known::TransferEncoding,
    Known::Connection,
    Known::KeepAlive,
    Known::Upgrade,
    Known::Te,
    Known::Trailer,
    Known::XRequestId,
];
/// Services of one split.
const ARMS_MAX: usize = 16;
/// Headers of an answer beside its type, and the bytes of one and of the body; all of it fits a buffer.
const LINES_MAX: usize = RESPOND_FIELDS_MAX - 1;
const LINE_BYTES_MAX: usize = 1024;
const BODY_BYTES_MAX: usize = 16 << 10;
/// Texts and groups of what a regex's match becomes.
const PIECES_MAX: usize = 32;
/// Longer paths are rare. One that is longer than its regex allows is answered 414.
const CAPTURED_BYTES_MIN: usize = 2 << 10;
