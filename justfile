# What there is to run; `just --list` shows it. What needs more than a line or two is a script in deploy/scripts.

set positional-arguments

# List what there is
[private]
default:
    @just --list --unsorted

# Make deploy/.env with fresh secrets; NAME=VALUE fills in the rest: just init DOMAIN=mcp.example.com
[group('begin')]
init *settings:
    deploy/scripts/init "$@"

# Start everything (makes deploy/.env if there is none), wait until all is well, and print the URLs to paste
[group('begin')]
up:
    deploy/scripts/up

# Try the gateway on this computer without containers, with its built-in MCP server
[group('begin')]
demo *arguments:
    cargo run --release --locked -- demo "$@"

# Stop everything; clients and grants stay
[group('run')]
down:
    deploy/scripts/compose down --remove-orphans

# Restart everything, or one service
[group('run')]
restart *services:
    deploy/scripts/compose restart -t 45 "$@"
    deploy/scripts/await

# Build the images anew from these sources, and run them
[group('run')]
rebuild *services:
    deploy/scripts/compose build "$@"
    deploy/scripts/up

# Fetch the images that are not built here
[group('run')]
pull:
    deploy/scripts/compose pull redis

# Run a command in a service's container: just exec gateway portcullis client list
[group('run')]
exec service *command:
    deploy/scripts/exec "$@"

# Open a shell at a service; beside it where its image has none
[group('run')]
shell service='gateway':
    deploy/scripts/shell "$@"

# List the containers
[group('look')]
ps:
    deploy/scripts/compose ps

# Follow the logs, of all or of one service
[group('look')]
logs *service:
    deploy/scripts/compose logs --tail 200 --follow "$@"

# Say what each container uses
[group('look')]
stats:
    deploy/scripts/stats

# Say how the gateway, its services and certificates stand
[group('look')]
status:
    deploy/scripts/status

# Say whether everything is well; fails if not
[group('look')]
health-check:
    deploy/scripts/health-check

# Look for what is wrong, and say why and what to do: just doctor --service todo
[group('look')]
doctor *arguments:
    deploy/scripts/doctor "$@"

# Write what whoever helps needs to know into one text file, without secrets: deploy/portcullis-support-DATE.txt
[group('look')]
diagnostic-bundle *file:
    deploy/scripts/diagnostic-bundle "$@"

# Say which version runs
[group('look')]
version:
    deploy/scripts/version

# Say what is missing or weak in deploy/.env
[group('check')]
check-env:
    deploy/scripts/check-env

# Say who holds the ports that the gateway needs
[group('check')]
check-ports:
    deploy/scripts/check-ports

# Try whether containers reach what they need, and nothing else
[group('check')]
check-network:
    deploy/scripts/check-network

# Say what is wrong with the gateway's configuration
[group('check')]
validate-config:
    deploy/scripts/compose run --rm --no-deps -T gateway check

# Say whether every installed Compose understands the files
[group('check')]
validate-compose:
    deploy/scripts/validate-compose

# Copy everything that the gateway keeps to deploy/backups, while it runs
[group('keep')]
backup *file:
    deploy/scripts/backup "$@"

# Put a backup in place of what the gateway keeps
[group('keep')]
restore file:
    deploy/scripts/restore "$@"

# Change the secret key and the password of Redis; nobody is signed out
[group('keep')]
rotate-secrets:
    deploy/scripts/rotate-secrets

# Delete containers, networks, volumes and images; asks first (just clean-all yes does not)
[group('keep')]
clean-all *yes:
    deploy/scripts/clean-all "$@"

# Every rung of the tests, as CI runs it; `just test quick` leaves the slow ones out
[group('develop')]
test *arguments:
    tests/run {{ arguments }}

# Format, clippy and shellcheck
[group('develop')]
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    deploy/scripts/lint

# Portcullis side by side with nginx, HAProxy and Caddy, on a quiet machine; `just bench --help` has its arguments
[group('develop')]
bench *arguments:
    cargo build --release --locked
    tests/bench/run {{ arguments }}

# The same in a minute or two, to see whether it works: its figures mean little
[group('develop')]
bench-quick: (bench "--quick")

# Instructions of a request by callgrind: with few and many services and grants, which must cost the same
[group('develop')]
micro *arguments:
    cargo build --profile perf --locked
    tests/bench/instructions --binary ${CARGO_TARGET_DIR:-target}/perf/portcullis {{ arguments }}
