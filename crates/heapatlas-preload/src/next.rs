//! The next definitions of the functions that we interpose: the C library's, or those of the
//! allocator that the program links.

use core::ffi::{CStr, c_int, c_void};
use core::mem::transmute;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::Relaxed;

/// A function found by name.
#[repr(transparent)]
pub struct Next(AtomicPtr<c_void>);

impl Next {
    const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    fn find(&self, name: &CStr) {
        // SAFETY: the name ends with a zero.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        self.0.store(found, Relaxed);
    }

    /// Puts another function in its place.
    pub fn replace(&self, function: *mut c_void) {
        self.0.store(function, Relaxed);
    }

    /// Whether there is one.
    #[inline(always)]
    pub fn is_there(&self) -> bool {
        !self.get().is_null()
    }

    /// Its address; null if there is none.
    #[inline(always)]
    pub fn get(&self) -> *mut c_void {
        self.0.load(Relaxed)
    }
}

macro_rules! next {
    ($($name:ident: $symbol:literal fn($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(
            #[doc = concat!("The next `", stringify!($name), "`.")]
            pub mod $name {
                use super::*;

                /// Where it is; the forwarding code jumps there.
                pub static ENTRY: Next = Next::new();

                /// Calls it.
                ///
                /// # Safety
                /// As the function itself.
                #[inline(always)]
                pub unsafe fn call($($argument: $type),*) $(-> $result)? {
                    type Function = unsafe extern "C" fn($($type),*) $(-> $result)?;
                    // SAFETY: `find_all` looked the function up by its name, which has this type in
                    // every C library.
                    unsafe { transmute::<*mut c_void, Function>(ENTRY.get())($($argument),*) }
                }
            }
        )*

        /// Looks all of them up.
        pub fn find_all() {
            $($name::ENTRY.find($symbol);)*
        }
    };
}

next! {
    malloc: c"malloc" fn(size: usize) -> *mut c_void;
    calloc: c"calloc" fn(count: usize, size: usize) -> *mut c_void;
    realloc: c"realloc" fn(block: *mut c_void, size: usize) -> *mut c_void;
    free: c"free" fn(block: *mut c_void);
    posix_memalign: c"posix_memalign" fn(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int;
    aligned_alloc: c"aligned_alloc" fn(alignment: usize, size: usize) -> *mut c_void;
    memalign: c"memalign" fn(alignment: usize, size: usize) -> *mut c_void;
    valloc: c"valloc" fn(size: usize) -> *mut c_void;
    pvalloc: c"pvalloc" fn(size: usize) -> *mut c_void;
    malloc_usable_size: c"malloc_usable_size" fn(block: *mut c_void) -> usize;
    dlclose: c"dlclose" fn(handle: *mut c_void) -> c_int;
}
