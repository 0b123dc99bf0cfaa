//! The `strings` section: where each string lies. Nothing is copied or decoded.

use std::sync::Arc;

use heapatlas_model::{ByteSource, StringEncoding, StringTable, UintColumn};
use rayon::prelude::*;

use super::cursor::{Cursor, find_closing_quote};
use super::error::ReadError;

/// Text that one thread scans at a time.
const PIECE_BYTES: usize = 4 << 20;
/// Pieces between two returns of memory.
const WINDOW_PIECES: usize = 8;

/// The strings found, and the end of the array.
pub(super) struct Strings {
    pub table: StringTable,
    pub after: usize,
    /// What keeps the array from being whole, when salvaging.
    pub damage: Option<ReadError>,
}

/// Scans the array of strings whose opening bracket is next.
pub(super) fn read_strings(
    source: &Arc<dyn ByteSource>,
    at: usize,
    salvage: bool,
    progress: Option<&(dyn Fn(u64) + Sync)>,
) -> Result<Strings, ReadError> {
    let bytes = source.bytes();
    let mut cursor = Cursor::new(bytes, at, "strings");
    cursor.expect(b'[')?;
    let mut scan = Scan::default();
    let mut damage = None;
    let mut at = cursor.at;
    while scan.end.is_none() && at < bytes.len() {
        let limit = bytes.len().min(at + PIECE_BYTES * WINDOW_PIECES);
        let from = at;
        at = match scan_window(bytes, at, limit, &mut scan) {
            Ok(at) => at,
            Err(error) if salvage => {
                damage = Some(error);
                break;
            }
            Err(error) => return Err(error),
        };
        source.page_out(from..at);
        if let Some(progress) = progress {
            progress((at - from) as u64);
        }
    }
    if scan.end.is_none() && damage.is_none() {
        let error = Cursor::new(bytes, bytes.len(), "strings").truncated("`,` or `]`");
        if !salvage {
            return Err(error);
        }
        damage = Some(error);
    }
    let after = scan.end.unwrap_or(bytes.len());
    let Scan {
        starts, lengths, ..
    } = scan;
    let table = StringTable::new(Arc::clone(source), StringEncoding::Json, starts, lengths);
    Ok(Strings {
        table,
        after,
        damage,
    })
}

/// What the array held so far.
#[derive(Default)]
struct Scan {
    starts: UintColumn,
    lengths: UintColumn,
    last: Token,
    end: Option<usize>,
}

/// The last thing seen in the array.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Token {
    #[default]
    Bracket,
    Comma,
    Text,
}

/// What a piece held.
struct Piece {
    starts: Vec<usize>,
    lengths: Vec<usize>,
    /// What comes first in it, and where.
    first: Option<(Token, usize)>,
    last: Token,
    /// The position after the closing bracket.
    end: Option<usize>,
    after: usize,
    error: Option<ReadError>,
}

/// Scans from `from` to about `limit`; gives the position reached.
///
/// A raw line feed cannot stand inside of a JSON string, so a line feed is a safe place to cut:
/// pieces behind one another start at line feeds. A section on one line is one piece.
fn scan_window(
    bytes: &[u8],
    from: usize,
    limit: usize,
    scan: &mut Scan,
) -> Result<usize, ReadError> {
    let mut cuts = vec![from];
    let mut at = from + PIECE_BYTES;
    while at < limit {
        let Some(offset) = memchr::memchr(b'\n', &bytes[at..limit]) else {
            break;
        };
        cuts.push(at + offset + 1);
        at += offset + 1 + PIECE_BYTES;
    }
    let ends = cuts[1..].iter().copied().chain([limit]);
    let ranges: Vec<_> = cuts.iter().copied().zip(ends).collect();
    let pieces: Vec<Piece> = ranges
        .par_iter()
        .map(|&(from, to)| scan_piece(bytes, from, to))
        .collect();
    let mut reached = from;
    for (piece, &(start, _)) in pieces.into_iter().zip(&ranges) {
        if reached > start {
            let cursor = Cursor::new(bytes, start - 1, "strings");
            return Err(cursor.unexpected("a string without line feeds"));
        }
        reached = piece.after;
        append(bytes, scan, piece)?;
        if scan.end.is_some() {
            break;
        }
    }
    Ok(reached)
}

/// Adds a piece's strings, if it goes on where the last piece ended.
fn append(bytes: &[u8], scan: &mut Scan, piece: Piece) -> Result<(), ReadError> {
    if let Some((first, at)) = piece.first {
        let cursor = Cursor::new(bytes, at, "strings");
        follows(scan.last, first).map_err(|expected| cursor.unexpected(expected))?;
        scan.last = piece.last;
    }
    if piece.end.is_some() && piece.first.is_none() && scan.last == Token::Comma {
        return Err(Cursor::new(bytes, piece.after - 1, "strings").unexpected("a string"));
    }
    for (start, length) in piece.starts.into_iter().zip(piece.lengths) {
        scan.starts.push(start as u64);
        scan.lengths.push(length as u64);
    }
    scan.end = piece.end;
    piece.error.map_or(Ok(()), Err)
}

/// Whether a token may follow another; if not, what was expected.
fn follows(last: Token, next: Token) -> Result<(), &'static str> {
    match (last, next) {
        (Token::Bracket | Token::Comma, Token::Text) | (Token::Text, Token::Comma) => Ok(()),
        (Token::Text, _) => Err("`,` or `]`"),
        _ => Err("a string"),
    }
}

/// Scans a piece that begins between strings. A string that begins in it is scanned to its end.
fn scan_piece(bytes: &[u8], from: usize, to: usize) -> Piece {
    let mut piece = Piece {
        starts: Vec::new(),
        lengths: Vec::new(),
        first: None,
        last: Token::Bracket,
        end: None,
        after: from,
        error: None,
    };
    let mut cursor = Cursor::new(bytes, from, "strings");
    while cursor.at < to {
        let Some(byte) = cursor.peek() else { break };
        if cursor.at >= to {
            break;
        }
        let at = cursor.at;
        let token = match byte {
            b'"' => Token::Text,
            b',' => Token::Comma,
            b']' if piece.first.is_none() || piece.last == Token::Text => {
                piece.end = Some(at + 1);
                cursor.at += 1;
                break;
            }
            _ => {
                piece.error = Some(cursor.unexpected("a string, `,` or `]`"));
                break;
            }
        };
        match piece.first {
            None => piece.first = Some((token, at)),
            Some(_) => {
                if let Err(expected) = follows(piece.last, token) {
                    piece.error = Some(cursor.unexpected(expected));
                    break;
                }
            }
        }
        if token == Token::Text {
            let Some(end) = find_closing_quote(bytes, at + 1) else {
                cursor.at = bytes.len();
                piece.error = Some(cursor.truncated("the end of a string"));
                break;
            };
            piece.starts.push(at + 1);
            piece.lengths.push(end - at - 1);
            cursor.at = end + 1;
        } else {
            cursor.at += 1;
        }
        piece.last = token;
    }
    piece.after = cursor.at;
    piece
}
