//! The process-wide cache of rules, by return address. No locks; a reader never waits.
//!
//! An entry is one word, so that nobody can see half of one:
//!
//! ```text
//! bit 63              16  15  14            5 4          0
//!     | return address   | 0 | words of frame | saved rbp |    plain: CFA = rsp + 8 * words
//!     | return address   | 1 | number of the rule         |    all others
//!     | 0                                                 |    free
//! ```
//!
//! Saved `rbp`: so many words below the CFA, 0 when it is in the register. Rules with a number are
//! few (some hundreds in a large program) and belong to no module, so they stay when the
//! entries are forgotten.

use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::cfi::{self, Workspace};
use super::code;
use super::modules;
use super::rule::{Cfa, Rule, SavedRbp};
use crate::os;

const FIRST_CAPACITY: usize = 1 << 10;
const MAX_CAPACITY: usize = 1 << 18;

/// An entry lies at most so far behind its home.
const PROBES: usize = 8;

const CODE_BITS: u32 = 16;
const HAS_NUMBER: u64 = 1 << 15;
const RBP_BITS: u32 = 5;
const MAX_PLAIN_WORDS: i32 = 1 << 10;

/// The rules by number. What does not fit is looked up each time.
static RULES: [AtomicU64; 4096] = [const { AtomicU64::new(0) }; 4096];

static FIRST_WORDS: [AtomicU64; FIRST_CAPACITY] = [const { AtomicU64::new(0) }; FIRST_CAPACITY];
static FIRST_TABLE: Table = Table {
    words: &FIRST_WORDS,
};

/// The table in use; null is the first one. Tables that were outgrown stay, for their readers.
static TABLE: AtomicPtr<Table> = AtomicPtr::new(ptr::null_mut());
static ENTRIES: AtomicUsize = AtomicUsize::new(0);
static IS_GROWING: AtomicBool = AtomicBool::new(false);
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How often `forget_all` was called. What was found under an older number may be stale.
#[inline]
#[must_use]
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Acquire)
}

/// Forgets every rule: to be called when a module was unloaded or its memory may be another's.
pub fn forget_all() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
    Table::current().clear();
}

/// In a forked child the thread that was growing the table is not there.
pub fn begin_in_child() {
    IS_GROWING.store(false, Ordering::Release);
}

/// The cache as it is now, for the steps of one walk.
#[derive(Clone, Copy)]
pub struct RuleCache(Table);

impl RuleCache {
    /// The table in use.
    #[inline]
    #[must_use]
    pub fn current() -> Self {
        Self(*Table::current())
    }

    /// The remembered rule for the instruction that ends before `return_address`.
    #[inline]
    #[must_use]
    pub fn find(self, return_address: u64) -> Found {
        let table = self.0;
        let home = table.home(return_address);
        for probe in 0..PROBES {
            let word = table.word(home + probe).load(Ordering::Acquire);
            if word >> CODE_BITS == return_address {
                return Found::of_code(word & ((1 << CODE_BITS) - 1));
            }
            if word == 0 {
                break;
            }
        }
        Found::Nothing
    }
}

/// What the cache holds for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The CFA is `rsp` plus `frame_bytes`; `rbp` is saved so many bytes below the CFA, or not at 0.
    Plain {
        /// Bytes from `rsp` to the CFA.
        frame_bytes: u64,
        /// Bytes from the saved `rbp` to the CFA.
        rbp_bytes: u64,
    },
    /// Any other rule.
    Other(Rule),
    /// Not yet.
    Nothing,
}

impl Found {
    #[inline]
    fn of_code(code: u64) -> Self {
        if code & HAS_NUMBER == 0 {
            return Self::Plain {
                frame_bytes: (code >> RBP_BITS) * 8,
                rbp_bytes: (code & ((1 << RBP_BITS) - 1)) * 8,
            };
        }
        let number = (code & !HAS_NUMBER) as usize;
        match RULES.get(number).map(|rule| rule.load(Ordering::Relaxed)) {
            Some(bits) if bits != 0 => Self::Other(Rule::from_bits(bits)),
            _ => Self::Nothing,
        }
    }
}

/// Finds the rule in the unwind tables and remembers it. Costs a microsecond or several.
#[cold]
#[inline(never)]
pub fn resolve(return_address: u64, workspace: &mut Workspace) -> Rule {
    let generation = generation();
    let instruction = return_address.wrapping_sub(1);
    let Some(module) = modules::find(instruction) else {
        // Code of a JIT compiler comes and goes untold: nothing to remember.
        return code::rule_of_epilogue(return_address).unwrap_or(Rule::plain(Cfa::FramePointer));
    };
    let entry = cfi::entry_at(instruction, module);
    let rule = match &entry {
        // No call returns to what follows a function, unless that function ends with a call.
        Some(entry) if entry.end_address() != return_address => entry.rule(workspace),
        _ if !code::follows_call(return_address) => Some(Rule::plain(Cfa::LaidOut)),
        _ => entry.and_then(|entry| entry.rule(workspace)),
    };
    let rule = rule.unwrap_or(Rule::plain(Cfa::Silent));
    remember(return_address, rule, generation);
    rule
}

