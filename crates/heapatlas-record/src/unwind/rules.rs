//! The process-wide cache of rules, by return address. No locks; a reader never waits.
//!
//! An entry is one word, so that nobody can see half of one:
//!
//! ```text
//! bit 63                 16 15          0
//!     | return address     | rule number |     0: free
//! ```
//!
//! Rules are few (some hundreds in a large program) and belong to no module, so their numbers stay
//! when the entries are forgotten.

use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::cfi::{self, Workspace};
use super::modules;
use super::rule::{Cfa, Rule};
use crate::os;

const FIRST_CAPACITY: usize = 1 << 10;
const MAX_CAPACITY: usize = 1 << 18;

/// An entry lies at most so far behind its home.
const PROBES: usize = 8;

const NUMBER_BITS: u32 = 16;

/// The rules by number; number 0 is none. What does not fit is looked up each time.
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

/// The cache as it is now, for the steps of one walk.
#[derive(Clone, Copy)]
pub struct RuleCache(&'static Table);

impl RuleCache {
    /// The table in use.
    #[inline]
    #[must_use]
    pub fn current() -> Self {
        Self(Table::current())
    }

    /// The remembered rule for the instruction that ends before `return_address`.
    #[inline]
    #[must_use]
    pub fn find(self, return_address: u64) -> Option<Rule> {
        let table = self.0;
        let home = table.home(return_address);
        for probe in 0..PROBES {
            let word = table.word(home + probe).load(Ordering::Acquire);
            if word >> NUMBER_BITS == return_address {
                return rule_of_number(word & ((1 << NUMBER_BITS) - 1));
            }
            if word == 0 {
                return None;
            }
        }
        None
    }
}

fn rule_of_number(number: u64) -> Option<Rule> {
    let bits = RULES.get(number as usize)?.load(Ordering::Relaxed);
    (bits != 0).then(|| Rule::from_bits(bits))
}

/// Finds the rule in the unwind tables and remembers it. Costs a microsecond or several.
#[cold]
#[inline(never)]
pub fn resolve(return_address: u64, workspace: &mut Workspace) -> Rule {
    let generation = generation();
    let instruction = return_address.wrapping_sub(1);
    let Some(module) = modules::find(instruction) else {
        // Code of a JIT compiler comes and goes untold: nothing to remember.
        return Rule::plain(Cfa::FramePointer);
    };
    let rule = cfi::rule_at(instruction, module, workspace)
        .unwrap_or(const { Rule::plain(Cfa::FramePointer) });
    remember(return_address, rule, generation);
    rule
}

fn remember(return_address: u64, rule: Rule, generation_before: u32) {
    let Some(number) = number_of_rule(rule.to_bits()) else {
        return;
    };
    if return_address >> (64 - NUMBER_BITS) != 0 {
        return;
    }
    let table = Table::current();
    let word = return_address << NUMBER_BITS | number as u64;
    let place = table.place(return_address);
    place.store(word, Ordering::SeqCst);
    if GENERATION.load(Ordering::SeqCst) != generation_before {
        place.store(0, Ordering::SeqCst);
    }
    if ENTRIES.fetch_add(1, Ordering::Relaxed) >= table.words.len() / 4 {
        grow(table);
    }
}

/// The number of a rule, a new one if need be. None when the numbers are used up.
fn number_of_rule(bits: u64) -> Option<usize> {
    RULES.iter().enumerate().skip(1).find_map(|(number, rule)| {
        let found = match rule.compare_exchange(0, bits, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => bits,
            Err(found) => found,
        };
        (found == bits).then_some(number)
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
    fn word(&self, index: usize) -> &AtomicU64 {
        let index = index & (self.words.len() - 1);
        // SAFETY: the length is a power of two, so the mask keeps the index below it.
        unsafe { self.words.get_unchecked(index) }
    }

    /// Where an address's entry is or goes: its own, a free one, or else its home.
    fn place(&self, return_address: u64) -> &AtomicU64 {
        let home = self.home(return_address);
        (home..home + PROBES)
            .map(|index| self.word(index))
            .find(|word| {
                let word = word.load(Ordering::Relaxed);
                word == 0 || word >> NUMBER_BITS == return_address
            })
            .unwrap_or(self.word(home))
    }

    fn copy_from(&self, other: &Self) {
        for word in other.words {
            let word = word.load(Ordering::Acquire);
            if word != 0 {
                self.place(word >> NUMBER_BITS).store(word, Ordering::Release);
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
