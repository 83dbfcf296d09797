//! Carrying a plan out: the parent half (clone3, barriers, id maps, hooks, console, wait) and the child half (the loop
//! over the operations). Nothing here decides.

mod agent;
pub mod child;
pub mod console;
pub mod container;
mod helper;
pub mod hooks;
pub mod id_maps;
pub mod live_mounts;
mod meeting;
pub mod notify_socket;
pub mod opening;
pub mod own_image;
pub mod restored;
pub mod sandbox;
pub mod signals;
pub mod start;
pub mod timings;
pub mod wait;
