#!/usr/bin/env bash
# What `make ci` needs from the system besides Python, git and make. Run as root on Debian; installs only what is missing.
set -euo pipefail
missing=()
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v chromium >/dev/null || missing+=(chromium)
command -v ip >/dev/null || missing+=(iproute2)
command -v curl >/dev/null || missing+=(curl)
kubectls=/usr/local/bin
[ -x "$kubectls/kubectl-1.20" ] && [ -x "$kubectls/kubectl-1.37" ] && kubectls=
if [ ${#missing[@]} -eq 0 ] && [ -z "$kubectls" ]; then
  echo "the system has everything"
  exit 0
fi
echo "installing ${missing[*]}${kubectls:+ kubectl-1.20 kubectl-1.37}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Debian's packages start their services on installation; the tests run their own instances and want none of that.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made=1; fi
trap '[ -z "$made" ] || rm -f "$policy"' EXIT
[ ${#missing[@]} -eq 0 ] || apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
[ -z "$kubectls" ] || python3 "$(dirname "$0")/fetch_kubectl.py" "$kubectls"
