#!/bin/bash
# share.sh: what Weir and `weir apply` need of the key directory, each into a volume of its own; root, escrow, audit and
# member keys stay in it alone. It runs at every `up`, so what was rotated or signed meanwhile comes along, and what is
# no longer in the directory goes. VOLUMES is where the volumes are (default /volumes).
set -eu
umask 077
shopt -s nullglob
cd "${VOLUMES:-/volumes}"

# share VOLUME FILE...
share() {
	to=$1
	shift
	rm -f "$to"/*.new
	for file; do
		install -m 400 -o 64100 -g 64200 "$file" "$to/${file##*/}.new"
		mv "$to/${file##*/}.new" "$to/${file##*/}"
	done
	for file in "$to"/*; do
		[ -e "keys/${file##*/}" ] || rm "$file"
	done
}

share keys-apply keys/policy keys/root.pub keys/role-*.sealed
share keys-weir keys/policy keys/root.pub keys/sealer.key keys/token-*.key keys/role-*.key keys/rid.key
echo "each has the keys that it needs"
