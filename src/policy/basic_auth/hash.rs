//! Hashes of passwords (argon2id, RFC 9106), as the Password Hashing Competition writes them.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordVerifier};

/// Whether `password` is the one of which `hash` is the hash. Takes tens of milliseconds and of mebibytes: never on a
/// shard.
pub fn is_right(hash: &str, password: &[u8]) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    let is_bearable = Params::try_from(&hash).is_ok_and(|costs| is_bearable(&costs));
    is_bearable && Argon2::default().verify_password(password, &hash).is_ok()
}

/// Whether it costs no more than a verification should.
fn is_bearable(costs: &Params) -> bool {
    costs.m_cost() <= MEMORY_KIB_MAX && costs.t_cost() <= PASSES_MAX && costs.p_cost() <= LANES_MAX
}

/// What is verified for a user who is not there: the costs that argon2's authors advise, and nobody's password.
pub const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2hhcmRnYXRlLW5vYm9keQ$ac8tc20WxZZoE7ZQq/U1c5Ms8gyRPmLnVqETS8tVLEc";
/// Of one verification.
const MEMORY_KIB_MAX: u32 = 256 << 10;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;
