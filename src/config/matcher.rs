//! Hosts and paths of routes, brought into the form that requests are brought into before they are matched.

use crate::http::authority::Authority;
use crate::http::path::{PathError, normalise};
use crate::route::{HOST_BYTES_MAX, HostRule};

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HostError {
    #[error("`*` is not a host")]
    Star,
    #[error("`{given}` has a `*` that is not a whole first label")]
    StarMisplaced { given: String },
    #[error("`{given}` has a port")]
    Port { given: String, without: String },
    #[error("`{given}` is not ASCII")]
    NotAscii { given: String },
    #[error("`{}` is not a host", given.escape_debug())]
    Invalid { given: String },
}

impl HostError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Star => "leave out `hosts` to match any".to_owned(),
            Self::StarMisplaced { .. } => "write it as in `*.example.com`".to_owned(),
            Self::Port { without, .. } => format!("write `{without}`, which matches on every port"),
            Self::NotAscii { .. } => "write it as `xn--...`, as clients send it".to_owned(),
            Self::Invalid { .. } => "write one as in `example.com` or `*.example.com`".to_owned(),
        }
    }
}

/// `Example.com.` and `*.example.com`, as [`HostRule`] wants them.
pub fn host_rule(text: &str) -> Result<HostRule, HostError> {
    if text == "*" {
        return Err(HostError::Star);
    }
    let (suffix, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text),
    };
    if name.contains('*') {
        return Err(HostError::StarMisplaced { given: text.to_owned() });
    }
    if !name.is_ascii() {
        return Err(HostError::NotAscii { given: text.to_owned() });
    }
    let mut host = Vec::new();
    if suffix {
        host.push(b'.');
    }
    let mut read = Vec::new();
    match Authority::read(name.as_bytes(), &mut read) {
        Some(Authority { port: None }) if read.len() <= HOST_BYTES_MAX && !(suffix && read[0] == b'[') => {}
        Some(Authority { port: Some(_) }) => {
            let without = text.rsplit_once(':').map_or(text, |(host, _)| host);
            return Err(HostError::Port { given: text.to_owned(), without: without.to_owned() });
        }
        _ => return Err(HostError::Invalid { given: text.to_owned() }),
    }
    host.append(&mut read);
    Ok(if suffix { HostRule::Suffix(host.into()) } else { HostRule::Exact(host.into()) })
}

/// The bytes that a request's path is compared with.
pub fn path_bytes(text: &str, merge_slashes: bool) -> Result<Box<[u8]>, PathError> {
    let mut normal = Vec::new();
    normalise(text.as_bytes(), merge_slashes, &mut normal)?;
    Ok(normal.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_host(text: &str, want: &str) {
        let got = match host_rule(text) {
            Ok(HostRule::Any) => unreachable!("no text means any host"),
            Ok(HostRule::Exact(host)) => format!("exact {}", host.escape_ascii()),
            Ok(HostRule::Suffix(host)) => format!("suffix {}", host.escape_ascii()),
            Err(error) => format!("{error}: {}", error.help()),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn hosts_are_read_as_those_of_requests() {
        check_host("example.com", "exact example.com");
        check_host("Example.COM.", "exact example.com");
        check_host("10.0.0.1", "exact 10.0.0.1");
        check_host("[::1]", "exact [::1]");
        check_host("*.Example.com", "suffix .example.com");
        check_host("*.com", "suffix .com");
    }

    #[test]
    fn what_is_no_host_says_what_to_write() {
        check_host("*", "`*` is not a host: leave out `hosts` to match any");
        check_host("a.*.com", "`a.*.com` has a `*` that is not a whole first label: write it as in `*.example.com`");
        check_host("*a.com", "`*a.com` has a `*` that is not a whole first label: write it as in `*.example.com`");
        check_host("a.com:80", "`a.com:80` has a port: write `a.com`, which matches on every port");
        check_host("*.a.com:80", "`*.a.com:80` has a port: write `*.a.com`, which matches on every port");
        check_host("bücher.de", "`bücher.de` is not ASCII: write it as `xn--...`, as clients send it");
        for text in ["", "*.", ".", "a..b", "a b", "http://a.com", "u@a.com", "a.com/x", "*.[::1]", &"a.".repeat(128)] {
            check_host(text, &format!("`{text}` is not a host: write one as in `example.com` or `*.example.com`"));
        }
    }

    #[track_caller]
    fn check_path(text: &str, merge_slashes: bool, want: Result<&str, PathError>) {
        let got = path_bytes(text, merge_slashes);
        assert_eq!(got, want.map(|path| path.as_bytes().into()), "{text}");
    }

    #[test]
    fn paths_are_normalised_as_those_of_requests() {
        check_path("/", true, Ok("/"));
        check_path("/a/%7Eb/../c", true, Ok("/a/c"));
        check_path("/a//b", true, Ok("/a/b"));
        check_path("/a//b", false, Ok("/a//b"));
        check_path("/a%2fb", true, Ok("/a%2Fb"));
        check_path("a", true, Err(PathError::NotAbsolute));
        check_path("/../a", true, Err(PathError::AboveRoot));
        check_path("/a#b", true, Err(PathError::Fragment));
        check_path("/a%", true, Err(PathError::TripletInvalid));
    }
}
