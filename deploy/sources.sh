#!/bin/sh
# sources.sh [DIRECTORY]: prints the sources of Debian 12 that DIRECTORY (default /etc/apt) names, a line each, as
# `deb ADDRESS SUITE main`: bookworm, bookworm-updates and bookworm-security, whichever are there, and each once.
# It reads both forms, sources.list and *.sources, and passes over what is switched off and what is not Debian's.
set -eu
cd "${1:-/etc/apt}"
set --
for file in sources.list sources.list.d/*.list sources.list.d/*.sources; do
	[ ! -f "$file" ] || set -- "$@" "$file"
done
[ $# -gt 0 ] || exit 0
exec awk '
function add(address, suites, parts, s, n, i)
{
	n = split(suites, s, " ")
	for (i = 1; i <= n; i++)
		if (s[i] ~ /^bookworm(-updates|-security)?$/ && (" " parts " ") ~ / main / && !seen[s[i]]++)
			print "deb " address " " s[i] " main"
}
function paragraph(a, n, i)
{
	n = split(uris, a, " ")
	if (n > 0 && types ~ /(^| )deb( |$)/ && enabled != "no")
		add(a[1], suites, parts)
	types = uris = suites = parts = enabled = ""
}
function rest() { sub(/^[^:]*:[ \t]*/, ""); return $0 }
FNR == 1 { paragraph() }
/^[ \t]*#/ { next }
FILENAME ~ /\.list$/ && $1 == "deb" {
	sub(/^[ \t]*deb[ \t]+(\[[^]]*\][ \t]+)?/, "")
	address = $1; suite = $2; $1 = $2 = ""
	add(address, suite, $0)
}
FILENAME ~ /\.list$/ { next }
/^[ \t]*$/ { paragraph(); next }
tolower($0) ~ /^types:/ { types = rest() }
tolower($0) ~ /^uris:/ { uris = rest() }
tolower($0) ~ /^suites:/ { suites = rest() }
tolower($0) ~ /^components:/ { parts = rest() }
tolower($0) ~ /^enabled:/ { enabled = tolower(rest()) }
END { paragraph() }
' "$@"
