//! What differs by system.

pub(crate) mod memory;
pub(crate) mod moment;
