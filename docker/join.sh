#!/bin/sh
# Joins a Ray cluster with this container, which trains nothing itself, and becomes the given command.
# A driver must be on a machine of the cluster.
set -eu
[ $# -gt 0 ] || { echo "usage: RAY_HEAD=HOST:PORT join.sh COMMAND ..." >&2; exit 2; }
: "${RAY_HEAD:?must be HOST:PORT of the cluster's head}"
said=$(mktemp)
ray start --address "$RAY_HEAD" --num-cpus 0 --num-gpus 0 --object-store-memory 134217728 --disable-usage-stats \
    --log-color false >"$said" 2>&1 || { cat "$said" >&2; exit 1; }
rm "$said"
exec "$@"
