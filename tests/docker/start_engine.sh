#!/usr/bin/env bash
# Starts a Docker engine of its own in FOLDER and prints its address; needs root on Debian, no registry and no bridge.
#   DOCKER_HOST=$(tests/docker/start_engine.sh FOLDER)
#   tests/docker/start_engine.sh --stop FOLDER
# FOLDER holds everything: images, socket, log, pid. Its path must be short (a socket's name has 107 characters).
set -euo pipefail

if [ "${1:-}" = --stop ]; then
    pid=$(cat "$2/pid" 2>/dev/null) || exit 0
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 300); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
    umount "$2"/exec/netns/* 2>/dev/null || true # what it leaves mounted keeps its folder from being removed
    exit 0
fi

folder=$1
[ "$(id -u)" = 0 ] || { echo "only root can start an engine" >&2; exit 3; }
command -v dockerd >/dev/null || { echo "dockerd is not installed (Debian: docker.io)" >&2; exit 3; }
mkdir -p "$folder"
socket="$folder/docker.sock"
if [ -f "$folder/pid" ] && kill -0 "$(cat "$folder/pid")" 2>/dev/null; then
    echo "unix://$socket"
    exit 0
fi
rm -f "$folder/pid" "$socket"
setsid dockerd --bridge=none --iptables=false --exec-opt native.cgroupdriver=cgroupfs \
    --data-root "$folder/data" --exec-root "$folder/exec" --host "unix://$socket" --pidfile "$folder/pid" \
    >>"$folder/log" 2>&1 </dev/null &
for _ in $(seq 300); do
    if [ -S "$socket" ] && curl -fsS --max-time 2 --unix-socket "$socket" http://engine/_ping >/dev/null 2>&1; then
        echo "unix://$socket"
        exit 0
    fi
    kill -0 $! 2>/dev/null || break
    sleep 0.1
done
tail -n 20 "$folder/log" >&2
exit 3
