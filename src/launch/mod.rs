//! Carrying a plan out: the parent half (clone3, barriers, id maps, hooks, console, wait) and the child half (the loop
//! over the operations). Nothing here decides.

pub mod child;
pub mod console;
mod helper;
pub mod hooks;
pub mod id_maps;
pub mod notify_socket;
pub mod report;
pub mod signals;
pub mod wait;
