//! What a binary needs of the system it is started on. A binary linked on a newer Linux asks for symbols Lambda does not have, which shows only
//! when it is started there.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use elf::ElfBytes;
use elf::abi::{DT_NEEDED, EM_AARCH64, EM_X86_64};
use elf::endian::AnyEndian;

use crate::Arch;

/// The glibc of Amazon Linux 2023, which `provided.al2023` is: <https://docs.aws.amazon.com/linux/al2023/ug/compare-with-al2.html>.
pub(crate) const LAMBDA_GLIBC: (u32, u32) = (2, 34);

/// What the image `provided.al2023` has of what the linker may want.
const LIBRARIES: [&str; 8] = [
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];

/// Refuses a binary that Lambda could not start: for another machine, or in need of what is not there.
///
/// # Errors
/// What it needs, and what there is.
pub(crate) fn check(binary: &Path, arch: Arch) -> Result<()> {
    let bytes = std::fs::read(binary).with_context(|| format!("failed to read {}", binary.display()))?;
    check_bytes(&bytes, arch).with_context(|| format!("{} is not shipped", binary.display()))
}

fn check_bytes(bytes: &[u8], arch: Arch) -> Result<()> {
    let file = ElfBytes::<AnyEndian>::minimal_parse(bytes).context("it is no ELF binary")?;
    let wanted = match arch {
        Arch::Arm64 => EM_AARCH64,
        Arch::X86_64 => EM_X86_64,
    };
    ensure!(file.ehdr.e_machine == wanted, "it is a binary for another instruction set than {}", arch.name());
    for library in libraries(&file)? {
        ensure!(
            LIBRARIES.contains(&library),
            "it needs the library {library}, which Lambda's provided.al2023 does not have; link it statically"
        );
    }
    for (symbol, version) in glibc_versions(&file)? {
        let (major, minor) = LAMBDA_GLIBC;
        if !is_there(&version, LAMBDA_GLIBC) {
            bail!(
                "its symbol {symbol} needs {version}, Lambda's provided.al2023 has glibc {major}.{minor}: build on an older Linux, or in a \
                 container of Amazon Linux 2023"
            );
        }
    }
    Ok(())
}

/// The shared libraries it names.
fn libraries<'a>(file: &ElfBytes<'a, AnyEndian>) -> Result<Vec<&'a str>> {
    let strings = file.dynamic_symbol_table().context("its symbols cannot be read")?;
    let dynamic = file.dynamic().context("its dynamic section cannot be read")?;
    let (Some((_, strings)), Some(dynamic)) = (strings, dynamic) else {
        return Ok(Vec::new());
    };
    let needed = dynamic.iter().filter(|entry| entry.d_tag == DT_NEEDED);
    needed
        .map(|entry| {
            let at = usize::try_from(entry.d_val()).context("a library's name is beyond the file")?;
            strings.get(at).context("a library's name cannot be read")
        })
        .collect()
}

/// Its symbols of glibc with their versions, as in `("memcpy", "GLIBC_2.14")`.
fn glibc_versions<'a>(file: &ElfBytes<'a, AnyEndian>) -> Result<Vec<(&'a str, String)>> {
    let symbols = file.dynamic_symbol_table().context("its symbols cannot be read")?;
    let versions = file.symbol_version_table().context("its symbols' versions cannot be read")?;
    let (Some((symbols, names)), Some(versions)) = (symbols, versions) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for (index, symbol) in symbols.iter().enumerate() {
        let needs = versions.get_requirement(index).context("a symbol's version cannot be read")?;
        if let Some(needs) = needs.filter(|needs| needs.name.starts_with("GLIBC_")) {
            let at = usize::try_from(symbol.st_name).context("a symbol's name is beyond the file")?;
            found.push((names.get(at).context("a symbol's name cannot be read")?, needs.name.to_owned()));
        }
    }
    Ok(found)
}

/// Whether a glibc has a version of symbols. What is no number (`GLIBC_PRIVATE`, `GLIBC_ABI_DT_RELR`) no binary of ours may ask for.
fn is_there(version: &str, glibc: (u32, u32)) -> bool {
    let numbers = version.strip_prefix("GLIBC_").map(|numbers| numbers.split('.').map(str::parse::<u32>));
    let numbers = numbers.and_then(|numbers| numbers.collect::<Result<Vec<_>, _>>().ok());
    numbers.is_some_and(|numbers| numbers.len() >= 2 && (numbers[0], numbers[1]) <= glibc)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This very test, linked against the glibc that is installed.
    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    const OWN: Arch = if cfg!(target_arch = "x86_64") { Arch::X86_64 } else { Arch::Arm64 };
    const OTHER: Arch = if cfg!(target_arch = "x86_64") { Arch::Arm64 } else { Arch::X86_64 };

    fn newest(bytes: &[u8]) -> String {
        let file = ElfBytes::<AnyEndian>::minimal_parse(bytes).unwrap();
        let versions = glibc_versions(&file).unwrap();
        let minor =
            |version: &str| version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).unwrap();
        let newest = versions.iter().max_by_key(|(_, version)| minor(version)).unwrap();
        newest.1.clone()
    }

    /// Every place where `from` stands, overwritten with what is as long.
    fn rewritten(mut bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let ends = format!("{from}\0");
        let places: Vec<usize> =
            (0..bytes.len() - ends.len()).filter(|at| bytes[*at..].starts_with(ends.as_bytes())).collect();
        assert!(!places.is_empty(), "{from} is not there");
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        bytes
    }

    fn refused(bytes: &[u8], arch: Arch) -> String {
        check_bytes(bytes, arch).unwrap_err().to_string()
    }

    #[test]
    fn a_newer_glibc_than_lambdas_is_refused_by_name() {
        let version = newest(&own());
        let newer = format!("GLIBC_2.{}", &"99999999"[..version.len() - "GLIBC_2.".len()]);
        let error = refused(&rewritten(own(), &version, &newer), OWN);
        assert!(error.contains(&newer) && error.contains("glibc 2.34"), "{error}");
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for (version, there) in [
            ("GLIBC_2.2.5", true),
            ("GLIBC_2.34", true),
            ("GLIBC_2.35", false),
            ("GLIBC_3.1", false),
            ("GLIBC_PRIVATE", false),
            ("GLIBC_ABI_DT_RELR", false),
        ] {
            assert_eq!(is_there(version, LAMBDA_GLIBC), there, "{version}");
        }
    }

    #[test]
    fn a_library_that_lambda_does_not_have_is_refused() {
        let error = refused(&rewritten(own(), "libgcc_s.so.1", "libssl_x.so.3"), OWN);
        assert!(error.contains("the library libssl_x.so.3"), "{error}");
    }

    #[test]
    fn a_binary_of_another_machine_is_refused() {
        let error = refused(&own(), OTHER);
        assert!(error.contains(OTHER.name()), "{error}");
        assert!(refused(b"#!/bin/sh\n", OWN).contains("no ELF binary"));
    }

    #[test]
    fn what_runs_here_is_read() {
        let bytes = own();
        let file = ElfBytes::<AnyEndian>::minimal_parse(&bytes).unwrap();
        assert!(libraries(&file).unwrap().contains(&"libc.so.6"));
        assert!(glibc_versions(&file).unwrap().len() > 20);
    }
}
