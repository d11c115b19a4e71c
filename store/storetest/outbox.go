package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// A message leased for that long does not come back while a test runs; after the other it does, while poll waits.
const (
	long  = time.Hour
	short = 20 * time.Millisecond
)

func (s suite) outbox(t *testing.T) {
	db := s.database(t)

	t.Run("a message comes back as it was given, whatever its bytes", func(t *testing.T) {
		f := db.emptied(t)
		a := f.add()
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		largest := make([]byte, 16<<10)
		rand.Read(largest) // never fails
		out := f.outgoing(userapi.PurposeReset, a.ID)
		for _, sealed := range [][]byte{{}, {0}, {0, 0, 0}, {0xff, 0xfe, 0}, []byte("trailing  "), []byte(`\x00'"%`), all, largest, bytes.Repeat([]byte{0}, 16<<10)} {
			m := f.message(a.ID, out.Challenge.ID)
			m.Sealed, m.ExpiresAt = sealed, time.Date(2031, 2, 3, 4, 5, 6, 789_999_999, time.FixedZone("far east", 9*3600))
			out.Messages = append(out.Messages, m)
		}
		out.Messages = append(out.Messages, f.message("", ""))
		must(t, f.send(out))
		waiting := f.outbox()
		same(t, len(waiting), len(out.Messages), "messages")
		for _, want := range out.Messages {
			got := waiting[want.ID]
			same(t, bytes.Equal(got.Sealed, want.Sealed), true, "whether the sealed bytes are as they were")
			want.ExpiresAt, want.Sealed, got.Sealed = stamp(want.ExpiresAt), nil, nil
			same(t, got, want, "message")
		}
		second, err := db.second.LeaseMessages(t.Context(), 1, long)
		must(t, err)
		same(t, len(second), 1, "messages on the second handle")
	})

	t.Run("messages share no memory with the caller", func(t *testing.T) {
		f := db.emptied(t)
		notice := f.notice("")
		want := string(notice.Messages[0].Sealed)
		notice.Messages[0].Sealed[0]++
		for range 2 {
			got := f.lease(short)
			same(t, string(got.Sealed), want, "bytes after the input or an output changed")
			got.Sealed[0]++
		}
	})

	t.Run("a message is given once, and again when its lease is over", func(t *testing.T) {
		f := db.emptied(t)
		id := f.notice("").Messages[0].ID
		for attempt := 1; attempt <= 3; attempt++ {
			m := f.lease(short)
			same(t, m.ID, id, "message")
			same(t, m.Attempt, attempt, "attempt")
		}
		same(t, f.lease(long).Attempt, 4, "attempt")
		for range 3 {
			f.nothingDue()
		}
	})

	t.Run("the oldest come first, no more than asked for", func(t *testing.T) {
		f := db.emptied(t)
		var want, got []string
		for range 5 {
			want = append(want, f.notice("").Messages[0].ID)
			time.Sleep(3 * time.Millisecond) // the clock has to leave the millisecond of the message before
		}
		for _, expected := range []int{2, 2, 1, 0} {
			leased, err := f.LeaseMessages(t.Context(), 2, long)
			must(t, err)
			same(t, len(leased), expected, "messages")
			got = append(got, ids(leased, messageID)...)
		}
		same(t, got, want, "messages, one lease after the other")

		// One that is put off again and again must not keep the others waiting: the oldest are those due for longest.
		for _, id := range []string{want[3], want[1]} {
			must(t, f.DelayMessage(t.Context(), userapi.MessageDelay{ID: id, Attempt: 1}))
			time.Sleep(3 * time.Millisecond)
		}
		for _, id := range []string{want[3], want[1]} {
			leased, err := f.LeaseMessages(t.Context(), 1, long)
			must(t, err)
			same(t, ids(leased, messageID), []string{id}, "the message that is due for longest")
		}
	})

	t.Run("expired messages are given too", func(t *testing.T) {
		f := db.emptied(t)
		m := f.message("", "")
		m.ExpiresAt = f.now.Add(-24 * time.Hour)
		must(t, f.send(userapi.Outgoing{Messages: []userapi.SealedMessage{m}}))
		same(t, f.lease(long).ID, m.ID, "message")
	})

	t.Run("a delayed message is due again after that, and not before", func(t *testing.T) {
		f := db.emptied(t)
		soon := f.notice("").Messages[0].ID
		must(t, f.DelayMessage(t.Context(), userapi.MessageDelay{ID: soon, Attempt: f.lease(long).Attempt, After: short}))
		m := f.lease(long)
		same(t, m.ID, soon, "the message whose lease a delay made shorter")
		same(t, m.Attempt, 2, "attempt")
		must(t, f.DelayMessage(t.Context(), userapi.MessageDelay{ID: soon, Attempt: m.Attempt}))
		m = f.lease(short)
		same(t, m.Attempt, 3, "attempt of a message that was due at once")

		must(t, f.DelayMessage(t.Context(), userapi.MessageDelay{ID: soon, Attempt: m.Attempt, After: long}))
		witness := f.notice("").Messages[0].ID
		for range 3 {
			same(t, f.lease(short).ID, witness, "what comes back when short leases are over")
		}
	})

	t.Run("a message that was leased again is not delayed by who had it before", func(t *testing.T) {
		f := db.emptied(t)
		id := f.notice("").Messages[0].ID
		before, now := f.lease(short), f.lease(long)
		for _, attempt := range []int{before.Attempt, 0, now.Attempt + 1} {
			must(t, f.DelayMessage(t.Context(), userapi.MessageDelay{ID: id, Attempt: attempt}))
			f.nothingDue()
		}
		must(t, f.DelayMessage(t.Context(), userapi.MessageDelay{ID: newID(), Attempt: 1}))
		must(t, f.DelayMessage(t.Context(), userapi.MessageDelay{ID: id, Attempt: now.Attempt}))
		same(t, f.lease(long).ID, id, "message that was delayed by who has it")
	})

	t.Run("a message ends once", func(t *testing.T) {
		f := db.emptied(t)
		out, stays := f.pose(userapi.PurposeReset, f.add().ID), f.notice("")
		for i, wanted := range []bool{true, false} {
			w := userapi.MessageEnd{ID: out.Messages[0].ID, Event: f.event(userapi.EventMessageFailed)}
			if i == 1 {
				w.Void = true // too late: what is gone says nothing about a challenge
			}
			if err := f.EndMessage(t.Context(), w); wanted {
				must(t, err)
			} else {
				is(t, err, userapi.ErrNotFound)
			}
			same(t, f.recorded(w.Event), wanted, "whether the event is there")
		}
		is(t, f.EndMessage(t.Context(), userapi.MessageEnd{ID: out.Messages[0].ID}), userapi.ErrNotFound)
		w := userapi.MessageEnd{ID: newID(), Void: true, Event: f.event(userapi.EventMessageFailed)}
		is(t, f.EndMessage(t.Context(), w), userapi.ErrNotFound)
		same(t, f.recorded(w.Event), false, "whether the end of nothing left an event")
		out.Messages = nil
		f.leaves(out, stays)
		must(t, f.DelayMessage(t.Context(), userapi.MessageDelay{ID: w.ID, Attempt: 1}))
		f.leaves(out, stays)
	})

	t.Run("a message that will not arrive takes its challenge along where it is told to", func(t *testing.T) {
		f := db.emptied(t)
		a := f.add()
		sent, void, other := f.pose(userapi.PurposeReset, a.ID), f.pose(userapi.PurposeEmail, a.ID), f.pose(userapi.PurposePhone, a.ID)
		alone := f.notice(a.ID)
		must(t, f.EndMessage(t.Context(), userapi.MessageEnd{ID: sent.Messages[0].ID}))
		leased, err := f.LeaseMessages(t.Context(), 10, short)
		must(t, err)
		same(t, len(leased), 3, "messages")
		must(t, f.EndMessage(t.Context(), userapi.MessageEnd{ID: void.Messages[0].ID, Void: true, Event: f.event(userapi.EventMessageFailed)}))
		must(t, f.EndMessage(t.Context(), userapi.MessageEnd{ID: alone.Messages[0].ID, Void: true, Event: f.event(userapi.EventMessageFailed)}))
		same(t, f.lease(short).ID, other.Messages[0].ID, "the message that is left")
		f.noTry(byID(void))
		f.wantTry(byID(sent), sent, 1)
		f.wantTry(byID(other), other, 1)
	})
}

