//! What the standard library lacks. No word of HTTP here, and no dependency on any other module.

pub mod atomic;
pub mod base64;
pub mod board;
pub mod certificates;
pub mod cidr;
pub mod cidr_set;
pub mod date;
pub mod hash;
pub mod histogram;
pub mod json;
pub mod lanes;
pub mod ledger;
pub mod number;
pub mod parsed;
pub mod rng;
pub mod slab;
pub mod text;
pub mod time;
