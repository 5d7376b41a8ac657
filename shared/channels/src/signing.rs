//! How a webhook's receiver knows that a request comes from Tidegate, and when it was made.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// `v1=` and HMAC-SHA256 over `TIMESTAMP.BODY` in hexadecimal; the timestamp in seconds since 1970.
pub fn signature(secret: &str, timestamp: i64, body: &str) -> String {
    // HMAC takes keys of any length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(format!("{timestamp}.{body}").as_bytes());
    format!("v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_openssl_makes_of_it() {
        // printf '1772442000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        let made = signature("0123456789abcdef0123456789abcdef", 1_772_442_000, "{}");
        assert_eq!(made, "v1=dd97bc496cbcdcfcec2d70d2187b006d9a23502cba53886f0588df872a0d23ce");
        assert_ne!(made, signature("0123456789abcdef0123456789abcdef", 1_772_442_001, "{}"));
    }
}
