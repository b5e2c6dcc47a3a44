//! What the three programs of this package share. They know nothing of the gateway that they measure:
//!
//! ```text
//!    load  -->  floor | gateway | nginx | HAProxy  -->  origin
//!    core 1                 core 0                      core 1
//! ```

pub mod body;
pub mod head;
pub mod histogram;
pub mod sys;
