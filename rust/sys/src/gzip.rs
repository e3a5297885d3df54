//! gzip undone at one stroke. libdeflate inflates half as fast again as a decoder that takes its input piece by piece,
//! but wants all of it at once, and room for all that comes out.
use std::ptr::NonNull;

use libdeflate_sys::{
    libdeflate_alloc_decompressor, libdeflate_decompressor, libdeflate_free_decompressor,
    libdeflate_gzip_decompress_ex, libdeflate_result_LIBDEFLATE_SUCCESS as SUCCESS,
};

struct Decompressor(NonNull<libdeflate_decompressor>);

impl Decompressor {
    /// None without memory.
    fn new() -> Option<Self> {
        // SAFETY: it has no conditions; NULL is its error.
        NonNull::new(unsafe { libdeflate_alloc_decompressor() }).map(Self)
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: it came from `libdeflate_alloc_decompressor`, and nobody else has it.
        unsafe { libdeflate_free_decompressor(self.0.as_ptr()) }
    }
}

/// Inflate one gzip member (RFC 1952) that is all of `data` and fills `plain` exactly; its CRC and length are checked.
/// False when it is anything else, be it damaged, longer, or several members; `plain` may then hold anything.
pub fn inflate_whole(data: &[u8], plain: &mut [u8]) -> bool {
    let Some(decompressor) = Decompressor::new() else {
        return false;
    };
    let (mut read, mut written) = (0, 0);
    // SAFETY: both buffers are valid for their lengths and do not overlap (one is shared, one exclusive); the two
    // counts are written before it returns with success, and libdeflate keeps none of the pointers.
    let result = unsafe {
        libdeflate_gzip_decompress_ex(
            decompressor.0.as_ptr(),
            data.as_ptr().cast(),
            data.len(),
            plain.as_mut_ptr().cast(),
            plain.len(),
            &raw mut read,
            &raw mut written,
        )
    };
    result == SUCCESS && read == data.len() && written == plain.len()
}
