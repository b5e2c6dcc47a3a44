//! The one path: what routes match, policies see, logs show and upstreams get is the same bytes.
//!
//! Unreserved triplets are decoded, kept ones get upper-case digits, dot segments are removed (RFC 3986 §6.2.2),
//! slashes merged when asked for. `%2F` stays and never separates. What peers read in different ways is refused.

use thiserror::Error;

use crate::stdx::lanes;

/// Fills `out` with the normalised form of `raw`, a path without query. Normalising twice is normalising once.
pub fn normalise(raw: &[u8], merge_slashes: bool, out: &mut Vec<u8>) -> Result<(), PathError> {
    out.clear();
    if raw.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(raw) {
        out.extend_from_slice(raw);
        return Ok(());
    }
    rewrite(raw, merge_slashes, out)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    #[error("it does not begin with a slash")]
    NotAbsolute,
    #[error("it holds a byte that is not visible ASCII, or a question mark")]
    ByteInvalid,
    #[error("it holds a NUL")]
    Nul,
    #[error("it holds a backslash")]
    Backslash,
    #[error("it holds a fragment")]
    Fragment,
    #[error("a percent sign is not followed by two hexadecimal digits")]
    TripletInvalid,
    #[error("it climbs above the root")]
    AboveRoot,
}

/// True when nothing can have to change; false is only a doubt.
fn is_normal(raw: &[u8]) -> bool {
    let (mut doubt, mut after_slash) = (0, 0);
    lanes::for_each(raw, b'a', |lanes| {
        let slashes = lanes.equal(b'/').bits();
        doubt |= lanes.between(b'.', b'/').bits() & (slashes << 1 | after_slash);
        after_slash = slashes >> (lanes::WIDTH - 1);
        // `%` with `#` below it; DEL with `?`, which is DEL with a bit less.
        let others = lanes.below(b'%' + 1) | lanes.with(0x40).above(b'~') | lanes.equal(b'\\');
        doubt |= others.bits();
    });
    doubt == 0
}

fn rewrite(raw: &[u8], merge_slashes: bool, out: &mut Vec<u8>) -> Result<(), PathError> {
    out.push(b'/');
    let (mut at, mut segment) = (1, 1);
    while let Some(&byte) = raw.get(at) {
        at += 1;
        match byte {
            b'/' => segment = end_segment(out, segment, merge_slashes, true)?,
            b'%' => {
                push_triplet(raw.get(at..at + 2).ok_or(PathError::TripletInvalid)?, out)?;
                at += 2;
            }
            b'#' => return Err(PathError::Fragment),
            b'\\' => return Err(PathError::Backslash),
            0 => return Err(PathError::Nul),
            b'!'..=b'>' | b'@'..=b'~' => out.push(byte),
            _ => return Err(PathError::ByteInvalid),
        }
    }
    end_segment(out, segment, merge_slashes, false)?;
    Ok(())
}

/// `out` ends in a whole segment that began at `segment`. Returns where the next one begins.
fn end_segment(out: &mut Vec<u8>, segment: usize, merge_slashes: bool, slash: bool) -> Result<usize, PathError> {
    match &out[segment..] {
        b"." => {
            out.truncate(segment);
            return Ok(segment);
        }
        b".." => {
            // Before this segment lies a slash; without one before that slash, there is nothing to climb to.
            let parent = memchr::memrchr(b'/', &out[..segment - 1]).ok_or(PathError::AboveRoot)?;
            out.truncate(parent + 1);
        }
        b"" if merge_slashes => {}
        _ if slash => out.push(b'/'),
        _ => {}
    }
    Ok(out.len())
}

fn push_triplet(digits: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    let (Some(high), Some(low)) = (hex_value(digits[0]), hex_value(digits[1])) else {
        return Err(PathError::TripletInvalid);
    };
    match high << 4 | low {
        0 => return Err(PathError::Nul),
        b'\\' => return Err(PathError::Backslash),
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(byte),
        _ => out.extend_from_slice(&[b'%', digits[0].to_ascii_uppercase(), digits[1].to_ascii_uppercase()]),
    }
    Ok(())
}

