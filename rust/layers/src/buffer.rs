//! Large buffers that one pass leaves to the next. Fresh memory costs a page fault for every 4 KiB, which for a small
//! layer is more than inflating it; these stay mapped as long as any pass is at work.
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Those that nobody uses just now. There are never more of them than were in use at once.
#[derive(Default)]
struct Spare(Mutex<Vec<Box<[u8]>>>);

/// Weak: the last buffer in use takes the spare ones with it, so that a process keeps none while it pulls nothing.
static SPARE: Mutex<Weak<Spare>> = Mutex::new(Weak::new());

/// Bytes with any content: read only what was written.
pub struct Buffer {
    bytes: Box<[u8]>,
    spare: Arc<Spare>,
}

impl Buffer {
    pub fn new(size: usize) -> Self {
        let spare = spare();
        let mut kept = spare.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = kept.iter().rposition(|bytes| bytes.len() == size);
        let used = fitting.map(|index| kept.swap_remove(index));
        drop(kept);
        Self {
            bytes: used.unwrap_or_else(|| vec![0; size].into_boxed_slice()),
            spare,
        }
    }
}

fn spare() -> Arc<Spare> {
    let mut shared = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let new = Arc::default();
        *shared = Arc::downgrade(&new);
        new
    })
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut kept = self.spare.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;

    #[test]
    fn a_buffer_is_used_again_while_another_is_in_use() {
        const SIZE: usize = 12_345; // nobody else's
        let _other = Buffer::new(SIZE);
        let mut first = Buffer::new(SIZE);
        first[0] = 7;
        drop(first);
        assert_eq!(Buffer::new(SIZE)[0], 7);
        assert_eq!(Buffer::new(SIZE + 1).len(), SIZE + 1);
    }
}
