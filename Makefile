# Short names for what is in scripts/, and for the lab.

.PHONY: demo test bench instructions fuzz lab lint format

demo:
	@scripts/demo

test:
	@scripts/test

bench:
	@scripts/bench

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
