//! Memory for as long as the process. Without memory there is no region, and no end of the process either.

/// `None` when there is no memory.
pub(super) fn leaked<T>(value: T) -> Option<&'static T> {
    let mut place = Vec::new();
    place.try_reserve_exact(1).ok()?;
    place.push(value);
    place.leak().first()
}

/// A copy of a text; `None` when there is no memory.
pub(super) fn leaked_text(text: &str) -> Option<&'static str> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).ok()?;
    copy.push_str(text);
    Some(copy.leak())
}
