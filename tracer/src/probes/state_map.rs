//! What a daemon leaves to its successor, in the map `KEPT`: documents, in pieces.
//!
//! A document is replaced whole or not at all, whenever the daemon dies: the new one is written beside the
//! old, and then the head, one element, says which of the two counts.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::maps::{HashMap, Map, MapData, MapError};
use tracer_ebpf::abi::CHUNK;

/// What is kept.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Document {
    /// How everything was attached.
    Session,
    /// What was counted by groups.
    Books,
}

/// The map.
pub struct Kept {
    map: HashMap<MapData, u32, [u8; CHUNK]>,
}

/// Which of the two is valid, and its bytes: 0 if there is none.
#[derive(Clone, Copy, Default)]
struct Head {
    turn: u64,
    bytes: u64,
}

impl Head {
    fn decode(chunk: &[u8; CHUNK]) -> Self {
        let word = |at: usize| {
            chunk.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
        };
        Head { turn: word(0), bytes: word(8) }
    }

    fn encode(self) -> [u8; CHUNK] {
        let mut chunk = [0; CHUNK];
        chunk[..8].copy_from_slice(&self.turn.to_ne_bytes());
        chunk[8..16].copy_from_slice(&self.bytes.to_ne_bytes());
        chunk
    }
}

fn key_of_head(document: Document) -> u32 {
    (document as u32) << 24
}

fn key(document: Document, turn: u64, piece: u32) -> u32 {
    (document as u32) << 24 | ((turn & 1) as u32) << 23 | (piece + 1)
}

impl Kept {
    pub fn new(map: Map) -> Result<Self> {
        Ok(Kept { map: HashMap::try_from(map)? })
    }

    /// The pinned map; `None` if nothing is pinned.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Self::new(Map::HashMap(MapData::from_pin(path)?))?))
    }

    fn piece(&self, key: u32) -> Result<Option<[u8; CHUNK]>> {
        match self.map.get(&key, 0) {
            Ok(piece) => Ok(Some(piece)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn head(&self, document: Document) -> Result<Head> {
        Ok(self.piece(key_of_head(document))?.as_ref().map(Head::decode).unwrap_or_default())
    }

    /// A document; `None` if it was never written.
    pub fn read(&self, document: Document) -> Result<Option<Vec<u8>>> {
        let head = self.head(document)?;
        if head.bytes == 0 {
            return Ok(None);
        }
        let length = usize::try_from(head.bytes)?;
        let mut bytes = Vec::new();
        for piece in 0..u32::try_from(length.div_ceil(CHUNK))? {
            let Some(piece) = self.piece(key(document, head.turn, piece))? else {
                bail!("{document:?}: piece {piece} of {length} bytes is missing")
            };
            bytes.extend_from_slice(&piece);
        }
        bytes.truncate(length);
        Ok(Some(bytes))
    }

    /// Replaces a document.
    pub fn write(&mut self, document: Document, bytes: &[u8]) -> Result<()> {
        let turn = self.head(document)?.turn.wrapping_add(1);
        let mut pieces = 0;
        for part in bytes.chunks(CHUNK) {
            let mut piece = [0; CHUNK];
            piece.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            self.map.insert(key(document, turn, pieces), piece, 0).with_context(|| {
                format!("cannot keep {} bytes for the next daemon ({document:?})", bytes.len())
            })?;
            pieces += 1;
        }
        let head = Head { turn, bytes: bytes.len() as u64 };
        self.map.insert(key_of_head(document), head.encode(), 0)?;
        // Of the document before the last, which was longer.
        while self.map.remove(&key(document, turn, pieces)).is_ok() {
            pieces += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_meet() {
        let documents = [Document::Session, Document::Books];
        let mut keys: Vec<u32> = documents.map(key_of_head).into();
        for document in documents {
            for turn in [0, 1] {
                keys.extend([0, 1, tracer_ebpf::abi::CHUNKS].map(|piece| key(document, turn, piece)));
            }
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn heads_come_back() {
        let head = Head::decode(&Head { turn: 7, bytes: 12_345 }.encode());
        assert_eq!((head.turn, head.bytes), (7, 12_345));
        assert_eq!(Head::decode(&[0; CHUNK]).bytes, 0);
    }
}
