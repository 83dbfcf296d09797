//! kiste's own executable, which a payload must not be able to write to.

use crate::error::{Error, Result};
use crate::kernel::own_image;

/// Where the kernel can't make a process let go of its executable, this program goes on as a sealed copy of itself
/// (INV-06); before anything else is done.
///
/// # Errors
/// When the copy can't be made or run.
pub fn protect() -> Result<()> {
    if own_image::is_supported() {
        return Ok(());
    }
    own_image::run_sealed_copy()
        .map_err(|errno| Error::refused("cannot run a sealed copy of kiste").call("memfd_create", errno))
}
