//! What is derived from secrets and compared with what callers send: always in constant time, never printed.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tidegate_core::ids::ReleaseId;

use crate::secrets::Accepted;

type HmacSha256 = Hmac<Sha256>;

/// HMAC-SHA256 over the parts; each is preceded by its length, so that no two lists of parts give the same bytes.
fn mac(key: &str, parts: &[&str]) -> HmacSha256 {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac
}

#[expect(
    clippy::expect_used,
    reason = "HMAC takes keys of every length (RFC 2104); the error is of other constructions"
)]
fn keyed(key: &str) -> HmacSha256 {
    HmacSha256::new_from_slice(key.as_bytes()).expect("HMAC takes any key")
}

/// Proves that a form was made by this function for this link and this plan.
pub(crate) fn csrf(link_key: &str, release: &ReleaseId, token_hash: &str, plan_hash: &str) -> String {
    hex::encode(mac(link_key, &["csrf", release.as_str(), token_hash, plan_hash]).finalize().into_bytes())
}

/// The signature of a release's status link.
pub(crate) fn status_signature(link_key: &str, release: &str) -> String {
    hex::encode(mac(link_key, &["status", release]).finalize().into_bytes())
}

/// The signature of a link to the dashboard: over what its holder may do, and what it says.
pub(crate) fn pass_signature(link_key: &str, may: &str, what: &str) -> String {
    hex::encode(mac(link_key, &["dashboard", may, what]).finalize().into_bytes())
}

/// Proves that a form was made by this function for this action, this place, this pass and what was shown with it.
pub(crate) fn act_form(link_key: &str, verb: &str, path: &str, pass: &str, shown: &str) -> String {
    hex::encode(mac(link_key, &["act", verb, path, pass, shown]).finalize().into_bytes())
}

/// Whether `signature`, in hexadecimal, is the HMAC-SHA256 of `parts` one after the other, with one of the keys. All keys are tried, and
/// without a key the same work is done and the answer is no.
pub(crate) fn signed(keys: &Accepted, parts: &[&[u8]], signature: &str) -> bool {
    let right = |key: &str| {
        let mut mac = keyed(key);
        for part in parts {
            mac.update(part);
        }
        hex::decode(signature).is_ok_and(|signature| mac.verify_slice(&signature).is_ok())
    };
    let nobodys = right("no key: the same work, and never right");
    keys.secrets().fold(false, |known, key| known | right(key)) && !nobodys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn githubs_own_example_verifies() {
        // docs.github.com, "Validating webhook deliveries", test values.
        let signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let keys = |json: &str| serde_json::from_str::<Accepted>(json).unwrap();
        let key = keys(r#""It's a Secret to Everybody""#);
        assert!(signed(&key, &[b"Hello, World!"], signature));
        assert!(!signed(&key, &[b"Hello, World?"], signature));
        assert!(!signed(&keys("null"), &[b"Hello, World!"], signature));
        assert!(!signed(&key, &[b"Hello, World!"], "757107"));
        assert!(!signed(&key, &[b"Hello, World!"], "not hexadecimal"));
        // While a secret is replaced, both are good, in whichever order.
        let both = keys(r#"["the new secret of everybody", "It's a Secret to Everybody"]"#);
        assert!(signed(&both, &[b"Hello, World!"], signature));
        assert!(!signed(&keys(r#"["the new secret of everybody"]"#), &[b"Hello, World!"], signature));
    }

    #[test]
    fn what_is_signed_for_one_purpose_is_not_good_for_another() {
        let release = ReleaseId::new("01kj0000000000000000000001").unwrap();
        let ours = csrf("key", &release, "token", "plan");
        assert_ne!(ours, csrf("key", &release, "tokenp", "lan"));
        assert_ne!(ours, csrf("other", &release, "token", "plan"));
        assert_ne!(ours, status_signature("key", release.as_str()));
        let act = act_form("key", "rollback", "/releases/1/rollback", "pass", "plan");
        assert_ne!(act, act_form("key", "cancel", "/releases/1/rollback", "pass", "plan"));
        assert_ne!(act, act_form("key", "rollback", "/releases/2/rollback", "pass", "plan"));
        assert_ne!(act, act_form("key", "rollback", "/releases/1/rollback", "passp", "lan"));
        let pass = pass_signature("key", "look", release.as_str());
        assert_ne!(pass, pass_signature("key", "act", release.as_str()));
        assert_ne!(pass, pass_signature("key", "loo", &format!("k{release}")));
        assert_ne!(pass, status_signature("key", release.as_str()));
        assert_ne!(pass_signature("key", "", release.as_str()), status_signature("key", release.as_str()));
    }
}
