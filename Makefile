# `make test` is all a fresh machine with Go needs: it installs MariaDB and PostgreSQL when they are missing; the tests start
# them themselves, on private directories and ports. USERAPI_TEST_MYSQL=DSN and USERAPI_TEST_POSTGRES=URL use other servers.

export PATH := $(PATH):/usr/sbin

.PHONY: help test check bench gosec mutate timing databases cluster-test network-test

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

test: databases ## all tests, with the race detector
	go test -race -timeout 20m ./...
	cd networktest && go test -race ./...

check: ## formatting, vet, staticcheck, tidy modules
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w ."; exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
	go mod tidy -diff
	cd bench && go vet ./... && go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./... && go mod tidy -diff
	cd networktest && go vet ./... && go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./... && go mod tidy -diff

bench: ## measures beside limit and peers and writes docs/performance anew; on a machine that does nothing else
	cd bench && go run .

# Not part of check: it takes minutes. Of the rules left out G101 takes names for secrets, G104 wants errors of Close looked at, G115 does not
# see the bounds that numbers were parsed under, and G304 takes the operator's own files for an attacker's.
gosec: ## one more look for known mistakes
	go run github.com/securego/gosec/v2/cmd/gosec@v2.30.0 -quiet -exclude=G101,G104,G115,G304 -exclude-dir=internal/drivertest -exclude-dir=store/storetest ./...

# Not part of test: it takes minutes, and the packages mariadb-server, galera-4 and rsync.
cluster-test: ## the MySQL store and the program on Galera clusters of three nodes, which it starts itself, and kills
	@./.ci/install-databases cluster
	USERAPI_TEST_CLUSTER=1 go test -count 1 -p 1 -run Cluster -timeout 10m ./store/mysql ./cmd/userapi
	cd bench && USERAPI_TEST_CLUSTER=1 go test -count 1 -run TestShort/cluster -timeout 5m .

# Part of test, but for the figures that it prints.
network-test: databases ## the SQL stores behind a network that stalls, cuts and loses what it carries
	cd networktest && go test -race -count 1 -v ./...

# Half an hour on two quiet cores; another sample by another seed. What survives wants a test, or is no defect.
mutate: ## break one thing at a time where it matters most, and see which defects no test notices
	go run ./internal/mutate -n 50 -seed $${SEED:-1} tokens.go auth.go password.go actor.go limits.go limits_owner.go limits_process.go challenges.go revocations.go \
		memberships.go apikeys.go apikeys_check.go httpadapter/guards.go httpadapter/middleware.go httpadapter/ratelimit.go

# Ten minutes, and worth as much as the machine is quiet.
timing: ## measure whether the time of an answer tells something, and write docs/timing.md
	go run ./internal/timing -o docs/timing.md

databases:
	@./.ci/install-databases
