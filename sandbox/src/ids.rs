//! Random names in the forms AWS uses, for the services that share them.

/// A version-4 UUID in lower case.
pub(crate) fn uuid() -> String {
    let random = fastrand::u128(..);
    // Version 4 and variant 1, where RFC 9562 has them.
    let id = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{id:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_of_version_4() {
        let id = super::uuid();
        let parts: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert!(&id[14..15] == "4" && "89ab".contains(&id[19..20]), "{id}");
    }
}
