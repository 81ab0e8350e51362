#!/usr/bin/env bash
# The extension against a model (test/model/main.mjs has its head): random changes and migrations of watched tables.
# MODEL_SECONDS (default 20), MODEL_SEED.
set -euo pipefail
exec node "$(dirname "$0")/../model/main.mjs"
