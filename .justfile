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

# All tests; the servers that they need must be installed.
test:
    .ci/run test

# The crash, model and fuzz tests for much longer than CI has time for.
soak CRASHES="100000" OUTAGES="10000" CASES="1000000" SECONDS="3600":
    VOTIVE_CRASHES={{CRASHES}} VOTIVE_OUTAGES={{OUTAGES}} cargo test --release --test crash -- --nocapture
    PROPTEST_CASES={{CASES}} cargo test --release --test model -- --nocapture
    FUZZ_SECONDS={{SECONDS}} .ci/run fuzz
