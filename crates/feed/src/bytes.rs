//! Numbers in few bytes: small ones, which most are, in one or two.

/// The bits of a byte that are part of a number; the other one says that more bytes follow.
const BITS: u8 = 0x7f;
/// Says that more bytes follow.
const MORE: u8 = 0x80;

/// Reads what was put, from the front.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// Appends a number of any size, as protobuf does: seven bits a byte, the lowest first.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | MORE);
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next bytes, as they are; `None` where there are fewer.
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// The number that [`put`] appended; `None` where there is none. It also reads longer forms of a number, and drops the
    /// bits that are too many: whoever must not accept these puts the number again and compares.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.take()?;
            value |= u64::from(byte & BITS) << shift;
            if byte & MORE == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_takes_a_byte_for_seven_bits_and_reads_back() {
        for (value, length) in [
            (0, 1),
            (127, 1),
            (128, 2),
            (16_383, 2),
            (16_384, 3),
            ((1 << 49) - 1, 7),
            (u64::MAX, 10),
        ] {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            assert_eq!(bytes.len(), length, "{value}");
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.number(), Some(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_number_without_an_end_is_none() {
        assert_eq!(Reader::new(&[]).number(), None);
        assert_eq!(Reader::new(&[0x80]).number(), None);
        assert_eq!(Reader::new(&[0xff; 11]).number(), None);
        assert_eq!(Reader::new(&[1, 2]).take::<3>(), None);
    }
}
