//! A blob on its way: the file that its bytes go into, from several connections at once, and what of it has come.
//!
//! As long as bytes come in order the length of the file says how many there are. When a piece comes before an earlier
//! one is whole, a ledger behind the blob's own bytes (from offset `size` on) says how much there is of each piece; it
//! is cut off at the end. Bytes are written before the ledger counts them, so that whoever is killed in between loses
//! one write, and the next process goes on from there.
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyd_sys::inode::start_writeback;

use crate::error::{Error, Result};

/// What one request of several for one blob asks for.
pub const PIECE: u64 = 32 << 20;

/// Writeback is started this often, so that the sync at the end finds little to do.
const WRITEBACK: u64 = 8 << 20;

const MAGIC: &[u8; 8] = b"pydpart1";
const LEDGER_HEAD: u64 = 16;

pub struct Partial {
    path: PathBuf,
    file: File,
    size: u64,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    pieces: Vec<Piece>,
    /// Whether the ledger is in the file; then its length says nothing.
    ledger: bool,
    /// Nobody reads what comes any more.
    closed: bool,
    /// How long the reader had nothing to read.
    starved: Duration,
}

#[derive(Clone, Copy, Default)]
struct Piece {
    /// Bytes that are there, from the beginning of the piece.
    received: u64,
    claimed: bool,
}

/// What a connection is to fetch: bytes `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u64,
    pub end: u64,
}

/// The reader is gone; why is for it to say.
#[derive(Debug)]
pub struct Closed;

