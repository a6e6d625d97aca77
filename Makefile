# Short names for what is in scripts/, and for the lab.

.PHONY: demo test bench bench-block instructions fuzz lab lint format

demo:
	@scripts/demo

test:
	@scripts/test

bench:
	@scripts/bench

bench-block:
	@scripts/bench block

instructions:
	@scripts/instructions

# make fuzz seconds=600
fuzz:
	@scripts/fuzz --seconds $(or $(seconds),60)

lab:
	@lab/run

lint:
	@scripts/format --check

format:
	@scripts/format
