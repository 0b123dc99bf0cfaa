//! Build-ids: which file is which.

use std::fmt;
use std::path::PathBuf;

/// A build-id as people write it.
pub(crate) struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("none");
        }
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Where a debug file stands below a debug root: `.build-id/xx/yyyy.debug`. `None` for ids too
/// short to have such a place.
pub(crate) fn debug_path(build_id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = build_id.split_first()?;
    (!rest.is_empty()).then(|| {
        let folder = Hex(std::slice::from_ref(first));
        PathBuf::from(format!(".build-id/{folder}/{}.debug", Hex(rest)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_is_the_folder() {
        let place = debug_path(&[0xab, 0x0c, 0xff]);
        assert_eq!(place, Some(PathBuf::from(".build-id/ab/0cff.debug")));
        assert_eq!((debug_path(&[]), debug_path(&[1])), (None, None));
    }
}