fn remember(return_address: u64, rule: Rule, generation_before: u32) {
    let Some(code) = plain_code(rule).or_else(|| numbered_code(rule)) else {
        return;
    };
    if return_address >> (64 - CODE_BITS) != 0 {
        return;
    }
    let table = Table::current();
    let word = return_address << CODE_BITS | code;
    let place = table.place(return_address);
    place.store(word, Ordering::SeqCst);
    if GENERATION.load(Ordering::SeqCst) != generation_before {
        place.store(0, Ordering::SeqCst);
    }
    if ENTRIES.fetch_add(1, Ordering::Relaxed) >= table.words.len() / 4 {
        grow(table);
    }
}

fn plain_code(rule: Rule) -> Option<u64> {
    let rbp_words = match rule.rbp {
        SavedRbp::Unchanged => 0,
        SavedRbp::AtCfa(words) => -i64::from(words),
        SavedRbp::AtRbp(_) => return None,
    };
    let is_plain = rule.cfa == Cfa::Rsp
        && rule.offset % 8 == 0
        && (0..MAX_PLAIN_WORDS).contains(&(rule.offset / 8))
        && (0..1 << RBP_BITS).contains(&rbp_words);
    is_plain.then_some((rule.offset as u64 / 8) << RBP_BITS | rbp_words as u64)
}

/// The code of a rule with a number, a new one if need be. None when the numbers are used up.
fn numbered_code(rule: Rule) -> Option<u64> {
    let bits = rule.to_bits();
    RULES.iter().zip(0..).find_map(|(place, number)| {
        let found = match place.compare_exchange(0, bits, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => bits,
            Err(found) => found,
        };
        (found == bits).then_some(number | HAS_NUMBER)
    })
}

/// Puts a table four times as large in the place of `table`, unless somebody is doing that.
fn grow(table: &'static Table) {
    if table.words.len() >= MAX_CAPACITY || IS_GROWING.swap(true, Ordering::Acquire) {
        return;
    }
    let generation = generation();
    if ptr::eq(table, Table::current())
        && let Some(larger) = Table::map(table.words.len() * 4)
    {
        larger.copy_from(table);
        TABLE.store(ptr::from_ref(larger).cast_mut(), Ordering::SeqCst);
        if GENERATION.load(Ordering::SeqCst) != generation {
            larger.clear();
        }
    }
    IS_GROWING.store(false, Ordering::Release);
}

#[derive(Clone, Copy)]
struct Table {
    /// A power of two.
    words: &'static [AtomicU64],
}

impl Table {
    #[inline]
    fn current() -> &'static Self {
        // SAFETY: tables are never unmapped.
        unsafe { TABLE.load(Ordering::Acquire).as_ref() }.unwrap_or(&FIRST_TABLE)
    }

    fn map(capacity: usize) -> Option<&'static Self> {
        let words_bytes = capacity * size_of::<AtomicU64>();
        let memory = os::map_pages(words_bytes + size_of::<Self>())?;
        let words: NonNull<AtomicU64> = memory.cast();
        // SAFETY: zeroed pages of that size, aligned, and nobody else's; they are never unmapped.
        unsafe {
            let table: NonNull<Self> = words.add(capacity).cast();
            table.write(Self {
                words: slice::from_raw_parts(words.as_ptr(), capacity),
            });
            Some(table.as_ref())
        }
    }

    #[inline]
    fn home(&self, return_address: u64) -> usize {
        let hash = return_address.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize
    }

    #[inline]
    fn word(&self, index: usize) -> &'static AtomicU64 {
        let index = index & (self.words.len() - 1);
        // SAFETY: the length is a power of two, so the mask keeps the index below it.
        unsafe { self.words.get_unchecked(index) }
    }

    /// Where an address's entry is or goes: its own, a free one, or else its home.
    fn place(&self, return_address: u64) -> &'static AtomicU64 {
        let home = self.home(return_address);
        (home..home + PROBES)
            .map(|index| self.word(index))
            .find(|word| {
                let word = word.load(Ordering::Relaxed);
                word == 0 || word >> CODE_BITS == return_address
            })
            .unwrap_or(self.word(home))
    }

    fn copy_from(&self, other: &Self) {
        for word in other.words {
            let word = word.load(Ordering::Acquire);
            if word != 0 {
                self.place(word >> CODE_BITS).store(word, Ordering::Release);
            }
        }
    }

    fn clear(&self) {
        for word in self.words {
            word.store(0, Ordering::SeqCst);
        }
        ENTRIES.store(0, Ordering::Relaxed);
    }
}
