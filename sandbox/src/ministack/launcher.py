"""Runs ministack as one process group that never outlives the sandbox.

The sandbox holds this process's standard input open. When it closes, for whatever reason (a clean stop, a panic, SIGKILL),
the whole group is killed: ministack and every Lambda process it started.
"""

import os
import signal
import sys
import threading


def die_with_parent():
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


# Own group, so that Ctrl-C in the terminal reaches the sandbox alone, and killpg reaches nobody else.
os.setpgid(0, 0)
threading.Thread(target=die_with_parent, daemon=True).start()


# Behind a function URL with AWS_IAM, AWS writes into the event whose signature it has checked; ministack leaves it out.
from ministack.services import apigateway, lambda_svc  # noqa: E402

event_without_identity = lambda_svc._build_function_url_event


def event_with_identity(url_id, account, region, method, path, headers, body, query, **more):
    event = event_without_identity(url_id, account, region, method, path, headers, body, query, **more)
    identity = None if more.get("anonymous") else apigateway._iam_caller_identity_v2(headers, query)
    if identity:
        event["requestContext"]["authorizer"] = {"iam": identity}
    return event


lambda_svc._build_function_url_event = event_with_identity

sys.argv = ["ministack"]
from ministack.app import main  # noqa: E402

main()
