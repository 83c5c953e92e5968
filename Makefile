# `make help` lists the targets. Everything is idempotent.

.DEFAULT_GOAL := help
.PHONY: help setup page demo test chaos chaos-recording bench-record bench-clips bench-memory bench-query bench-page

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: ## fetches what is not in the repository: Debian packages, ONNX Runtime, the detector, a street clip
	@scripts/setup.sh

page: setup ## the page of the command centre, from web/ into web/dist; quick when nothing changed
	@scripts/page.sh

demo: page ## everything on this machine with sample cameras; for example make demo ARGS="--seconds 60"
	@echo "demo: building the program (the first time a quarter of an hour)"
	@cargo build --release
	@cargo run --release --quiet -- demo $(ARGS)

test: page ## format, lints, all tests, the page in a real browser: what CI runs
	cd web && npm run --silent check && npm test --silent
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo test
	scripts/page-e2e.sh

chaos: setup ## events under faults: kill -9 and broken lines, nothing lost, nothing doubled; ARGS="--cycles 500 --events 20000 --seed 7" or "--outage broker"
	cargo test --test chaos -- $(or $(ARGS),--cycles 100)

chaos-recording: setup ## recording and clips under faults: kill -9, cameras that stall, a stop; about 20 minutes; ARGS="kills --seed 7 --rounds 12"
	cargo test --test recording-faults -- $(ARGS)

bench-record: setup ## what recording alone costs a camera, beside ffmpeg -c copy; 4 minutes on a quiet machine
	cargo test --release --test recording-faults -- cpu $(ARGS)

bench-clips: setup ## how long an event's clip takes, and to make one anew with masks; 6 minutes on a quiet machine
	cargo test --release --test recording-faults -- clips $(ARGS)

bench-memory: setup ## what a worker with 1, 4 and 8 cameras takes of memory; 10 minutes; ARGS="--rounds 10" for as many minutes each
	cargo test --release --test recording-faults -- memory $(ARGS)

bench-query: setup ## how long the centre takes to answer, with a million events, while more come; 10 minutes; ARGS="--events 100000 --keep DIR"
	cargo test --release --test query-bench -- $(ARGS)

bench-page: page ## how soon an alert, and a live picture, is seen in a browser; 4 minutes on a quiet machine; ARGS="feed --store DIR" with a store of bench-query --keep DIR
	cargo test --release --test page-bench -- $(ARGS)
