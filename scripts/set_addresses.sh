#!/usr/bin/env bash
# Puts the addresses of the repository and of the site in the place of the placeholder, in every file that names it:
#   scripts/set_addresses.sh https://HOST/OWNER/REPOSITORY https://HOST/SITE
set -euo pipefail
cd "$(dirname "$0")/.."
repository=${1:?the address of the repository}
site=${2:?the address of the site}
git grep -lz 'sfpo\.example' -- ':!scripts/set_addresses.sh' ':!tests' |
  xargs -0 sed -i -e "s#https://sfpo\.example/repository#${repository%/}#g" -e "s#https://sfpo\.example/docs/\?#${site%/}/#g"
if git grep -n 'sfpo\.example' -- ':!scripts/set_addresses.sh' ':!tests'; then
  echo "these lines still name the placeholder" >&2
  exit 1
fi
