//! From a stream of bytes to entries and their data.
use std::io::BufRead;

use super::header::{BLOCK, Format, Header, checked_name};
use super::pax::{Pax, checked_id};
use super::{Entry, Kind, MAX_ENTRIES, MAX_NAME, MAX_PAX, sparse};
use crate::error::{Error, Result, show};

pub struct Reader<R> {
    source: R,
    /// Bytes of the archive that were read.
    position: u64,
    /// Data bytes of the current entry that were not read yet, and the padding after them.
    data: u64,
    padding: u64,
    entries: u64,
    ended: bool,
}

/// What stood before the header of an entry.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl Extensions {
    fn any(&self) -> bool {
        self.pax.is_some() || self.long_name.is_some() || self.long_link.is_some()
    }
}

impl<R: BufRead> Reader<R> {
    pub fn new(source: R) -> Self {
        Self {
            source,
            position: 0,
            data: 0,
            padding: 0,
            entries: 0,
            ended: false,
        }
    }

    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The next entry, or None at the end of the archive. Data of the entry before that was not read is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        self.skip_data()?;
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.header()? else {
                self.ended = true;
                if extensions.any() {
                    return Err(Error::corrupt(
                        "the layer's tar is damaged: it ends after an extension header",
                    ));
                }
                return Ok(None);
            };
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Error::corrupt(format!(
                    "the layer has more than {MAX_ENTRIES} entries"
                )));
            }
            match header.type_flag() {
                b'x' | b'X' if extensions.pax.is_none() => {
                    let records = self.extension(&header, MAX_PAX)?;
                    extensions.pax = Some(Pax::parse(&records)?);
                }
                b'L' if extensions.long_name.is_none() => {
                    extensions.long_name = Some(self.long_name(&header, "name")?);
                }
                b'K' if extensions.long_link.is_none() => {
                    extensions.long_link = Some(self.long_name(&header, "link target")?);
                }
                b'x' | b'X' | b'L' | b'K' => {
                    return Err(Error::corrupt(
                        "the layer's tar is damaged: two extension headers for one entry",
                    ));
                }
                b'g' => Pax::check_global(&self.extension(&header, MAX_PAX)?)?,
                // The label of a GNU volume describes no file.
                b'V' => {
                    self.set_data(header.size()?);
                    self.skip_data()?;
                }
                _ => return self.entry(&header, extensions).map(Some),
            }
        }
    }

    /// Reads the data of the current entry in pieces, as they lie in the source's buffer; `write` is given each.
    /// `limit`: at most so many bytes. Returns when they or the entry end.
    pub fn data(&mut self, limit: u64, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = limit.min(self.data);
        while left > 0 {
            let buffer = self.source.fill_buf().map_err(source_error)?;
            if buffer.is_empty() {
                return Err(self.truncated());
            }
            let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            write(&buffer[..length])?;
            self.source.consume(length);
            let length = length as u64;
            self.position += length;
            self.data -= length;
            left -= length;
        }
        Ok(())
    }

    /// Reads the rest of the source, which the digest covers. GNU tar ignores what follows the end of an archive
    /// (its own padding to a whole record), so does this.
    pub fn drain(mut self) -> Result<()> {
        loop {
            let length = self.source.fill_buf().map_err(source_error)?.len();
            if length == 0 {
                return Ok(());
            }
            self.source.consume(length);
        }
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry> {
        let pax = extensions.pax.unwrap_or_default();
        let mut name =
            one_of(pax.path, extensions.long_name, "name")?.unwrap_or_else(|| header.name());
        let link =
            one_of(pax.link, extensions.long_link, "link target")?.unwrap_or_else(|| header.link());
        let plain_size = header.size()?;
        let stored = pax.size.unwrap_or(plain_size);
        // A PAX size exists for what 11 octal digits cannot hold. Where they can, a reader that does not know PAX
        // must come to the same next header (CVE-2025-62518).
        if stored != plain_size && stored <= 0o77_777_777_777 {
            return Err(Error::corrupt(format!(
                "layer entry {}: its two sizes disagree ({plain_size} and {stored})",
                show(&name)
            )));
        }
        // Readers look for the numbers of a device, and the map of a sparse file, only where a format has them.
        let is_misplaced = match header.type_flag() {
            b'S' => header.format() != Format::Gnu,
            b'3' | b'4' => header.format() == Format::V7,
            _ => false,
        };
        if is_misplaced {
            return Err(Error::corrupt(format!(
                "layer entry {}: its type {:?} is not in a header of its format",
                show(&name),
                char::from(header.type_flag())
            )));
        }
        let mut kind = match header.type_flag() {
            // v7 had no type for directories.
            0 if name.ends_with(b"/") => Kind::Directory,
            // For GNU tar this is a directory, for Go and Python a file.
            b'0' | b'7' | b'S' if name.ends_with(b"/") => {
                return Err(Error::corrupt(format!(
                    "layer entry {}: a file whose name ends in a slash",
                    show(&name)
                )));
            }
            b'0' | 0 | b'7' => Kind::File,
            b'S' => Kind::SparseFile(Vec::new()),
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                return Err(Error::corrupt(format!(
                    "layer entry {}: unknown entry type {:?}",
                    show(&name),
                    char::from(other)
                )));
            }
        };
        let is_file = matches!(kind, Kind::File | Kind::SparseFile(_));
        // Readers do not agree whether data follows such an entry.
        if !is_file && stored != 0 {
            return Err(Error::corrupt(format!(
                "layer entry {}: only regular files may have data",
                show(&name)
            )));
        }
        self.set_data(stored);
        let mut size = stored;
        if kind != Kind::File && is_file {
            let (numbers, real_size) = self.old_sparse_map(header, &name)?;
            size = real_size;
            kind = Kind::SparseFile(sparse::checked(&numbers, self.data, size, &name)?);
        } else if pax.sparse.is_set() {
            if kind != Kind::File {
                return Err(sparse::bad(&name));
            }
            size = pax.sparse.real_size.ok_or_else(|| sparse::bad(&name))?;
            name = pax.sparse.name.unwrap_or(name);
            let numbers = match (pax.sparse.major.unwrap_or(0), pax.sparse.minor.unwrap_or(0)) {
                (0, 0 | 1) => pax.sparse.map.ok_or_else(|| sparse::bad(&name))?,
                (1, 0) => self.sparse_map_in_data(&name)?,
                _ => return Err(sparse::bad(&name)),
            };
            kind = Kind::SparseFile(sparse::checked(&numbers, self.data, size, &name)?);
        }
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice => {
                let (major, minor) = header.device()?;
                let part =
                    |number| u32::try_from(number).map_err(|_| header.invalid("device number"));
                (part(major)?, part(minor)?)
            }
            _ => (0, 0),
        };
        let owner = |from_pax: Option<u32>, plain: Result<i128>, what: &str| match from_pax {
            Some(id) => Ok(id),
            None => plain.and_then(|id| checked_id(id).ok_or_else(|| header.invalid(what))),
        };
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => (
                i64::try_from(header.mtime()?).map_err(|_| header.invalid("time"))?,
                0,
            ),
        };
        Ok(Entry {
            kind,
            // Bits of the file type, which some writers add, are masked away.
            mode: u32::try_from(header.mode()? & 0o7777).unwrap_or(0),
            uid: owner(pax.uid, header.uid(), "owner")?,
            gid: owner(pax.gid, header.gid(), "group")?,
            mtime,
            size,
            device,
            xattrs: pax.xattrs,
            name,
            link,
        })
    }

    /// Old GNU format: the map in the header and in blocks right after it; `data` counts without them.
    fn old_sparse_map(&mut self, header: &Header, name: &[u8]) -> Result<(Vec<u64>, u64)> {
        let mut numbers = Vec::new();
        sparse::old_gnu(&header.0[386..482], &mut numbers, name)?;
        let real_size = super::number::parse(&header.0[483..495])
            .and_then(|size| u64::try_from(size).ok())
            .ok_or_else(|| sparse::bad(name))?;
        let mut more = header.0[482] != 0;
        while more {
            let mut block = [0; BLOCK];
            if !self.block(&mut block)? {
                return Err(self.truncated());
            }
            sparse::old_gnu(&block[..504], &mut numbers, name)?;
            more = block[504] != 0;
            // Blocks of nothing but the flag would go on for ever.
            if more && block[12] == 0 {
                return Err(sparse::bad(name));
            }
        }
        Ok((numbers, real_size))
    }

    /// PAX format 1.0: decimal lines at the start of the data (count, then offset and length each), padded to a block.
    fn sparse_map_in_data(&mut self, name: &[u8]) -> Result<Vec<u64>> {
        let start = self.data;
        let mut numbers: Vec<u64> = Vec::new();
        let mut wanted: Option<usize> = None;
        let mut line = Vec::new();
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            let mut byte = 0;
            if self.data == 0 {
                return Err(sparse::bad(name));
            }
            self.data(1, |piece| {
                byte = piece[0];
                Ok(())
            })?;
            if byte != b'\n' {
                line.push(byte);
                if line.len() > 20 {
                    return Err(sparse::bad(name));
                }
                continue;
            }
            let number = super::number::decimal(&line).ok_or_else(|| sparse::bad(name))?;
            line.clear();
            if wanted.is_some() {
                numbers.push(number);
                continue;
            }
            let ranges = usize::try_from(number)
                .ok()
                .filter(|&ranges| ranges <= sparse::MAX_RANGES)
                .ok_or_else(|| sparse::bad(name))?;
            wanted = Some(2 * ranges);
        }
        let padding = (BLOCK as u64 - (start - self.data) % BLOCK as u64) % BLOCK as u64;
        if padding > self.data {
            return Err(sparse::bad(name));
        }
        self.data(padding, |_| Ok(()))?;
        Ok(numbers)
    }

    fn long_name(&mut self, header: &Header, what: &str) -> Result<Vec<u8>> {
        let mut name = self.extension(header, MAX_NAME as u64 + 1)?;
        match name.pop() {
            Some(0) | None => {}
            // GNU tar and Python read on to the next NUL, Go stops where the size says.
            Some(_) => {
                return Err(Error::corrupt(format!(
                    "layer entry {}: its {what} does not end in a NUL byte",
                    show(&name)
                )));
            }
        }
        checked_name(&name, what)
    }

    /// The whole data of an extension header.
    fn extension(&mut self, header: &Header, limit: u64) -> Result<Vec<u8>> {
        let size = header.size()?;
        if size > limit {
            return Err(Error::corrupt(format!(
                "layer entry {}: an extension header of {size} bytes (the limit is {limit})",
                show(&header.name())
            )));
        }
        self.set_data(size);
        let mut content = Vec::new();
        self.data(size, |piece| {
            content.extend_from_slice(piece);
            Ok(())
        })?;
        self.skip_data()?;
        Ok(content)
    }

    /// None at the end: two zero blocks, or no more bytes.
    fn header(&mut self) -> Result<Option<Header>> {
        let offset = self.position;
        let mut block = [0; BLOCK];
        if !self.block(&mut block)? {
            return Ok(None);
        }
        if block != [0; BLOCK] {
            return Header::new(block, offset).map(Some);
        }
        if !self.block(&mut block)? || block == [0; BLOCK] {
            return Ok(None);
        }
        Err(Error::corrupt(format!(
            "the layer's tar is damaged at byte {offset}: a zero block between entries"
        )))
    }

    /// Fills one block; false at a clean end.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool> {
        let mut filled = 0;
        while filled < BLOCK {
            let buffer = self.source.fill_buf().map_err(source_error)?;
            if buffer.is_empty() {
                if filled == 0 {
                    return Ok(false);
                }
                return Err(self.truncated());
            }
            let length = buffer.len().min(BLOCK - filled);
            block[filled..filled + length].copy_from_slice(&buffer[..length]);
            self.source.consume(length);
            self.position += length as u64;
            filled += length;
        }
        Ok(true)
    }

    fn set_data(&mut self, size: u64) {
        self.data = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip_data(&mut self) -> Result<()> {
        self.data(u64::MAX, |_| Ok(()))?;
        self.data = std::mem::take(&mut self.padding);
        self.data(u64::MAX, |_| Ok(()))
    }

    fn truncated(&self) -> Error {
        Error::corrupt(format!(
            "the layer is truncated: its tar ends in the middle of an entry, at byte {}",
            self.position
        ))
    }
}

/// What PAX and GNU's own extension header say of one entry. Where both speak, GNU tar believes the one and Go the
/// other.
fn one_of(pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>, what: &str) -> Result<Option<Vec<u8>>> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => Err(Error::corrupt(format!(
            "layer entry {}: its {what} is given twice, the other is {}",
            show(&pax),
            show(&gnu)
        ))),
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

/// The source of a layer hands its own errors through std::io.
fn source_error(error: std::io::Error) -> Error {
    error
        .downcast::<Error>()
        .unwrap_or_else(|error| Error::io("read", b"layer", &error))
}
