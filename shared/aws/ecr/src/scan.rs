//! What a scan found: basic scanning and Amazon Inspector answer the same call with different members.

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::{ImageIdentifier, ImageScanFindings, ScanStatus as EcrStatus};
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::Image;
use tidegate_core::policy::SeverityName;
use tidegate_core::vocab::ecr::{ScanFinding, ScanSeen, ScanStatus};

const DESCRIBE: &str = "ecr:DescribeImageScanFindings";

/// All findings of an image. One that has not been scanned yet is pending: a push starts the scan, some time later.
pub(crate) async fn findings(client: &Client, account: &str, image: &Image) -> Result<ScanSeen, PortError> {
    let mut seen = ScanSeen { status: ScanStatus::Pending, findings: Vec::new() };
    let mut token = None;
    loop {
        let call = client
            .describe_image_scan_findings()
            .registry_id(account)
            .repository_name(image.repository.as_str())
            .image_id(ImageIdentifier::builder().image_digest(image.digest.as_str()).build())
            .set_next_token(token);
        let answer = match call.send().await.map_err(|error| port_error(DESCRIBE, error)) {
            Ok(answer) => answer,
            Err(error) if error.kind == ErrorKind::NotFound && error.code.starts_with("ScanNotFound") => {
                return Ok(seen);
            }
            Err(error) => return Err(error),
        };
        if let Some(status) = answer.image_scan_status() {
            seen.status = status_of(status.status(), status.description());
        }
        seen.findings.extend(answer.image_scan_findings().into_iter().flat_map(listed));
        token = answer.next_token;
        if token.is_none() {
            return Ok(seen);
        }
    }
}

/// `ACTIVE` is Amazon Inspector's: scanned, and watched from now on.
fn status_of(status: Option<&EcrStatus>, description: Option<&str>) -> ScanStatus {
    let failed = |what: &str| {
        let reason = description.map_or_else(|| what.to_owned(), |text| format!("{what}: {text}"));
        ScanStatus::Failed(reason)
    };
    match status.map(EcrStatus::as_str) {
        Some("COMPLETE" | "ACTIVE") => ScanStatus::Complete,
        None | Some("IN_PROGRESS" | "PENDING") => ScanStatus::Pending,
        Some(other) => failed(other),
    }
}

fn listed(findings: &ImageScanFindings) -> Vec<ScanFinding> {
    let basic = findings.findings().iter().map(|finding| ScanFinding {
        id: finding.name().unwrap_or("unnamed").to_owned(),
        severity: SeverityName::from_wire(finding.severity().map_or("", |severity| severity.as_str())),
    });
    let enhanced = findings.enhanced_findings().iter().map(|finding| {
        let vulnerability =
            finding.package_vulnerability_details().and_then(|details| details.vulnerability_id());
        ScanFinding {
            id: vulnerability.or(finding.title()).unwrap_or("unnamed").to_owned(),
            severity: SeverityName::from_wire(finding.severity().unwrap_or_default()),
        }
    });
    basic.chain(enhanced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_complete_pending_or_failed_with_the_reason() {
        let of = |text: &str| status_of(Some(&EcrStatus::from(text)), Some("why"));
        assert_eq!(of("COMPLETE"), ScanStatus::Complete);
        assert_eq!(of("ACTIVE"), ScanStatus::Complete);
        assert_eq!(of("IN_PROGRESS"), ScanStatus::Pending);
        assert_eq!(of("UNSUPPORTED_IMAGE"), ScanStatus::Failed("UNSUPPORTED_IMAGE: why".into()));
        assert_eq!(of("NOT_YET_INVENTED"), ScanStatus::Failed("NOT_YET_INVENTED: why".into()));
    }
}
