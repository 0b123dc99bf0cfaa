//! Which loaded object holds a code address, and where its unwind table is.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::{self, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A loaded object that has an unwind table.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Address of its `.eh_frame_hdr`.
    pub eh_frame_hdr: u64,
    /// End of the memory of the object; the table and `.eh_frame` lie before it.
    pub end: u64,
}

/// `struct dl_find_object` of glibc 2.35 and later.
#[repr(C)]
struct DlFindObject {
    flags: u64,
    map_start: *const c_void,
    map_end: *const c_void,
    link_map: *const c_void,
    eh_frame: *const c_void,
    reserved: [u64; 7],
}

type FindObject = unsafe extern "C" fn(*const c_void, *mut DlFindObject) -> c_int;

/// The address of `_dl_find_object`; null where the C library has none.
static FIND_OBJECT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Looks `_dl_find_object` up. It takes no lock and may be called in signal handlers, unlike
/// `dl_iterate_phdr`, which is used otherwise.
///
/// The lookup itself may allocate: call this before anything is recorded.
pub fn prepare() {
    // SAFETY: the name ends in a null byte.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()) };
    FIND_OBJECT.store(found, Ordering::Release);
}

/// The module that holds `address`; None when it has no unwind table or is no module's.
#[must_use]
pub fn find(address: u64) -> Option<Module> {
    if FIND_OBJECT.load(Ordering::Acquire).is_null() {
        return find_by_headers(address);
    }
    let code = find_object(address)?;
    if code.eh_frame.is_null() {
        return None;
    }
    let table = code.eh_frame as u64;
    let holds =
        |object: &DlFindObject| (object.map_start as u64..object.map_end as u64).contains(&table);
    // Of a program with gaps between its segments each segment is an object to the linker, and the table
    // lies in another than the code.
    let object = match holds(&code) {
        true => code,
        false => find_object(table).filter(holds)?,
    };
    Some(Module {
        eh_frame_hdr: table,
        end: object.map_end as u64,
    })
}

/// What `_dl_find_object` says, where there is one.
fn find_object(address: u64) -> Option<DlFindObject> {
    let found = FIND_OBJECT.load(Ordering::Acquire);
    if found.is_null() {
        return None;
    }
    // SAFETY: the symbol of that name has this signature.
    let find_object = unsafe { mem::transmute::<*mut c_void, FindObject>(found) };
    let mut object = MaybeUninit::<DlFindObject>::uninit();
    // SAFETY: it writes the structure when it returns 0.
    unsafe {
        if find_object(address as *const c_void, object.as_mut_ptr()) != 0 {
            return None;
        }
        Some(object.assume_init())
    }
}

/// Whether a module with an unwind table holds `address`.
#[must_use]
pub fn is_loaded(address: u64) -> bool {
    find(address).is_some()
}

/// A loaded object, as the dynamic linker knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Object(*const LinkMap);

/// The public beginning of the linker's record.
#[repr(C)]
struct LinkMap {
    bias: u64,
    path: *const c_char,
}

impl Object {
    /// Its path; empty for the program itself. To be used while the object is loaded.
    #[must_use]
    pub fn path(&self) -> &CStr {
        // SAFETY: the linker's record of a loaded object, whose path is a text that ends with a zero.
        unsafe {
            let path = (*self.0).path;
            if path.is_null() {
                c""
            } else {
                CStr::from_ptr(path)
            }
        }
    }
}

/// The object that holds `address`; None where there is none, or where the C library cannot tell without a lock.
#[must_use]
pub fn object_of(address: u64) -> Option<Object> {
    let link_map = find_object(address)?.link_map.cast::<LinkMap>();
    (!link_map.is_null()).then_some(Object(link_map))
}

struct Search {
    address: u64,
    found: Option<Module>,
}

/// The same by `dl_iterate_phdr`, which waits while another thread loads or unloads a module.
pub fn find_by_headers(address: u64) -> Option<Module> {
    let mut search = Search {
        address,
        found: None,
    };
    // SAFETY: `visit` gets our `search` back, while this call lasts.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    search.found
}

unsafe extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    search: *mut c_void,
) -> c_int {
    // SAFETY: `find_by_headers` passed it, and nobody else has it meanwhile.
    let search = unsafe { &mut *search.cast::<Search>() };
    // SAFETY: the dynamic linker's record and its program headers are valid during the call.
    let (bias, headers) = unsafe {
        let info = &*info;
        let count = usize::from(info.dlpi_phnum);
        (
            info.dlpi_addr,
            core::slice::from_raw_parts(info.dlpi_phdr, count),
        )
    };
    search.found = module_of(search.address, bias, headers);
    c_int::from(headers_hold(search.address, bias, headers))
}

fn headers_hold(address: u64, bias: u64, headers: &[libc::Elf64_Phdr]) -> bool {
    segments(headers).any(|segment| {
        let start = bias.wrapping_add(segment.p_vaddr);
        (start..start.wrapping_add(segment.p_memsz)).contains(&address)
    })
}

fn module_of(address: u64, bias: u64, headers: &[libc::Elf64_Phdr]) -> Option<Module> {
    if !headers_hold(address, bias, headers) {
        return None;
    }
    let table = headers
        .iter()
        .find(|header| header.p_type == libc::PT_GNU_EH_FRAME)?;
    let end = segments(headers)
        .map(|segment| segment.p_vaddr + segment.p_memsz)
        .max()?;
    Some(Module {
        eh_frame_hdr: bias.wrapping_add(table.p_vaddr),
        end: bias.wrapping_add(end),
    })
}

fn segments(headers: &[libc::Elf64_Phdr]) -> impl Iterator<Item = &libc::Elf64_Phdr> {
    headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD)
}
