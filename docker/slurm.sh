#!/bin/bash
# One allocation is a Ray cluster; what its time does not suffice for goes on in the next one.
#
#   sbatch docker/slurm.sh --study my_study.yaml          options of tune/run.py but --address
#
# To be submitted from the checkout, on a file system that all nodes mount. docs/cluster.md
#SBATCH --job-name=plml --output=plml-%j.txt --open-mode=append
#SBATCH --nodes=4 --ntasks-per-node=1 --gpus-per-node=4 --cpus-per-task=16 --time=08:00:00
#SBATCH --signal=B:USR1@300 --requeue
set -u
cd "${SLURM_SUBMIT_DIR:-.}" || exit 2
export PATH="${VIRTUAL_ENV:-$PWD/.venv}/bin:$PATH"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.plml-ray-token}"
[ -s "$RAY_AUTH_TOKEN_PATH" ] || (umask 077; openssl rand -hex 32 >"$RAY_AUTH_TOKEN_PATH") || exit 2
RAY_TMPDIR=$(env -u TMPDIR mktemp -d -t plml-XXXXXX) || exit 2   # short, whatever TMPDIR is: names of sockets are limited
export RAY_TMPDIR

head=${PLML_HEAD_IP:-$(hostname -i | cut -d' ' -f1)}   # set PLML_HEAD_IP where nodes have several networks
port=$((20000 + SLURM_JOB_ID % 10000))                 # jobs that share a node do not meet
# What Slurm gave, not what the machine has.
size=(--num-cpus "${SLURM_CPUS_PER_TASK:-1}" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" --disable-usage-stats)

# With --block, so that each part ends with its own process: `ray stop` would end every Ray of yours on a node.
ray start --head --block --node-ip-address "$head" --port "$port" --include-dashboard false "${size[@]}" \
    >"$RAY_TMPDIR/head.txt" 2>&1 &
ray=$!
until (exec 3<>"/dev/tcp/$head/$port") 2>/dev/null; do
    kill -0 "$ray" 2>/dev/null || { cat "$RAY_TMPDIR/head.txt" >&2; exit 1; }
    sleep 1
done
# Nodes that come late are used when they come.
workers=
if [ "$SLURM_NNODES" -gt 1 ]; then
    rest=$((SLURM_NNODES - 1))
    srun --nodes="$rest" --ntasks="$rest" --exclude="$SLURMD_NODENAME" \
        ray start --block --address "$head:$port" "${size[@]}" >"$RAY_TMPDIR/workers.txt" 2>&1 &
    workers=$!
fi

python tune/run.py --address "$head:$port" "$@" &
study=$!
time_is_up=
trap 'time_is_up=1; kill -USR1 "$study"' USR1
trap 'kill -USR1 "$study"' TERM
wait "$study"; code=$?
while kill -0 "$study" 2>/dev/null; do wait "$study"; code=$?; done   # a signal ends `wait`, not the study
trap - USR1 TERM

kill $workers "$ray" 2>/dev/null
wait
rm -rf "$RAY_TMPDIR"
# Not after other reasons to stop, such as a full disk: nothing would be different the next time.
[ "$code" -ne 4 ] || [ -z "$time_is_up" ] || scontrol requeue "$SLURM_JOB_ID"
exit "$code"
