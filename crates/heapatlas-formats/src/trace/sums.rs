//! The sums of a recording in place of its events: what an aggregate recording holds.
//!
//! Each block has rows of one part of the profile, and comes after what its rows speak of. So blocks can be
//! as large as they like, and what is behind a damaged one is all that is lost.

use heapatlas_model::{
    AllocationProfile, Amount, CodeLocation, LocationId, Mark, Module, ModuleId, ProfileFormat,
    StackFigures, StackId, StackTable, ThreadFigures, TimelinePoint,
};
use heapatlas_trace::file::BlockKind;
use heapatlas_trace::payload::{self, ModuleInfo, ProcessInfo, Strings};
use heapatlas_trace::{Malformed, varint};

use super::ReadOptions;
use super::blocks::{Block, decompressor};
use super::columns::{unzigzag, zigzag};
use super::error::{Problem, ReadError, Warning};
use super::facts::Facts;
use super::profile::{command, truncated};

/// Blocks end with the first row that makes them this long.
const PAYLOAD_BYTES: usize = 1 << 20;

/// Rows of a histogram: one for each number of bits.
const MAX_POWERS: usize = 65;

/// What the rows of a block are.
mod part {
    pub const TOTALS: u8 = 0;
    pub const LOCATIONS: u8 = 1;
    pub const STACKS: u8 = 2;
    pub const THREADS: u8 = 3;
    pub const SIZES: u8 = 4;
    pub const LIFETIMES: u8 = 5;
    pub const TIMELINE: u8 = 6;
    pub const MARKS: u8 = 7;
    pub const WARNINGS: u8 = 8;
}

/// The payloads of a profile's blocks, but for process, modules and end, which have their own.
pub(super) fn payloads(profile: &AllocationProfile, warnings: &[Warning]) -> Vec<Vec<u8>> {
    let mut out = Payloads::default();
    out.part(part::TOTALS, [profile], |row, profile| {
        row.number(profile.duration_ns);
        row.amount(profile.total);
        row.number(profile.frees);
        row.amount(profile.peak);
        row.number(profile.peak_time_ns);
        row.amount(profile.live_at_end);
        row.amount(profile.temporary);
    });
    out.part(part::LOCATIONS, &profile.locations, |row, location| {
        row.number(location.module.map_or(0, |module| u64::from(module.0) + 1));
        row.difference(location.address);
    });
    let stacks = profile.figures.iter().enumerate();
    out.part(part::STACKS, stacks, |row, (index, figures)| {
        let stack = StackId::from_index(index);
        row.number(u64::from(profile.stacks.parent(stack).0));
        let location = profile.stacks.location(stack);
        row.number(location.map_or(0, |location| u64::from(location.0)));
        row.figures(figures);
    });
    out.part(part::THREADS, &profile.threads, |row, thread| {
        row.number(thread.os_thread_id);
        row.string(&thread.name);
        row.amount(thread.total);
        row.amount(thread.peak);
        row.amount(thread.live_at_end);
        row.number(thread.frees);
        row.amount(thread.temporary);
    });
    for (number, rows) in [
        (part::SIZES, &profile.sizes),
        (part::LIFETIMES, &profile.lifetimes),
    ] {
        out.part(number, rows, |row, amount| row.amount(*amount));
    }
    out.part(part::TIMELINE, &profile.timeline, |row, point| {
        row.difference(point.time_ns);
        row.difference(point.most.bytes);
        row.difference(point.most.blocks);
        row.difference(point.resident_bytes);
    });
    out.part(part::MARKS, &profile.marks, |row, mark| {
        row.number(mark.time_ns);
        row.string(&mark.text);
    });
    out.part(part::WARNINGS, warnings, |row, warning| {
        row.number(u64::from(warning.is_loss));
        row.string(&warning.message);
    });
    out.0
}

#[derive(Default)]
struct Payloads(Vec<Vec<u8>>);

