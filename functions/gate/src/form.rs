//! What a form sends.

/// The fields, as `application/x-www-form-urlencoded`, in their order. `None` when they are not UTF-8, before or after the percent signs are
/// undone.
pub(crate) fn fields(body: &[u8]) -> Option<Vec<(String, String)>> {
    let body = std::str::from_utf8(body).ok()?;
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, decoded(value)?))
    };
    body.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

/// What a form has written. The usual reader puts U+FFFD for what is not UTF-8, which cannot be told from a U+FFFD that somebody typed.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let digits =
            [ahead.next(), ahead.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
        match (byte, digits) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [Some(high), Some(low)]) => {
                bytes.push(u8::try_from(high * 16 + low).ok()?);
                rest = ahead;
            }
            (byte, _) => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}
