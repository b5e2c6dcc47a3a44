//! A request or a response as a test saw it on the wire, read by a parser that shares nothing with the gateway's.

/// How the end of the body was marked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

#[derive(Clone, Debug)]
pub struct Message {
    /// Without its CRLF.
    pub first_line: String,
    /// In order, names in their case, values trimmed; bytes above 0x7f as Latin-1.
    pub fields: Vec<(String, String)>,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The whole body came, by its framing.
    pub complete: bool,
}

impl Message {
    /// Reads a head with its empty line; the body is the wire's part.
    #[track_caller]
    pub fn from_head(head: &[u8]) -> Self {
        let text = latin1(head);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(field).collect();
        let mut message =
            Self { first_line, fields, framing: Framing::None, body: Vec::new(), trailers: Vec::new(), complete: true };
        message.framing = message.declared_framing();
        message
    }

    /// Of a response.
    #[track_caller]
    pub fn status(&self) -> u16 {
        let status = self.first_line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        status.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no status: {:?}", self.first_line))
    }

    /// Of a request.
    pub fn method(&self) -> &str {
        self.first_line.split(' ').next().unwrap_or_default()
    }

    /// Of a request.
    pub fn target(&self) -> &str {
        self.first_line.split(' ').nth(1).unwrap_or_default()
    }

    pub fn values(&self, name: &str) -> Vec<&str> {
        let of_name = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of `name`, if it is there.
    #[track_caller]
    pub fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() <= 1, "{name} is there {} times: {values:?}", values.len());
        values.first().copied()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// The connection ends after this message, says the message.
    pub fn closes(&self) -> bool {
        self.values("connection").iter().any(|value| value.eq_ignore_ascii_case("close"))
    }

    pub fn text(&self) -> String {
        latin1(&self.body)
    }

    /// The body of an answer that the gateway made itself, with the members that each must have: those of RFC 9457
    /// and Kong's two.
    #[track_caller]
    pub fn problem(&self) -> serde_json::Value {
        assert_eq!(self.value("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: serde_json::Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()));
        assert_eq!(problem["status"], self.status(), "{problem}");
        for member in ["type", "title", "detail", "message", "request_id"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "no {member} in {problem}");
        }
        assert!(!self.text().contains("127.0.0."), "an address in {problem}");
        problem
    }

    #[track_caller]
    fn declared_framing(&self) -> Framing {
        match (self.value("transfer-encoding"), self.value("content-length")) {
            (None, None) => Framing::None,
            (Some("chunked"), None) => Framing::Chunked,
            (None, Some(length)) => Framing::Length(length.parse().unwrap_or_else(|_| panic!("length {length:?}"))),
            both => panic!("odd framing: {both:?}"),
        }
    }
}

#[track_caller]
pub fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a field: {line:?}"));
    assert!(!name.is_empty() && !name.contains([' ', '\t', '\n']), "not a field: {line:?}");
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}

pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}
