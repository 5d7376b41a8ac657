//! Whom a function trusts: Amazon's own roots, carried in the binary.
//!
//! The functions talk to AWS alone, and AWS's endpoints show certificates of Amazon Trust Services
//! (<https://www.amazontrust.com/repository/>). Reading the some 145 certificates of the operating system at every start costs
//! milliseconds of a cold start and trusts 140 authorities that have no part in it. Who stands behind a proxy that opens TLS, or in a
//! partition with other authorities, adds their roots: [`EXTRA_ROOTS`].

use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// The environment variable with further roots: the path of a PEM file, or `system` for those of the operating system.
pub const EXTRA_ROOTS: &str = "TIDEGATE_EXTRA_ROOTS";

/// Amazon Root CA 1 to 4 and Starfield Services Root CA G2, which signed the first of them: they end between 2037 and 2040.
const AMAZON: &[u8] = include_bytes!("../roots/amazon.pem");

/// Roots that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error(
        "{EXTRA_ROOTS}: cannot read {path}: {problem}; allowed are the path of a PEM file with certificates, and `system`"
    )]
    Unreadable {
        /// The path.
        path: String,
        /// What the operating system says.
        problem: String,
    },
    /// The file holds something else.
    #[error(
        "{EXTRA_ROOTS}: {path} holds {found}; allowed is a PEM file with at least one certificate of an authority"
    )]
    NotRoots {
        /// The path.
        path: String,
        /// What it holds.
        found: String,
    },
}

/// The HTTP client of a function. `extra` is the value of [`EXTRA_ROOTS`]; `region` tells the partition.
pub(crate) fn client(extra: Option<&str>, region: Option<&str>) -> Result<SharedHttpClient, TrustError> {
    let mode = tls::rustls_provider::CryptoMode::AwsLc;
    let context = tls::TlsContext::builder().with_trust_store(store(extra, region)?).build();
    let context = context.expect("a trust store alone is always a valid context");
    Ok(Builder::new().tls_provider(tls::Provider::Rustls(mode)).tls_context(context).build_https())
}

fn store(extra: Option<&str>, region: Option<&str>) -> Result<tls::TrustStore, TrustError> {
    let store = tls::TrustStore::empty().with_pem_certificate(AMAZON);
    match extra.filter(|extra| !extra.is_empty()) {
        Some("system") => Ok(store.with_native_roots(true)),
        Some(path) => Ok(store.with_pem_certificate(roots(path)?)),
        None => Ok(store.with_native_roots(region.is_some_and(has_other_authorities))),
    }
}

/// Endpoints of China and of the isolated partitions show certificates of other authorities too.
fn has_other_authorities(region: &str) -> bool {
    region.starts_with("cn-") || region.contains("-iso")
}

/// Checked here, because the client takes certificates unchecked and panics at the first connection.
fn roots(path: &str) -> Result<Vec<u8>, TrustError> {
    let bytes = std::fs::read(path)
        .map_err(|error| TrustError::Unreadable { path: path.to_owned(), problem: error.to_string() })?;
    let wrong = |found: &str| TrustError::NotRoots { path: path.to_owned(), found: found.to_owned() };
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| wrong("something that is not PEM"))?;
    if certificates.is_empty() {
        return Err(wrong("no certificate"));
    }
    for certificate in &certificates {
        webpki::anchor_from_trusted_cert(certificate)
            .map_err(|_| wrong("a certificate that cannot be read"))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn amazons_roots_are_five_certificates_that_can_be_used() {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(AMAZON).collect::<Result<_, _>>().unwrap();
        assert_eq!(certificates.len(), 5);
        for certificate in &certificates {
            webpki::anchor_from_trusted_cert(certificate).unwrap();
        }
    }

    #[test]
    fn a_function_trusts_nobody_but_amazon_unless_it_is_told_to() {
        let text = |extra, region| format!("{:?}", store(extra, region).unwrap());
        assert!(text(None, Some("eu-central-1")).contains("enable_native_roots: false"));
        assert!(text(Some(""), None).contains("enable_native_roots: false"));
        assert!(text(Some("system"), Some("eu-central-1")).contains("enable_native_roots: true"));
        for region in ["cn-north-1", "us-iso-east-1", "eu-isoe-west-1"] {
            assert!(text(None, Some(region)).contains("enable_native_roots: true"), "{region}");
        }
    }

    #[test]
    fn roots_of_ones_own_are_added_and_what_is_none_is_refused_by_name() {
        let own = file(AMAZON);
        assert!(client(own.path().to_str(), None).is_ok());
        let damaged = String::from_utf8_lossy(AMAZON).replacen("MII", "AAA", 1);
        for (text, found) in [
            (&b"hello"[..], "no certificate"),
            (b"", "no certificate"),
            (b"-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n", "not PEM"),
            (damaged.as_bytes(), "a certificate that cannot be read"),
        ] {
            let wrong = file(text);
            let error = client(wrong.path().to_str(), None).unwrap_err().to_string();
            assert!(error.starts_with(EXTRA_ROOTS) && error.contains(found), "{error}");
        }
        let error = client(Some("/nowhere/roots.pem"), None).unwrap_err().to_string();
        assert!(error.contains("cannot read /nowhere/roots.pem"), "{error}");
    }
}
