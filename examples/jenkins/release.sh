#!/bin/sh
# Asks Tidegate's gate for a release with a signed webhook: release.sh SERVICE BODY_FILE DELIVERY_ID
#
# TIDEGATE_GATE_URL        the gate's URL (output GateUrl of Tidegate's stack)
# TIDEGATE_WEBHOOK_SECRET  the service's secret
set -eu

service="$1" body="$2" delivery="$3"
: "${TIDEGATE_GATE_URL:?}" "${TIDEGATE_WEBHOOK_SECRET:?}"
timestamp="$(date +%s)"

# In the environment, not on the command line, where every user of the machine could read it.
signature="$(DELIVERY="$delivery" TIMESTAMP="$timestamp" python3 -c '
import hashlib, hmac, os, sys
text = (os.environ["TIMESTAMP"] + "." + os.environ["DELIVERY"] + ".").encode() + open(sys.argv[1], "rb").read()
print(hmac.new(os.environ["TIDEGATE_WEBHOOK_SECRET"].encode(), text, hashlib.sha256).hexdigest())
' "$body")"

exec curl --fail-with-body --silent --show-error --retry 3 --max-time 20 \
  --header "Content-Type: application/json" \
  --header "X-Tidegate-Timestamp: $timestamp" \
  --header "X-Tidegate-Delivery: $delivery" \
  --header "X-Tidegate-Signature: $signature" \
  --data-binary "@$body" \
  "${TIDEGATE_GATE_URL%/}/hooks/jenkins/$service"
