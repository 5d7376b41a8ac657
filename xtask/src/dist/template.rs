//! `template.yaml` as it is published: the functions' code comes from a bucket instead of a directory, and nothing else is changed.
//!
//! Lambda takes code only from a bucket of its own region, so there is a bucket for each region and the template asks for the one of the
//! region it is deployed in (docs/decisions/0048).

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::Arch;

/// What stands for the region in the name of a bucket.
pub(super) const REGION: &str = "{region}";

/// Where a release is published.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) version: &'a str,
    /// The buckets' name; whoever deploys is asked for it where it is not known.
    pub(super) bucket: Option<&'a str>,
    /// What the keys begin with.
    pub(super) prefix: &'a str,
    pub(super) arches: &'a [Arch],
}

/// The zip of a function.
pub(super) fn zip_name(function: &str, arch: &str) -> String {
    format!("{function}-{arch}.zip")
}

/// The parts that are rewritten, beside where each function's code comes from.
const HEAD: &str = "# From a checkout:";
const PARAMETERS: &str = "Parameters:";
const GROUPS: &str = "ParameterGroups:";
const CONDITIONS: &str = "Conditions:";
const ARCHITECTURE: &str = "Architecture:";

/// Rewrites the template.
///
/// # Errors
/// When the template has not the form this knows, or names other functions than there are.
pub(super) fn packaged(template: &str, functions: &[String], place: &Place<'_>) -> Result<String> {
    let mut text = String::with_capacity(template.len() + 4096);
    let (mut rewritten, mut done) = (BTreeSet::new(), Vec::new());
    // The line two spaces in that the current one is below of.
    let mut of = "";
    for line in template.split_inclusive('\n') {
        if line.starts_with("  ") && !line.starts_with("   ") {
            of = line.trim();
        }
        if let Some(code_uri) = line.trim().strip_prefix("CodeUri:") {
            let function = code_uri.trim().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            text.push_str(&code(&line[..line.len() - line.trim_start().len()], function, place));
            rewritten.insert(function.to_owned());
        } else if let Some((part, instead)) = instead(line, of, place) {
            text.push_str(&instead);
            done.push(part);
        } else {
            text.push_str(line);
        }
    }
    ensure!(
        done == [HEAD, GROUPS, PARAMETERS, ARCHITECTURE, ARCHITECTURE, CONDITIONS],
        "template.yaml has lost a line that is rewritten in what is published, or has it elsewhere; found were {}",
        done.join(", ")
    );
    let wanted: BTreeSet<String> = functions.iter().cloned().collect();
    ensure!(
        rewritten == wanted,
        "template.yaml names the functions {}, those in functions/ are {}",
        Vec::from_iter(rewritten).join(", "),
        Vec::from_iter(wanted).join(", ")
    );
    Ok(text)
}

/// What stands in the place of a line, and which part it is.
fn instead(line: &str, of: &str, place: &Place<'_>) -> Option<(&'static str, String)> {
    let content = line.trim();
    if line.starts_with(HEAD) {
        return Some((HEAD, head(place)));
    }
    if line.trim_end() == PARAMETERS {
        return Some((PARAMETERS, format!("{line}{}", parameters(place))));
    }
    if line.trim_end() == CONDITIONS {
        return Some((CONDITIONS, format!("{line}{}", conditions(place))));
    }
    if content == GROUPS {
        return Some((GROUPS, format!("{line}{GROUP}")));
    }
    let names: Vec<&str> = place.arches.iter().map(|arch| arch.name()).collect();
    if of == ARCHITECTURE && content.starts_with("AllowedValues:") {
        return Some((ARCHITECTURE, format!("    AllowedValues: [{}]\n", names.join(", "))));
    }
    if of == ARCHITECTURE && content.starts_with("Default:") {
        return Some((ARCHITECTURE, format!("    Default: {}\n", names.first()?)));
    }
    None
}

fn head(place: &Place<'_>) -> String {
    format!(
        "# Tidegate {}, packaged: the functions' code is in S3, and this file deploys by its address.\n",
        place.version
    )
}

const GROUP: &str = "      - Label: { default: Where its code comes from }\n        Parameters: [ArtifactsBucket, ArtifactsPrefix]\n";

/// The two parameters that only what is published has.
fn parameters(place: &Place<'_>) -> String {
    let (default, pattern, known) = match place.bucket {
        None => (String::new(), "", String::new()),
        Some(bucket) if bucket.contains(REGION) => {
            let known = format!("Empty for the publisher's, {}. ", bucket.replace(REGION, "REGION"));
            ("    Default: \"\"\n".to_owned(), "^$|", known)
        }
        Some(bucket) => (format!("    Default: \"{bucket}\"\n"), "", String::new()),
    };
    let prefix = place.prefix;
    format!(
        r#"  ArtifactsBucket:
    Type: String
    AllowedPattern: "{pattern}^[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9]$"
    ConstraintDescription: must be the name of an S3 bucket
{default}    Description: >-
      The S3 bucket with the functions' code. {known}Lambda takes code only from a bucket of the stack's own region.
  ArtifactsPrefix:
    Type: String
    AllowedPattern: "^$|^[A-Za-z0-9!_.*'()/-]+/$"
    ConstraintDescription: must be empty or end with a slash
    Default: "{prefix}"
    Description: What the keys of the zips in that bucket begin with.
"#
    )
}

