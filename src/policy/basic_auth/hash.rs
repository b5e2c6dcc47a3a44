//! Hashes of passwords (argon2id, RFC 9106), as the Password Hashing Competition writes them.

use crate::policy::Invalid;
use argon2::password_hash::Error;
use argon2::password_hash::phc::PasswordHash;
use argon2::{ARGON2ID_IDENT, Argon2, MIN_SALT_LEN, Params, PasswordVerifier, Version};

/// Whether passwords can be held against this hash, and at a price that anybody may make the gateway pay. What is wrong
/// is told of "the `hash`".
pub fn check_hash(hash: &str) -> Result<(), Invalid> {
    read(hash).map(|_| ())
}

/// Whether `password` is the one of which `hash` is the hash; `None` if that cannot be told, for want of memory or of
/// a hash that is one. Takes tens of milliseconds and of mebibytes: never on a shard.
pub fn is_right(hash: &str, password: &[u8]) -> Option<bool> {
    match Argon2::default().verify_password(password, &read(hash).ok()?) {
        Ok(()) => Some(true),
        Err(Error::PasswordInvalid) => Some(false),
        Err(_) => None,
    }
}

fn read(text: &str) -> Result<PasswordHash, Invalid> {
    let unread = || {
        let help = "write what an argon2 tool gives, as in `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`";
        Invalid::new("is not one of argon2id", help)
    };
    let hash = PasswordHash::new(text).map_err(|_| unread())?;
    let costs = Params::try_from(&hash).map_err(|_| unread())?;
    let is_whole = hash.salt.as_ref().is_some_and(|salt| salt.len() >= MIN_SALT_LEN) && hash.hash.is_some();
    let is_known = hash.version.is_none_or(|version| Version::try_from(version).is_ok());
    if hash.algorithm != ARGON2ID_IDENT || !is_whole || !is_known {
        return Err(unread());
    }
    let (memory, passes) = (costs.m_cost(), costs.t_cost());
    if memory > MEMORY_KIB_MAX || u64::from(memory) * u64::from(passes) > WORK_KIB_MAX || costs.p_cost() > LANES_MAX {
        let what = format!("costs too much: m={memory}, t={passes}, p={}", costs.p_cost());
        let bounds = format!("m times t of at most {WORK_KIB_MAX} and p of at most {LANES_MAX}");
        let help = format!("make one with m of at most {MEMORY_KIB_MAX}, {bounds}");
        return Err(Invalid::new(what, help));
    }
    Ok(hash)
}

/// What is verified for a user who is not there where nobody has a password: the costs that argon2's authors advise,
/// and nobody's password.
pub const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2hhcmRnYXRlLW5vYm9keQ$ac8tc20WxZZoE7ZQq/U1c5Ms8gyRPmLnVqETS8tVLEc";
/// Of one verification; as many are under way as there are threads that answer. RFC 9106 §4 has as much for where
/// memory is dear.
const MEMORY_KIB_MAX: u32 = 64 << 10;
/// Memory times passes, which is what one takes in time: some 0.2 s. Tools that use all that memory make four passes.
const WORK_KIB_MAX: u64 = 4 * MEMORY_KIB_MAX as u64;
const LANES_MAX: u32 = 16;
