#!/bin/sh
# Prints C that holds the SQL files given as arguments (NNNN_name.sql): struct migration of migrations.h.
set -eu

cat <<'HEAD'
#include "migrations.h"

const struct migration migrations[] = {
HEAD
want=1
for file in "$@"; do
	base=${file##*/}
	base=${base%.sql}
	number=$(printf '%s' "${base%%_*}" | sed 's/^0*//')
	if [ "$number" != "$want" ]; then
		echo "embed.sh: $file: expected migration number $want" >&2
		exit 1
	fi
	printf '\t{%s, "%s",\n' "$number" "${base#*_}"
	sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g' -e 's/^/\t    "/' -e 's/$/\\n"/' "$file"
	printf '\t},\n'
	want=$((want + 1))
done
cat <<'TAIL'
};

const unsigned migrations_n = sizeof(migrations) / sizeof(migrations[0]);
TAIL
