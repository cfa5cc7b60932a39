# Every command a person or CI runs. `make` alone prints them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# By the environment, so that any folder's name arrives as it is.
export DIR ?= .
export BROKER ?= embedded
N ?= 4
ARGS ?=
SEEDS ?= 1000000
export SECONDS_EACH ?= 60
# The packages of the workspace that need no broker for their tests.
UNIT := --workspace --exclude homing-tests
# Tests that are to be large have no limit of time.
ifdef HOMING_TEST_SCALE
export NEXTEST_PROFILE ?= long
endif
# Programs that tests start can be made to fail. Others cannot: what is built
# without this has nothing of `faults/`.
FAULTS := --features homing-tests/faults
# Runs a command beside a private PostgreSQL.
POSTGRES := scripts/postgres run "$$(mktemp -d)"

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Set up, and run the whole pipeline on real files (DIR=folder BROKER=rabbitmq)
	@scripts/demo "$$DIR"

.PHONY: test
test: binaries ## Pass all tests, on private servers or AMQP_URL (RABBITMQ=4.3: delivery)
	@scripts/setup python
	@scripts/setup nextest
	@scripts/setup postgres
	@if [[ -n "$${RABBITMQ:-}" ]]; then \
		scripts/setup rabbitmq "$$RABBITMQ"; \
		$(POSTGRES) scripts/node run "$$(mktemp -d)" cargo nextest run --profile rabbitmq --package homing-tests --locked $(FAULTS) $(ARGS); \
		exit; \
	elif [[ -n "$${AMQP_URL:-}" ]]; then \
		HOMING_TEST_BROKER="$$AMQP_URL" $(POSTGRES) cargo nextest run --workspace --locked $(FAULTS) $(ARGS); \
	else \
		$(POSTGRES) scripts/node run "$$(mktemp -d)" cargo nextest run --workspace --locked $(FAULTS) $(ARGS); \
	fi; \
	cargo test --doc --workspace --exclude homing-simulation --locked --quiet $(FAULTS)

.PHONY: test-embedded
test-embedded: binaries ## Pass the delivery tests on the embedded broker, in a file and in memory
	@scripts/setup nextest
	@scripts/setup postgres
	@HOMING_TEST_BROKER=sqlite: $(POSTGRES) cargo nextest run --profile embedded --package homing-tests --locked $(FAULTS) $(ARGS)
	@HOMING_TEST_BROKER=memory: cargo nextest run --profile memory --package homing-tests --locked $(FAULTS)

.PHONY: chaos
chaos: binaries ## Run the pipeline under faults of every kind (MINUTES= RUNS= KINDS= SEED=)
	@if [[ -n "$${RABBITMQ:-}" ]]; then scripts/setup rabbitmq "$$RABBITMQ"; fi
	@"$${CARGO_TARGET_DIR:-target}/debug/chaos" --minutes "$(MINUTES)" --runs "$(RUNS)" --kinds "$(KINDS)" \
		--seed "$(SEED)" --json "$(JSON)" $(ARGS)

.PHONY: sabotage
sabotage: binaries ## Break each guarantee on purpose, and fail unless it is noticed (SEED=)
	@"$${CARGO_TARGET_DIR:-target}/debug/chaos" --sabotage --seed "$(SEED)" $(ARGS)

.PHONY: test-unit
test-unit: ## Pass the tests that need no broker
	@scripts/setup nextest
	@scripts/setup postgres
	@$(POSTGRES) cargo nextest run $(UNIT) --locked --features homing-faults/enabled $(ARGS)

.PHONY: upgrade
upgrade: binaries ## Run an earlier version's programs beside this one's (OLD=v1.2.3)
	@scripts/setup nextest
	@scripts/upgrade $(ARGS)

.PHONY: binaries
binaries: ## Build the programs that the tests start
	@scripts/setup
	@cargo build --workspace --bins --locked $(FAULTS)

.PHONY: build
build: ## Build `homing`, release
	@scripts/setup
	@# The packages of `make demo`, so that nothing is built twice.
	@cargo build --release --locked --package homing-cli --package homing-examples --bin homing

.PHONY: workers
workers: build ## Run N worker processes against AMQP_URL (N=8, ARGS='--run KIND=COMMAND')
	@$${CARGO_TARGET_DIR:-target}/release/homing worker --processes $(N) $(if $(ARGS),$(ARGS),--run demo.words=examples/words.sh)

.PHONY: tail
tail: build ## Print outcomes as they are stored
	@$${CARGO_TARGET_DIR:-target}/release/homing tail --follow $(ARGS)

.PHONY: simulate
simulate: ## Run the state machines in worlds that break (SEEDS=1000000)
	@scripts/setup
	@cargo run --release --locked --quiet --package homing-simulation -- --seeds $(SEEDS) --jobs "$$(nproc)" $(ARGS)

.PHONY: fuzz
fuzz: ## Look for bytes that break a reader (SECONDS_EACH=60 or RUNS_EACH=, BYTES_MAX=, TARGETS='msgpack json')
	@scripts/fuzz $(TARGETS)

.PHONY: examples
examples: ## Run every example, with its results checked
	@scripts/setup
	@scripts/setup python
	@scripts/examples
	@scripts/test-init

.PHONY: test-init
test-init: ## Write a crate with `homing init`, test it and run it
	@scripts/setup
	@scripts/test-init

.PHONY: tutorial
tutorial: ## Run every command of docs/tutorial.md, with its output compared
	@scripts/setup
	@scripts/setup postgres
	@$(POSTGRES) scripts/node run "$$(mktemp -d)" scripts/tutorial $(ARGS)

.PHONY: bench
bench: ## Measure Homing beside the bare protocol, on a private RabbitMQ
	@scripts/setup
	@scripts/bench $(ARGS)

.PHONY: bench-check
bench-check: ## Measure again, and fail if a ratio is worse than what is kept (ARGS=--renew)
	@scripts/bench --check bench/ratios.json --rounds 3 --tasks 50000 --backlog 50000 --bundled 200000 $(ARGS)

.PHONY: bench-peers
bench-peers: ## Measure Homing beside Celery, Dramatiq and BullMQ (ARGS='--only celery')
	@scripts/bench-peers $(ARGS)

.PHONY: check
check: fmt-check lint doc deps test-unit ## Everything that needs no broker

.PHONY: fmt-check
fmt-check: ## Check the format
	@cargo fmt --all --check

.PHONY: lint
lint: ## Run clippy, warnings denied
	@cargo clippy --workspace --all-targets --locked $(FAULTS) -- -D warnings

.PHONY: doc
doc: ## Build the documentation, warnings denied
	@RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

.PHONY: deps
deps: ## Check the rules on dependencies, and the tests that docs/faults.md names
	@scripts/check-deps
	@scripts/check-docs

.PHONY: clean-demo
clean-demo: ## Remove what the demo left in .demo/ (outcomes stay in homing.db)
	@scripts/node remove .demo/broker 2>/dev/null || true
	@rm -rf .demo