/// The value of a hexadecimal digit of either case.
pub(super) fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::rng::Rng;

    fn normal(raw: &[u8], merge_slashes: bool) -> Result<Vec<u8>, PathError> {
        let mut out = b"from the last request".to_vec();
        normalise(raw, merge_slashes, &mut out).map(|()| out)
    }

    #[track_caller]
    fn check(raw: &str, expected: &str) {
        assert_eq!(normal(raw.as_bytes(), true).as_deref(), Ok(expected.as_bytes()), "{raw}");
    }

    #[track_caller]
    fn check_refused(raw: &[u8], error: PathError) {
        assert_eq!(normal(raw, true), Err(error), "{}", raw.escape_ascii());
        assert_eq!(normal(raw, false), Err(error), "{}", raw.escape_ascii());
    }

    #[test]
    fn a_normal_path_stays_as_it_is() {
        for path in ["/", "/a", "/a/b.c/", "/a..b/c.", "/a;x=1/b", "/~me/!$&'()*+,;=:@", "/\"<>^`{|}", "/a%20b"] {
            check(path, path);
        }
    }

    #[test]
    fn unreserved_triplets_are_decoded_and_kept_ones_get_upper_case_digits() {
        check("/%61%7E%2d%5f", "/a~-_");
        check("/a%2fb%2Fc", "/a%2Fb%2Fc");
        check("/%e2%82%ac", "/%E2%82%AC");
        check("/%25%32%66", "/%252f");
        check("/%3f%23%3b", "/%3F%23%3B");
        check("/%01%0a%7f", "/%01%0A%7F");
    }

    #[test]
    fn dot_segments_are_removed_however_they_are_written() {
        check("/a/./b", "/a/b");
        check("/a/b/../c", "/a/c");
        check("/a/b/%2e%2E/c", "/a/c");
        check("/a/.%2e/c", "/c");
        check("/%2e/a", "/a");
        check("/a/.", "/a/");
        check("/a/b/..", "/a/");
        check("/a/..", "/");
        check("/.", "/");
        check("/a/b/c/../../d", "/a/d");
        check("/a//../b", "/b");
    }

    #[test]
    fn what_only_looks_like_a_dot_segment_stays() {
        check("/.well-known/x", "/.well-known/x");
        check("/a/...", "/a/...");
        check("/a/..%2fb", "/a/..%2Fb");
        check("/a/..;/b", "/a/..;/b");
    }

    #[test]
    fn slashes_are_merged_only_when_asked_for() {
        #[track_caller]
        fn check_both(raw: &str, merged: &str, kept: &str) {
            check(raw, merged);
            assert_eq!(normal(raw.as_bytes(), false).as_deref(), Ok(kept.as_bytes()), "{raw}");
        }
        check_both("//a///b//", "/a/b/", "//a///b//");
        check_both("/a//./b", "/a/b", "/a//b");
        check_both("/a/.//b", "/a/b", "/a//b");
        check_both("/a/%2F/b", "/a/%2F/b", "/a/%2F/b");
        assert_eq!(normal(b"//..", true), Err(PathError::AboveRoot));
        assert_eq!(normal(b"//..", false).as_deref(), Ok(&b"/"[..]));
        assert_eq!(normal(b"/a//../b", false).as_deref(), Ok(&b"/a/b"[..]));
    }

    #[test]
    fn what_peers_read_in_different_ways_is_refused() {
        check_refused(b"", PathError::NotAbsolute);
        check_refused(b"a/b", PathError::NotAbsolute);
        check_refused(b"/a b", PathError::ByteInvalid);
        check_refused(b"/a\x7f", PathError::ByteInvalid);
        check_refused(b"/\xc3\xa9", PathError::ByteInvalid);
        check_refused(b"/a?b", PathError::ByteInvalid);
        check_refused(b"/a\0", PathError::Nul);
        check_refused(b"/a%00", PathError::Nul);
        check_refused(b"/a\\..\\b", PathError::Backslash);
        check_refused(b"/a%5cb", PathError::Backslash);
        check_refused(b"/a#b", PathError::Fragment);
        check_refused(b"/%", PathError::TripletInvalid);
        check_refused(b"/%4", PathError::TripletInvalid);
        check_refused(b"/%zz", PathError::TripletInvalid);
        check_refused(b"/%+1", PathError::TripletInvalid);
        check_refused(b"/..", PathError::AboveRoot);
        check_refused(b"/a/../..", PathError::AboveRoot);
        check_refused(b"/%2e%2e/a", PathError::AboveRoot);
    }

    #[test]
    fn normalising_twice_is_normalising_once() {
        let pieces: [&[u8]; 14] =
            [b"/", b"/", b".", b"..", b"%2e", b"%2F", b"a", b"%61", b"%25", b"2f", b"//", b";", b"%c3", b"/a/../"];
        let (mut rng, mut accepted) = (Rng::new(1), 0);
        for _ in 0..20_000 {
            let mut raw = b"/".to_vec();
            for _ in 0..rng.below(9) {
                raw.extend_from_slice(pieces[rng.below(pieces.len() as u64) as usize]);
            }
            for merge_slashes in [true, false] {
                let Ok(once) = normal(&raw, merge_slashes) else { continue };
                assert_eq!(normal(&once, merge_slashes), Ok(once.clone()), "{}", raw.escape_ascii());
                assert!(once.starts_with(b"/") && once.len() <= raw.len());
                assert!(!once.split(|&byte| byte == b'/').any(|segment| segment == b"." || segment == b".."));
                assert!(!merge_slashes || !once.windows(2).any(|pair| pair == b"//"));
                accepted += 1;
            }
        }
        assert!(accepted > 10_000, "most of them must be paths: {accepted}");
    }
}
