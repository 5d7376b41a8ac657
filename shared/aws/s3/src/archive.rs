//! PURE: zip archives, read without trust: nothing is written anywhere, only files asked for by name are inflated, and inflating
//! stops at a limit, whatever the archive says of itself.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use zip::ZipArchive;
use zip::result::ZipError;

/// The largest artifact, as CodePipeline's own deploy actions have it.
pub const ARCHIVE_MAX: u64 = 3 * 1024 * 1024;
/// The largest file in an artifact.
pub const ENTRY_MAX: u64 = 100 * 1024;

/// An archive that is not used; fits "cannot read s3://…: {error}".
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// Not a zip archive, or cut off, or of a kind nobody asked for.
    #[error("the archive cannot be read: {0}")]
    Unreadable(#[source] ZipError),
    /// A file cannot be inflated: cut off, or its checksum is wrong.
    #[error("{file} cannot be read: {problem}")]
    Broken { file: String, problem: String },
    /// A file is larger than it may be, whatever its header says.
    #[error("{file} has more than {ENTRY_MAX} bytes")]
    TooLarge { file: String },
    /// Two files of one name: which one counts would depend on the reader.
    #[error("{file} is in it more than once")]
    Twice { file: String },
}

/// Whether the bytes begin as a zip archive does.
pub(crate) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// The files asked for that are at the archive's top.
pub(crate) fn files(bytes: &[u8], names: &[String]) -> Result<BTreeMap<String, Vec<u8>>, ArchiveError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(ArchiveError::Unreadable)?;
    let mut found = BTreeMap::new();
    for name in names {
        if headers(bytes, name) > 1 {
            return Err(ArchiveError::Twice { file: name.clone() });
        }
        let entry = match archive.by_name(name) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => continue,
            Err(error) => {
                return Err(ArchiveError::Broken { file: name.clone(), problem: error.to_string() });
            }
        };
        let mut inflated = Vec::new();
        let broken =
            |error: std::io::Error| ArchiveError::Broken { file: name.clone(), problem: error.to_string() };
        entry.take(ENTRY_MAX + 1).read_to_end(&mut inflated).map_err(broken)?;
        if inflated.len() as u64 > ENTRY_MAX {
            return Err(ArchiveError::TooLarge { file: name.clone() });
        }
        found.insert(name.clone(), inflated);
    }
    Ok(found)
}

/// How many entries of the central directory have this name. The reader keeps only the last of them.
fn headers(bytes: &[u8], name: &str) -> usize {
    const FIXED: usize = 46;
    let starts = bytes.windows(4).enumerate().filter(|(_, window)| window == b"PK\x01\x02");
    starts
        .filter(|(at, _)| {
            let length =
                bytes.get(at + 28..at + 30).map(|two| usize::from(two[0]) | usize::from(two[1]) << 8);
            let start = at + FIXED;
            length == Some(name.len()) && bytes.get(start..start + name.len()) == Some(name.as_bytes())
        })
        .count()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            writer.start_file(*name, options).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, usize)>, String> {
        let names = ["imageDetail.json".to_owned(), "taskdef.json".to_owned()];
        let found = files(bytes, &names).map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|(name, bytes)| (name, bytes.len())).collect())
    }

    #[test]
    fn files_at_the_top_are_found_and_others_are_left_alone() {
        let bytes = archive(&[
            ("imageDetail.json", b"{}"),
            ("large.bin", &vec![7; 1_000_000]),
            ("deep/taskdef.json", b"{}"),
            ("../taskdef.json", b"{}"),
            ("/taskdef.json", b"{}"),
            ("./taskdef.json", b"{}"),
        ]);
        assert!(is_archive(&bytes));
        assert_eq!(read(&bytes), Ok(vec![("imageDetail.json".into(), 2)]));
        assert_eq!(read(&archive(&[])), Ok(vec![]));
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        // 50 MB of zeros are 50 KB of archive.
        let bytes = archive(&[("imageDetail.json", &vec![0; 50_000_000])]);
        assert!(bytes.len() < 100_000);
        assert_eq!(read(&bytes), Err("imageDetail.json has more than 102400 bytes".into()));
    }

    #[test]
    fn a_bomb_that_lies_about_its_size_is_not_inflated_either() {
        let mut bytes = archive(&[("imageDetail.json", &vec![0; 5_000_000])]);
        let size = 5_000_000u32.to_le_bytes();
        let lie = 2u32.to_le_bytes();
        for at in 0..bytes.len() - 4 {
            if bytes[at..at + 4] == size {
                bytes[at..at + 4].copy_from_slice(&lie);
            }
        }
        assert!(read(&bytes).is_err());
    }

    #[test]
    fn an_archive_in_an_archive_stays_one() {
        let inner = archive(&[("taskdef.json", b"{}")]);
        assert_eq!(read(&archive(&[("artifact.zip", &inner)])), Ok(vec![]));
    }

    #[test]
    fn exactly_the_limit_is_read_and_one_byte_more_is_not() {
        let limit = usize::try_from(ENTRY_MAX).unwrap();
        assert_eq!(
            read(&archive(&[("taskdef.json", &vec![32; limit])])),
            Ok(vec![("taskdef.json".into(), limit)])
        );
        assert!(read(&archive(&[("taskdef.json", &vec![32; limit + 1])])).is_err());
    }

    #[test]
    fn what_is_cut_off_or_changed_is_refused_wherever_it_is() {
        let bytes = archive(&[("imageDetail.json", br#"{"ImageURI":"shop/checkout:v1"}"#)]);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "cut at {length}");
        }
        // No change of a byte is taken for other contents: what is read at all is what was written, or the file is not found.
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            let names = ["imageDetail.json".to_owned()];
            if let Ok(found) = files(&changed, &names)
                && let Some(contents) = found.get("imageDetail.json")
            {
                assert_eq!(contents.as_slice(), br#"{"ImageURI":"shop/checkout:v1"}"#, "byte {at}");
            }
        }
    }

    #[test]
    fn the_same_name_twice_is_refused() {
        let mut bytes = archive(&[("imageDetail.json", b"{\"a\":1}"), ("imageDetail.jsoX", b"{\"b\":2}")]);
        for at in 0..bytes.len() - 16 {
            if &bytes[at..at + 16] == b"imageDetail.jsoX" {
                bytes[at + 15] = b'n';
            }
        }
        assert_eq!(read(&bytes), Err("imageDetail.json is in it more than once".into()));
    }
}
