# Short names for what is in scripts/.

.PHONY: demo test bench fuzz lint format

demo:
	@scripts/demo

test:
	@scripts/test

bench:
	@scripts/bench

# make fuzz seconds=600
fuzz:
	@scripts/fuzz --seconds $(or $(seconds),60)

lint:
	@scripts/format --check

format:
	@scripts/format
