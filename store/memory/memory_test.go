package memory_test

import (
	"testing"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/memory"
	"github.com/userapi/userapi/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Test(t, func(*testing.T) (first, second userapi.Store) {
		st := memory.New()
		return st, st
	})
}
