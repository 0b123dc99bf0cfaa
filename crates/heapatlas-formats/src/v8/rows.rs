//! Rows of a flat array, in windows of pieces that are read in parallel.
//!
//! A window is counted first (commas tell how many numbers each piece holds), so that every
//! piece knows which rows start in it and where in the columns they go; then the pieces are
//! read, each into its own part of the columns; then the window's pages are given back.

use heapatlas_model::ByteSource;
use rayon::prelude::*;

use super::cursor::Cursor;
use super::error::{Problem, ReadError};
use super::numbers::{NumberReader, count_piece, is_blank, skip_commas};

/// Text that one thread reads at a time.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces between two returns of memory.
const WINDOW_PIECES: usize = 32;
/// Numbers that wait to be put into columns; small enough to stay in the first cache.
const BUFFER_NUMBERS: usize = 2048;

/// Columns that rows go to.
pub(super) trait Columns {
    /// Makes room for the rows of the next pieces (`rows` for each), cuts that room into one
    /// part a piece and has `read` fill each, in parallel.
    fn read_parts(&mut self, rows: &[usize], read: &ReadPart<'_>) -> Vec<PieceEnd>;
}

/// Reads the rows of the piece with this number into a sink.
pub(super) type ReadPart<'a> = dyn Fn(usize, &mut dyn RowSink) -> PieceEnd + Sync + 'a;

/// Takes rows, one after the other from the first of its part.
pub(super) trait RowSink {
    /// Takes whole rows, laid out one after the other. `Err` is the index of the number (within
    /// `rows`) that cannot be taken, and why.
    fn take(&mut self, rows: &[u64]) -> Result<(), (usize, Problem)>;
}

/// Where a piece's last row ended.
pub(super) struct PieceEnd {
    after: usize,
    negatives: u64,
    /// Rows that were read: all of the piece's, if nothing is wrong with it.
    rows: usize,
    damage: Option<ReadError>,
}

/// What a flat array turned out to be.
pub(super) struct ArrayEnd {
    /// The position after the closing bracket, or the end of the file.
    pub after: usize,
    /// Rows read.
    pub rows: usize,
    /// Negative numbers that were read as 0.
    pub negatives: u64,
    /// What keeps the array from being whole, when salvaging.
    pub damage: Option<ReadError>,
}

/// Reads the flat array whose opening bracket is next.
pub(super) struct ArrayReader<'a> {
    pub source: &'a dyn ByteSource,
    pub section: &'a str,
    pub stride: usize,
    pub salvage: bool,
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
}

/// The rows that start in a piece.
struct Piece {
    /// Where its first row starts.
    at: usize,
    rows: usize,
}

/// A window that was counted.
struct Window {
    pieces: Vec<Piece>,
    /// Bytes it covers.
    end: usize,
    /// Commas before its end, from the start of the array.
    commas: u64,
    /// The position of the closing bracket, when it is here.
    closing: Option<usize>,
}

