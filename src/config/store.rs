//! Where limits are counted that nodes share: as the operator writes it, and as the control thread goes by it.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_saphyr::Spanned;

use super::tls::{ClientTls, Tls};
use crate::stdx::number::Bounded;

/// A Redis server, version 5 or later, or one that speaks as it does. It should forget nothing by itself
/// (`maxmemory-policy noeviction`): what it forgets, it forgives.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `HOST:PORT`.
    pub address: Spanned<String>,
    /// Together with `password_file` only. Default: that of Redis.
    pub username: Option<Spanned<String>>,
    /// A file with the password, beside this one; a line end after it is not a part of it. Default: no password.
    pub password_file: Option<Spanned<String>>,
    /// How the connection is encrypted; `{}` is enough where the system trusts the server's authority. Default: it is
    /// not.
    #[serde(default, deserialize_with = "not_null")]
    pub tls: Option<ClientTls>,
    /// Its number. Default: 0.
    pub database: Option<Bounded<0, 65_535>>,
    /// What every key in Redis begins with: nodes that count together have the same. Default: shardgate.
    pub prefix: Option<Spanned<String>>,
    /// While Redis is away, each node admits its last share of the rate (`keep_share`), or what it was granted and then
    /// nothing (`refuse`). A node that alone cannot reach Redis is forgotten there after a minute: with `keep_share` it
    /// then admits its share beside the others' whole rate. Default: `keep_share`.
    pub on_failure: Option<OnFailure>,
}

/// Whoever writes a key and nothing below it wants what it stands for, and would get what it stands against.
fn not_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ClientTls>, D::Error> {
    match Option::deserialize(deserializer)? {
        Some(tls) => Ok(Some(tls)),
        None => Err(D::Error::custom("`tls` with nothing in it: write `tls: {}`, or leave it out")),
    }
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
    pub server: Server,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub database: u64,
    /// What keys begin with.
    pub prefix: String,
    pub on_failure: OnFailure,
}

/// Where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// `host:port`, looked up whenever it is connected to.
    pub address: String,
    /// None where nothing is encrypted.
    pub tls: Option<Arc<Tls>>,
}

/// Shows itself to nobody.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("...")
    }
}
