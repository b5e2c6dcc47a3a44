# What a newcomer, a reviewer and the continuous integration run. `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run release test lint docs conformance sim sim-mutants limits micro bench operate runtimes

CARGO ?= cargo
# Theirs alone: what the relays of benches/runtimes depend on is built for nobody else.
RUNTIMES = $(CURDIR)/benches/runtimes/target
RELAYS = runtime-uring,runtime-epoll,runtime-monoio,runtime-glommio,runtime-tokio
BINARY = $${CARGO_TARGET_DIR:-target}/release/shardgate

help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 28

run: ## Build, and serve config/quickstart.yaml with its origin; Ctrl-C drains and ends both
	$(CARGO) build --release --bin shardgate
	@scripts/run.sh "$(BINARY)"

release: ## Build what is shipped, laid out by what it does under load: shipped/shardgate in the target folder
	scripts/release.sh

test: ## Install what the tests need, check form and lints, run every test
	scripts/install-test-tools.sh
	@$(MAKE) --no-print-directory lint
	SHARDGATE_TEST_EVENT_LOOP=epoll $(CARGO) test --workspace --no-fail-fast
	SHARDGATE_TEST_EVENT_LOOP=uring $(CARGO) test --workspace --test e2e --no-fail-fast

lint: ## Check form, lints and the links of the documentation only
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --document-private-items

docs: ## Write docs/policies.md and docs/shardgate.schema.json anew from the comments in src
	SHARDGATE_RENDER=1 $(CARGO) test --test docs --test schema

conformance: ## Run the outside judges: make conformance VECTORS=DIR
	@[ -n "$(VECTORS)" ] || { echo 'say where the vectors are: make conformance VECTORS=DIR' >&2; exit 2; }
	@[ -d "$(VECTORS)" ] || { echo 'VECTORS=$(VECTORS) is not a folder' >&2; exit 2; }
	VECTORS="$(abspath $(VECTORS))" $(CARGO) test --features conformance --test conformance -- --nocapture

sim: ## Simulate the whole gateway: make sim SEEDS=N, or SEED=X to replay one
	$(if $(SEEDS),SHARDGATE_SEEDS=$(SEEDS)) $(if $(SEED),SHARDGATE_SEED=$(SEED)) $(CARGO) test --release --test sim -- --nocapture

sim-mutants: ## Show that the simulation finds twenty planted bugs
	tests/sim/mutants/run.sh

limits: ## Judge the limits of simulated shards and nodes: make limits SEEDS=N; then every order of their slots' changes
	$(if $(SEEDS),SHARDGATE_SEEDS=$(SEEDS)) $(CARGO) test --release --test limits --test nodes -- --nocapture
	$(CARGO) test -p loom-ledger --test slots

micro: ## Time small things: a head, a path, a route, a timer, the board, a mailbox, a limit
	$(CARGO) build --release -p micro
	@for bench in $${CARGO_TARGET_DIR:-target}/release/micro-*; do \
		case $$bench in *.d) continue ;; esac; \
		echo "$${bench##*/}"; "$$bench"; \
	done

bench: ## Measure beside the floor, nginx and HAProxy; writes loadtest/results/
	scripts/install-test-tools.sh bench
	scripts/release.sh
	SHARDGATE_ALLOCATIONS=$(CURDIR)/loadtest/results/allocations.json $(CARGO) test --test allocations
	loadtest/compare --gateway "$${CARGO_TARGET_DIR:-target}/shipped/shardgate"

operate: ## Measure what shards, scrapes, reloads and restarts cost under load; writes loadtest/results/
	$(CARGO) build --release -p shardgate -p floor
	loadtest/operate

runtimes: ## Compare our runtime with monoio, glommio and tokio on the same relay; writes loadtest/results/
	scripts/install-test-tools.sh bench
	$(CARGO) build --release -p floor
	CARGO_TARGET_DIR=$(RUNTIMES) $(CARGO) build --release --manifest-path benches/runtimes/Cargo.toml
	loadtest/compare --only counts,cpu --proxies floor,$(RELAYS) --runtimes $(RUNTIMES)/release
