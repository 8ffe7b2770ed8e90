# Short names for what ./test.sh does; see there.
.PHONY: check build fmt lint test

check:
	./test.sh

build:
	go build -trimpath -o bin/rivulet ./cmd/rivulet

fmt:
	./test.sh fix

lint:
	./test.sh lint

test:
	./test.sh test
