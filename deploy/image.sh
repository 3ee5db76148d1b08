#!/bin/sh
# image.sh [OCI-ARCHIVE]: builds the image weir:VERSION with buildah (as root) from what lies here, prints what it is,
# and writes it to the archive when one is named. The base is made by debootstrap once: no registry is needed.
# SOURCE_DATE_EPOCH dates its files and itself, by default the last commit's time: of the same sources and the same
# packages of Debian comes the same image.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "weir: the image is built as root" >&2; exit 69; }
deploy/deps.sh image
version=$(cat VERSION)
tag=localhost/weir:$version
base=localhost/weir-base:12
date=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y VERSION)}
log=$(mktemp) id=$(mktemp)
work=
trap 'rm -rf "$log" "$id" $work' EXIT
# One at a time: what another build has named must not go before it was written.
mkdir -p /var/lib/containers
exec 9>/var/lib/containers/weir-image.lock
flock 9

buildah() {
	deploy/rooted buildah --storage-driver vfs "$@" 9>&-
}

# step WORDS COMMAND ...: what it says is shown only where it fails.
step() {
	echo "  $1" >&2
	shift
	"$@" >"$log" 2>&1 || { tail -n 40 "$log" >&2; echo "weir: the image could not be built" >&2; exit 69; }
}

base_make() {
	mirror=$(sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) bookworm main.*/\2/p; s/^URIs: *\([^ ]*\).*/\1/p' \
		/etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)
	work=$(mktemp -d)
	debootstrap --variant=minbase bookworm "$work/root" "$mirror"
	container=$(buildah from scratch)
	buildah add -q "$container" "$work/root" /
	buildah commit -q "$container" "$base"
	buildah rm "$container"
}

buildah inspect --type image "$base" >/dev/null 2>&1 || step "BASE    Debian 12, by debootstrap, once" base_make
former=$(buildah images -q "$tag" 2>/dev/null || true)
step "BUILD   weir:$version from $base" buildah bud --isolation chroot --pull-never --timestamp "$date" \
	--identity-label=false --iidfile "$id" --build-arg BASE="$base" --build-arg VERSION="$version" -f deploy/Dockerfile -t "$tag" .
# Without a name nobody finds the former one any more, and its files would stay.
case $(cat "$id") in
	*"${former:-sha256}"*) ;;
	*) buildah rmi "$former" >/dev/null 2>&1 || true ;;
esac
[ $# = 0 ] || step "WRITE   $1" buildah push "$tag" "oci-archive:$1:weir:$version"
buildah images --format "weir:$version  {{.Size}}  {{.ID}}" "$tag"
buildah inspect --type image --format 'user {{.OCIv1.Config.User}}, entry point {{.OCIv1.Config.Entrypoint}}' "$tag"
echo
