//! Where limits are counted that nodes share: as the operator writes it, and as the control thread goes by it.

use std::fmt;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::stdx::number::Bounded;

/// A Redis server, version 5 or later, or one that speaks as it does. It should forget nothing by itself
/// (`maxmemory-policy noeviction`): what it forgets, it forgives.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `HOST:PORT`. The connection is not encrypted.
    pub address: Spanned<String>,
    /// Together with `password_file` only. Default: that of Redis.
    pub username: Option<Spanned<String>>,
    /// A file with the password, beside this one; a line end after it is not a part of it. Default: no password.
    pub password_file: Option<Spanned<String>>,
    /// Its number. Default: 0.
    pub database: Option<Bounded<0, 65_535>>,
    /// What every key in Redis begins with: nodes that count together have the same. Default: shardgate.
    pub prefix: Option<Spanned<String>>,
    /// While Redis is away, each node admits its last share of the rate (`keep_share`), or what it was granted and then
    /// nothing (`refuse`). A node that alone cannot reach Redis is forgotten there after a minute: with `keep_share` it
    /// then admits its share beside the others' whole rate. Default: `keep_share`.
    pub on_failure: Option<OnFailure>,
}

/// What a node does on its own while the store is away.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    KeepShare,
    Refuse,
}

/// The same, compiled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Store {
    /// `host:port`, looked up whenever it is connected to.
    pub address: String,
    pub username: Option<String>,
    pub password: Option<Password>,
    pub database: u64,
    /// What keys begin with.
    pub prefix: String,
    pub on_failure: OnFailure,
}

/// Shows itself to nobody.
#[derive(Clone, Eq, PartialEq)]
pub struct Password(pub Vec<u8>);

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("...")
    }
}
