#!/usr/bin/env bash
# All that has to be seen on a GPU, in one sitting of at most 8 minutes, from a bare checkout and without a network:
#
#     tests/gpu/run.sh [RESULTS_FOLDER]                          (default: tests/gpu/results)
#     MEANDRIFT_DEVICE=cpu tests/gpu/run.sh RESULTS_FOLDER       a dry run, everything tiny
#
# Each part is a process of its own with a time box and leaves NAME.json in the folder, whatever becomes of it. A part
# that is ok there already is not run again, and one whose box does not fit into the rest of the sitting waits for the
# next. README.md says how to read the files. A new part is a file tests/gpu/NAME.py and a line `part NAME SECONDS`.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
results=${1:-$here/results}
mkdir -p "$results" && results=$(cd "$results" && pwd) || exit 2
cd "$here/../.." || exit 2

export PYTHONPATH=. MEANDRIFT_DEVICE=${MEANDRIFT_DEVICE:-cuda}
deadline=$(($(date +%s) + ${MEANDRIFT_SITTING:-470}))
sitting() { "${PYTHON:-python3}" tests/gpu/sitting.py "$results" "$@"; }
part() { sitting run "$1" --seconds "$2" --deadline "$deadline"; }

# In order of worth. The boxes, and 5 s each to end a process, fit into one sitting.
part gpu_tests 140
part silence 110
part ratios 200
sitting summary gpu_tests silence ratios
