//! The query protocol: a flattened form in, XML out. The form has no types, so they come from [`Shapes`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use quick_xml::escape::escape;
use serde_json::{Number, Value};

use super::Shapes;
use crate::ports::AwsError;

pub(super) fn action(body: &[u8]) -> Option<String> {
    form(body).find(|(key, _)| key == "Action").map(|(_, value)| value)
}

pub(super) fn decode(shapes: &Shapes, body: &[u8]) -> Value {
    let mut root = Node::default();
    for (key, value) in form(body) {
        if key != "Action" && key != "Version" {
            root.insert(&key, value);
        }
    }
    root.into_value(shapes, "")
}

pub(super) fn encode(shapes: &Shapes, operation: &str, output: &Value, request_id: &str) -> String {
    let mut xml = format!("<{operation}Response xmlns=\"{}\"><{operation}Result>", shapes.namespace);
    members(shapes, output, &mut xml);
    let _ = write!(
        xml,
        "</{operation}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    );
    xml
}

pub(super) fn encode_error(shapes: &Shapes, error: &AwsError, kind: &str, request_id: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"{}\"><Error><Type>{kind}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>",
        shapes.namespace,
        escape(&error.code),
        escape(&error.message)
    )
}

pub(super) fn encode_rest_error(error: &AwsError, request_id: &str) -> String {
    format!(
        "<Error><Code>{}</Code><Message>{}</Message><RequestId>{request_id}</RequestId></Error>",
        escape(&error.code),
        escape(&error.message)
    )
}

/// `application/x-www-form-urlencoded` pairs.
fn form(body: &[u8]) -> impl Iterator<Item = (String, String)> {
    body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let key = unescape(parts.next().unwrap_or_default());
        (key, unescape(parts.next().unwrap_or_default()))
    })
}

pub(super) fn unescape(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let escaped = (text[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                at += 3;
            }
            None => {
                bytes.push(if text[at] == b'+' { b' ' } else { text[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The tree behind keys like `Actions.member.1.ForwardConfig.TargetGroups.member.2.Weight`.
#[derive(Default)]
struct Node {
    leaf: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn insert(&mut self, path: &str, value: String) {
        let node = path.split('.').fold(self, |node, part| node.children.entry(part.to_owned()).or_default());
        node.leaf = Some(value);
    }

    fn into_value(mut self, shapes: &Shapes, member: &str) -> Value {
        if self.children.is_empty() {
            return self.leaf.map_or(Value::Null, |text| typed(shapes, member, text));
        }
        if let Some(list) = self.children.remove("member") {
            return Value::Array(list.numbered().map(|(_, item)| item.into_value(shapes, member)).collect());
        }
        if shapes.maps.contains(&member)
            && let Some(entries) = self.children.remove("entry")
        {
            return Value::Object(
                entries.numbered().filter_map(|(_, entry)| entry.into_entry(shapes)).collect(),
            );
        }
        Value::Object(
            self.children
                .into_iter()
                .map(|(name, node)| {
                    let value = node.into_value(shapes, &name);
                    (name, value)
                })
                .collect(),
        )
    }

    fn into_entry(mut self, shapes: &Shapes) -> Option<(String, Value)> {
        let key = self.children.remove("key")?.leaf?;
        Some((key, self.children.remove("value")?.into_value(shapes, "")))
    }

    /// List members in the order of their numbers, not of their digits.
    fn numbered(self) -> impl Iterator<Item = (u32, Node)> {
        let ordered: BTreeMap<u32, Node> =
            self.children.into_iter().filter_map(|(index, node)| Some((index.parse().ok()?, node))).collect();
        ordered.into_iter()
    }
}

fn typed(shapes: &Shapes, member: &str, text: String) -> Value {
    let number = if shapes.integers.contains(&member) {
        text.parse::<i64>().ok().map(Number::from)
    } else if shapes.floats.contains(&member) {
        text.parse::<f64>().ok().and_then(Number::from_f64)
    } else if shapes.is_timestamp(member) {
        text.parse::<jiff::Timestamp>()
            .ok()
            .and_then(|time| Number::from_f64(time.as_duration().as_secs_f64()))
    } else if shapes.booleans.contains(&member) {
        return text.parse().map_or(Value::String(text), Value::Bool);
    } else {
        None
    };
    number.map_or(Value::String(text), Value::Number)
}

fn members(shapes: &Shapes, value: &Value, xml: &mut String) {
    let Value::Object(object) = value else { return };
    for (name, value) in object {
        element(shapes, name, name, value, xml);
    }
}

fn element(shapes: &Shapes, tag: &str, member: &str, value: &Value, xml: &mut String) {
    if value.is_null() {
        return;
    }
    let _ = write!(xml, "<{tag}>");
    match value {
        Value::Null => {}
        Value::Bool(flag) => {
            let _ = write!(xml, "{flag}");
        }
        Value::Number(number) if shapes.is_timestamp(member) => {
            xml.push_str(&timestamp(number.as_f64().unwrap_or_default()));
        }
        Value::Number(number) => {
            let _ = write!(xml, "{number}");
        }
        Value::String(text) => xml.push_str(&escape(text.as_str())),
        Value::Array(items) => {
            for item in items {
                element(shapes, "member", member, item, xml);
            }
        }
        Value::Object(object) if shapes.maps.contains(&member) || member == "ExtendedStatistics" => {
            for (key, value) in object {
                let _ = write!(xml, "<entry><key>{}</key>", escape(key.as_str()));
                element(shapes, "value", "", value, xml);
                xml.push_str("</entry>");
            }
        }
        Value::Object(_) => members(shapes, value, xml),
    }
    let _ = write!(xml, "</{tag}>");
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit")]
fn timestamp(seconds: f64) -> String {
    jiff::Timestamp::from_millisecond((seconds * 1000.0).round() as i64)
        .map(|time| format!("{time:.3}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_becomes_the_typed_input() {
        let body = b"Action=ModifyRule&Version=2015-12-01&RuleArn=arn%3Aaws&Actions.member.1.Type=forward\
            &Actions.member.1.ForwardConfig.TargetGroups.member.10.Weight=1\
            &Actions.member.1.ForwardConfig.TargetGroups.member.2.Weight=90\
            &Actions.member.1.ForwardConfig.TargetGroupStickinessConfig.Enabled=false\
            &Conditions.member.1.Values.member.1=%2Fa+b";
        assert_eq!(
            decode(Shapes::of("elasticloadbalancing"), body),
            json!({
                "Actions": [{
                    "ForwardConfig": {
                        "TargetGroupStickinessConfig": {"Enabled": false},
                        "TargetGroups": [{"Weight": 90}, {"Weight": 1}],
                    },
                    "Type": "forward",
                }],
                "Conditions": [{"Values": ["/a b"]}],
                "RuleArn": "arn:aws",
            })
        );
    }

    #[test]
    fn output_becomes_xml() {
        let output =
            json!({"LoadBalancers": [{"Name": "a<b", "CreatedTime": 1.5, "Nothing": null}], "Flag": true});
        assert_eq!(
            encode(Shapes::of("elasticloadbalancing"), "DescribeLoadBalancers", &output, "r"),
            "<DescribeLoadBalancersResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
             <DescribeLoadBalancersResult><LoadBalancers><member><Name>a&lt;b</Name>\
             <CreatedTime>1970-01-01T00:00:01.500Z</CreatedTime></member></LoadBalancers><Flag>true</Flag>\
             </DescribeLoadBalancersResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>\
             </DescribeLoadBalancersResponse>"
        );
    }
}
