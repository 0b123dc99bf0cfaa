//! C++ names: by the C++ runtime, if the program has one.

/// `None` if it is no C++ name, or there is no runtime of C++ in this process.
#[cfg(all(unix, not(miri)))]
pub(super) fn demangle(symbol: &str) -> Option<String> {
    use std::ffi::{CStr, CString, c_char, c_int, c_void};
    type Demangle =
        unsafe extern "C" fn(*const c_char, *mut c_char, *mut usize, *mut c_int) -> *mut c_char;

    if !symbol.starts_with("_Z") {
        return None;
    }
    let symbol = CString::new(symbol).ok()?;
    // SAFETY: a name that ends with a zero.
    let found: *mut c_void = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__cxa_demangle".as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: the ABI of C++ gives the function of this name this type.
    let demangle: Demangle = unsafe { std::mem::transmute(found) };
    let mut status: c_int = 0;
    let (no_buffer, no_length) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: a string that ends with a zero; without a buffer the function allocates one by `malloc`.
    let text = unsafe { demangle(symbol.as_ptr(), no_buffer, no_length, &mut status) };
    if text.is_null() {
        return None;
    }
    // SAFETY: the function gave a string that ends with a zero.
    let name = unsafe { CStr::from_ptr(text) };
    let name = (status == 0).then(|| name.to_string_lossy().into_owned());
    // SAFETY: it was allocated by `malloc`, for us.
    unsafe { libc::free(text.cast()) };
    name
}

#[cfg(not(all(unix, not(miri))))]
pub(super) fn demangle(_: &str) -> Option<String> {
    None
}
