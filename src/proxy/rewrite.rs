//! The path that a route makes of a request's.
//!
//! What comes out is normalised as what a client sends is, before anybody sees it: policies, log and upstream go by the
//! same bytes.

use super::error::Failure;
use super::plan::Settings;
use crate::http::path::normalise;
use crate::route::{Caches, PathEdit, PathRule, Piece};

/// One shard's memory for it.
#[derive(Debug, Default)]
pub struct Rewriter {
    raw: Vec<u8>,
    path: Vec<u8>,
}

impl Rewriter {
    /// What `edit` makes of `path`, which the rule `by` matched. A path that stays as it is is `None`.
    pub fn edit(
        &mut self,
        edit: &PathEdit,
        (by, path): (&PathRule, &[u8]),
        settings: &Settings,
        caches: &mut Caches,
    ) -> Result<Option<&mut Vec<u8>>, Failure> {
        self.raw.clear();
        match edit {
            PathEdit::Whole(whole) => self.raw.extend_from_slice(whole),
            PathEdit::Prefix(to) => self.replace_prefix(to, by, path),
            PathEdit::Regex { pattern, to } => {
                let found = pattern.captures(path, caches).map_err(|_| Failure::RewriteTooLong)?;
                let Some(groups) = found else { return Ok(None) };
                for piece in to {
                    self.raw.extend_from_slice(match piece {
                        Piece::Text(text) => text,
                        Piece::Group(group) => groups.of(path, *group),
                    });
                }
                // `/files/$1` must not lead out of `/files` because the group begins within a segment.
                if self.raw.split(|&byte| byte == b'/').any(climbs) {
                    return Err(Failure::RewriteInvalid);
                }
            }
        }
        if self.raw.len() > settings.limits.uri_bytes_max {
            return Err(Failure::RewriteInvalid);
        }
        normalise(&self.raw, settings.http.merge_slashes, &mut self.path).map_err(|_| Failure::RewriteInvalid)?;
        Ok(Some(&mut self.path))
    }

    /// Of an exact path nothing is left behind its prefix. What is left begins with a slash or is nothing.
    fn replace_prefix(&mut self, to: &[u8], by: &PathRule, path: &[u8]) {
        let prefix_len = match by {
            PathRule::Prefix(prefix) => prefix.strip_suffix(b"/").unwrap_or(prefix).len(),
            PathRule::Exact(_) | PathRule::Regex(_) => path.len(),
        };
        self.raw.extend_from_slice(to.strip_suffix(b"/").unwrap_or(to));
        self.raw.extend_from_slice(&path[prefix_len..]);
        if self.raw.is_empty() {
            self.raw.push(b'/');
        }
    }
}

