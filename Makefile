# The project's front door; `make` alone lists what it opens.

# nextest where it is installed: it runs the tests of all crates side by side, each in a process of its own.
RUN_TESTS := $(shell cargo nextest --version >/dev/null 2>&1 && echo 'cargo nextest run --no-fail-fast' || echo 'cargo test --no-fail-fast --lib --bins --tests')

.PHONY: help run test prove lint bench clean-data

help: ## list what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and start everything for a first look, seeded with a demo (ARGS="…" are passed on)
	@scripts/prerequisites run
	cargo build --release -p gateway -p admin-api -p backends
	@exec ./target/release/gateway quickstart $(ARGS)

test: ## check format and lints, then run all tests, with a Postgres of their own
	@scripts/prerequisites test
	@$(MAKE) --no-print-directory lint
	cargo test --quiet --workspace --doc
	tests/with-servers $(RUN_TESTS) --workspace

prove: ## run the tests with the full counts of the promises (takes long)
	@scripts/prerequisites test
	GATEHOUSE_PROVE=1 tests/with-servers $(RUN_TESTS) --workspace

lint: ## check format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

bench: ## run the micro benches (ARGS="…" are passed on)
	@scripts/prerequisites run
	cargo bench -p benches $(ARGS)

clean-data: ## forget what was written to data/ by earlier runs
	rm -rf data
