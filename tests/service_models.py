"""Validates a record of AWS calls against AWS's own service models, which botocore ships.

Every request that an AWS SDK sent must be one the service's model allows: a known operation, under the right target, method and
path; known members of the right types; required members present; enumerations, ranges and lengths kept. Every answer must fit the
operation's output, so that what the product was tried with is what AWS could have said; every error must be one the operation has.

    python tests/service_models.py RECORD [RECORD …]

Prints each kind of mismatch once with how often it was seen, and ends with 1 when there was any.
"""

import collections
import json
import re
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree

import botocore
from botocore.loaders import Loader
from botocore.model import ServiceModel

# Signing names that are not the name of the model.
MODELS = {"elasticloadbalancing": "elbv2", "monitoring": "cloudwatch"}

# What every service may answer, documented as common errors and not in the models.
COMMON_ERRORS = {
    "AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature",
    "InternalFailure", "InternalServerError", "InvalidClientTokenId", "MalformedQueryString", "NotAuthorized",
    "OptInRequired", "RequestExpired", "RequestThrottled", "SerializationException", "ServiceUnavailable",
    "SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException", "UnknownOperationException",
    "UnrecognizedClientException", "ValidationError", "ValidationException",
}

# Only these are answered by the sandbox; ministack answers the others, and what it makes of answers is its own affair.
ANSWERED_HERE = {"application-autoscaling", "codebuild", "codepipeline", "ecs", "elasticloadbalancing", "monitoring"}
OPERATIONS_ANSWERED_HERE = {("ecr", "DescribeImageScanFindings"), ("ecr", "GetDownloadUrlForLayer")}

# What the sandbox makes up on purpose, because AWS adds members and values between two releases of an SDK, and the product has to carry
# them through: members that no model knows yet, and stages of a deployment that AWS's own enumeration lacks.
MADE_UP = re.compile(r"unknown member (startupProfile|introducedNextYear) in |serviceDeployments\[\]\..*[lL]ifecycleStages?(\[\])? is ")

NUMBERS = {"integer": int, "long": int, "float": (int, float), "double": (int, float)}


class Checker:
    def __init__(self):
        self.loader = Loader()
        self.models = {}
        self.found = collections.Counter()
        self.examples = {}
        self.calls = self.requests = self.answers = 0

    def model(self, service):
        if service not in self.models:
            name = MODELS.get(service, service)
            self.models[service] = ServiceModel(self.loader.load_service_model(name, "service-2"), name)
        return self.models[service]

    def mismatch(self, record, what):
        if MADE_UP.search(what):
            return
        key = f"{record['service']} {record['operation']}: {what}"
        self.found[key] += 1
        self.examples.setdefault(key, record)

    def check(self, record):
        self.calls += 1
        service = record["service"]
        # A function's URL is no operation of Lambda, though what comes there is signed for it: it is the function's own.
        if service == "unsigned" or record["path"].startswith("/_aws/lambda-url/"):
            return
        try:
            model = self.model(service)
        except botocore.exceptions.UnknownServiceError:
            self.mismatch(record, "no such service")
            return
        operation = self.operation(model, record)
        if operation is None:
            return
        # What the tests send by hand is not the product's: it may be wrong on purpose.
        if "aws-sdk-rust" in record["headers"].get("user-agent", ""):
            self.requests += 1
            self.request(operation, record)
        here = service in ANSWERED_HERE or (service, record["operation"]) in OPERATIONS_ANSWERED_HERE
        if here and record["status"] is not None:
            self.answers += 1
            self.answer(operation, record)

    def operation(self, model, record):
        protocol = record["protocol"]
        if protocol in ("rest_json", "rest_xml"):
            return rest_operation(model, record) or self.mismatch(record, "no operation has this method and path")
        name = record["operation"]
        if name not in model.operation_names:
            return self.mismatch(record, "no such operation")
        protocols = model.metadata.get("protocols", [model.metadata["protocol"]])
        spoken = {"json": "json", "query": "query", "cbor": "smithy-rpc-v2-cbor"}[protocol]
        if spoken not in protocols:
            self.mismatch(record, f"{spoken} is not among the service's protocols {protocols}")
        if record["method"] != "POST":
            self.mismatch(record, f"the method is {record['method']}")
        if protocol == "json":
            target = f"{model.metadata['targetPrefix']}.{name}"
            if record["headers"].get("x-amz-target") != target:
                self.mismatch(record, f"the target is {record['headers'].get('x-amz-target')}, not {target}")
        if protocol == "cbor" and not record["path"].endswith(f"/operation/{name}"):
            self.mismatch(record, f"the path is {record['path']}")
        return model.operation_model(name)

    def request(self, operation, record):
        tell = lambda what: self.mismatch(record, f"request: {what}")
        shape, body = operation.input_shape, record["request"]
        if record["protocol"] == "query":
            form(shape, body or "", operation, tell)
        elif record["protocol"] == "rest_json":
            rest_body(shape, body, tell)
        elif record["protocol"] in ("json", "cbor"):
            if shape is None:
                if body not in (None, {}):
                    tell("it takes no input")
                return
            walk(shape, {} if body is None else body, "", tell, is_request=True)

    def answer(self, operation, record):
        tell = lambda what: self.mismatch(record, f"answer: {what}")
        status, body = record["status"], record["response"]
        if status >= 400:
            code = error_code(record)
            known = {shape.metadata.get("error", {}).get("code", shape.name) for shape in operation.error_shapes}
            known |= {shape.name for shape in operation.error_shapes}
            if code not in known | COMMON_ERRORS:
                tell(f"the error {code} is none of this operation's")
            return
        shape = operation.output_shape
        if record["protocol"] == "query":
            xml(operation, shape, body, tell)
        elif shape is None:
            if body not in (None, {}):
                tell("it has no output")
        else:
            walk(shape, {} if body is None else body, "", tell, is_request=False)


