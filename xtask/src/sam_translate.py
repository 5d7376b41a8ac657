"""Runs the SAM translator over a template, as CloudFormation would, and fails as CloudFormation would."""

import os
import sys
from types import SimpleNamespace

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.model.exceptions import InvalidDocumentException  # noqa: E402
from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

with open(sys.argv[1], encoding="utf-8") as file:
    template = yaml_parse(file.read())

for resource in template["Resources"].values():
    if resource["Type"] == "AWS::Serverless::Function":
        code = resource["Properties"]["CodeUri"]
        if isinstance(code, dict):
            print(code["Key"]["Fn::Sub"])
            continue
        print(code)
        # The translator runs after packaging, when CodeUri is an object in S3.
        resource["Properties"]["CodeUri"] = "s3://bucket/key"

try:
    transform(template, {}, SimpleNamespace(load=dict))
except InvalidDocumentException as error:
    sys.exit("\n".join([error.message, *(cause.message for cause in error.causes)]))
