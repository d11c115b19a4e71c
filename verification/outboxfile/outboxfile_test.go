package outboxfile_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
	"github.com/userapi/userapi/verification/outboxfile"
	"golang.org/x/sync/errgroup"
)

var _ verification.Backend = (*outboxfile.File)(nil)

func sms(code string) userapi.Message {
	return userapi.Message{Channel: userapi.ChannelSMS, Purpose: userapi.PurposePhone, To: "+4915123456789", Code: userapi.Secret(code)}
}

func open(t *testing.T, path string) *outboxfile.File {
	t.Helper()
	f, err := outboxfile.New(path, nil)
	require.NoError(t, err)
	return f
}

// lines reads the file and gives each line as JSON, in the order of its keys too.
func lines(t *testing.T, path string) (objects []map[string]string, raw []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	if len(text) > 0 {
		require.True(t, strings.HasSuffix(string(text), "\n"))
	}
	scanner := bufio.NewScanner(strings.NewReader(string(text)))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var object map[string]string
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &object), scanner.Text())
		objects, raw = append(objects, object), append(raw, scanner.Text())
	}
	return objects, raw
}

func TestFile_lines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.jsonl")
	f := open(t, path)
	info, err := os.Stat(path)
	require.NoError(t, err, "it is there from the start")
	assert.Equal(t, os.FileMode(0o600), info.Mode())

	mail := userapi.Message{
		ID: "m-1", Channel: userapi.ChannelEmail, Purpose: userapi.PurposeReset, To: "anna@example.com", UserID: "u-1", Name: "Anna",
		Token: "the-token", Link: "https://app.example.com/?a=1&t=the-token", Text: "line\n<two> & \"three\"",
	}
	notice := userapi.Message{Channel: userapi.ChannelEmail, Purpose: userapi.PurposeNotice, Notice: userapi.NoticePasswordChanged, To: "anna@example.com"}
	before := time.Now().Truncate(time.Second)
	for _, m := range []userapi.Message{sms("0471"), mail, notice} {
		require.NoError(t, f.Send(t.Context(), m))
	}
	objects, raw := lines(t, path)
	require.Len(t, objects, 3)
	for i, object := range objects {
		at, err := time.Parse(time.RFC3339, object["time"])
		require.NoError(t, err)
		assert.False(t, at.Before(before))
		assert.True(t, strings.HasPrefix(raw[i], fmt.Sprintf(`{"time":%q,"kind":`, object["time"])))
		assert.True(t, strings.HasSuffix(object["time"], "Z"))
		delete(object, "time")
	}
	assert.Equal(t, map[string]string{
		"kind": "sms", "to": "+4915123456789", "purpose": "phone", "code": "0471", "text": "Your security code is: 0471",
	}, objects[0])
	assert.Equal(t, map[string]string{
		"kind": "email", "to": "anna@example.com", "purpose": "reset", "token": "the-token", "link": string(mail.Link), "text": string(mail.Text),
	}, objects[1])
	assert.Contains(t, raw[1], "?a=1&t=", "readable")
	assert.Contains(t, objects[2]["text"], "password")
	delete(objects[2], "text")
	assert.Equal(t, map[string]string{"kind": "email", "to": "anna@example.com", "purpose": "notice"}, objects[2])
}

func TestFile_uses_its_templates(t *testing.T) {
	templates, err := verification.ParseTemplates(nil, verification.TemplateOptions{Product: "Shop"})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "outbox.jsonl")
	f, err := outboxfile.New(path, templates)
	require.NoError(t, err)
	require.NoError(t, f.Send(t.Context(), sms("0471")))
	assert.Error(t, f.Send(t.Context(), userapi.Message{Purpose: "nonsense"}))
	objects, _ := lines(t, path)
	require.Len(t, objects, 1)
	assert.Equal(t, "Your Shop security code is: 0471", objects[0]["text"])
}

func TestFile_appends_to_what_is_there(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.jsonl")
	require.NoError(t, os.WriteFile(path, []byte("{}\n"), 0o644))
	require.NoError(t, open(t, path).Send(t.Context(), sms("1")))
	require.NoError(t, open(t, path).Send(t.Context(), sms("2")))
	objects, _ := lines(t, path)
	assert.Len(t, objects, 3)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), info.Mode())
}

func TestFile_that_cannot_be_written(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	path := filepath.Join(dir, "outbox.jsonl")
	_, err := outboxfile.New(path, nil)
	assert.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.Mkdir(dir, 0o700))
	_, err = outboxfile.New(dir, nil)
	assert.ErrorContains(t, err, "no regular file")

	f := open(t, path)
	require.NoError(t, os.Rename(dir, dir+"2"))
	assert.ErrorIs(t, f.Send(t.Context(), sms("1")), os.ErrNotExist)
	require.NoError(t, os.Rename(dir+"2", dir))
	assert.NoError(t, f.Send(t.Context(), sms("2")))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, f.Send(ended, sms("3")), context.Canceled)
	objects, _ := lines(t, path)
	require.Len(t, objects, 1)
	assert.Equal(t, "2", objects[0]["code"])
}

const (
	processes  = 3
	perProcess = 40
)

// appendTo names the file that a process of the test below appends to, in place of being a test.
const appendTo = "TEST_OUTBOXFILE_APPEND_TO"

func TestMain(m *testing.M) {
	path := os.Getenv(appendTo)
	if path == "" {
		os.Exit(m.Run())
	}
	if err := appendMany(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func appendMany(path string) error {
	f, err := outboxfile.New(path, nil)
	if err != nil {
		return err
	}
	var all errgroup.Group
	for i := range perProcess {
		all.Go(func() error {
			m := sms(fmt.Sprintf("%d-%d", os.Getpid(), i))
			m.Text = userapi.Secret(strings.Repeat("long ", 4000)) // far beyond a page
			return f.Send(context.Background(), m)
		})
	}
	return all.Wait()
}

func TestFile_processes_do_not_mix_their_lines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.jsonl")
	var others []*exec.Cmd
	for range processes - 1 {
		other := exec.Command(os.Args[0])
		other.Env = append(os.Environ(), appendTo+"="+path)
		require.NoError(t, other.Start())
		others = append(others, other)
	}
	require.NoError(t, appendMany(path))
	for _, other := range others {
		require.NoError(t, other.Wait())
	}
	objects, _ := lines(t, path)
	codes := map[string]bool{}
	for _, object := range objects {
		codes[object["code"]] = true
	}
	assert.Len(t, objects, processes*perProcess)
	assert.Len(t, codes, processes*perProcess)
}
