#!/bin/sh
# closure.sh ROOT: adds to ROOT what the executables below it need at run time: shared libraries, certificates of
# authorities, time zones, the user's name, and the directories that are mounted over. Those that it writes to are
# the user's, and so is a new volume that Docker or Podman makes for one of them.
set -eu
root=$1
ldd "$root"/usr/bin/* "$root"/usr/libexec/weir/* | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^\t\(\/[^ ]*\) .*/\1/p' | sort -u |
	while read -r library; do
		install -D -m 755 "$(readlink -f "$library")" "$root$library"
	done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
# Where OpenSSL looks by itself, as for Kafka.
mkdir -p "$root/usr/lib/ssl" "$root/usr/share"
ln -s /etc/ssl/certs/ca-certificates.crt "$root/usr/lib/ssl/cert.pem"
cp -a /usr/share/zoneinfo "$root/usr/share/"
rm -rf "$root/usr/share/zoneinfo/right" "$root/usr/share/zoneinfo/posix" "$root/usr/share/doc"
install -d -m 755 "$root/etc/weir" "$root/run" "$root/tmp" "$root/var/lib"
install -d -m 1777 "$root/run/weir"
# Through it every user comes to what is mounted below, whoever that user is.
install -d -m 755 -o 64100 -g 64200 "$root/var/lib/weir"
install -d -m 700 -o 64100 -g 64200 "$root/etc/weir/keys" "$root/etc/weir/logins" "$root/var/lib/weir/handoffs"
echo 'weir:x:64100:64200::/:' >"$root/etc/passwd"
echo 'weir:x:64200:' >"$root/etc/group"
# Without it names are asked of DNS first, also those that a runtime puts into /etc/hosts.
printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/etc/nsswitch.conf"