impl Partial {
    /// Opens the file, or makes it. What cannot be the beginning of a blob of `size` bytes is dropped.
    pub fn open(path: &Path, size: u64) -> Result<Self> {
        let failed = |op| move |error: std::io::Error| at(path, op, &error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path)
            .map_err(failed("open"))?;
        let length = file.metadata().map_err(failed("stat"))?.len();
        let mut state = State {
            pieces: pieces(size, length.min(size)),
            ledger: false,
            closed: false,
            starved: Duration::ZERO,
        };
        if length > size {
            match read_ledger(&file, size, length) {
                Some(pieces) => {
                    state.pieces = pieces;
                    state.ledger = true;
                }
                None => {
                    file.set_len(0).map_err(failed("truncate"))?;
                    state.pieces = pieces(size, 0);
                }
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            size,
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are there, wherever they lie.
    pub fn received(&self) -> u64 {
        self.state().pieces.iter().map(|piece| piece.received).sum()
    }

    /// Bytes that are there without a gap.
    pub fn prefix(&self) -> u64 {
        prefix(&self.state().pieces)
    }

    /// How long the reader had to wait for bytes so far.
    pub fn starved(&self) -> Duration {
        self.state().starved
    }

    /// The first bytes that are missing and that nobody fetches: the rest of one piece, or with `whole` everything up
    /// to what somebody else fetches or has fetched.
    pub fn claim(&self, whole: bool) -> Result<Option<Span>> {
        let mut state = self.state();
        let size = self.size;
        let free = |index: usize, piece: &Piece| {
            !piece.claimed && piece.received < piece_length(size, index)
        };
        let Some(first) = (0..state.pieces.len()).find(|&index| free(index, &state.pieces[index]))
        else {
            return Ok(None);
        };
        let start = first as u64 * PIECE + state.pieces[first].received;
        let mut last = first;
        while whole
            && state
                .pieces
                .get(last + 1)
                .is_some_and(|next| free(last + 1, next) && next.received == 0)
        {
            last += 1;
        }
        if start > prefix(&state.pieces) && !state.ledger {
            self.begin_ledger(&mut state)?;
        }
        for piece in &mut state.pieces[first..=last] {
            piece.claimed = true;
        }
        let end = last as u64 * PIECE + piece_length(size, last);
        Ok(Some(Span { start, end }))
    }

    /// Whoever claimed `span` has ended; what is missing of it may be claimed again.
    pub fn release(&self, span: Span) {
        let mut state = self.state();
        let pieces = state.pieces.len() as u64;
        for index in span.start / PIECE..span.end.div_ceil(PIECE).min(pieces) {
            state.pieces[index as usize].claimed = false;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Keep bytes that have come. They must follow what is there of their piece.
    pub fn store(
        &self,
        mut offset: u64,
        mut data: &[u8],
    ) -> Result<std::result::Result<(), Closed>> {
        if offset + data.len() as u64 > self.size {
            return Err(Error::Mismatch(format!(
                "the layer is longer than its {} bytes",
                self.size
            )));
        }
        while !data.is_empty() {
            let index = (offset / PIECE) as usize;
            let room = piece_length(self.size, index) - offset % PIECE;
            let length = usize::try_from(room).map_or(data.len(), |room| room.min(data.len()));
            if self.state().pieces[index].received != offset % PIECE {
                return Err(Error::Invalid(format!(
                    "bytes at {offset} do not follow those that are there"
                )));
            }
            let (now, later) = data.split_at(length);
            self.file
                .write_all_at(now, offset)
                .map_err(|error| at(&self.path, "write", &error))?;
            let mut state = self.state();
            let received = offset % PIECE + length as u64;
            state.pieces[index].received = received;
            if state.ledger {
                self.write_count(index, received)?;
            }
            let closed = state.closed;
            drop(state);
            self.changed.notify_all();
            if closed {
                return Ok(Err(Closed));
            }
            offset += length as u64;
            data = later;
            let behind = offset % WRITEBACK;
            if behind < length as u64 && offset >= WRITEBACK {
                start_writeback(self.file.as_fd(), offset - behind - WRITEBACK, WRITEBACK);
            }
        }
        Ok(Ok(()))
    }

    /// Waits until there are bytes from `position` on: at least `least` of them, or all that the blob has. Returns
    /// where they end, or None when it was closed. `watch` is asked now and then, and may end the wait.
    pub fn wait(
        &self,
        position: u64,
        least: u64,
        watch: impl Fn() -> Result<()>,
    ) -> Result<Option<u64>> {
        let wanted = (position + least).min(self.size);
        let mut state = self.state();
        let mut since = None;
        let found = loop {
            let there = prefix_from(&state.pieces, self.size, position);
            if there >= wanted {
                break Some(there);
            }
            if state.closed {
                break None;
            }
            since.get_or_insert_with(Instant::now);
            state = self
                .changed
                .wait_timeout(state, Duration::from_millis(100))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            watch()?;
        };
        if let Some(since) = since {
            state.starved += since.elapsed();
        }
        Ok(found)
    }

    pub fn read(&self, position: u64, buffer: &mut [u8]) -> Result<()> {
        self.file
            .read_exact_at(buffer, position)
            .map_err(|error| at(&self.path, "read", &error))
    }

    pub fn closed(&self) -> bool {
        self.state().closed
    }

    /// No more is written, and no more is read: everybody who waits wakes.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Everything is there: leave the blob's own bytes alone in the file.
    pub fn cut_ledger(&self) -> Result<()> {
        if self.state().ledger {
            self.file
                .set_len(self.size)
                .map_err(|error| at(&self.path, "truncate", &error))?;
        }
        Ok(())
    }

    pub fn sync(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(|error| at(&self.path, "fsync", &error))
    }

    /// Its bytes can never do. If removing fails the next attempt meets the same bytes, and comes here again.
    pub fn discard(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_ledger(&self, state: &mut State) -> Result<()> {
        let mut ledger = Vec::with_capacity(LEDGER_HEAD as usize + 8 * state.pieces.len());
        ledger.extend_from_slice(MAGIC);
        ledger.extend_from_slice(&PIECE.to_le_bytes());
        for piece in &state.pieces {
            ledger.extend_from_slice(&piece.received.to_le_bytes());
        }
        self.file
            .write_all_at(&ledger, self.size)
            .map_err(|error| at(&self.path, "write", &error))?;
        state.ledger = true;
        Ok(())
    }

    fn write_count(&self, index: usize, received: u64) -> Result<()> {
        self.file
            .write_all_at(
                &received.to_le_bytes(),
                self.size + LEDGER_HEAD + 8 * index as u64,
            )
            .map_err(|error| at(&self.path, "write", &error))
    }
}

fn at(path: &Path, op: &'static str, error: &std::io::Error) -> Error {
    Error::io(op, path.as_os_str().as_bytes(), error)
}

fn piece_length(size: u64, index: usize) -> u64 {
    PIECE.min(size - index as u64 * PIECE)
}

/// The pieces of a blob whose first `prefix` bytes are there.
fn pieces(size: u64, prefix: u64) -> Vec<Piece> {
    (0..size.div_ceil(PIECE))
        .map(|index| Piece {
            received: prefix
                .saturating_sub(index * PIECE)
                .min(piece_length(size, index as usize)),
            claimed: false,
        })
        .collect()
}

fn prefix(pieces: &[Piece]) -> u64 {
    let mut end = 0;
    for piece in pieces {
        end += piece.received;
        if piece.received < PIECE {
            break;
        }
    }
    end
}

/// Where the bytes that are there from `position` on end.
fn prefix_from(pieces: &[Piece], size: u64, position: u64) -> u64 {
    let mut end = position;
    while end < size {
        let index = (end / PIECE) as usize;
        let there = index as u64 * PIECE + pieces[index].received;
        if there <= end {
            break;
        }
        end = there;
        if !there.is_multiple_of(PIECE) {
            break;
        }
    }
    end
}

/// None when what lies behind the blob is no ledger of it.
fn read_ledger(file: &File, size: u64, length: u64) -> Option<Vec<Piece>> {
    let mut pieces = pieces(size, 0);
    if length != size + LEDGER_HEAD + 8 * pieces.len() as u64 {
        return None;
    }
    let mut ledger = vec![0; usize::try_from(length - size).ok()?];
    file.read_exact_at(&mut ledger, size).ok()?;
    let (head, counts) = ledger.split_at(LEDGER_HEAD as usize);
    if head[..8] != *MAGIC || head[8..] != PIECE.to_le_bytes() {
        return None;
    }
    for (index, (piece, count)) in pieces.iter_mut().zip(counts.chunks_exact(8)).enumerate() {
        piece.received = u64::from_le_bytes(count.try_into().ok()?);
        if piece.received > piece_length(size, index) {
            return None;
        }
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 3 * PIECE + 5;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("pyd-partial-{}-{name}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn store(partial: &Partial, offset: u64, data: &[u8]) {
        partial.store(offset, data).unwrap().unwrap();
    }

    #[test]
    fn in_order_the_length_is_all_there_is_to_know() {
        let scratch = Scratch::new("order");
        let partial = Partial::open(&scratch.0, SIZE).unwrap();
        assert_eq!(
            partial.claim(true).unwrap(),
            Some(Span {
                start: 0,
                end: SIZE
            })
        );
        assert_eq!(partial.claim(true).unwrap(), None);
        store(&partial, 0, b"hello");
        assert!(partial.store(7, b"gap").is_err());
        assert!(partial.store(SIZE - 1, b"long").is_err());
        drop(partial);
        assert_eq!(std::fs::metadata(&scratch.0).unwrap().len(), 5);
        let partial = Partial::open(&scratch.0, SIZE).unwrap();
        assert_eq!(
            partial.claim(false).unwrap(),
            Some(Span {
                start: 5,
                end: PIECE
            })
        );
    }

    #[test]
    fn pieces_out_of_order_are_found_again() {
        let scratch = Scratch::new("ledger");
        let partial = Partial::open(&scratch.0, SIZE).unwrap();
        let first = partial.claim(false).unwrap().unwrap();
        let second = partial.claim(false).unwrap().unwrap();
        assert_eq!(
            second,
            Span {
                start: PIECE,
                end: 2 * PIECE
            }
        );
        store(&partial, second.start, b"second");
        store(&partial, first.start, b"one");
        drop(partial);
        let partial = Partial::open(&scratch.0, SIZE).unwrap();
        assert_eq!((partial.prefix(), partial.received()), (3, 9));
        assert_eq!(partial.wait(0, 1, || Ok(())).unwrap(), Some(3));
        let first = partial.claim(true).unwrap();
        assert_eq!(
            first,
            Some(Span {
                start: 3,
                end: PIECE
            })
        );
        let rest = partial.claim(true).unwrap();
        assert_eq!(
            rest,
            Some(Span {
                start: PIECE + 6,
                end: SIZE
            })
        );
        partial.release(rest.unwrap());
        assert_eq!(partial.claim(true).unwrap(), rest);
    }

    #[test]
    fn what_is_no_ledger_is_dropped() {
        let scratch = Scratch::new("damaged");
        std::fs::write(&scratch.0, vec![7; 100]).unwrap();
        let partial = Partial::open(&scratch.0, 50).unwrap();
        assert_eq!((partial.prefix(), partial.received()), (0, 0));
        assert_eq!(std::fs::metadata(&scratch.0).unwrap().len(), 0);
    }

    #[test]
    fn a_reader_that_is_gone_is_told_to_the_writer() {
        let scratch = Scratch::new("closed");
        let partial = Partial::open(&scratch.0, 10).unwrap();
        partial.close();
        assert!(partial.store(0, b"x").unwrap().is_err());
        assert_eq!(partial.wait(1, 1, || Ok(())).unwrap(), None);
    }
}