/// A row in the making. What changes little from row to row is told as a difference to the same column of the
/// row before in the block.
struct Row<'a> {
    bytes: &'a mut Vec<u8>,
    last: &'a mut LastRow,
    column: usize,
}

/// The columns that are told as differences; 0 before the first row of a block.
type LastRow = [u64; 4];

impl Payloads {
    /// Rows of one part, in as many payloads as they take.
    fn part<T>(
        &mut self,
        part: u8,
        rows: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Row<'_>, T),
    ) {
        let mut payload = vec![part];
        let mut last = LastRow::default();
        for row in rows {
            if payload.len() >= PAYLOAD_BYTES {
                self.0.push(std::mem::replace(&mut payload, vec![part]));
                last = LastRow::default();
            }
            let place = &mut Row {
                bytes: &mut payload,
                last: &mut last,
                column: 0,
            };
            write(place, row);
        }
        if payload.len() > 1 {
            self.0.push(payload);
        }
    }
}

impl Row<'_> {
    fn number(&mut self, number: u64) {
        let (bytes, length) = varint::encode(number);
        self.bytes.extend_from_slice(&bytes[..length]);
    }

    fn difference(&mut self, number: u64) {
        let last = std::mem::replace(&mut self.last[self.column], number);
        self.column += 1;
        self.number(zigzag(number.wrapping_sub(last)));
    }

    fn amount(&mut self, amount: Amount) {
        self.number(amount.bytes);
        self.number(amount.blocks);
    }

    fn string(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn figures(&mut self, figures: &StackFigures) {
        for amount in [
            figures.total,
            figures.peak,
            figures.live_at_end,
            figures.temporary,
        ] {
            self.amount(amount);
        }
        self.number(figures.lifetime_ns);
    }
}

