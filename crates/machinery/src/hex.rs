//! Bytes as hexadecimal digits.

/// Two digits for each byte, letters in lower case.
#[must_use]
pub fn digits(bytes: impl AsRef<[u8]>) -> String {
    let halves = bytes.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    halves.map(|half| char::from(b"0123456789abcdef"[usize::from(half)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two() {
        assert_eq!(digits([0x00, 0x0f, 0xa9, 0xff]), "000fa9ff");
        assert_eq!(digits(""), "");
    }
}
