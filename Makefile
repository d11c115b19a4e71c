# `make test` is all a fresh machine with Go needs: it installs MariaDB and PostgreSQL when they are missing; the tests start
# them themselves, on private directories and ports. USERAPI_TEST_MYSQL=DSN and USERAPI_TEST_POSTGRES=URL use other servers.

export PATH := $(PATH):/usr/sbin

.PHONY: help test check databases

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

test: databases ## all tests, with the race detector
	go test -race ./...

check: ## formatting, vet, staticcheck, tidy modules
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w ."; exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
	go mod tidy -diff

databases:
	@./.ci/install-databases
