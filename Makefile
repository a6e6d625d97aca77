# Short names for what is in scripts/.

.PHONY: demo test bench lint format

demo:
	@scripts/demo

test:
	@scripts/test

bench:
	@scripts/bench

lint:
	@scripts/format --check

format:
	@scripts/format
