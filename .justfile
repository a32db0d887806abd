# The steps of .ci/run, by hand. `just` alone lists them.

_default:
    @just --list

# Everything that CI does, in its order.
ci:
    .ci/run

# Formatting of everything.
format:
    .ci/run format

# Lints, warnings refused.
clippy:
    .ci/run clippy

# The documentation of the public API, warnings refused.
doc:
    .ci/run doc

# No features, and each feature alone.
features:
    .ci/run features

# Every fuzz target for SECONDS.
fuzz SECONDS="30":
    FUZZ_SECONDS={{SECONDS}} .ci/run fuzz

# Every example.
examples:
    .ci/run examples

# Every bench at a tiny size, to see that it runs.
benches:
    .ci/run benches

# Every bench at its full size, for its numbers.
bench:
    cargo bench --workspace --bench '*'

# The page on performance: this machine, which should do nothing else, and the peers (`just performance-peers`).
performance:
    cargo bench --bench compare -- --out docs/performance/votive.json
    cargo run --quiet --package votive-report

# The same work by the peers, which are installed for it.
performance-peers:
    benches/peers/run
    cargo run --quiet --package votive-report

# All tests; the servers that they need must be installed.
test:
    .ci/run test

# The crash, model and fuzz tests for much longer than CI has time for: processes die for MINUTES, and at
# each point ten times at least; servers are killed and connections fail as often as told.
soak MINUTES="60" SERVER_KILLS="50" FAULTS="500" OUTAGES="10000" CASES="1000000" SECONDS="3600":
    VOTIVE_REQUIRE_SERVERS=1 VOTIVE_SOAK_MINUTES={{MINUTES}} VOTIVE_KILLS=10 cargo test --release --test crash -- --nocapture --test-threads=1 matrix::
    VOTIVE_REQUIRE_SERVERS=1 VOTIVE_SERVER_KILLS={{SERVER_KILLS}} VOTIVE_FAULTS={{FAULTS}} cargo test --release --test crash -- --nocapture faults::
    VOTIVE_OUTAGES={{OUTAGES}} cargo test --release --test crash -- --nocapture power::
    PROPTEST_CASES={{CASES}} cargo test --release --test model -- --nocapture
    FUZZ_SECONDS={{SECONDS}} .ci/run fuzz
