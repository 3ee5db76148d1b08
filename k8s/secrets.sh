#!/bin/sh
# secrets.sh DIR: prints Weir's Secrets, and the ConfigMap of the signed policy, for `kubectl apply --server-side -f -`.
# DIR is laid out as /etc/weir is in a pod:
#   keys/        as `weir keys init` and `weir keys policy sign` leave it
#   logins/      as `weir logins init` leaves it
#   owner/dsn    the connection of the warehouse's owner
#   sources/     a file for each credential of a source: amqp
#   exchange/    the same for the exchange, if it wants any
# Root, escrow, audit and member keys stay where they are: no pod gets them.
set -eu
[ $# = 1 ] && [ -d "$1" ] || { sed -n '2,9p' "$0" | cut -c3- >&2; exit 64; }
cd "$1"

# object KIND NAME FILE...: one object with these files.
object() {
	kind=$1 name=$2
	shift 2
	printf -- '---\napiVersion: v1\nkind: %s\nmetadata:\n  name: %s\n  labels: { app.kubernetes.io/part-of: weir }\n' \
		"$kind" "$name"
	[ "$kind" = Secret ] && echo data: || echo binaryData:
	for file; do
		printf '  %s: %s\n' "${file##*/}" "$(base64 -w 0 "$file")"
	done
}

for file in keys/policy keys/root.pub keys/sealer.key owner/dsn logins/load.login logins/state.login logins/task.login \
	logins/operator.login logins/keeper.login logins/release.login; do
	[ -s "$file" ] || { echo "secrets.sh: $1/$file is missing" >&2; exit 78; }
done
for file in keys/token-*.key keys/role-*.key keys/role-*.sealed sources/*; do
	[ -s "$file" ] || { echo "secrets.sh: there is no $1/$file" >&2; exit 78; }
done
rid=keys/rid.key  # a pipeline without queues has none
[ -s $rid ] || rid=

object ConfigMap weir-policy keys/policy keys/root.pub
object Secret weir-owner owner/dsn
object Secret weir-logins-lanes logins/load.login logins/state.login logins/task.login
object Secret weir-logins-keeper logins/keeper.login
object Secret weir-logins-science logins/release.login
object Secret weir-logins-operator logins/operator.login
object Secret weir-keys-ingest keys/sealer.key keys/token-*.key $rid
object Secret weir-keys-science keys/role-*.key
object Secret weir-keys-members keys/role-*.sealed
object Secret weir-sources sources/*
[ ! -d exchange ] || object Secret weir-exchange exchange/*
