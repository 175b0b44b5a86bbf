# The only entry points; CI calls them too. `make help` lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help

CARGO ?= cargo
PROGRAMS := -p agent -p controller -p client
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)

.PHONY: help setup build demo test soak older bench fuzz profile lint deny contract fmt package apt-tree package-test clean-labs

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install the Debian packages that building and testing need
	@deploy/setup.sh

build: setup ## Build the programs
	$(CARGO) build --locked $(PROGRAMS) --bins

# One build of three programs and the demo, and nothing else; run as it is, because `cargo run` would build it once more
# with the features of one crate alone.
demo: setup ## Show a fleet at work: closed, knock, open, replay refused everywhere, the auditor's answer
	$(CARGO) build --locked $(PROGRAMS) -p harness --bins
	@$(TARGET)/debug/demo

# Programs and tests in one build, so that the suite runs programs made with the same features as the tests.
test: setup ## Prove it: every test of the workspace and the suite in network namespaces (needs root)
	$(CARGO) build --workspace --locked --bins --tests
	@tests/run-tests.sh

# The same programs and tests; the sizes are in these variables. One at a time: they measure.
soak: setup ## The slow proofs at full size, an hour or so: kill -9 during 10,000 grants, disks, floods, the model
	$(CARGO) build --workspace --locked --bins --tests
	POSTERN_SOAK=1 POSTERN_SOAK_PRODUCT=1 POSTERN_SOAK_GRANTS=10000 POSTERN_SOAK_EVENTS=5000000 POSTERN_SOAK_FLOOD=1200000 \
		POSTERN_MODEL_DEPTH=13 POSTERN_FLEET_DEPTH=1 tests/run-tests.sh

# Before a release, and whenever a step is added to the schema: it writes migrations/older/N.sql, which tests read.
older: setup ## Prove it: a controller of the schema before beside one of this, over one PostgreSQL (needs root and the history)
	$(CARGO) build --locked $(PROGRAMS) -p suite --bins
	@tests/older.sh

# make bench ARGS="E1 E4 --servers postern"; every number is also a line of target/bench.jsonl.
bench: setup ## Measure (release build, needs root): the table of the gate under fire; ARGS="E9 E11" for a part
	$(CARGO) build --locked $(PROGRAMS) -p bench --bins --release
	POSTERN_BIN_DIR=$(TARGET)/release $(TARGET)/release/bench --json $(TARGET)/bench.jsonl $(ARGS)

# make fuzz ARGS="packet 10000000": one target, so many times; without, each of them a million times.
fuzz: setup ## Feed every reader of others' bytes with what breaks it, guided by coverage (release build)
	@tests/fuzz/run.sh $(ARGS)

profile: setup ## Where the time of one experiment goes (perf, needs root); ARGS="E4a"
	$(CARGO) build --locked $(PROGRAMS) -p bench --bins --release
	@tests/bench/profile.sh $(ARGS)

lint: setup ## Formatting, clippy, documentation and its examples, what is linked; warnings refused
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy -p agent --no-default-features --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items
	$(CARGO) test --doc --workspace --locked --quiet
	@$(MAKE) --no-print-directory deny

# Licences, bans and sources. Advisories need a database from the network: `cargo deny check advisories`.
deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
		echo "make lint: installing cargo-deny, once"; \
		$(CARGO) install cargo-deny --locked --debug --quiet; \
	} || { \
		echo "make lint: cargo-deny is missing and cannot be installed here;" \
			"on a machine with a network: cargo install cargo-deny --locked" >&2; \
		exit 1; \
	}
	$(CARGO) deny --locked --offline check licenses bans sources

contract: ## Generate the code of the contract anew, after a change to a .proto file
	$(CARGO) run --quiet --locked -p codegen

fmt: ## Format everything
	$(CARGO) fmt --all

# One optimised build of the three programs, with the list of what is linked inside them for `cargo audit bin`.
package: setup ## Build Debian and RPM packages of the three programs, in target/packages
	@packaging/tools.sh auditable deb generate-rpm cyclonedx
	$(CARGO) auditable build --release --locked $(PROGRAMS) --bins
	$(CARGO) build --quiet --locked -p notices
	rm -rf $(TARGET)/packages
	packaging/build.sh
	@packaging/exposure.sh
	@ls -l $(TARGET)/packages

# make apt-tree KEY=release-key.asc; the tree is static files, for any web server.
apt-tree: ## Make a signed apt repository of target/packages in target/apt; KEY=FILE is the secret key that signs
	@packaging/apt-tree.sh "$(KEY)" $(TARGET)/packages $(TARGET)/apt

# What of it `make test` runs takes two minutes, and packs a build that is not optimised.
package-test: package ## Prove the packages on pristine Debian (debootstrap): install, upgrade, remove, purge, apt, rpm
	@packaging/test.sh

clean-labs: ## Remove namespaces and files that killed demos or tests have left
	$(CARGO) build --locked $(PROGRAMS) -p harness --bins
	@$(TARGET)/debug/demo --sweep
