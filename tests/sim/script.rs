//! What one exchange is to be: known to the client that plays it, to the origin, and to the judge.

/// `(name, value, whether it reaches the other end)`.
pub type Fields = Vec<(&'static str, String, bool)>;

pub struct Script {
    pub id: usize,
    pub kind: Kind,
    pub request: Request,
    pub answer: Answer,
    pub conduct: Conduct,
    /// How long the client waits before it.
    pub pause_ms: u64,
    /// It is sent without waiting for the answer to the one before.
    pub pipelined: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Exchange,
    /// Asks to switch to another protocol; what both ends send then are their bodies.
    Tunnel,
    /// Breaks a rule: nothing of it may reach the origin as a whole request.
    Malformed,
}

pub struct Request {
    pub method: &'static str,
    /// As the origin must see it: normalised, with its query.
    pub target: String,
    pub http10: bool,
    pub fields: Fields,
    pub coding: Coding,
    pub body: Vec<u8>,
    /// As the origin must get it.
    pub passed: Vec<u8>,
    pub trailers: Fields,
    pub expects_continue: bool,
    /// The client will bring no other request on this connection.
    pub closes: bool,
    /// What goes on the wire, and how much of it is the head.
    pub wire: Vec<u8>,
    pub head_bytes: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coding {
    None,
    Length,
    Chunked,
    /// Of answers alone.
    UntilClose,
}

/// What the client does beside sending and receiving.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Conduct {
    Proper,
    /// Says after its request that it sends no more.
    HalfCloses,
    /// Goes away after so many bytes of the request.
    Aborts {
        after: usize,
        reset: bool,
    },
    /// Goes away after its request without waiting for the answer.
    Leaves,
}

pub struct Answer {
    pub status: u16,
    pub interims: Vec<u16>,
    pub fields: Fields,
    pub coding: Coding,
    pub body: Vec<u8>,
    /// As the client must get it.
    pub passed: Vec<u8>,
    pub trailers: Fields,
    pub when: When,
    pub after: After,
    pub flaw: Flaw,
    pub delay_ms: u64,
    pub wire: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum When {
    /// The request has been read.
    After,
    /// While the request is still being read.
    Early,
    /// Before the request is read, which then never is.
    EarlyAndClose,
}

/// What becomes of the origin's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum After {
    Keep,
    /// As the answer says.
    Close,
    /// Without a word, some time later: a request may be under way to it.
    CloseUnsaid {
        after_ms: u64,
    },
}

/// What is wrong with the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flaw {
    None,
    Garbage,
    /// Ends after so many bytes of the wire, with a reset or an end.
    Cut {
        after: usize,
        reset: bool,
    },
    /// Another answer follows that nobody asked for.
    Excess,
    Silence,
    UnaskedSwitch,
}

impl Script {
    /// Whether the origin may see it twice.
    pub fn is_repeatable(&self) -> bool {
        matches!(self.request.method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS")
    }

    /// The request is on the wire as long as this.
    pub fn sent_bytes(&self) -> usize {
        match self.conduct {
            Conduct::Aborts { after, .. } => after,
            _ => self.request.wire.len(),
        }
    }
}

impl Answer {
    pub fn has_body(&self, method: &str) -> bool {
        method != "HEAD" && !matches!(self.status, 204 | 304)
    }
}
