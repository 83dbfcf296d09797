//! The only unsafe code: raw system calls that allocate nothing ([`raw`], and [`parent`] for what only the parent half
//! calls), ABI structures ([`abi`]) and owned descriptors for the parent ([`owned`]).

pub mod abi;
pub mod bpf;
pub mod eventfd;
pub(crate) mod guard;
pub mod mounts;
pub mod own_image;
pub mod owned;
pub mod parent;
pub mod raw;
pub mod service;
pub mod spawn;
pub mod startup;
pub mod strings;
pub mod timings;
pub mod xattr;
