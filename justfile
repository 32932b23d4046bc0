# What there is to run; `just --list` shows it.

# Every rung of the tests, as CI runs it; `just test quick` leaves the slow ones out
test *arguments:
    tests/run {{ arguments }}

# Portcullis side by side with nginx, HAProxy and Caddy, on a quiet machine; `just bench --help` has its arguments
bench *arguments:
    cargo build --release --locked
    tests/bench/run {{ arguments }}

# The same in a minute or two, to see whether it works: its figures mean little
bench-quick: (bench "--quick")

# Instructions of a request by callgrind: with few and many services and grants, which must cost the same
micro *arguments:
    cargo build --profile perf --locked
    tests/bench/instructions --binary ${CARGO_TARGET_DIR:-target}/perf/portcullis {{ arguments }}
