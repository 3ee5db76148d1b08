#!/bin/sh
# secrets.sh DIR: prints Weir's Secrets, and the ConfigMap of the signed policy, for `kubectl apply --server-side -f -`.
# DIR is laid out as /etc/weir is in a pod:
#   keys/        as `weir keys init` and `weir keys policy sign` leave it
#   logins/      as `weir logins init` leaves it
#   owner/dsn    the connection of the warehouse's owner
#   sources/     a file for each credential of a source, if they want any: amqp
#   exchange/    the same for the exchange
# Root, escrow, audit and member keys stay where they are: no pod gets them. It prints everything or, where something is
# wrong, nothing.
set -eu
[ $# = 1 ] && [ -d "$1" ] || { sed -n '2,10p' "$0" | cut -c3- >&2; exit 64; }
cd "$1"
where=$1

refuse() {
	echo "secrets.sh: $*" >&2
	exit 78
}

# object KIND NAME FILE...: one object with these files, which must have something in them. One of `*` that stands for
# no file is passed over, and with no file at all there is no object.
object() {
	kind=$1 name=$2 entries=
	shift 2
	for file; do
		case $file in *'*'*) [ -e "$file" ] || continue ;; esac
		[ -e "$file" ] || refuse "$where/$file is missing"
		[ -f "$file" ] && [ -s "$file" ] || refuse "$where/$file is no file, or an empty one"
		case ${file##*/} in *[!-._A-Za-z0-9]*) refuse "$where/$file: a Secret takes no such name" ;; esac
		text=$(base64 -w 0 "$file") || refuse "cannot read $where/$file"
		entries="$entries  ${file##*/}: $text
"
	done
	[ -n "$entries" ] || return 0
	[ "$kind" = Secret ] && data=data || data=binaryData
	printf -- '---\napiVersion: v1\nkind: %s\nmetadata:\n  name: %s\n  labels: { app.kubernetes.io/part-of: weir }\n%s:\n%s' \
		"$kind" "$name" $data "$entries"
}

objects() {
	object ConfigMap weir-policy keys/policy keys/root.pub
	object Secret weir-owner owner/dsn
	object Secret weir-logins-lanes logins/load.login logins/state.login logins/task.login
	object Secret weir-logins-keeper logins/keeper.login
	object Secret weir-logins-science logins/release.login
	object Secret weir-logins-operator logins/operator.login
	# Not every pipeline has tokens, queues, roles, or brokers that want a password.
	object Secret weir-keys-ingest keys/sealer.key keys/token-*.key keys/rid*.key
	object Secret weir-keys-science keys/role-*.key
	object Secret weir-keys-members keys/role-*.sealed
	object Secret weir-sources sources/*
	object Secret weir-exchange exchange/*
}

all=$(objects)
printf '%s\n' "$all"
