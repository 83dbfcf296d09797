//! What the security tests share.
#![allow(dead_code)]

pub mod audit;
pub mod canary;
pub mod fault;
pub mod pause;
pub mod state;
