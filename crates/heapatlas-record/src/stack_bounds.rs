//! Where this thread's stack is.

use core::mem::MaybeUninit;
use core::ops::Range;

/// The addresses of this thread's stack, from its lowest. (The main thread's grows: its lower bound is a
/// guess, but nobody reads below the stack pointer.)
pub fn of_this_thread() -> Option<Range<u64>> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: fills the attributes of the calling thread.
    let result =
        unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    let (mut low, mut bytes) = (core::ptr::null_mut(), 0);
    // SAFETY: they were filled above, and are not used after they are destroyed.
    unsafe {
        libc::pthread_attr_getstack(attributes.as_ptr(), &mut low, &mut bytes);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
    }
    Some(low as u64..low as u64 + bytes as u64)
}
