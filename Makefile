# Everything a user or a maintainer does. Every target installs and builds what it needs.

NODE_BIN := node_modules/.bin
DIST     := dist
IMAGES   := $(DIST)/guest-images
ifeq ($(origin CC),default)
CC       := gcc
endif
CFLAGS   := -O2 -Wall -Wextra -Werror

TS_SOURCES := $(shell find src test bench -name '*.ts' 2>/dev/null)
IMAGE_FILES := $(IMAGES)/touch.elf $(IMAGES)/mce.elf $(IMAGES)/hello.bin
REFERENCE := $(DIST)/bench/reference/fault-loops

# A worker thread is one file in CommonJS: loading some forty modules through the ESM loader costs it
# more than all else, and there is one worker for every vCPU.
WORKERS := vcpu/vcpu-worker fault/handler-worker fault/chore-worker
BUNDLE := --bundle --platform=node --target=node20 --format=cjs --external:koffi --sourcemap \
	--entry-names=[name] --out-extension:.js=.cjs --pure:bind --log-level=warning

.PHONY: demo build test test-kvm test-nested boots-nested lab lab-suite coverage soak fuzz bench lint format readme guest-images clean

demo: build
	@node $(DIST)/src/cli/main.js bench deliveries --pages 16384

build: $(DIST)/.built guest-images $(REFERENCE)

# One stamp for the whole of npm ci: node_modules/ itself changes its date for other reasons.
node_modules/.installed: package.json package-lock.json
	npm ci --no-fund --no-audit
	@touch $@

# tap has to be told once which of its plugins are in use (.taprc).
.tap/.built: node_modules/.installed .taprc
	$(NODE_BIN)/tap build
	@touch $@

$(DIST)/.built: node_modules/.installed tsconfig.json $(TS_SOURCES)
	$(NODE_BIN)/tsc
	@$(NODE_BIN)/esbuild $(WORKERS:%=$(DIST)/src/%.js) $(BUNDLE) --outdir=$(DIST)/src/workers
	@chmod +x $(DIST)/src/cli/main.js
	@touch $@

guest-images: $(IMAGE_FILES)

.SECONDEXPANSION:
$(IMAGES)/%.elf: guest-images/$$*/$$*.S guest-images/abi.h guest-images/image.ld
	@mkdir -p $(@D)
	$(CC) -c -o $(IMAGES)/$*.o $<
	ld -n -static --no-warn-rwx-segments -T guest-images/image.ld -o $@ $(IMAGES)/$*.o

$(IMAGES)/hello.bin: guest-images/hello/hello.S guest-images/abi.h
	@mkdir -p $(@D)
	$(CC) -m32 -c -o $(IMAGES)/hello.o $<
	ld -m elf_i386 -Ttext=0x1000 --oformat binary -o $@ $(IMAGES)/hello.o