// emptied is a tenant who finds the outbox empty, and leaves it so: an outbox knows no tenants.
func (d database) emptied(t *testing.T) *tenant {
	f := d.tenant(t)
	f.empty()
	t.Cleanup(func() {
		for _, m := range f.queued {
			if err := f.EndMessage(context.Background(), userapi.MessageEnd{ID: m.ID}); !errors.Is(err, userapi.ErrNotFound) {
				must(t, err)
			}
		}
	})
	return f
}

func (f *tenant) empty() {
	f.t.Helper()
	for id := range f.outbox() {
		must(f.t, f.EndMessage(f.t.Context(), userapi.MessageEnd{ID: id}))
	}
}

// message makes one that nothing else is like.
func (f *tenant) message(userID, challengeID string) userapi.SealedMessage {
	m := userapi.SealedMessage{ID: newID(), ChallengeID: challengeID, UserID: userID, Sealed: []byte("sealed " + newID()), ExpiresAt: f.now.Add(time.Hour)}
	f.queued = append(f.queued, m)
	return m
}

// notice makes and stores a message alone.
func (f *tenant) notice(userID string) userapi.Outgoing {
	f.t.Helper()
	out := userapi.Outgoing{Messages: []userapi.SealedMessage{f.message(userID, "")}}
	must(f.t, f.send(out))
	return out
}

// outbox is what waits and is due, by id, as it was written. It is leased for that, and given back.
func (f *tenant) outbox() map[string]userapi.SealedMessage {
	f.t.Helper()
	waiting := map[string]userapi.SealedMessage{}
	for more := true; more; {
		leased, err := f.LeaseMessages(f.t.Context(), 50, long)
		must(f.t, err)
		for _, m := range leased {
			if _, again := waiting[m.ID]; again {
				f.t.Fatal("a message was given again during its lease")
			}
			waiting[m.ID] = m
		}
		more = len(leased) > 0
	}
	for id, m := range waiting {
		must(f.t, f.DelayMessage(f.t.Context(), userapi.MessageDelay{ID: id, Attempt: m.Attempt}))
		m.Attempt = 0
		waiting[id] = m
	}
	return waiting
}

// lease waits for one message to be due.
func (f *tenant) lease(d time.Duration) userapi.SealedMessage {
	f.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		leased, err := f.LeaseMessages(f.t.Context(), 10, d)
		must(f.t, err)
		if len(leased) > 0 {
			same(f.t, len(leased), 1, "messages due")
			return leased[0]
		}
	}
	f.t.Fatal("no message was due again")
	return userapi.SealedMessage{}
}

func (f *tenant) nothingDue() {
	f.t.Helper()
	leased, err := f.LeaseMessages(f.t.Context(), 10, long)
	must(f.t, err)
	same(f.t, len(leased), 0, "messages due")
}

func messageID(m userapi.SealedMessage) string { return m.ID }