def rest_operation(model, record):
    path = record["path"].split("?")[0]
    for name in model.operation_names:
        operation = model.operation_model(name)
        if operation.http["method"] != record["method"]:
            continue
        template = operation.http["requestUri"].split("?")[0].rstrip("/")
        pattern = re.sub(r"\\\{[^}]*\\\+\\\}", ".+", re.escape(template))
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", pattern)
        if re.fullmatch(pattern, path.rstrip("/")):
            return operation
    return None


def rest_body(shape, body, tell):
    if shape is None or not isinstance(body, dict):
        return
    payload = shape.serialization.get("payload")
    if payload:
        target = shape.members[payload]
        if target.type_name == "structure":
            walk(target, body, payload, tell, is_request=True)
        return
    in_body = {
        member.serialization.get("name", name): member
        for name, member in shape.members.items()
        if "location" not in member.serialization
    }
    for name, value in body.items():
        if name in in_body:
            walk(in_body[name], value, name, tell, is_request=True)
        else:
            tell(f"unknown member {name}")


def error_code(record):
    body = record["response"]
    if isinstance(body, dict):
        return str(body.get("__type") or body.get("code") or body.get("Code")).rsplit("#")[-1]
    found = re.search(r"<Code>([^<]*)</Code>", body or "")
    return found.group(1) if found else str(body)[:80]


def walk(shape, value, path, tell, is_request):
    """Checks a value of a JSON or CBOR body."""
    where = path or "the body"
    kind = shape.type_name
    if value is None:
        tell(f"{where} is null")
    elif getattr(shape, "document", False) or shape.metadata.get("document"):
        return
    elif kind == "structure":
        if not isinstance(value, dict):
            return tell(f"{where} is no structure")
        members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for name, item in value.items():
            if name in members:
                walk(members[name], item, f"{path}.{name}" if path else name, tell, is_request)
            else:
                tell(f"unknown member {name} in {where}")
        for name in shape.required_members:
            if shape.members[name].serialization.get("name", name) not in value:
                tell(f"{where} lacks {name}")
    elif kind == "list":
        if not isinstance(value, list):
            return tell(f"{where} is no list")
        bounds(shape, len(value), f"the length of {where}", tell, is_request)
        for item in value:
            walk(shape.member, item, f"{path}[]", tell, is_request)
    elif kind == "map":
        if not isinstance(value, dict):
            return tell(f"{where} is no map")
        for key, item in value.items():
            walk(shape.key, key, f"{path}{{key}}", tell, is_request)
            walk(shape.value, item, f"{path}{{}}", tell, is_request)
    else:
        scalar(shape, value, where, tell, is_request)


def scalar(shape, value, where, tell, is_request):
    kind = shape.type_name
    if kind in NUMBERS:
        if isinstance(value, bool) or not isinstance(value, NUMBERS[kind]):
            return tell(f"{where} is no {kind}")
        bounds(shape, value, where, tell, is_request)
    elif kind == "boolean":
        if not isinstance(value, bool):
            tell(f"{where} is no boolean")
    elif kind == "timestamp":
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            tell(f"{where} is no timestamp")
    elif kind in ("string", "char", "blob"):
        if not isinstance(value, str):
            return tell(f"{where} is no {kind}")
        if kind == "string" and value != "(secret)" and not re.fullmatch(r"\(\d+ bytes\)", value):
            text(shape, value, where, tell, is_request)


