# shellcheck shell=bash
# What the scripts beside this one share. Sourced, not run.

set -euo pipefail

deploy=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scripts=$deploy/scripts
env_file=$deploy/.env

# Ends with what is wrong and what to do about it.
die() {
    printf 'portcullis: %s\n' "$1" >&2
    shift
    (($# == 0)) || printf '  %s\n' "$@" >&2
    exit 1
}

say() { printf '== %s\n' "$*"; }

# The value of a name in .env, or nothing.
value() {
    local line
    [[ -f $env_file ]] || return 0
    line=$(grep -E "^$1=" "$env_file" | tail -n 1) || return 0
    line=${line#*=}
    # `portcullis init` writes single quotes; people write either.
    case $line in
        \'*\' | \"*\") line=${line:1:${#line}-2} ;;
    esac
    printf '%s' "$line"
}

# Puts NAME=VALUE into .env, in place of what the name had; whoever reads the file meanwhile sees the old or the new one.
assign() {
    local new
    new=$(umask 077 && mktemp "$deploy/.env.XXXXXX")
    # In the environment, which others cannot read as they can a command line; and -v would interpret backslashes.
    name=$1 value=$2 awk '
        index($0, ENVIRON["name"] "=") == 1 { if (!done) print ENVIRON["name"] "=" ENVIRON["value"]; done = 1; next }
        { print }
        END { if (!done) print ENVIRON["name"] "=" ENVIRON["value"] }' "$env_file" >"$new"
    mv "$new" "$env_file"
}

# Takes a name out of .env.
withdraw() {
    local new
    new=$(umask 077 && mktemp "$deploy/.env.XXXXXX")
    awk -v name="$1" 'index($0, name "=") != 1' "$env_file" >"$new"
    mv "$new" "$env_file"
}

# 64 hexadecimal digits.
fresh() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# How it is run: `domain`, or `local` with the identity `dev` or `github`.
mode() { if [[ -n $(value DOMAIN) ]]; then echo domain; else echo local; fi; }
identity() { if [[ -n $(value GITHUB_CLIENT_ID) ]]; then echo github; else echo dev; fi; }

# The configuration in use, and the origin at which people sign in.
configuration() {
    if [[ $(mode) == domain ]]; then echo portcullis.yaml; else echo "$(identity).yaml"; fi
}
issuer() {
    if [[ $(mode) == domain ]]; then echo "https://auth.$(value DOMAIN)"; else echo "http://localhost:$(port)"; fi
}
port() { local it; it=$(value PORTCULLIS_PORT) && echo "${it:-8080}"; }

# The services' names: one file each.
services() {
    local file
    for file in "$deploy/config/$(mode)"/services.d/*.yaml; do basename "$file" .yaml; done
}

# What people paste into their MCP clients, with the variables put in.
url() {
    local it
    it=$(sed -n 's/^url: *//p' "$deploy/config/$(mode)/services.d/$1.yaml")
    it=${it//\$\{DOMAIN\}/$(value DOMAIN)}
    echo "${it//\$\{PORTCULLIS_PORT\}/$(port)}"
}

compose() { "$scripts/compose" "$@"; }

# The name that containers, networks and volumes begin with.
project=${COMPOSE_PROJECT_NAME:-portcullis}

# The id of a service's container, or nothing. The engine is asked and not Compose, one of which takes a second to say it.
container() {
    local ids
    ids=$(docker ps -aq --no-trunc --filter "label=com.docker.compose.project=$project" \
        --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False) || { need_docker; exit 1; }
    printf '%s\n' "${ids%%$'\n'*}"
}

running() {
    local id
    id=$(container "$1") || exit 1
    [[ -n $id && $(docker inspect -f '{{.State.Running}}' "$id") == true ]]
}

# healthy, starting, unhealthy; running where there is no health check; or why it does not run.
health() {
    local id
    id=$(container "$1") || exit 1
    [[ -n $id ]] || { echo absent; return; }
    docker inspect -f '{{if not .State.Running}}{{.State.Status}}{{else if .State.Health}}{{.State.Health.Status}}{{else}}running{{end}}' "$id"
}

# Waits until all are well.
await() {
    local service services state said left=${PORTCULLIS_WAIT:-120} bad
    services=$(compose config --services)
    while :; do
        bad=()
        for service in $services; do
            state=$(health "$service")
            [[ $state == healthy || $state == running ]] || bad+=("$service is $state")
        done
        # Alive is not yet ready: with a domain, the certificates are still to come.
        if ((${#bad[@]} == 0)); then
            if said=$(docker exec "$(container gateway)" portcullis health --ready 2>&1); then return 0; fi
            bad=("$said")
        fi
        ((left-- > 0)) || break
        sleep 1
    done
    die "not everything is well: $(printf '%s; ' "${bad[@]}")" \
        "just logs SERVICE          says why" \
        "just validate-config       says what is wrong with the configuration"
}

need_docker() {
    docker info >/dev/null 2>&1 || die "the Docker engine cannot be reached" \
        "systemctl start docker, or: sudo usermod -aG docker \$USER"
}
need_env() { [[ -f $env_file ]] || die "there is no deploy/.env" "just init     makes one with fresh secrets"; }
need_running() { running "$1" || die "$1 does not run" "just up       starts everything" "just logs $1     says why it ended"; }
