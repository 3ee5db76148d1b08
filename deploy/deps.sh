#!/bin/sh
# deps.sh GROUP ...: makes sure that the Debian packages of these groups (packages.txt) are there. As root
# they are installed, without starting any service; otherwise the line to type is printed. Exit 0 when all
# are there, 69 when some are missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
missing=
for group; do
	for p in $(sed -n "s/^$group  *//p" "$here/packages.txt"); do
		dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
	done
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "weir: these packages are missing; install them with" >&2
	echo "  sudo apt-get install -y --no-install-recommends$missing" >&2
	exit 69
fi
echo "weir: installing$missing" >&2
# Servers of the suite are started by the suite: no package may start or create one of its own.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
	made_policy=1
fi
trap '[ -z "$made_policy" ] || rm -f $policy' EXIT
if [ -d /etc/postgresql-common ] || mkdir -p /etc/postgresql-common; then
	[ -e /etc/postgresql-common/createcluster.conf ] ||
		echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
fi
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -qq -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold"
log=$(mktemp)
if ! { $apt update && $apt install -y --no-install-recommends $missing; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "weir: the installation failed; full output in $log" >&2
	exit 69
fi
rm -f "$log"
