//! Approvals: who is asked, with what link, and what was answered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::policy::{Approval, Person};

/// An approval gate as the plan has it: the policy's words, with the people already looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalGate {
    /// The policy's words.
    pub approval: Approval,
    /// Who may approve: names, and the SNS topic each one's link is sent to.
    pub approvers: Vec<Approver>,
    /// Why it is there, when the policy does not ask for it: a bypassed freeze.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// Someone who may approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approver {
    /// Their name in the policy.
    pub name: String,
    /// How they are reached, and known.
    pub person: Person,
}

/// A gate that has been opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Opened {
    pub at: Timestamp,
    /// Until when it is waited.
    pub expires_at: Timestamp,
    /// The links that were made; one for each approver, the newest.
    pub invitations: Vec<Invitation>,
    /// What has been decided.
    #[serde(default)]
    pub votes: Vec<Vote>,
}

/// One person's link. The token itself is nowhere but in the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Invitation {
    /// The person.
    pub approver: String,
    /// SHA-256 of the token, hexadecimal.
    pub token_hash: String,
    pub made_at: Timestamp,
    /// When it was handed over for delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
}

/// What a person decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Vote {
    /// The person.
    pub approver: String,
    /// Yes or no.
    pub approve: bool,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    pub at: Timestamp,
    /// How: `link`, or the AWS identity.
    pub via: String,
}

/// What is asked, in a line: the heading of the page and the subject of the message. `before` is what the policy says: `deploy`, `shift` or
/// `promote`.
pub fn question(service: &str, label: &str, before: &str) -> String {
    match before {
        "shift" => format!("Approve {service} {label} for production traffic?"),
        "promote" => format!("Approve promoting {service} {label}?"),
        _ => format!("Approve deploying {service} {label}?"),
    }
}

/// A token: 32 unpredictable bytes in hexadecimal. Never printed, never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token from fresh randomness. What it is for goes into it, so that two made from the same randomness differ.
    pub fn make(entropy: &[u8; 32], purpose: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(entropy);
        hash.update(purpose.as_bytes());
        Self(hex::encode(hash.finalize()))
    }

    /// A token as it came in; `None` when it has not the form of one, so that nothing has to be looked up for it.
    pub fn received(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let hexadecimal = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 64 && text.bytes().all(hexadecimal)).then_some(Self(text))
    }

    /// For the link.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.0.as_bytes()))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// In time that does not depend on where two texts differ.
pub fn same_secret(left: &str, right: &str) -> bool {
    // Hashing first makes the lengths equal and what is compared unpredictable to whoever chose an input.
    let (left, right) = (Sha256::digest(left.as_bytes()), Sha256::digest(right.as_bytes()));
    left.iter().zip(right.iter()).fold(0u8, |difference, (l, r)| difference | (l ^ r)) == 0
}