impl ArrayReader<'_> {
    pub fn read(&self, at: usize, columns: &mut dyn Columns) -> Result<ArrayEnd, ReadError> {
        let bytes = self.source.bytes();
        let mut cursor = Cursor::new(bytes, at, self.section);
        cursor.expect(b'[')?;
        let start = cursor.at;
        let mut end = ArrayEnd {
            after: start,
            rows: 0,
            negatives: 0,
            damage: None,
        };
        if cursor.accept(b']') {
            end.after = cursor.at;
            return Ok(end);
        }
        let mut window = Window {
            pieces: Vec::new(),
            end: start,
            commas: 0,
            closing: None,
        };
        while window.closing.is_none() && window.end < bytes.len() {
            let window_start = window.end;
            window = self.count_window(start, window);
            let values = self.whole_values(&window, start);
            let values = match values {
                Ok(values) => values,
                Err(damage) if self.salvage => {
                    end.damage = Some(damage);
                    window.commas
                }
                Err(damage) => return Err(damage),
            };
            self.limit_rows(&mut window, values, end.rows);
            let read = self.read_window(&window, columns, &mut end);
            self.source.release(window_start..window.end);
            if let Some(progress) = self.progress {
                progress((window.end - window_start) as u64);
            }
            match read {
                Ok(()) => {}
                Err(damage) if self.salvage => {
                    end.damage = Some(damage);
                    break;
                }
                Err(damage) => return Err(damage),
            }
        }
        if window.closing.is_none() && end.damage.is_none() {
            let damage = Cursor::new(bytes, bytes.len(), self.section).truncated("a number or `]`");
            if !self.salvage {
                return Err(damage);
            }
            end.damage = Some(damage);
        }
        // After damage the closing bracket may be in a later window.
        let rest = &bytes[window.end..];
        let later = || memchr::memchr(b']', rest).map(|offset| window.end + offset);
        let closing = window.closing.or_else(later);
        end.after = closing.map_or(bytes.len(), |closing| closing + 1);
        Ok(end)
    }

    /// Counts the next pieces and finds out which rows start in them.
    fn count_window(&self, array_start: usize, last: Window) -> Window {
        let bytes = self.source.bytes();
        let from = last.end;
        let to = bytes.len().min(from + PIECE_BYTES * WINDOW_PIECES);
        let counts: Vec<_> = bytes[from..to]
            .par_chunks(PIECE_BYTES)
            .map(count_piece)
            .collect();
        let mut window = Window {
            pieces: Vec::new(),
            end: to,
            commas: last.commas,
            closing: None,
        };
        for (index, count) in counts.iter().enumerate() {
            let piece_start = from + index * PIECE_BYTES;
            let stride = self.stride as u64;
            // Row r starts after comma number r * stride, counted from 1; row 0 at the bracket.
            let first_row = if piece_start == array_start {
                0
            } else {
                window.commas / stride + 1
            };
            let commas_after = window.commas + count.commas;
            let rows = (commas_after / stride + 1).saturating_sub(first_row);
            let skip = first_row * stride - window.commas.min(first_row * stride);
            let at = if first_row == 0 {
                array_start
            } else if rows == 0 {
                piece_start
            } else {
                skip_commas(bytes, piece_start, skip as usize)
            };
            window.pieces.push(Piece {
                at,
                rows: rows as usize,
            });
            window.commas = commas_after;
            if let Some(closing) = count.end {
                window.closing = Some(piece_start + closing);
                window.end = piece_start + closing;
                break;
            }
        }
        window
    }

    /// How many numbers are surely whole: all up to the bracket, or up to the last comma of a
    /// file that ends without one.
    fn whole_values(&self, window: &Window, array_start: usize) -> Result<u64, ReadError> {
        let bytes = self.source.bytes();
        let Some(closing) = window.closing else {
            if window.end < bytes.len() {
                return Ok(u64::MAX);
            }
            let cursor = Cursor::new(bytes, bytes.len(), self.section);
            return Err(cursor.truncated("`,` or `]`"));
        };
        let values = window.commas + 1;
        if !values.is_multiple_of(self.stride as u64) {
            let cursor = Cursor::new(bytes, closing, self.section);
            return Err(cursor.error(Problem::Inconsistent(format!(
                "the array ends after {values} numbers, which is no multiple of the {} fields of a row",
                self.stride
            ))));
        }
        debug_assert!(closing > array_start);
        Ok(values)
    }

    /// Drops rows that are not whole.
    fn limit_rows(&self, window: &mut Window, values: u64, rows_before: usize) {
        let mut left = (values / self.stride as u64).saturating_sub(rows_before as u64);
        for piece in &mut window.pieces {
            piece.rows = piece.rows.min(usize::try_from(left).unwrap_or(usize::MAX));
            left -= piece.rows as u64;
        }
    }

    /// Reads the rows of a window into the columns.
    fn read_window(
        &self,
        window: &Window,
        columns: &mut dyn Columns,
        end: &mut ArrayEnd,
    ) -> Result<(), ReadError> {
        let rows: Vec<usize> = window.pieces.iter().map(|piece| piece.rows).collect();
        let read =
            |index: usize, sink: &mut dyn RowSink| self.read_piece(&window.pieces[index], sink);
        let results = columns.read_parts(&rows, &read);
        let last = rows.iter().rposition(|&rows| rows > 0);
        for (index, piece) in results.into_iter().enumerate() {
            end.rows += piece.rows;
            end.negatives += piece.negatives;
            if let Some(damage) = piece.damage {
                return Err(damage);
            }
            if let Some(closing) = window.closing
                && Some(index) == last
                && !is_blank(self.source.bytes(), piece.after, closing)
            {
                let cursor = Cursor::new(self.source.bytes(), piece.after, self.section);
                return Err(cursor.unexpected("`]`"));
            }
        }
        Ok(())
    }

    fn read_piece(&self, piece: &Piece, sink: &mut dyn RowSink) -> PieceEnd {
        let mut reader = NumberReader::new(self.source.bytes(), piece.at, self.section);
        let mut taken = 0;
        let read = self.read_numbers(piece, &mut reader, sink, &mut taken);
        PieceEnd {
            after: reader.position(),
            negatives: reader.negatives,
            rows: taken / self.stride,
            damage: read.err(),
        }
    }

    /// Hands the numbers of a piece's rows to the sink; `taken` counts those it took.
    fn read_numbers(
        &self,
        piece: &Piece,
        reader: &mut NumberReader<'_>,
        sink: &mut dyn RowSink,
        taken: &mut usize,
    ) -> Result<(), ReadError> {
        let mut buffer = [0_u64; BUFFER_NUMBERS];
        let mut buffered = 0;
        let total = piece.rows * self.stride;
        while *taken < total {
            let wanted = total - *taken - buffered;
            buffered += reader.fill(&mut buffer[buffered..], wanted)?;
            // The fast path may run over the end of the piece by part of a block.
            let whole = (buffered - buffered % self.stride).min(total - *taken);
            if let Err((value, problem)) = sink.take(&buffer[..whole]) {
                let error = self.error_at(piece, *taken + value, problem);
                *taken += value - value % self.stride;
                return Err(error);
            }
            buffer.copy_within(whole..buffered, 0);
            buffered -= whole;
            *taken += whole;
        }
        Ok(())
    }

    /// An error at the number with this index in the piece; counted again, so that the fast path
    /// need not remember where each number stood.
    fn error_at(&self, piece: &Piece, value: usize, problem: Problem) -> ReadError {
        let bytes = self.source.bytes();
        let mut cursor = Cursor::new(bytes, skip_commas(bytes, piece.at, value), self.section);
        cursor.peek();
        cursor.error(problem)
    }
}
