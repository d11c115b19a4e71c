package gateway

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestTarget(t *testing.T) {
	for _, good := range []string{
		"https://api.example.com", "https://api.example.com:8443/sms?key=1", "http://localhost:8080", "http://127.0.0.1/x", "http://[::1]:80",
	} {
		assert.NoError(t, Target(good), good)
	}
	for _, bad := range []string{
		"", "api.example.com", "https://", "https:///x", "ftp://api.example.com", "https://exa mple.com", "https://:443/",
		"http://api.example.com", "http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.example.com",
		"https://user:pass@api.example.com", "https://api.example.com/#x", "https://api.example.com/#",
	} {
		err := Target(bad)
		if assert.Error(t, err, bad) && bad != "" {
			assert.NotContains(t, err.Error(), bad)
		}
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"":                        0,
		"0":                       0,
		"7":                       7 * time.Second,
		"99999999999999999":       maxAfter,
		"99999999999999999999999": 0,
		"-5":                      0,
		"soon":                    0,
		now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0,
		now.AddDate(1, 0, 0).Format(http.TimeFormat):  maxAfter,
		"Sunday, 22-Nov-26 12:00:30 GMT":              30 * time.Second,
	} {
		assert.Equal(t, want, after(text, now), text)
	}
}

func TestTheHostsClientIsLeftAlone(t *testing.T) {
	host := &http.Client{Timeout: time.Minute}
	c := New("vendor", host)
	assert.Nil(t, host.CheckRedirect)
	assert.Equal(t, time.Minute, c.http.Timeout)
	assert.Equal(t, timeout, New("vendor", nil).http.Timeout)
}