/// Whether the segment is `..`, however that is written.
fn climbs(segment: &[u8]) -> bool {
    let (mut rest, mut dots) = (segment, 0);
    while let Some(after) = [&b"."[..], b"%2e", b"%2E"].iter().find_map(|dot| rest.strip_prefix(*dot)) {
        (rest, dots) = (after, dots + 1);
    }
    rest.is_empty() && dots == 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Patterns;

    fn edited(edit: &PathEdit, by: &PathRule, path: &str) -> Result<Option<String>, Failure> {
        let (mut rewriter, mut caches) = (Rewriter::default(), Caches::default());
        let edited = rewriter.edit(edit, (by, path.as_bytes()), &Settings::default(), &mut caches)?;
        Ok(edited.map(|path| String::from_utf8(path.clone()).unwrap()))
    }

    #[track_caller]
    fn check_prefix(prefix: &str, to: &str, path: &str, want: &str) {
        let (edit, by) = (PathEdit::Prefix(to.as_bytes().into()), PathRule::Prefix(prefix.as_bytes().into()));
        assert_eq!(edited(&edit, &by, path).unwrap().as_deref(), Some(want), "{prefix} to {to}: {path}");
    }

    /// The table of Gateway API's `ReplacePrefixMatch`, among others.
    #[test]
    fn a_prefix_is_replaced_on_segment_boundaries() {
        for (prefix, to) in [("/foo", "/xyz"), ("/foo", "/xyz/"), ("/foo/", "/xyz"), ("/foo/", "/xyz/")] {
            check_prefix(prefix, to, "/foo/bar", "/xyz/bar");
            check_prefix(prefix, to, "/foo/", "/xyz/");
        }
        check_prefix("/foo", "/xyz", "/foo", "/xyz");
        check_prefix("/foo", "/", "/foo/bar", "/bar");
        check_prefix("/foo", "/", "/foo/", "/");
        check_prefix("/foo", "/", "/foo", "/");
        check_prefix("/", "/v2", "/a/b", "/v2/a/b");
        check_prefix("/", "/", "/a", "/a");
        check_prefix("/a%2Fb", "/c", "/a%2Fb/d%20e", "/c/d%20e");
    }

    #[test]
    fn of_an_exact_path_nothing_is_left() {
        let by = PathRule::Exact((*b"/foo").into());
        assert_eq!(edited(&PathEdit::Prefix((*b"/").into()), &by, "/foo"), Ok(Some("/".into())));
        assert_eq!(edited(&PathEdit::Prefix((*b"/x").into()), &by, "/foo"), Ok(Some("/x".into())));
        assert_eq!(edited(&PathEdit::Whole((*b"/y").into()), &by, "/foo"), Ok(Some("/y".into())));
    }

    #[test]
    fn groups_are_put_together_and_normalised_as_a_client_s_path_is() {
        #[track_caller]
        fn check(pattern: &str, to: &[&str], path: &str, want: Result<Option<&str>, Failure>) {
            let pattern = Patterns::default().compile(pattern).unwrap();
            let pieces = to.iter().map(|piece| match piece.strip_prefix('$') {
                Some(group) => Piece::Group(group.parse().unwrap()),
                None => Piece::Text(piece.as_bytes().into()),
            });
            let edit = PathEdit::Regex { pattern, to: pieces.collect() };
            let got = edited(&edit, &PathRule::Prefix((*b"/").into()), path);
            assert_eq!(got, want.map(|want| want.map(str::to_owned)), "{path}");
        }
        check("/u/([0-9]+)/(.*)", &["/", "$2", "/of/", "$1"], "/u/7/a/b", Ok(Some("/a/b/of/7")));
        check("/u/([0-9]+)", &["/", "$1"], "/u/x", Ok(None));
        check("/(.*)x(.*)", &["/", "$1", "$2"], "/.x./a", Err(Failure::RewriteInvalid));
        check("/(.*)x(.*)", &["/k/", "$1", "$2"], "/.x./a", Err(Failure::RewriteInvalid));
        check("/files(.*)", &["/public/", "$1"], "/files../secret", Err(Failure::RewriteInvalid));
        check("/files(.*)", &["/public/", "$1"], "/files...", Ok(Some("/public/...")));
        check("/(..).(.*)", &["/k/.", "$1", "e", "$2"], "/%2F/a", Err(Failure::RewriteInvalid));
        check("/(.*)x(.*)", &["/k/", "$1", "$2"], "/x./a", Ok(Some("/k/a")));
        check("/(.*)-(.*)", &["/", "$1", "$2"], "/%-zz", Err(Failure::RewriteInvalid));
        check("/(..)(.*)", &["/%", "$1"], "/5Cx", Err(Failure::RewriteInvalid));
        check("/(..)(.*)", &["/%", "$1"], "/61x", Ok(Some("/a")));
        check("(.*)", &["/", "$0", "/"], "/a", Ok(Some("/a/")));
        check("/(x)?(.*)", &["$2"], "/abc", Err(Failure::RewriteInvalid));
        check("(.*)", &["$0"; 20], &format!("/{}", "a".repeat(4_000)), Err(Failure::RewriteInvalid));
    }
}
