//! Fields as offsets, and the names the gateway has to recognise.

use std::ops::Range;

/// Names that the gateway itself reads, sets or removes; everything else is `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Known {
    Other,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    KeepAlive,
    ProxyConnection,
    ProxyAuthenticate,
    ProxyAuthorization,
    Te,
    Trailer,
    Upgrade,
    Expect,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    XForwardedPort,
    XRealIp,
    Forwarded,
    Via,
    MaxForwards,
    XRequestId,
    Authorization,
    Cookie,
    Date,
    UserAgent,
    Referer,
}

impl Known {
    /// ASCII case-insensitive. `name` must be a token, as every name of a head is, or have the bytes of a value.
    #[inline(always)]
    pub fn of(name: &[u8]) -> Self {
        match (name.len(), name.first().map(|first| first | 0x20)) {
            (2, Some(b't')) if same(name, b"te") => Self::Te,
            (3, Some(b'v')) if same(name, b"via") => Self::Via,
            (4, Some(b'h')) if same(name, b"host") => Self::Host,
            (4, Some(b'd')) if same(name, b"date") => Self::Date,
            (6, Some(b'c')) if same(name, b"cookie") => Self::Cookie,
            (6, Some(b'e')) if same(name, b"expect") => Self::Expect,
            (7, Some(b'u')) if same(name, b"upgrade") => Self::Upgrade,
            (7, Some(b'r')) if same(name, b"referer") => Self::Referer,
            (7, Some(b't')) if same(name, b"trailer") => Self::Trailer,
            (9, Some(b'f')) if same(name, b"forwarded") => Self::Forwarded,
            (9, Some(b'x')) if same(name, b"x-real-ip") => Self::XRealIp,
            (10, Some(b'c')) if same(name, b"connection") => Self::Connection,
            (10, Some(b'u')) if same(name, b"user-agent") => Self::UserAgent,
            (10, Some(b'k')) if same(name, b"keep-alive") => Self::KeepAlive,
            (12, Some(b'x')) if same(name, b"x-request-id") => Self::XRequestId,
            (12, Some(b'm')) if same(name, b"max-forwards") => Self::MaxForwards,
            (13, Some(b'a')) if same(name, b"authorization") => Self::Authorization,
            (14, Some(b'c')) if same(name, b"content-length") => Self::ContentLength,
            (15, Some(b'x')) if same(name, b"x-forwarded-for") => Self::XForwardedFor,
            (16, Some(b'x')) if same(name, b"x-forwarded-host") => Self::XForwardedHost,
            (16, Some(b'x')) if same(name, b"x-forwarded-port") => Self::XForwardedPort,
            (16, Some(b'p')) if same(name, b"proxy-connection") => Self::ProxyConnection,
            (17, Some(b'x')) if same(name, b"x-forwarded-proto") => Self::XForwardedProto,
            (17, Some(b't')) if same(name, b"transfer-encoding") => Self::TransferEncoding,
            (18, Some(b'p')) if same(name, b"proxy-authenticate") => Self::ProxyAuthenticate,
            (19, Some(b'p')) if same(name, b"proxy-authorization") => Self::ProxyAuthorization,
            _ => Self::Other,
        }
    }
}

/// What backends believe of a gateway: `X-Forwarded-` and anything behind it, as the known ones have siblings (-Prefix,
/// -Ssl, -User), and what Kong's and Envoy's backends know the client by. Many a backend cannot tell `_` from `-`.
#[inline]
pub fn is_a_gateways(name: &[u8]) -> bool {
    // Few names begin so, which is then seen without a call.
    matches!(name, [b'x' | b'X', b'-' | b'_', rest @ ..] if goes_on(rest, &GATEWAYS))
}

/// Those of them that say who asks.
pub(super) fn is_an_identitys(name: &[u8]) -> bool {
    matches!(name, [b'x' | b'X', b'-' | b'_', rest @ ..] if goes_on(rest, &IDENTITIES))
}

fn goes_on(name: &[u8], ways: &[&[u8]]) -> bool {
    let is_alike = |byte: u8, lower: u8| byte.to_ascii_lowercase() == lower || byte == b'_' && lower == b'-';
    let starts = |with: &&[u8]| name.len() >= with.len() && name.iter().zip(*with).all(|(a, b)| is_alike(*a, *b));
    ways.iter().any(starts)
}

/// Whether a program that cannot tell `_` from `-` takes the name for one that a gateway frames, writes or decides by.
pub(super) fn is_an_alias(name: &[u8]) -> bool {
    let mut room = [0; KNOWN_BYTES_MAX];
    let Some(folded) = room.get_mut(..name.len()) else { return false };
    for (to, byte) in folded.iter_mut().zip(name) {
        *to = if *byte == b'_' { b'-' } else { *byte };
    }
    folded != name && Known::of(folded) != Known::Other
}