def text(shape, value, where, tell, is_request):
    # Answers may hold values newer than this version of the model; requests of ours may not.
    if shape.enum and value not in shape.enum:
        tell(f"{where} is {value!r}, none of {shape.enum}")
    bounds(shape, len(value), f"the length of {where}", tell, is_request)
    pattern = shape.metadata.get("pattern")
    if is_request and pattern:
        try:
            fits = re.search(pattern, value)
        except re.error:
            return  # Java knows classes that Python does not.
        if not fits:
            tell(f"{where} does not match {pattern}")


def bounds(shape, number, where, tell, is_request):
    if not is_request:
        return
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and number < least:
        tell(f"{where} is below {least}")
    if most is not None and number > most:
        tell(f"{where} is above {most}")


def form(shape, body, operation, tell):
    """Checks the body of the query protocol: a form whose names spell paths through the shapes."""
    if not isinstance(body, str):
        return tell("the body is no form")
    pairs = urllib.parse.parse_qsl(body, keep_blank_values=True)
    seen = set()
    for name, value in pairs:
        if name in ("Action", "Version"):
            continue
        seen.add(name.split(".")[0])
        leaf = shape and form_shape(shape, name.split("."))
        if leaf is None:
            tell(f"unknown parameter {re.sub('[0-9]+', 'N', name)}")
            continue
        scalar(leaf, plain(leaf, value), re.sub(r"\d+", "N", name), tell, is_request=True)
    for name in shape.required_members if shape else []:
        # An empty list is sent as `Name=`.
        if shape.members[name].serialization.get("name", name) not in seen:
            tell(f"lacks {name}")


def form_shape(shape, parts):
    while parts:
        part, parts = parts[0], parts[1:]
        if shape.type_name == "structure":
            members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
            if part not in members:
                return None
            shape = members[part]
            if shape.type_name == "list" and parts:
                if not shape.serialization.get("flattened"):
                    if parts[0] != shape.member.serialization.get("name", "member"):
                        return None
                    parts = parts[1:]
                if not parts or not parts[0].isdigit():
                    return None
                shape, parts = shape.member, parts[1:]
        elif shape.type_name == "map" and part == "entry" and len(parts) >= 2:
            shape, parts = (shape.key if parts[1] == "key" else shape.value), parts[2:]
        else:
            return None
    return shape


def plain(shape, value):
    """A form's or an XML element's text as the type its shape says; the text itself when it is none."""
    try:
        if shape.type_name in ("integer", "long"):
            return int(value)
        if shape.type_name in ("float", "double"):
            return float(value)
    except ValueError:
        return value
    if shape.type_name == "boolean":
        return {"true": True, "false": False}.get(value, value)
    if shape.type_name == "timestamp":
        return 0 if re.match(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:?\d\d)$", value) else value
    return value


def xml(operation, shape, body, tell):
    if not isinstance(body, str):
        return tell("the body is no XML")
    root = ElementTree.fromstring(body)
    if local(root) != f"{operation.name}Response":
        return tell(f"the root element is {local(root)}")
    for part in root:
        if local(part) == "ResponseMetadata":
            continue
        wrapper = shape.serialization.get("resultWrapper") if shape else None
        if local(part) != wrapper:
            tell(f"unknown element {local(part)}")
        else:
            element(shape, part, "", tell)


def element(shape, node, path, tell):
    kind, where = shape.type_name, path or "the result"
    if kind == "structure":
        members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for child in node:
            if local(child) in members:
                name = f"{path}.{local(child)}" if path else local(child)
                element(members[local(child)], child, name, tell)
            else:
                tell(f"unknown element {local(child)} in {where}")
    elif kind == "list":
        name = shape.member.serialization.get("name", "member")
        for child in node:
            if local(child) != name:
                tell(f"{where} holds {local(child)}, not {name}")
            else:
                element(shape.member, child, f"{path}[]", tell)
    elif kind == "map":
        return
    else:
        scalar(shape, plain(shape, node.text or ""), where, tell, is_request=False)


def local(node):
    return node.tag.rsplit("}", 1)[-1]


def main(paths):
    checker = Checker()
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                checker.check(json.loads(line))
    print(
        f"{checker.calls} calls, {checker.requests} requests and {checker.answers} answers validated against botocore "
        f"{botocore.__version__}: {sum(checker.found.values())} mismatches"
    )
    for key, count in checker.found.most_common():
        example = checker.examples[key]
        print(f"{count:5} {key}")
        print(f"      e.g. {json.dumps(example['request'])[:300]} -> {json.dumps(example['response'])[:300]}")
    # Nothing recorded would be nothing proven.
    return 1 if checker.found or not checker.requests or not checker.answers else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
