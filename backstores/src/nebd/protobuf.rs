//! The part of the protocol buffers' wire format that NEBD uses: numbers, strings and nested messages.
//!
//! The messages of NEBD have not changed since its first release, because its purpose is to connect old clients with new
//! servers; these functions therefore replace a compiler of their descriptions.

/// A field of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Value<'a> {
    /// A number: `uint64`, `uint32`, `int32`, `int64`, `bool` or an enumeration. Negative ones are sign-extended.
    Number(u64),
    /// A string or a nested message.
    Bytes(&'a [u8]),
    /// 4 or 8 bytes, which no field of NEBD has.
    Fixed,
}

/// A message is not valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

/// Fields of a message in their order; ends after the first error.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let key = self.number()?;
        let value = match key & 7 {
            NUMBER => Value::Number(self.number()?),
            FIXED_64 => self.take(8).map(|_| Value::Fixed)?,
            BYTES => {
                let len = self.number()?;
                Value::Bytes(self.take(usize::try_from(len).map_err(|_| Malformed)?)?)
            }
            FIXED_32 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed),
        };
        match key >> 3 {
            0 => Err(Malformed),
            field => Ok((field, value)),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Seven bits a byte, the least significant first, at most 64 in all.
    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3 | NUMBER as u8);
    put_varint(out, value);
}

/// Appends a string or a nested message.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | BYTES as u8);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const NUMBER: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>, Malformed> {
        Fields::new(bytes).collect()
    }

    #[test]
    fn numbers_and_bytes_are_written_and_read() {
        let mut out = Vec::new();
        put_number(&mut out, 1, 0);
        put_number(&mut out, 2, 300);
        put_number(&mut out, 3, u64::MAX);
        put_bytes(&mut out, 4, b"abc");
        assert_eq!(out[..5], [0x08, 0, 0x10, 0xac, 0x02]);
        let expected = [
            (1, Value::Number(0)),
            (2, Value::Number(300)),
            (3, Value::Number(u64::MAX)),
            (4, Value::Bytes(b"abc")),
        ];
        assert_eq!(fields(&out).unwrap(), expected);
    }

    #[test]
    fn fields_that_nebd_does_not_have_are_passed_over() {
        let bytes = [0x0d, 1, 2, 3, 4, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0xa0, 0x06, 1];
        assert_eq!(fields(&bytes).unwrap(), [(1, Value::Fixed), (2, Value::Fixed), (100, Value::Number(1))]);
    }

    #[test]
    fn malformed_messages_are_errors() {
        for bytes in [
            &[0x08][..],                                             // no number
            &[0x08, 0x80],                                           // a number ends early
            &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], // 65 bits
            &[0x0a, 2, 0],                                           // a string ends early
            &[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], // a length of 2^64 - 1
            &[0x00, 0],                                              // field 0
            &[0x0b],                                                 // a group
            &[0x0d, 1, 2, 3],                                        // 4 bytes end early
        ] {
            assert_eq!(fields(bytes), Err(Malformed), "{bytes:?}");
        }
    }
}
