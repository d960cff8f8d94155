//! A page, as it is sent.

use std::collections::VecDeque;
use std::io::IoSlice;

use hyper::body::{Buf, Bytes};

/// In parts, which are sent one after the other and never put together. A copy shares them.
#[derive(Clone, Default)]
pub struct Page {
    parts: VecDeque<Bytes>,
    left: usize,
}

impl Page {
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(|part| &**part)
    }
}

impl<T: Into<Bytes>> From<Vec<T>> for Page {
    fn from(parts: Vec<T>) -> Self {
        let parts: VecDeque<Bytes> = parts.into_iter().map(Into::into).collect();
        Page { left: parts.iter().map(Bytes::len).sum(), parts }
    }
}

impl From<String> for Page {
    fn from(whole: String) -> Self {
        Page::from(vec![whole])
    }
}

impl From<&'static str> for Page {
    fn from(whole: &'static str) -> Self {
        Page::from(vec![whole])
    }
}

impl Buf for Page {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.parts.iter().find(|part| !part.is_empty()).map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let parts = self.parts().filter(|part| !part.is_empty());
        into.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, count: usize) {
        let mut count = count;
        self.left -= count;
        while let Some(first) = self.parts.front_mut() {
            if count < first.len() {
                return first.advance(count);
            }
            count -= first.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_one_page() {
        let parts = ["ab", "", "c", "defg"];
        for step in 1..=7 {
            let mut page = Page::from(parts.to_vec());
            let mut read = Vec::new();
            while page.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 8];
                let count = page.chunks_vectored(&mut slices);
                let all: usize = slices[..count].iter().map(|slice| slice.len()).sum();
                assert_eq!((all, page.chunk()), (page.remaining(), &*slices[0]));
                let taken = step.min(page.chunk().len());
                read.extend_from_slice(&page.chunk()[..taken]);
                page.advance(taken);
            }
            assert_eq!(read, b"abcdefg");
        }
        let mut page = Page::from(parts.to_vec());
        page.advance(4);
        assert_eq!((page.chunk(), page.remaining()), (&b"efg"[..], 3));
        page.advance(3);
        assert_eq!((page.chunk(), page.remaining()), (&b""[..], 0));
    }
}