/// The condition that only what is published has, where each region has its bucket: somebody has named another one.
fn conditions(place: &Place<'_>) -> &'static str {
    match place.bucket {
        Some(bucket) if bucket.contains(REGION) => {
            "  HasArtifactsBucket: !Not [!Equals [!Ref ArtifactsBucket, \"\"]]\n"
        }
        Some(_) | None => "",
    }
}

/// Where the code of a function is.
fn code(indent: &str, function: &str, place: &Place<'_>) -> String {
    let key = zip_name(function, "${Architecture}");
    let bucket = match place.bucket {
        Some(bucket) if bucket.contains(REGION) => {
            let of_region = bucket.replace(REGION, "${AWS::Region}");
            format!("!If [HasArtifactsBucket, !Ref ArtifactsBucket, !Sub \"{of_region}\"]")
        }
        Some(_) | None => "!Ref ArtifactsBucket".to_owned(),
    };
    format!(
        "{indent}CodeUri:\n{indent}  Bucket: {bucket}\n{indent}  Key: !Sub \"${{ArtifactsPrefix}}{key}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    const PLACE: Place<'_> = Place {
        version: "1.2.3",
        bucket: Some("acme-{region}"),
        prefix: "tidegate/1.2.3/",
        arches: &[Arch::Arm64, Arch::X86_64],
    };

    fn template() -> (String, Vec<String>) {
        let workspace = Workspace::find().unwrap();
        let text = std::fs::read_to_string(workspace.root.join("template.yaml")).unwrap();
        (text, workspace.functions().unwrap())
    }

    /// The lines that only one of two texts has, in their order: an alignment of lines, made greedily, which is exact where lines are only
    /// put in or replaced.
    fn differences(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        let mut rest: Vec<&str> = new.lines().collect();
        for line in old.lines() {
            let near = rest.iter().take(40).position(|other| *other == line);
            match near {
                Some(at) => {
                    come.extend(rest.drain(..=at).take(at).map(ToOwned::to_owned));
                }
                None => gone.push(line.to_owned()),
            }
        }
        come.extend(rest.into_iter().map(ToOwned::to_owned));
        (gone, come)
    }

    #[test]
    fn every_functions_code_comes_from_the_bucket_and_nothing_else_is_changed() {
        let (template, functions) = template();
        let packaged = packaged(&template, &functions, &PLACE).unwrap();
        assert!(!packaged.contains("target/lambda"), "no path of a checkout is left");
        let (gone, come) = differences(&template, &packaged);
        for line in &gone {
            let known = line.trim().starts_with("CodeUri: target/lambda/") || line.starts_with(HEAD);
            assert!(known, "{line:?} is gone");
        }
        // One binary may be several functions.
        let codes = gone.iter().filter(|line| line.trim().starts_with("CodeUri:")).count();
        assert_eq!(codes, template.matches("AWS::Serverless::Function\n").count());
        assert_eq!(packaged.matches("CodeUri:\n").count(), codes);
        for function in &functions {
            let key = format!("Key: !Sub \"${{ArtifactsPrefix}}{function}-${{Architecture}}.zip\"");
            assert!(packaged.contains(&key), "{key}");
        }
        let added: String = come.iter().map(|line| format!("{line}\n")).collect();
        let ours = [parameters(&PLACE), conditions(&PLACE).to_owned(), GROUP.to_owned(), head(&PLACE)];
        let mut left = added;
        for part in ours {
            assert!(left.contains(&part), "{part} is not in {left}");
            left = left.replacen(&part, "", 1);
        }
        let code = left.lines().filter(|line| {
            let content = line.trim();
            !(content == "CodeUri:"
                || content.starts_with("Bucket: !If [HasArtifactsBucket,")
                || content.starts_with("Key: !Sub"))
        });
        assert_eq!(code.collect::<Vec<_>>(), Vec::<&str>::new());
    }

    #[test]
    fn one_instruction_set_is_the_only_one_that_can_be_chosen() {
        let (template, functions) = template();
        let packaged = packaged(&template, &functions, &Place { arches: &[Arch::X86_64], ..PLACE }).unwrap();
        let parameter = packaged.split("\n  Architecture:\n").nth(1).unwrap();
        let parameter = parameter.split("Description:").next().unwrap();
        assert_eq!(parameter, "    Type: String\n    Default: x86_64\n    AllowedValues: [x86_64]\n    ");
    }

    #[test]
    fn a_bucket_that_is_not_known_is_asked_for_and_one_for_each_region_is_found() {
        let (template, functions) = template();
        let published = |bucket| packaged(&template, &functions, &Place { bucket, ..PLACE }).unwrap();
        let default = |packaged: &str| {
            let parameter = packaged.split("  ArtifactsBucket:\n").nth(1).unwrap();
            let parameter = parameter.split("  ArtifactsPrefix:\n").next().unwrap();
            parameter.lines().find_map(|line| line.trim().strip_prefix("Default: ").map(ToOwned::to_owned))
        };
        let (regions, one, none) =
            (published(Some("acme-{region}")), published(Some("acme")), published(None));
        assert_eq!(default(&regions).as_deref(), Some("\"\""));
        assert!(
            regions.contains("!If [HasArtifactsBucket, !Ref ArtifactsBucket, !Sub \"acme-${AWS::Region}\"]")
        );
        assert!(regions.contains("  HasArtifactsBucket:"));
        assert_eq!(default(&one).as_deref(), Some("\"acme\""));
        assert_eq!(default(&none), None);
        for plain in [one, none] {
            assert!(
                plain.contains("Bucket: !Ref ArtifactsBucket\n") && !plain.contains("HasArtifactsBucket")
            );
        }
    }

    #[test]
    fn a_function_that_the_template_does_not_name_is_an_error() {
        let (template, mut functions) = template();
        functions.push("another".into());
        let error = packaged(&template, &functions, &PLACE).unwrap_err().to_string();
        assert!(error.contains("another"), "{error}");
        let error = packaged(&template.replace("Parameters:\n", "Parameter:\n"), &functions, &PLACE);
        assert!(error.unwrap_err().to_string().contains("has lost a line"));
    }
}