/// How names go on, behind their `x-`, that only a gateway may send.
const GATEWAYS: [&[u8]; 5] = [b"forwarded-", IDENTITIES[0], IDENTITIES[1], IDENTITIES[2], b"envoy-"];
const IDENTITIES: [&[u8]; 3] = [b"consumer-", b"credential-identifier", b"anonymous-consumer"];
/// The longest of [`Known`].
const KNOWN_BYTES_MAX: usize = "proxy-authorization".len();

/// Where some bytes of a head lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u16,
    pub len: u16,
}

impl Span {
    pub const EMPTY: Self = Self { start: 0, len: 0 };

    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[usize::from(self.start)..][..usize::from(self.len)]
    }

    /// Both fit, because no head is longer than [`super::head::HEAD_BYTES_MAX`].
    pub(super) fn new(start: usize, len: usize) -> Self {
        debug_assert!(start + len <= super::head::HEAD_BYTES_MAX);
        Self { start: start as u16, len: len as u16 }
    }

    /// Where `part`, a slice of `bytes`, lies.
    pub(super) fn within(bytes: &[u8], part: &[u8]) -> Self {
        if part.is_empty() {
            return Self::EMPTY;
        }
        Self::new(part.as_ptr().addr() - bytes.as_ptr().addr(), part.len())
    }

    pub(super) fn start(self) -> usize {
        usize::from(self.start)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Span,
    pub value: Span,
    pub known: Known,
    /// Its line is name, `: `, value and line end, as the gateway would write it.
    pub is_plain: bool,
}

impl Field {
    /// Where its line lies, with its end; only of a plain one.
    pub fn line(&self) -> Option<Range<usize>> {
        let end = self.value.start() + usize::from(self.value.len) + "\r\n".len();
        self.is_plain.then(|| self.name.start()..end)
    }
}

/// The fields of one head and what Connection says of them; reusable.
#[derive(Debug)]
pub(super) struct FieldTable {
    fields: Vec<Field>,
    /// Bit `known as u8` is set when such a field is there: most look-ups are for fields that are not.
    present: u32,
    /// What Connection lists beyond `keep-alive` and `close`.
    connection_options: Vec<Span>,
}

const _: () = assert!((Known::Referer as u32) < u32::BITS);

/// Each costs a comparison with every field that is forwarded.
pub(super) const CONNECTION_OPTIONS_MAX: usize = 16;

impl FieldTable {
    pub(super) fn new() -> Self {
        Self { fields: Vec::new(), present: 0, connection_options: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.fields.clear();
        self.present = 0;
        self.connection_options.clear();
    }

    pub(super) fn push(&mut self, field: Field) {
        self.present |= 1 << field.known as u32;
        self.fields.push(field);
    }

    /// False when there are too many.
    pub(super) fn push_connection_option(&mut self, option: Span) -> bool {
        if self.connection_options.len() == CONNECTION_OPTIONS_MAX {
            return false;
        }
        self.connection_options.push(option);
        true
    }

    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(super) fn has(&self, known: Known) -> bool {
        self.present >> known as u32 & 1 == 1
    }

    pub(super) fn value<'a>(&self, bytes: &'a [u8], known: Known) -> Option<&'a [u8]> {
        if !self.has(known) {
            return None;
        }
        self.fields.iter().find(|field| field.known == known).map(|field| field.value.of(bytes))
    }

    pub(super) fn connection_options<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.connection_options.iter().map(move |option| option.of(bytes))
    }

    /// A bit for each known name that Connection lists.
    #[inline]
    pub(super) fn connection_known(&self, bytes: &[u8]) -> u32 {
        if self.connection_options.is_empty() { 0 } else { self.connection_options_known(bytes) }
    }

    #[inline(never)]
    fn connection_options_known(&self, bytes: &[u8]) -> u32 {
        self.connection_options(bytes).fold(0, |bits, option| bits | 1 << Known::of(option) as u32)
    }

    #[inline]
    pub(super) fn connection_lists(&self, bytes: &[u8], name: &[u8]) -> bool {
        // Nearly always none, which is then seen without a call.
        !self.connection_options.is_empty() && self.connection_options_include(bytes, name)
    }

    #[inline(never)]
    fn connection_options_include(&self, bytes: &[u8], name: &[u8]) -> bool {
        self.connection_options(bytes).any(|option| option.eq_ignore_ascii_case(name))
    }
}

