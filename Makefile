# Short names for what is in scripts/, and for the lab.

.PHONY: demo test bench bench-dpdk bench-block latency fairness rings instructions fuzz model lab lint format

demo:
	@scripts/demo

test:
	@scripts/test

bench:
	@scripts/bench

# make bench-dpdk options='--march-native --ports sink'
bench-dpdk:
	@scripts/bench dpdk $(options)

bench-block:
	@scripts/bench block $(options)

latency:
	@scripts/bench latency $(options)

fairness:
	@scripts/bench fairness $(options)

rings:
	@scripts/bench rings $(options)

instructions:
	@scripts/instructions

# make fuzz seconds=600
fuzz:
	@scripts/fuzz --seconds $(or $(seconds),60)

model:
	@scripts/model

lab:
	@lab/run

lint:
	@scripts/format --check

format:
	@scripts/format
