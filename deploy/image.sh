#!/bin/sh
# image.sh [OCI-ARCHIVE]: builds the image weir:VERSION with buildah (as root), prints its size, and writes it to the
# archive when one is named. The base is made by debootstrap once: no registry is needed.
set -eu
cd "$(dirname "$0")/.."
deploy/deps.sh image
version=$(cat VERSION)
buildah="buildah --storage-driver vfs"
base=localhost/weir-base:12
mirror=$(sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) bookworm main.*/\2/p; s/^URIs: *\([^ ]*\).*/\1/p' \
	/etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)
if ! $buildah inspect --type image "$base" >/dev/null 2>&1; then
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	debootstrap --variant=minbase bookworm "$work/root" "$mirror" >"$work/log" 2>&1 || { tail "$work/log" >&2; exit 69; }
	container=$($buildah from scratch)
	$buildah add -q "$container" "$work/root" / >/dev/null
	$buildah commit -q "$container" "$base" >/dev/null
	$buildah rm "$container" >/dev/null
fi
$buildah bud -q --isolation chroot --pull-never --build-arg BASE="$base" --ignorefile deploy/dockerignore \
	-f deploy/Dockerfile -t "weir:$version" .
[ $# = 0 ] || $buildah push -q "weir:$version" "oci-archive:$1:weir:$version"
$buildah inspect --type image --format '{{.OCIv1.Config.User}}' "weir:$version" | sed 's/^/user /'
$buildah images --format '{{.Name}}:{{.Tag}} {{.Size}}' "weir:$version"
