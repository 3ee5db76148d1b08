#!/bin/bash
# build.sh [kubectl|control|all]: builds Kubernetes of the version that tools/go.mod pins, from its Go modules, and prints
# the directory that holds the programs: ${XDG_CACHE_HOME:-~/.cache}/weir-kube/VERSION. What is there is not built again.
#   kubectl  kubectl, and beside it swagger.json, the OpenAPI schema of the same version
#   control  also kube-apiserver, kube-controller-manager and kube-scheduler
#   all      also kubelet and kube-proxy (the default)
# A machine without Go, or with an older one than Kubernetes wants, gets one for this alone: Go publishes its tool chains
# as modules, so that any Go, as Debian's, fetches and verifies the next.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
toolchain=1.26.8
version=$(sed -n 's/^require k8s.io\/kubernetes v//p' "$here/tools/go.mod")
oldest=$(sed -n 's/^go //p' "$here/tools/go.mod")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weir-kube
out=$cache/$version

case ${1:-all} in
	kubectl) programs="kubectl" ;;
	control) programs="kubectl kube-scheduler kube-controller-manager kube-apiserver" ;;
	all) programs="kubectl kube-proxy kubelet kube-scheduler kube-controller-manager kube-apiserver" ;;
	*) sed -n '2,6p' "$0" | cut -c3- >&2; exit 64 ;;
esac

missing() {
	local p
	for p in $programs swagger.json; do
		[ -s "$out/$p" ] || printf '%s ' "$p"
	done
}
say() { echo "build.sh: $*" >&2; }

# Whether the first of two versions is at least the second.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Makes $cache/goVERSION of the module: its files come without their executable bits, and its go.mod files under another
# name, since a module may not hold modules.
fetch_toolchain() {
	local module source part=$cache/.go.$$
	module=golang.org/toolchain@v0.0.1-go$toolchain.linux-$(go env GOARCH)
	say "fetching $module"
	(cd / && GO111MODULE=on go mod download "$module")
	source=$(go env GOMODCACHE)/$module
	rm -rf "$part"
	mkdir "$part"
	cp -r "$source"/bin "$source"/pkg "$source"/src "$source"/lib "$source"/VERSION "$source"/go.env "$part"
	chmod -R u+w "$part"
	find "$part/bin" "$part/pkg/tool" -type f -exec chmod 755 {} +
	find "$part/src" -name _go.mod -execdir mv {} go.mod \;
	mv -T "$part" "$cache/go$toolchain"
}

# Sets $go to a Go that is new enough.
find_go() {
	go=$cache/go$toolchain/bin/go
	[ ! -x "$go" ] || return 0
	command -v go >/dev/null || "$here/../../deploy/deps.sh" kubectl
	if at_least "$(GOTOOLCHAIN=local go env GOVERSION | sed 's/^go//')" "$oldest"; then
		go=$(command -v go)
	else
		fetch_toolchain
	fi
}

# build PROGRAM: under another name first, so that nobody sees half of it. Unlike a release, modules carry no number in
# their sources: it is given to the linker.
build() {
	local begun=$SECONDS package=k8s.io/component-base/version minor=${version#1.}
	local flags="-s -w -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
	(cd "$here/tools" && CGO_ENABLED=0 GOFLAGS= nice "$go" build -mod=readonly -trimpath -buildvcs=false \
		-ldflags "$flags" -o "$out/.part.$1" "k8s.io/kubernetes/cmd/$1")
	mv "$out/.part.$1" "$out/$1"
	say "built $1 $version in $((SECONDS - begun)) s"
}

copy_schema() {
	local module
	module=$(cd "$here/tools" && GOFLAGS= "$go" list -mod=readonly -m -f '{{.Dir}}' k8s.io/kubernetes)
	cp "$module/api/openapi-spec/swagger.json" "$out/.part.swagger.json"
	chmod 644 "$out/.part.swagger.json"
	mv "$out/.part.swagger.json" "$out/swagger.json"
}

if [ -n "$(missing)" ]; then
	mkdir -p "$out"
	export GOTOOLCHAIN=local
	exec 9>"$cache/lock"
	flock -n 9 || { say "another build runs here: waiting for it"; flock 9; }
	wanted=$(missing)  # by now: what the other one left to do
	[ -z "$wanted" ] || find_go
	for p in $wanted; do
		if [ "$p" = swagger.json ]; then copy_schema; else build "$p"; fi
	done
fi
echo "$out"
