# `make help` lists the targets. Everything is idempotent.

.DEFAULT_GOAL := help
.PHONY: help setup demo test

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: ## fetches what is not in the repository: Debian packages, ONNX Runtime, the detector, a street clip
	@scripts/setup.sh

demo: setup ## everything on this machine with sample cameras; for example make demo ARGS="--seconds 60"
	@cargo run --release --quiet -- demo $(ARGS)

test: setup ## format, lints, all tests: what CI runs
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo test
