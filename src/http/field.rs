//! Fields as offsets, and the names the gateway has to recognise.

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
    XRequestId,
    Authorization,
    Cookie,
    Date,
    UserAgent,
    Referer,
}

impl Known {
    /// ASCII case-insensitive. `name` must be a token, as every name of a head is.
    pub fn of(name: &[u8]) -> Self {
        match name.len() {
            2 if is(name, b"te") => Self::Te,
            3 if is(name, b"via") => Self::Via,
            4 if is(name, b"host") => Self::Host,
            4 if is(name, b"date") => Self::Date,
            6 if is(name, b"cookie") => Self::Cookie,
            6 if is(name, b"expect") => Self::Expect,
            7 if is(name, b"upgrade") => Self::Upgrade,
            7 if is(name, b"referer") => Self::Referer,
            7 if is(name, b"trailer") => Self::Trailer,
            9 if is(name, b"forwarded") => Self::Forwarded,
            9 if is(name, b"x-real-ip") => Self::XRealIp,
            10 if is(name, b"connection") => Self::Connection,
            10 if is(name, b"user-agent") => Self::UserAgent,
            10 if is(name, b"keep-alive") => Self::KeepAlive,
            12 if is(name, b"x-request-id") => Self::XRequestId,
            13 if is(name, b"authorization") => Self::Authorization,
            14 if is(name, b"content-length") => Self::ContentLength,
            15 if is(name, b"x-forwarded-for") => Self::XForwardedFor,
            16 if is(name, b"x-forwarded-host") => Self::XForwardedHost,
            16 if is(name, b"x-forwarded-port") => Self::XForwardedPort,
            16 if is(name, b"proxy-connection") => Self::ProxyConnection,
            17 if is(name, b"x-forwarded-proto") => Self::XForwardedProto,
            17 if is(name, b"transfer-encoding") => Self::TransferEncoding,
            18 if is(name, b"proxy-authenticate") => Self::ProxyAuthenticate,
            19 if is(name, b"proxy-authorization") => Self::ProxyAuthorization,
            _ => Self::Other,
        }
    }
}

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Span,
    pub value: Span,
    pub known: Known,
}

/// The fields of one head, reusable.
#[derive(Debug)]
pub(super) struct FieldTable {
    fields: Vec<Field>,
}

impl FieldTable {
    pub(super) fn new() -> Self {
        Self { fields: Vec::new() }
    }

    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(super) fn value<'a>(&self, bytes: &'a [u8], known: Known) -> Option<&'a [u8]> {
        self.fields.iter().find(|field| field.known == known).map(|field| field.value.of(bytes))
    }

    pub(super) fn connection_lists(&self, _bytes: &[u8], _name: &[u8]) -> bool {
        unimplemented!()
    }
}

/// Setting bit 5 makes letters lower-case and changes no other byte of a token into one of `lower`.
fn is<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    let mut difference = 0;
    for i in 0..N {
        difference |= (name[i] | 0x20) ^ lower[i];
    }
    difference == 0
}
