//! The only unsafe code: raw system calls that allocate nothing ([`raw`]), ABI structures ([`abi`]) and owned
//! descriptors for the parent ([`owned`]).

pub mod abi;
pub mod owned;
pub mod raw;
