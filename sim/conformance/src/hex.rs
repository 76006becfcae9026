//! Bytes as hex digits, the way transcripts write them.

/// Bytes from hex digits; blanks between them do not count.
///
/// # Errors
///
/// It is not hex.
pub fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text
        .chars()
        .filter(|c| *c != ' ')
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<Vec<u8>>>()
        .filter(|digits| digits.len() % 2 == 0)
        .ok_or_else(|| format!("`{text}` is not hex"))?;
    Ok(digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect())
}

/// Hex digits of bytes.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways() {
        assert_eq!(from_hex("00ff 1a").unwrap(), [0, 255, 26]);
        assert_eq!(to_hex(&[0, 255, 26]), "00ff1a");
        assert!(from_hex("0").is_err());
        assert!(from_hex("0g").is_err());
    }
}
