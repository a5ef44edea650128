#!/bin/bash
# The account of recordgate in Elasticsearch: monitors the cluster, and may do all with indexes of its own prefix.
# Run before each start of the stack; it says the same each time.
set -euo pipefail
: "${ELASTICSEARCH:?the URL of the cluster}" "${SECRETS:=/run/secrets}"
admin=$(<"$SECRETS/elasticsearch_admin_password")
password=$(<"$SECRETS/elasticsearch_password")
if [[ ! "$admin$password" =~ ^[A-Za-z0-9_-]+$ ]]; then
  echo "a password of Elasticsearch holds more than letters, digits, _ and -" >&2
  exit 1
fi

put() {
  local body=${2//\"/\\\"}
  # By stdin, so that no password is among the arguments of a process.
  curl --silent --show-error --fail --retry 10 --retry-delay 2 --retry-connrefused --output /dev/null \
    --config - <<EOT
url = "$ELASTICSEARCH/_security/$1"
request = "PUT"
user = "elastic:$admin"
header = "content-type: application/json"
data = "$body"
EOT
}

put role/recordgate '{"cluster": ["monitor"], "indices": [{"names": ["recordgate-*"], "privileges": ["all"]}]}'
put user/recordgate "{\"password\": \"$password\", \"roles\": [\"recordgate\"]}"
echo "Elasticsearch: the account recordgate is there"
