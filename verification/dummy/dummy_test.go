package dummy_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
	"github.com/userapi/userapi/verification/dummy"
)

var _ verification.Backend = dummy.New()

func message(to, code string) userapi.Message {
	return userapi.Message{Channel: userapi.ChannelSMS, Purpose: userapi.PurposePhone, To: to, Code: userapi.Secret(code)}
}

func TestBackend_remembers(t *testing.T) {
	b := dummy.New()
	_, ok := b.Last("+4915123456789")
	assert.False(t, ok)
	for _, m := range []userapi.Message{message("+4915123456789", "1111"), message("+4915123456789", "2222"), message("+33612345678", "3333")} {
		require.NoError(t, b.Send(t.Context(), m))
	}
	m, ok := b.Last("+4915123456789")
	assert.True(t, ok)
	assert.Equal(t, "Your security code is: 2222", string(m.Text))
	_, ok = b.Last("+33699999999")
	assert.False(t, ok)

	all := b.Messages()
	require.Len(t, all, 3)
	all[0].To = "changed"
	assert.Equal(t, "+4915123456789", b.Messages()[0].To, "what it gave is a copy")
}

func TestBackend_keeps_the_hosts_own_words(t *testing.T) {
	words, err := verification.ParseTemplates(fstest.MapFS{"phone.txt": {Data: []byte("Ihr Code: {{.Code}}")}}, verification.TemplateOptions{})
	require.NoError(t, err)
	b := dummy.New()
	b.Templates = words
	require.NoError(t, b.Send(t.Context(), message("+4915112345678", "123456")))
	assert.Equal(t, "Ihr Code: 123456", string(b.Messages()[0].Text))
}

func TestBackend_fails_when_told(t *testing.T) {
	b, broken := dummy.New(), errors.New("broken")
	b.Fail(broken)
	assert.ErrorIs(t, b.Send(t.Context(), message("+33612345678", "1111")), broken)
	b.Fail(nil)
	assert.NoError(t, b.Send(t.Context(), message("+33612345678", "2222")))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, b.Send(ended, message("+33612345678", "3333")), context.Canceled)
	assert.Error(t, b.Send(t.Context(), userapi.Message{Purpose: "nonsense"}))
	assert.Len(t, b.Messages(), 1)

	b.Fail(broken)
	b.Reset()
	assert.Empty(t, b.Messages())
	assert.NoError(t, b.Send(t.Context(), message("+33612345678", "4444")))
}

func TestBackend_takes_parallel_messages(t *testing.T) {
	b := dummy.New()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			assert.NoError(t, b.Send(t.Context(), message("+33612345678", "1111")))
			b.Last("+33612345678")
			b.Fail(nil)
		})
	}
	all.Wait()
	assert.Len(t, b.Messages(), 50)
}
