//! The request method and the protocol version, as far as the gateway has to tell them apart.

/// Case matters (RFC 9110 §9.1): `get` is `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Other,
}

impl Method {
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// RFC 9110 §9.2.2: sending it twice has the effect of sending it once.
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_known_by_its_exact_name_and_idempotent_as_the_rfc_says() {
        #[track_caller]
        fn check(name: &str, method: Method, idempotent: bool) {
            assert_eq!(Method::of(name.as_bytes()), method, "{name}");
            assert_eq!(method.is_idempotent(), idempotent, "{name}");
        }
        check("GET", Method::Get, true);
        check("HEAD", Method::Head, true);
        check("POST", Method::Post, false);
        check("PUT", Method::Put, true);
        check("DELETE", Method::Delete, true);
        check("CONNECT", Method::Connect, false);
        check("OPTIONS", Method::Options, true);
        check("TRACE", Method::Trace, true);
        check("PATCH", Method::Patch, false);
        check("get", Method::Other, false);
        check("GETS", Method::Other, false);
        check("PROPFIND", Method::Other, false);
    }
}
