#!/bin/sh
# image.sh [OCI-ARCHIVE]: builds the image weir:VERSION with buildah (as root) from what lies here, prints what it is,
# and writes it to the archive when one is named. The base is made by debootstrap: no registry is needed. It has this
# machine's sources of Debian 12, security updates with them, and is made anew when they change or when it is old.
# SOURCE_DATE_EPOCH dates its files and itself, by default the last commit's time: of the same sources and the same
# packages of Debian comes the same image.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "weir: the image is built as root" >&2; exit 69; }
deploy/deps.sh image
version=$(cat VERSION)
tag=localhost/weir:$version
base=localhost/weir-base:12
base_days_max=7 # each build upgrades it, so that it need not be new, but what is upgraded becomes more
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

sources=$(deploy/sources.sh)
case $sources in
	*bookworm-security*) ;;
	*) echo "weir: this machine's apt has no bookworm-security: the image's libraries have no security updates" >&2 ;;
esac
digest=$(echo "$sources" | sha256sum | cut -c1-64)

# Whether the base is there, of these sources, and not too old.
base_good() {
	[ "$(buildah inspect --type image --format '{{index .OCIv1.Config.Labels "sources"}}' "$base" 2>/dev/null)" = "$digest" ] ||
		return 1
	made=$(buildah images --format '{{.CreatedAtRaw}}' "$base" | cut -d. -f1)
	[ $(($(date +%s) - $(date -u -d "${made% +*}" +%s))) -lt $((base_days_max * 86400)) ]
}

base_make() {
	former=$(buildah images -q "$base" 2>/dev/null || true)
	mirror=$(echo "$sources" | sed -n 's/^deb \([^ ]*\) bookworm main$/\1/p')
	work=$(mktemp -d)
	# Authorities' certificates, as an address may be https.
	debootstrap --variant=minbase --include=ca-certificates bookworm "$work/root" "$mirror"
	[ -z "$sources" ] || echo "$sources" >"$work/root/etc/apt/sources.list"
	container=$(buildah from scratch)
	buildah add -q "$container" "$work/root" /
	buildah config --label sources="$digest" "$container"
	buildah commit -q "$container" "$base"
	buildah rm "$container"
	[ -z "$former" ] || buildah rmi "$former" || true
}

base_good || step "BASE    Debian 12, by debootstrap, every $base_days_max days" base_make
former=$(buildah images -q "$tag" 2>/dev/null || true)
step "BUILD   weir:$version from $base" buildah bud --isolation chroot --pull-never --timestamp "$date" \
	--identity-label=false --iidfile "$id" --build-arg BASE="$base" --build-arg VERSION="$version" \
	--build-arg UPGRADED="$(date -u +%F)" -f deploy/Dockerfile -t "$tag" .
# Without a name nobody finds the former one any more, and its files would stay.
case $(cat "$id") in
	*"${former:-sha256}"*) ;;
	*) buildah rmi "$former" >/dev/null 2>&1 || true ;;
esac
[ $# = 0 ] || step "WRITE   $1" buildah push "$tag" "oci-archive:$1:weir:$version"
buildah images --format "weir:$version  {{.Size}}  {{.ID}}" "$tag"
buildah inspect --type image --format 'user {{.OCIv1.Config.User}}, entry point {{.OCIv1.Config.Entrypoint}}' "$tag"
echo
echo "in buildah's store as $tag: buildah --storage-driver vfs push $tag docker://registry.example/weir:$version"
