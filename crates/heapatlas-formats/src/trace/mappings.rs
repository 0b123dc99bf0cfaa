//! What the process mapped itself, by address. Unlike blocks, mappings are cut, replaced in part, and overlap the
//! ends of one another.

use std::collections::BTreeMap;
use std::ops::Range;

use heapatlas_model::{Amount, Mappings, StackFigures, StackId};

use super::balance::{Balance, NOT_COUNTED, add};

/// The books of mappings.
#[derive(Default)]
pub(super) struct MappingBooks {
    /// By first address. They do not overlap.
    spans: BTreeMap<u64, Span>,
    stacks: BTreeMap<u32, Row>,
    total: Amount,
    live: Amount,
    peak: Amount,
    peak_tick: u64,
    epoch: u64,
}

#[derive(Clone, Copy)]
struct Span {
    end: u64,
    stack: u32,
}

#[derive(Clone, Copy, Default)]
struct Row {
    total: Amount,
    balance: Balance,
}

impl MappingBooks {
    /// Pages were mapped; what was there is replaced.
    pub fn map(&mut self, stack: u32, address: u64, bytes: u64, tick: u64) {
        let end = address.saturating_add(bytes);
        self.unmap(address, bytes);
        if end == address {
            return;
        }
        self.spans.insert(address, Span { end, stack });
        if stack == NOT_COUNTED {
            return;
        }
        let one = Amount {
            bytes: end - address,
            blocks: 1,
        };
        add(&mut self.total, one);
        add(&mut self.stacks.entry(stack).or_default().total, one);
        self.change(stack, end - address, 1);
        // On equal peaks the last one.
        if self.live.bytes >= self.peak.bytes {
            self.peak = self.live;
            self.peak_tick = tick;
            self.epoch += 1;
        }
    }

    /// Pages were unmapped; there may be nothing, or holes.
    pub fn unmap(&mut self, address: u64, bytes: u64) {
        let gone = address..address.saturating_add(bytes);
        if gone.is_empty() {
            return;
        }
        let before = self.spans.range(..gone.start).next_back();
        let first = before
            .filter(|(_, span)| span.end > gone.start)
            .map_or(gone.start, |(&start, _)| start);
        let cut: Vec<(u64, Span)> = (self.spans.range(first..gone.end))
            .map(|(&start, &span)| (start, span))
            .collect();
        for (start, span) in cut {
            self.cut(start, span, &gone);
        }
    }

    /// Takes a range out of a span that it overlaps.
    fn cut(&mut self, start: u64, span: Span, gone: &Range<u64>) {
        self.spans.remove(&start);
        let parts = [start..gone.start, gone.end..span.end];
        let mut kept_count = 0;
        let mut kept_bytes = 0;
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            kept_count += 1;
            kept_bytes += part.end - part.start;
            let kept = Span {
                end: part.end,
                ..span
            };
            self.spans.insert(part.start, kept);
        }
        if span.stack != NOT_COUNTED {
            let bytes = span.end - start;
            self.change(span.stack, kept_bytes.wrapping_sub(bytes), kept_count - 1);
        }
    }

    /// Adds to what is mapped, modulo 2^64 for what is less than nothing.
    fn change(&mut self, stack: u32, bytes: u64, count: i64) {
        let epoch = self.epoch;
        let row = self.stacks.entry(stack).or_default();
        let apply = |amount: &mut Amount| {
            amount.bytes = amount.bytes.wrapping_add(bytes);
            amount.blocks = amount.blocks.wrapping_add_signed(count);
        };
        row.balance.touch(epoch, apply);
        apply(&mut self.live);
    }

    /// The figures, if there are any.
    pub fn figures(&self, ns_at: impl Fn(u64) -> u64) -> Option<Mappings> {
        (self.total.blocks > 0).then(|| Mappings {
            total: self.total,
            peak: self.peak,
            peak_time_ns: ns_at(self.peak_tick),
            live_at_end: self.live,
            stacks: self
                .stacks
                .iter()
                .map(|row| self.row_figures(row))
                .collect(),
        })
    }

    fn row_figures(&self, (&stack, row): (&u32, &Row)) -> (StackId, StackFigures) {
        let (peak, live_at_end) = row.balance.peak_and_live(self.epoch);
        let figures = StackFigures {
            total: row.total,
            peak,
            live_at_end,
            ..StackFigures::default()
        };
        (StackId(stack), figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: u64 = 4096;

    fn amount(bytes: u64, blocks: u64) -> Amount {
        Amount { bytes, blocks }
    }

    #[test]
    fn what_is_cut_out_of_the_middle_leaves_two() {
        let mut books = MappingBooks::default();
        books.map(5, 10 * PAGE, 4 * PAGE, 1);
        books.unmap(11 * PAGE, PAGE);
        let figures = books.figures(|tick| tick).unwrap();
        assert_eq!(figures.total, amount(4 * PAGE, 1));
        assert_eq!(figures.peak, amount(4 * PAGE, 1));
        assert_eq!(figures.live_at_end, amount(3 * PAGE, 2));
        let (stack, of_stack) = figures.stacks[0];
        assert_eq!(stack, StackId(5));
        assert_eq!(of_stack.peak, figures.peak);
        assert_eq!(of_stack.live_at_end, figures.live_at_end);
    }

    #[test]
    fn the_last_addresses_and_nothing() {
        let mut books = MappingBooks::default();
        books.map(5, 0, 0, 1);
        assert_eq!(books.figures(|tick| tick), None);
        books.map(5, u64::MAX - 10, u64::MAX, 1);
        books.unmap(u64::MAX - 4, u64::MAX);
        let figures = books.figures(|tick| tick).unwrap();
        assert_eq!(figures.live_at_end, amount(6, 1));
    }

    proptest! {
        /// Against one entry for each page.
        #[test]
        fn as_page_by_page(
            script in prop::collection::vec(
                (any::<bool>(), 0_u64..40, 0_u64..15, prop::sample::select(vec![2_u32, 3, NOT_COUNTED])),
                0..60,
            ),
        ) {
            let mut books = MappingBooks::default();
            let mut pages = [None; 64];
            let (mut peak, mut at_peak) = (0, [0; 2]);
            let held = |pages: &[Option<u32>], stack| {
                PAGE * pages.iter().filter(|page| **page == Some(stack)).count() as u64
            };
            for (tick, (maps, start, count, stack)) in script.into_iter().enumerate() {
                let range = start as usize..(start + count) as usize;
                if maps {
                    books.map(stack, start * PAGE, count * PAGE, tick as u64);
                    pages[range].fill(Some(stack));
                    let both = [2, 3].map(|stack| held(&pages, stack));
                    if both[0] + both[1] >= peak && count > 0 && stack != NOT_COUNTED {
                        (peak, at_peak) = (both[0] + both[1], both);
                    }
                } else {
                    books.unmap(start * PAGE, count * PAGE);
                    pages[range].fill(None);
                }
            }
            let figures = books.figures(|tick| tick).unwrap_or_default();
            prop_assert_eq!(figures.peak.bytes, peak);
            let of = |stack| {
                let row = figures.stacks.iter().find(|row| row.0 == StackId(stack));
                row.map_or((0, 0), |row| (row.1.peak.bytes, row.1.live_at_end.bytes))
            };
            for (stack, at_peak) in [(2, at_peak[0]), (3, at_peak[1])] {
                prop_assert_eq!(of(stack), (at_peak, held(&pages, stack)));
            }
            prop_assert_eq!(figures.live_at_end.bytes, held(&pages, 2) + held(&pages, 3));
        }
    }
}
