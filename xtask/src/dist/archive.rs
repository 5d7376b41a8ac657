//! Zips that depend on what is in them and on nothing else: no time of day, no user, no order of a directory.

use std::io::{Cursor, Write as _};

use anyhow::{Context, Result};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// One file of a zip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) bytes: &'a [u8],
    /// Everybody may run it, as Lambda wants it of `bootstrap`; otherwise everybody may read it.
    pub(super) executable: bool,
}

/// A zip with these files, in this order.
pub(super) fn zipped(entries: &[Entry<'_>]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for entry in entries {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(if entry.executable { 0o755 } else { 0o644 });
        zip.start_file(entry.name, options).with_context(|| format!("failed to begin {}", entry.name))?;
        zip.write_all(entry.bytes).with_context(|| format!("failed to compress {}", entry.name))?;
    }
    Ok(zip.finish().context("failed to end a zip")?.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const ENTRIES: [Entry<'_>; 2] = [
        Entry { name: "bootstrap", bytes: b"binary binary binary", executable: true },
        Entry { name: "LICENSE", bytes: b"text", executable: false },
    ];

    #[test]
    fn the_same_files_are_the_same_bytes_and_others_are_not() {
        let once = zipped(&ENTRIES).unwrap();
        // Times in a zip have steps of two seconds.
        std::thread::sleep(std::time::Duration::from_millis(2100));
        assert_eq!(once, zipped(&ENTRIES).unwrap());
        let other = [Entry { bytes: b"another", ..ENTRIES[0] }, ENTRIES[1]];
        assert_ne!(once, zipped(&other).unwrap());
    }

    #[test]
    fn what_is_in_it_comes_out_with_its_rights() {
        let mut zip = zip::ZipArchive::new(Cursor::new(zipped(&ENTRIES).unwrap())).unwrap();
        assert_eq!(zip.len(), 2);
        for (index, mode) in [(0, 0o755), (1, 0o644)] {
            let mut file = zip.by_index(index).unwrap();
            assert_eq!(file.name().unwrap(), ENTRIES[index].name);
            assert_eq!(file.unix_mode().unwrap() & 0o777, mode);
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, ENTRIES[index].bytes);
        }
    }
}
