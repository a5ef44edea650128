#!/bin/sh
# Makes the secrets that are not there yet, in compose/secrets. The folder is for its owner alone; the files in it can
# be read by the accounts inside the containers, which are not its owner.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
chmod 700 secrets
make() {
  [ -s "secrets/$1" ] && return
  LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c "$2" >"secrets/$1.new"
  chmod 444 "secrets/$1.new"
  mv "secrets/$1.new" "secrets/$1"
  echo "made secrets/$1"
}
for name in postgres_admin_password postgres_password elasticsearch_admin_password \
  elasticsearch_password mongodb_admin_password mongodb_password token_secret grafana_password; do
  make "$name" 40
done
make mongodb_keyfile 512
