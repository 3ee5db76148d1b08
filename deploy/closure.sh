#!/bin/sh
# closure.sh ROOT: adds to ROOT what the executables below it need at run time: shared libraries, certificates of
# authorities, time zones, and the empty directories that are mounted over.
set -eu
root=$1
ldd "$root"/usr/bin/* "$root"/usr/libexec/weir/* | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^\t\(\/[^ ]*\) .*/\1/p' | sort -u |
	while read -r library; do
		install -D -m 755 "$(readlink -f "$library")" "$root$library"
	done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$root/usr/share"
cp -a /usr/share/zoneinfo "$root/usr/share/"
rm -rf "$root/usr/share/zoneinfo/right" "$root/usr/share/zoneinfo/posix" "$root/usr/share/doc"
install -d -m 755 "$root/etc/weir" "$root/run" "$root/tmp"
install -d -m 1777 "$root/run/weir"
echo 'weir:x:64100:64200::/:' >"$root/etc/passwd"
echo 'weir:x:64200:' >"$root/etc/group"
