//! Why a head was refused: one variant a cause, so that a status, a counter and a log line can tell them apart.
//!
//! Messages never repeat what the peer sent.

use thiserror::Error;

use super::path::PathError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeadError {
    // The lines.
    #[error("a line ends in LF without CR")]
    BareLf,
    #[error("a line does not end in CRLF")]
    LineEndInvalid,
    #[error("the head is larger than allowed")]
    HeadTooLarge,

    // The first line.
    #[error("the method is not a token")]
    MethodInvalid,
    #[error("the method is not supported")]
    MethodUnsupported,
    #[error("the request target is invalid")]
    TargetInvalid,
    #[error("the request target is longer than allowed")]
    UriTooLong,
    #[error("the path is invalid: {0}")]
    PathInvalid(#[from] PathError),
    #[error("the protocol version is malformed")]
    VersionInvalid,
    #[error("the protocol version is not supported")]
    VersionUnsupported,
    #[error("the status is not a number from 100 to 599")]
    StatusInvalid,
    #[error("the reason holds a control character")]
    ReasonInvalid,

    // The fields.
    #[error("more fields than allowed")]
    TooManyFields,
    #[error("a field name is not a token")]
    FieldNameInvalid,
    #[error("a field value holds a control character")]
    FieldValueInvalid,
    #[error("a field is folded over lines")]
    ObsFold,
    #[error("Connection names more options than allowed")]
    TooManyConnectionOptions,
    #[error("the expectation is not known")]
    ExpectationUnknown,

    // Who is asked.
    #[error("Host is missing")]
    HostMissing,
    #[error("Host is there more than once")]
    HostRepeated,
    #[error("the host is invalid")]
    HostInvalid,
    #[error("Host and the request target name different authorities")]
    AuthorityMismatch,

    // Where the body ends.
    #[error("Content-Length is not a number")]
    LengthInvalid,
    #[error("Content-Length is there more than once")]
    LengthRepeated,
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndChunked,
    #[error("Transfer-Encoding is invalid")]
    CodingInvalid,
    #[error("chunked is not the last transfer coding, or there twice")]
    CodingMisplaced,
    #[error("a transfer coding other than chunked")]
    CodingUnsupported,
    #[error("Transfer-Encoding in HTTP/1.0")]
    CodingInHttp10,
    #[error("TRACE with a body")]
    TraceWithBody,
}
