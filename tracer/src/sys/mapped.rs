//! Arrays of the kernel side in this process's memory.

use std::arch::x86_64::{__m128i, _mm_add_epi64, _mm_setzero_si128};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// A BPF array map (`BPF_F_MMAPABLE`) in this process's memory: reading it is no system call.
pub struct Mapped<T> {
    base: *mut T,
    bytes: usize,
    len: usize,
    elements: PhantomData<T>,
}

// SAFETY: the memory is shared with the kernel anyway; every access is a volatile copy.
unsafe impl<T: Send> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Mapped<T> {}

impl<T: Copy> Mapped<T> {
    /// Maps the first `len` elements. `T` must be the map's value type, of a size that is a multiple of 8.
    pub fn new(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let bytes = len * size_of::<T>();
        // SAFETY: a new shared mapping; the kernel checks length and descriptor.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapped { base: base.cast(), bytes, len, elements: PhantomData })
    }

    /// A copy of one element; zeroed fields of `T` must be valid, as the kernel starts with them.
    pub fn get(&self, index: usize) -> Option<T> {
        // SAFETY: inside the mapping; the kernel may write meanwhile, so each counter is new or old.
        (index < self.len).then(|| unsafe { self.base.add(index).read_volatile() })
    }

    /// A copy of what is `offset` bytes into one element: an integer, or an array or struct of integers.
    pub fn field<F: Copy>(&self, index: usize, offset: usize) -> Option<F> {
        let inside = index < self.len
            && offset.is_multiple_of(align_of::<F>())
            && offset.checked_add(size_of::<F>()).is_some_and(|end| end <= size_of::<T>());
        // SAFETY: inside the element, and aligned in it as the element is in the mapping; as `get`.
        inside.then(|| unsafe { self.base.add(index).byte_add(offset).cast::<F>().read_volatile() })
    }

    /// The sum of one element's words of 64 bits, beyond which it wraps around.
    pub fn sum(&self, index: usize) -> u64 {
        const { assert!(size_of::<T>().is_multiple_of(size_of::<__m128i>())) };
        if index >= self.len {
            return 0;
        }
        // Two words at a time, because a scrape does this for every process. SAFETY: inside the mapping, which is
        // aligned to a page.
        let pairs = unsafe { self.base.add(index) }.cast::<__m128i>();
        // SAFETY: inside the element; as `get`. Every x86_64 has SSE2.
        let sum = (0..size_of::<T>() / size_of::<__m128i>())
            .fold(unsafe { _mm_setzero_si128() }, |sum, at| unsafe {
                _mm_add_epi64(sum, pairs.add(at).read_volatile())
            });
        // SAFETY: 16 bytes that are any two numbers.
        let [low, high]: [u64; 2] = unsafe { std::mem::transmute(sum) };
        low.wrapping_add(high)
    }

    /// Overwrites one element that the kernel side does not write at this moment.
    pub fn set(&self, index: usize, value: T) {
        if index < self.len {
            // SAFETY: inside the mapping.
            unsafe { self.base.add(index).write_volatile(value) };
        }
    }
}

impl Mapped<u64> {
    /// Adds to one element, which the kernel side may write at the same time.
    pub fn add(&self, index: usize, value: u64) {
        if index < self.len {
            // SAFETY: inside the mapping, and aligned as its start, a page, is.
            unsafe { AtomicU64::from_ptr(self.base.add(index)) }.fetch_add(value, Ordering::Relaxed);
        }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the very mapping made in `new`.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};

    use super::*;

    /// Memory in place of a map's.
    fn memory(words: &[u64]) -> File {
        // SAFETY: the name is a string; the descriptor is nobody else's.
        let mut file = unsafe { File::from(OwnedFd::from_raw_fd(libc::memfd_create(c"map".as_ptr(), 0))) };
        words.iter().for_each(|word| file.write_all(&word.to_ne_bytes()).unwrap());
        file
    }

    #[test]
    fn sums_of_elements() {
        let elements = [[1, 2, 3, 4], [u64::MAX, 0, 5, u64::MAX], [0, 0, 0, 7]];
        let file = memory(elements.as_flattened());
        let mapped: Mapped<[u64; 4]> = Mapped::new(file.as_fd(), elements.len()).unwrap();
        assert_eq!([0, 1, 2, 3].map(|index| mapped.sum(index)), [10, 3, 7, 0]);
        let pair: Option<[u64; 2]> = mapped.field(1, 16);
        assert_eq!(
            (pair, mapped.field::<[u64; 2]>(1, 24), mapped.field::<u64>(3, 0)),
            (Some([5, u64::MAX]), None, None)
        );
        mapped.set(2, [1; 4]);
        assert_eq!((mapped.get(2), mapped.get(3), mapped.sum(2)), (Some([1; 4]), None, 4));
    }

    #[test]
    fn adds_to_one_element() {
        let file = memory(&[1, u64::MAX, 3]);
        let mapped: Mapped<u64> = Mapped::new(file.as_fd(), 3).unwrap();
        // There is no element 3: nothing is written.
        [(0, 6), (1, 2), (3, 9)].into_iter().for_each(|(index, value)| mapped.add(index, value));
        assert_eq!([0, 1, 2, 3].map(|index| mapped.get(index)), [Some(7), Some(1), Some(3), None]);
    }
}