$(REFERENCE): $(wildcard bench/reference/*.c bench/reference/*.h) guest-images/abi.h
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CFLAGS) -pthread -o $@ $(filter %.c,$^)

# Tests that need what this machine lacks skip themselves; the report counts them with their reasons.
# `make test TESTS='dist/test/ffi/*.test.js'` runs a part.
TESTS = $(DIST)/test/**/*.test.js
# tap redraws the screen, which a log would keep: there, test/report.ts alone says what failed. With
# the reporter `tap` it leaves the test processes their stderr, for the last words of one that dies.
RESULTS = $(DIST)/results.tap
SAID = $(DIST)/results.stderr
TAP_RUN := $(shell [ -t 2 ] && echo --reporter=terse --output-file=$(RESULTS) || \
  echo --reporter=tap --reporter-file=$(RESULTS) '2>$(SAID)')

test: build .tap/.built
	@rm -f $(RESULTS) $(SAID)
	@echo 'running the tests: all of them take some minutes, most of it starting thousands of vCPU threads'
	@$(NODE_BIN)/tap run $(TAP_RUN) $(TESTS) || touch $(DIST)/tests-failed
	@node $(DIST)/test/report.js $(RESULTS) $(SAID)
	@if [ -e $(DIST)/tests-failed ]; then rm $(DIST)/tests-failed; exit 1; fi

test-kvm:
	$(MAKE) test TESTS='$(DIST)/test/kvm/*.test.js $(DIST)/test/runs/*.test.js'

# Tests of KVM in a machine that QEMU emulates, with hardware paging: see CONTRIBUTING.md. Its status is
# kept, because make itself ends with 2 for every failure: 3 is that QEMU or a kernel cannot be had.
# `make test-nested TESTS='dist/test/kvm/vcpu.test.js'` runs others than those of test/nested/tests.
ifeq ($(origin TESTS),file)
NESTED_TESTS :=
else
NESTED_TESTS = $(TESTS)
endif

test-nested: build .tap/.built
	@status=0; test/nested/test.sh $(NESTED_TESTS) || status=$$?; echo $$status >$(DIST)/nested-status; exit $$status

# A stock Linux kernel booted twenty times in a row in a nested machine: some ten minutes.
boots-nested:
	FAULTLINE_LINUX_BOOTS=20 FAULTLINE_LINUX_BACKING=hugetlb-2M \
	  NESTED_MACHINES=1 NESTED_SECONDS=1900 \
	  $(MAKE) test-nested TESTS='$(DIST)/test/linux/boot.test.js'

# A kernel with two memslot flags of ours (guest-images/lab), built and booted in an emulated machine:
# what a fault goes through in there, and, in `make lab-suite`, all that is known of it.
# `make lab COMMAND='faultline probe'` runs that in there. Status 3, as above, is in dist/lab-status.
lab: build .tap/.built
	@$(call LAB,$(if $(value COMMAND),command '$(subst ','\'',$(value COMMAND))',table bench/results))

lab-suite: build .tap/.built
	@$(call LAB,suite bench/results)

LAB = status=0; guest-images/lab/run.sh $(1) || status=$$?; echo $$status >$(DIST)/lab-status; exit $$status

# What takes longer than `make test` has time for: everything together for ten minutes, 200 runs in a
# row, 200 signals at random moments.
soak: build .tap/.built
	node $(DIST)/src/cli/main.js bench soak --minutes 10
	FAULTLINE_RUNS_IN_A_ROW=200 node $(DIST)/test/runs/in-a-row.test.js
	FAULTLINE_SIGNAL_RUNS=200 node $(DIST)/test/failures/signals.test.js

# Untrusted input, a hundred thousand cases of it; `make test` tries some thousands.
CASES = 100000

fuzz: build .tap/.built
	@rm -f $(DIST)/fuzz.jsonl $(DIST)/fuzz-failed
	@echo 'trying $(CASES) cases: some ten minutes'
	@FAULTLINE_FUZZ_CASES=$(CASES) FAULTLINE_FUZZ_LOG=$(DIST)/fuzz.jsonl \
	  $(NODE_BIN)/tap run --timeout=0 --reporter=$(REPORTER) --output-file=$(DIST)/fuzz.tap $(DIST)/test/fuzz/*.test.js \
	  || touch $(DIST)/fuzz-failed
	@if [ -e $(DIST)/fuzz-failed ]; then node $(DIST)/test/report.js $(DIST)/fuzz.tap; fi
	@FAULTLINE_FUZZ_CASES=$(CASES) node $(DIST)/test/fuzz/summary.js $(DIST)/fuzz.jsonl
	@if [ -e $(DIST)/fuzz-failed ]; then rm $(DIST)/fuzz-failed; exit 1; fi

# Every branch of the fault loop is executed: by V8's own account of the built JavaScript, the worker
# threads' included, which write theirs when they end.
FAULT_LOOP := $(addprefix src/fault/,resolver.ts range-mapper.ts installer.ts handler-loop.ts around.ts \
  trap-marker.ts chores.ts revisit.ts wake.ts memory-error.ts staged-fill.ts) \
  $(addprefix src/vcpu/,run-loop.ts memory-errors.ts) src/machine/delivery.ts
COVERAGE_TESTS = $(DIST)/test/fault/*.test.js $(DIST)/test/vcpu/*.test.js $(DIST)/test/kernel-states/*.test.js \
  $(DIST)/test/machine/delivery.test.js \
  $(addprefix $(DIST)/test/runs/,deliveries.test.js hugetlb-reserve.test.js in-ram-mmio.test.js memory-errors.test.js)

coverage: build .tap/.built
	@rm -rf $(DIST)/coverage
	@mkdir -p $(DIST)/coverage
	@for test in $(COVERAGE_TESTS); do \
	  echo "$$test"; \
	  NODE_V8_COVERAGE=$(DIST)/coverage/v8 node $$test > $(DIST)/coverage/last.tap || \
	    { grep -A 20 '^ *not ok' $(DIST)/coverage/last.tap; exit 1; }; \
	done
	@$(NODE_BIN)/c8 report --temp-directory $(DIST)/coverage/v8 --reports-dir $(DIST)/coverage \
	  --reporter text --reporter json --exclude-after-remap $(addprefix --include ,$(FAULT_LOOP))
	@node $(DIST)/test/uncovered-branches.js $(DIST)/coverage/coverage-final.json $(FAULT_LOOP)

# The whole set, in under five minutes on two cores: its JSON, and a page that shows it.
bench: build
	@mkdir -p bench/results
	@result=bench/results/$$(date -u +%Y-%m-%d)-$$(uname -n) && \
	node $(DIST)/src/cli/main.js bench all --json $$result.json && \
	node $(DIST)/src/cli/main.js report $$result.json --out $$result.html && \
	echo "$$result.json and $$result.html"

lint: node_modules/.installed
	$(NODE_BIN)/biome ci .
	$(NODE_BIN)/tsc --noEmit

# The tables of the README that come from data.
readme: build
	@node $(DIST)/test/support/write-readme.js README.md

format: node_modules/.installed
	$(NODE_BIN)/biome check --write .

clean:
	rm -rf $(DIST) .tap
