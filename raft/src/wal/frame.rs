//! One record on disk.
//!
//! ```text
//! len u32 │ crc u32 │ segment u64 │ batch u64 │ place u32 │ of u32 │ body │ zeros to 8 bytes
//! ```
//! Little-endian. The CRC covers all but itself and the zeros.

/// Everything before the body.
pub const HEAD_BYTES: usize = 32;
/// Frames begin at multiples of this.
const ALIGNMENT: usize = 8;

/// Where a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    pub segment: u64,
    pub batch: u64,
    /// Counted from 0, below `of`.
    pub place: u32,
    pub of: u32,
}

/// The room that a frame with this body takes.
pub fn room(body: usize) -> usize {
    (HEAD_BYTES + body).next_multiple_of(ALIGNMENT)
}

pub fn put(out: &mut Vec<u8>, tag: Tag, body: &[u8]) {
    let start = out.len();
    let len = u32::try_from(body.len()).expect("a record is below 4 GiB, see Encoded");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&tag.segment.to_le_bytes());
    out.extend_from_slice(&tag.batch.to_le_bytes());
    out.extend_from_slice(&tag.place.to_le_bytes());
    out.extend_from_slice(&tag.of.to_le_bytes());
    out.extend_from_slice(body);
    let crc = checksum(&out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + room(body.len()), 0);
}

/// The frame at the start of `bytes`, if a sound one of `segment` is there.
pub fn get(bytes: &[u8], segment: u64) -> Option<(Tag, &[u8])> {
    let head = bytes.get(..HEAD_BYTES)?;
    let tag = Tag {
        segment: u64_at(head, 8)?,
        batch: u64_at(head, 16)?,
        place: u32_at(head, 24)?,
        of: u32_at(head, 28)?,
    };
    // The cheap tests first: a search for sound frames tries every multiple of eight.
    if tag.segment != segment || tag.place >= tag.of {
        return None;
    }
    let len = usize::try_from(u32_at(head, 0)?).ok()?;
    let frame = bytes.get(..HEAD_BYTES.checked_add(len)?)?;
    (u32_at(head, 4)? == checksum(frame)).then(|| (tag, &frame[HEAD_BYTES..]))
}

/// The sound frames of `segment` anywhere in `bytes`, by offset.
pub fn search(bytes: &[u8], segment: u64) -> impl Iterator<Item = (usize, Tag)> {
    (0..bytes.len())
        .step_by(ALIGNMENT)
        .filter_map(move |offset| get(&bytes[offset..], segment).map(|(tag, _)| (offset, tag)))
}

fn checksum(frame: &[u8]) -> u32 {
    crc32(&[&frame[..4], &frame[8..]])
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// CRC-32 (IEEE) of the parts, one after another.
pub fn crc32(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        crc = (crc >> 8) ^ CRC_TABLE[usize::from((crc as u8) ^ byte)];
    }
    !crc
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(crc32(&[b"1234", b"56789"]), 0xcbf4_3926);
    }

    #[test]
    fn a_frame_is_read_back_and_any_flipped_bit_is_seen() {
        let tag = Tag {
            segment: 7,
            batch: 3,
            place: 0,
            of: 1,
        };
        let mut bytes = Vec::new();
        put(&mut bytes, tag, b"hello");
        assert_eq!(get(&bytes, 7), Some((tag, &b"hello"[..])));
        assert_eq!(get(&bytes, 8), None);
        for bit in 0..(HEAD_BYTES + 5) * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(get(&bytes, 7), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
