//! What the operator writes of passwords. The comments here are the documentation of its keys.

use crate::http::view::FieldName;
use crate::stdx::number::Bounded;
use serde::Deserialize;

/// Requests need a user name and a password of one of the file's `consumers`, as `Authorization: Basic` (RFC 7617, in
/// UTF-8); 401 without. The file has of each password its hash (argon2id), as `argon2 SALT -id -e` writes it.
///
/// To verify a password takes as long as its hash was made to take, and is done by a thread beside the shards. An
/// unknown user costs what the first one in the file does: give all hashes the same cost, or how long it takes tells
/// who is a user. What was right is known to the shard for `remember_s`, what was wrong for ten seconds, each by a
/// keyed hash. After 10 passwords in ten seconds that were wrong, or were not verified in time, a shard refuses what
/// else comes from that client (an IPv4 address or an IPv6 /64) and would have to be verified, until the ten seconds
/// are over: 429. Of one client at most 4 passwords of a shard are verified at one time, of all 128 on a node: 503
/// beyond, and for a password whose turn does not come within five seconds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether the service does not get to see user name and password. Default: false.
    #[serde(default)]
    pub hide_password: bool,
    /// The header that tells the service the name of the consumer. What the client sent under this name is removed in
    /// any case. Default: `X-Consumer-Username`.
    #[serde(default = "usual_consumer_header")]
    pub consumer_header: FieldName,
    /// How long a password that was right is not verified again, in seconds, at most 3600; another hash in the file
    /// ends it at once. 0 verifies every request. Default: 300.
    pub remember_s: Option<Bounded<0, 3600>>,
}

fn usual_consumer_header() -> FieldName {
    FieldName::fixed("X-Consumer-Username")
}
