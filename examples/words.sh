#!/bin/sh
# Counts the lines, words and bytes of a file: the command of `make demo`.
#
# A command for `homing worker --run KIND=COMMAND` reads the payload as JSON on
# stdin, here {"path":"FILE"}, and writes its output as JSON to stdout. Exit
# status 65 says that trying again is no use.

# In JSON a backslash and a quotation mark have a backslash before them.
path=$(sed -e 's/^{ *"path" *: *"//' -e 's/" *} *$//' -e 's/\\\(["\\]\)/\1/g')

if [ ! -f "$path" ] || [ ! -r "$path" ]; then
    printf 'no such file: %s\n' "$path" >&2
    exit 65
fi
counts=$(wc -lwc <"$path") || exit 1
# Three numbers, which is why they are not quoted.
# shellcheck disable=SC2086
printf '{"lines":%d,"words":%d,"bytes":%d}\n' $counts