/// The profile of an aggregate recording up to the first damaged block, and what is odd about it.
pub(super) fn read(
    blocks: &[Block<'_>],
    process: &ProcessInfo<'_, Strings<'_>>,
    facts: &Facts,
    options: &ReadOptions,
) -> Result<(AllocationProfile, Vec<Warning>, Option<ReadError>), ReadError> {
    if *options != ReadOptions::default() {
        let offset = blocks.first().map_or(0, |block| block.offset);
        return Err(ReadError::block(offset, Problem::NoEvents));
    }
    let mut profile = AllocationProfile::new(ProfileFormat::Heaptrace);
    profile.figures.clear();
    let mut sums = Sums {
        profile,
        warnings: Vec::new(),
    };
    let damage = blocks.iter().find_map(|block| sums.take(block).err());
    let (profile, mut warnings) = sums.finish(process, facts);
    if damage.is_none() && !adds_up(&profile) {
        warnings.push(Warning::loss(
            "the sums do not add up: what the file says of the whole is not what it says of the stacks and threads"
                .to_owned(),
        ));
    }
    Ok((profile, warnings, damage))
}

/// Whether the sums of the whole are those of its parts. Blocks are enough: bytes may wrap.
fn adds_up(profile: &AllocationProfile) -> bool {
    let blocks = |of: fn(&StackFigures) -> Amount| {
        let amounts = profile.figures.iter().map(|figures| of(figures).blocks);
        amounts.fold(0, u64::wrapping_add)
    };
    let threads = profile.threads.iter().map(|thread| thread.total.blocks);
    let sizes = profile.sizes.iter().map(|amount| amount.blocks);
    let lifetimes = profile.lifetimes.iter().map(|amount| amount.blocks);
    blocks(|figures| figures.total) == profile.total.blocks
        && blocks(|figures| figures.peak) == profile.peak.blocks
        && blocks(|figures| figures.live_at_end) == profile.live_at_end.blocks
        && threads.fold(0, u64::wrapping_add) == profile.total.blocks
        && sizes.fold(0, u64::wrapping_add) == profile.total.blocks
        && lifetimes.fold(0, u64::wrapping_add) == profile.frees
        && (profile.frees.checked_add(profile.live_at_end.blocks))
            .is_some_and(|blocks| blocks <= profile.total.blocks)
}

/// A profile in the making.
struct Sums {
    /// It has figures for fewer stacks than it has stacks until it is finished: the two empty ones
    /// are there from the start.
    profile: AllocationProfile,
    warnings: Vec<Warning>,
}

impl Sums {
    fn take(&mut self, block: &Block<'_>) -> Result<(), ReadError> {
        let taken = match block.kind {
            BlockKind::Modules => self.take_modules(&block.unpack(&mut decompressor())?),
            BlockKind::Sums => self.take_part(&block.unpack(&mut decompressor())?),
            _ => Ok(()),
        };
        taken.map_err(|problem| ReadError::block(block.offset, problem))
    }

    fn take_modules(&mut self, payload: &[u8]) -> Result<(), Problem> {
        let (_, modules) = payload::read_modules(payload)?;
        for module in modules {
            self.profile.modules.push(owned_module(&module?));
        }
        Ok(())
    }

    fn take_part(&mut self, payload: &[u8]) -> Result<(), Problem> {
        let (&part, rows) = payload.split_first().ok_or(Malformed::Cut)?;
        let mut rows = Rows {
            bytes: rows,
            last: LastRow::default(),
        };
        while !rows.bytes.is_empty() {
            match part {
                part::TOTALS => self.take_totals(&mut rows)?,
                part::LOCATIONS => self.take_location(&mut rows)?,
                part::STACKS => self.take_stack(&mut rows)?,
                part::THREADS => self.profile.threads.push(rows.thread()?),
                part::SIZES => push_power(&mut self.profile.sizes, rows.amount()?)?,
                part::LIFETIMES => push_power(&mut self.profile.lifetimes, rows.amount()?)?,
                part::TIMELINE => self.take_point(&mut rows)?,
                part::MARKS => self.profile.marks.push(Mark {
                    time_ns: rows.number()?,
                    text: rows.string()?,
                }),
                part::WARNINGS => self.warnings.push(Warning {
                    is_loss: rows.number()? != 0,
                    message: rows.string()?,
                }),
                // Of a later version.
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn take_totals(&mut self, rows: &mut Rows<'_>) -> Result<(), Problem> {
        let profile = &mut self.profile;
        profile.duration_ns = rows.number()?;
        profile.total = rows.amount()?;
        profile.frees = rows.number()?;
        profile.peak = rows.amount()?;
        profile.peak_time_ns = rows.number()?;
        profile.live_at_end = rows.amount()?;
        profile.temporary = rows.amount()?;
        Ok(())
    }

    fn take_location(&mut self, rows: &mut Rows<'_>) -> Result<(), Problem> {
        let module = match rows.number()? {
            0 => None,
            number => Some(ModuleId(known(
                "module",
                number - 1,
                &self.profile.modules,
            )?)),
        };
        let address = rows.difference(0)?;
        check_room(self.profile.locations.len())?;
        self.profile
            .locations
            .push(CodeLocation { address, module });
        Ok(())
    }

    fn take_stack(&mut self, rows: &mut Rows<'_>) -> Result<(), Problem> {
        let (parent, location) = (rows.number()?, rows.number()?);
        let figures = rows.figures()?;
        let profile = &mut self.profile;
        if profile.figures.len() >= StackTable::new().len() {
            let parent = StackId(known("stack", parent, &profile.figures)?);
            let location = LocationId(known("location", location, &profile.locations)?);
            check_room(profile.figures.len())?;
            profile.stacks.push(parent, location);
        }
        profile.figures.push(figures);
        Ok(())
    }

    fn take_point(&mut self, rows: &mut Rows<'_>) -> Result<(), Problem> {
        let point = TimelinePoint {
            time_ns: rows.difference(0)?,
            most: Amount {
                bytes: rows.difference(1)?,
                blocks: rows.difference(2)?,
            },
            resident_bytes: rows.difference(3)?,
        };
        let last = self.profile.timeline.last();
        if last.is_some_and(|last| last.time_ns > point.time_ns) {
            return Err(Problem::Unexpected {
                expected: "times in their order",
                found: format!("{} ns after a later one", point.time_ns),
            });
        }
        self.profile.timeline.push(point);
        Ok(())
    }

    fn finish(
        self,
        process: &ProcessInfo<'_, Strings<'_>>,
        facts: &Facts,
    ) -> (AllocationProfile, Vec<Warning>) {
        let Self {
            mut profile,
            warnings,
        } = self;
        let stacks = profile.stacks.len();
        profile.figures.resize(stacks, StackFigures::default());
        profile.truncated_stacks = truncated(&profile.stacks, &profile.figures);
        profile.command = command(process);
        profile.pid = process.pid;
        profile.start_unix_ns = process.start_unix_ns;
        if let Some(end) = facts.end {
            profile.duration_ns = end.elapsed_ns;
            profile.exit_status = end.status.map(u32::cast_signed);
            profile.dropped_events = end.dropped_events;
        }
        (profile, warnings)
    }
}

/// What is left of a block's rows.
struct Rows<'a> {
    bytes: &'a [u8],
    last: LastRow,
}

impl Rows<'_> {
    fn number(&mut self) -> Result<u64, Malformed> {
        varint::take(&mut self.bytes)
    }

    fn difference(&mut self, column: usize) -> Result<u64, Malformed> {
        let difference = unzigzag(self.number()?);
        let last = &mut self.last[column];
        *last = last.wrapping_add(difference);
        Ok(*last)
    }

    fn amount(&mut self) -> Result<Amount, Malformed> {
        Ok(Amount {
            bytes: self.number()?,
            blocks: self.number()?,
        })
    }

    fn string(&mut self) -> Result<String, Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed::Cut)?;
        let (text, rest) = self.bytes.split_at_checked(length).ok_or(Malformed::Cut)?;
        self.bytes = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn figures(&mut self) -> Result<StackFigures, Malformed> {
        Ok(StackFigures {
            total: self.amount()?,
            peak: self.amount()?,
            live_at_end: self.amount()?,
            temporary: self.amount()?,
            lifetime_ns: self.number()?,
        })
    }

    fn thread(&mut self) -> Result<ThreadFigures, Malformed> {
        Ok(ThreadFigures {
            os_thread_id: self.number()?,
            name: self.string()?,
            total: self.amount()?,
            peak: self.amount()?,
            live_at_end: self.amount()?,
            frees: self.number()?,
            temporary: self.amount()?,
        })
    }
}

/// The number of a row that came before.
fn known<T>(what: &'static str, number: u64, rows: &[T]) -> Result<u32, Problem> {
    let is_known = number < rows.len() as u64;
    u32::try_from(number)
        .ok()
        .filter(|_| is_known)
        .ok_or_else(|| Problem::Unexpected {
            expected: "a row that came before",
            found: format!("{what} {number}"),
        })
}

/// Ids have 32 bits, of which the last two numbers mean something else.
fn check_room(rows: usize) -> Result<(), Problem> {
    if rows < u32::MAX as usize - 1 {
        return Ok(());
    }
    Err(Problem::Unexpected {
        expected: "no more rows than 32 bits count",
        found: format!("row {rows}"),
    })
}

fn push_power(rows: &mut Vec<Amount>, amount: Amount) -> Result<(), Problem> {
    if rows.len() == MAX_POWERS {
        return Err(Problem::Unexpected {
            expected: "a row for each number of bits",
            found: format!("more than {MAX_POWERS} rows"),
        });
    }
    rows.push(amount);
    Ok(())
}

fn owned_module(module: &ModuleInfo<'_>) -> Module {
    Module {
        path: String::from_utf8_lossy(module.path).into_owned(),
        build_id: module.build_id.to_vec(),
        bias: module.bias,
        range: module.start..module.end,
    }
}