/// Whether `name` is `lower` in some case. Setting bit 5 makes letters lower-case and turns no other byte of a token or
/// a field value into a letter, a digit or `-`.
pub(super) fn same<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    let word = |chunk: &[u8; 8]| u64::from_ne_bytes(*chunk) | u64::from_ne_bytes([0x20; 8]);
    // Eight bytes at a time, the last ones overlapping.
    if let (Some(last), Some(lower_last)) = (name.last_chunk(), lower.last_chunk()) {
        let chunks = name.as_chunks().0.iter().zip(lower.as_chunks().0);
        return chunks.fold(word(last) ^ word(lower_last), |difference, (a, b)| difference | (word(a) ^ word(b))) == 0;
    }
    let mut difference = 0;
    for i in 0..N {
        difference |= (name[i] | 0x20) ^ lower[i];
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [(&str, Known); 26] = [
        ("TE", Known::Te),
        ("Via", Known::Via),
        ("Host", Known::Host),
        ("Date", Known::Date),
        ("Cookie", Known::Cookie),
        ("Expect", Known::Expect),
        ("Upgrade", Known::Upgrade),
        ("Referer", Known::Referer),
        ("Trailer", Known::Trailer),
        ("Forwarded", Known::Forwarded),
        ("X-Real-IP", Known::XRealIp),
        ("Connection", Known::Connection),
        ("User-Agent", Known::UserAgent),
        ("Keep-Alive", Known::KeepAlive),
        ("X-Request-ID", Known::XRequestId),
        ("Max-Forwards", Known::MaxForwards),
        ("Authorization", Known::Authorization),
        ("Content-Length", Known::ContentLength),
        ("X-Forwarded-For", Known::XForwardedFor),
        ("X-Forwarded-Host", Known::XForwardedHost),
        ("X-Forwarded-Port", Known::XForwardedPort),
        ("Proxy-Connection", Known::ProxyConnection),
        ("X-Forwarded-Proto", Known::XForwardedProto),
        ("Transfer-Encoding", Known::TransferEncoding),
        ("Proxy-Authenticate", Known::ProxyAuthenticate),
        ("Proxy-Authorization", Known::ProxyAuthorization),
    ];

    #[test]
    fn a_name_is_known_in_any_case() {
        for (name, known) in NAMES {
            assert_eq!(Known::of(name.as_bytes()), known, "{name}");
            assert_eq!(Known::of(name.to_ascii_lowercase().as_bytes()), known, "{name}");
            assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), known, "{name}");
        }
    }

    #[test]
    fn a_name_that_differs_in_one_byte_is_another_name() {
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        for (name, _) in NAMES {
            for at in 0..name.len() {
                for byte in (0..=255).filter(token).filter(|byte| !byte.eq_ignore_ascii_case(&name.as_bytes()[at])) {
                    let mut other = name.as_bytes().to_vec();
                    other[at] = byte;
                    assert_eq!(Known::of(&other), Known::Other, "{}", other.escape_ascii());
                }
            }
            assert_eq!(Known::of(&name.as_bytes()[1..]), Known::Other);
            assert_eq!(Known::of(format!("{name}s").as_bytes()), Known::Other);
        }
    }

    #[test]
    fn what_some_programs_take_for_another_name_is_known() {
        for (name, _) in NAMES {
            let alias = name.replace('-', "_");
            assert_eq!(is_an_alias(alias.as_bytes()), alias != name, "{alias}");
            assert!(!is_an_alias(name.as_bytes()) && !is_an_alias(format!("{name}_").as_bytes()), "{name}");
        }
        assert!(is_an_alias(b"X_Forwarded-For") && !is_an_alias(b"") && !is_an_alias(b"x_role"));
        for name in ["X-Consumer-Id", "x_consumer_id", "X-FORWARDED_prefix", "X-Envoy-Internal", "x-anonymous-consumer"]
        {
            assert!(is_a_gateways(name.as_bytes()), "{name}");
            let is_of_clients = ["envoy", "forwarded"].iter().any(|word| name.to_ascii_lowercase().contains(word));
            assert_eq!(is_an_identitys(name.as_bytes()), !is_of_clients, "{name}");
        }
        for name in ["", "X", "X-", "X-Consumer", "X.Consumer-Id", "Y-Consumer-Id", "XX-Consumer-Id", "X-Consumers-Id"]
        {
            assert!(!is_a_gateways(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_table_finds_the_first_field_of_a_name_and_what_connection_lists() {
        let bytes = b"Via: 1.1 a, X-B";
        let mut table = FieldTable::new();
        let (name, first, second) = (Span::new(0, 3), Span::new(5, 5), Span::new(12, 3));
        for value in [first, second] {
            table.push(Field { name, value, known: Known::Via, is_plain: false });
        }
        assert!(table.push_connection_option(second));
        assert_eq!(table.value(bytes, Known::Via), Some(&b"1.1 a"[..]));
        assert_eq!(table.value(bytes, Known::Host), None);
        assert!(table.connection_lists(bytes, b"x-b") && !table.connection_lists(bytes, b"x-bc"));
        table.clear();
        assert_eq!(table.value(bytes, Known::Via), None);
        assert!(table.fields().is_empty() && !table.connection_lists(bytes, b"x-b"));
    }
}
