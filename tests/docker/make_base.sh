#!/usr/bin/env bash
# Gives the engine at DOCKER_HOST a base image for the Dockerfile and prints its name: the one of the Dockerfile where a
# registry is reachable, else a Debian made by debootstrap (root), with this machine's certificates.
set -euo pipefail

official=$(sed -n 's/^ARG BASE=//p' "$(dirname "$0")/../../Dockerfile")
if docker image inspect albench-base >/dev/null 2>&1; then echo albench-base; exit 0; fi
if timeout 120 docker pull --quiet "$official" >&2; then echo "$official"; exit 0; fi
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
echo "no registry: Debian from its archive" >&2
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$root" >&2
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
tar -C "$root" -c . | docker import - albench-base >&2
echo albench-base
