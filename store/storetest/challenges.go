package storetest

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

func (s suite) challenges(t *testing.T) {
	db := s.database(t)

	t.Run("a challenge comes back as it was given, its try counted", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.ID = f.key(strings.Repeat("i", 64-len(f.tag))) })
		odd := time.Date(2031, 2, 3, 4, 5, 6, 789_999_999, time.FixedZone("far east", 9*3600))
		for _, edit := range []func(*userapi.Challenge){
			func(*userapi.Challenge) {},
			func(ch *userapi.Challenge) { ch.Target, ch.Display, ch.MAC = "", "", "" },
			func(ch *userapi.Challenge) { ch.ExpiresAt, ch.MaxTries = odd, 1<<20 },
			func(ch *userapi.Challenge) {
				ch.Target, ch.Display, ch.MAC = strings.Repeat("t", 254), strings.Repeat("é", 127), strings.Repeat("m", 64)
			},
		} {
			out := f.outgoing(userapi.PurposeEmailChange, a.ID, edit)
			must(t, f.send(out))
			f.wantTry(byID(out), out, 1)
			f.wantTry(bySubject(out), out, 2)
			second, err := db.second.TryChallenge(t.Context(), f.try(byID(out)))
			must(t, err)
			same(t, second, counted(out, 3), "the challenge on the second handle")
		}
	})

	t.Run("texts come back byte for byte", func(t *testing.T) {
		f := db.tenant(t)
		for _, text := range awkward {
			out := f.outgoing(userapi.PurposePhone, "", func(ch *userapi.Challenge) { ch.Subject, ch.Target, ch.Display, ch.MAC = f.key(text), text, text, text })
			must(t, f.send(out))
			f.wantTry(bySubject(out), out, 1)
		}
	})

	t.Run("a challenge shares no memory with the caller", func(t *testing.T) {
		f := db.tenant(t)
		out := f.outgoing(userapi.PurposePhone, "")
		want := counted(out, 1)
		must(t, f.send(out))
		out.Challenge.MAC = "changed"
		got, err := f.TryChallenge(t.Context(), f.try(byID(out)))
		must(t, err)
		same(t, got, want, "challenge after its input changed")
	})

	t.Run("the newest of one purpose and subject takes the place of the one before, and of its messages", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		first := f.pose(userapi.PurposeReset, a.ID)
		stay := []userapi.Outgoing{
			f.pose(userapi.PurposeEmail, a.ID), f.pose(userapi.PurposeReset, other.ID), f.notice(a.ID),
			f.poseTo(f.key("s")), f.poseTo(f.key("S")), f.poseTo(f.key("s ")), f.poseTo(f.key("ś")), f.poseTo(f.key("s%")),
		}
		f.leaves(append(stay, first)...)
		second := f.pose(userapi.PurposeReset, a.ID)
		f.leaves(append(stay, second)...)
		f.wantTry(bySubject(second), second, 1)
		_, err := f.TryChallenge(t.Context(), f.try(byID(first)))
		is(t, err, userapi.ErrNotFound)
		third := f.outgoing(userapi.PurposeReset, "", func(ch *userapi.Challenge) { ch.Subject = a.ID })
		must(t, f.send(third))
		f.leaves(append(stay, third)...)
	})

	t.Run("a challenge is posed to the account as it was read, and does not change it", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) {
			a.Active, a.LastLogin, a.Roles = false, f.now, []userapi.Role{f.role(f.key("r"))}
		})
		old := f.pose(userapi.PurposeReset, a.ID)
		for range 2 {
			f.pose(userapi.PurposeEmail, a.ID)
			same(t, f.read(a.ID), a, "the account after a challenge")
		}
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		for _, version := range []int64{0, 1, 3, -1} {
			w := userapi.ChallengeInsert{Outgoing: f.outgoing(userapi.PurposeReset, a.ID), IfVersion: version, Event: f.event(userapi.EventResetAsked)}
			f.refused(userapi.ErrChanged, func() error { return f.InsertChallenge(t.Context(), w) }, a.ID)
			same(t, f.recorded(w.Event), false, "L05: whether a refused challenge left its event")
		}
		f.wantTry(byID(old), old, 1)
		w := userapi.ChallengeInsert{Outgoing: f.outgoing(userapi.PurposeReset, newID()), Event: f.event(userapi.EventResetAsked)}
		f.refused(userapi.ErrChanged, func() error { return f.InsertChallenge(t.Context(), w) })
		w = userapi.ChallengeInsert{Outgoing: f.outgoing(userapi.PurposeReset, a.ID), IfVersion: 2, Event: f.event(userapi.EventResetAsked)}
		must(t, f.InsertChallenge(t.Context(), w))
		same(t, f.recorded(w.Event), true, "whether the event is there")
	})

	t.Run("a challenge of no account asks for no version, and messages may go alone", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		posed, notice := f.outgoing(userapi.PurposePhone, ""), f.notice(a.ID)
		posed.Messages = append(posed.Messages, f.message("", posed.Challenge.ID))
		must(t, f.InsertChallenge(t.Context(), userapi.ChallengeInsert{Outgoing: posed, IfVersion: 77, Event: f.event(userapi.EventPhoneAsked)}))
		without := f.outgoing(userapi.PurposeEmail, a.ID)
		without.Messages, f.queued = nil, f.queued[:len(f.queued)-1]
		must(t, f.send(without))
		must(t, f.InsertChallenge(t.Context(), userapi.ChallengeInsert{Event: f.event(userapi.EventResetAsked)}))
		f.leaves(posed, notice, without)
	})

	t.Run("tries are counted up to their number", func(t *testing.T) {
		f := db.tenant(t)
		out := f.outgoing(userapi.PurposePhone, f.add().ID, func(ch *userapi.Challenge) { ch.MaxTries = 3 })
		must(t, f.send(out))
		for tries := 1; tries <= 3; tries++ {
			by := []func(userapi.Outgoing) userapi.ChallengeTry{byID, bySubject}[tries%2]
			f.wantTry(by(out), out, tries)
		}
		for range 3 {
			f.noTry(byID(out))
			f.noTry(bySubject(out))
		}
		must(t, f.ReturnTry(t.Context(), out.Challenge.ID))
		f.wantTry(byID(out), out, 3) // what was refused was not counted
		f.noTry(byID(out))
	})

	t.Run("a challenge has expired when its time has come", func(t *testing.T) {
		f := db.tenant(t)
		out := f.pose(userapi.PurposeReset, f.add().ID)
		for _, late := range []time.Duration{0, time.Millisecond, 24 * time.Hour} {
			for _, w := range []userapi.ChallengeTry{byID(out), bySubject(out)} {
				w.Now = out.Challenge.ExpiresAt.Add(late)
				_, err := f.TryChallenge(t.Context(), w)
				is(t, err, userapi.ErrNotFound)
			}
		}
		w := byID(out)
		w.Now = out.Challenge.ExpiresAt.Add(-time.Millisecond)
		f.wantTry(w, out, 1)
	})

	t.Run("tries can be taken back, but none that was not made", func(t *testing.T) {
		f := db.tenant(t)
		out, other := f.pose(userapi.PurposeReset, f.add().ID), f.pose(userapi.PurposeReset, f.add().ID)
		for range 2 {
			f.wantTry(byID(out), out, 1)
			must(t, f.ReturnTry(t.Context(), out.Challenge.ID))
		}
		f.wantTry(byID(other), other, 1)
		for range 3 {
			must(t, f.ReturnTry(t.Context(), out.Challenge.ID))
		}
		f.wantTry(byID(out), out, 1)
		f.wantTry(byID(other), other, 2)
		must(t, f.ReturnTry(t.Context(), newID()))
		must(t, f.EndChallenge(t.Context(), userapi.ChallengeEnd{ID: out.Challenge.ID, Event: f.event(userapi.EventPhoneProved)}))
		must(t, f.ReturnTry(t.Context(), out.Challenge.ID))
	})

	t.Run("only a challenge that is asked for is found", func(t *testing.T) {
		f := db.tenant(t)
		out := f.pose(userapi.PurposeReset, f.add().ID)
		for _, w := range []userapi.ChallengeTry{
			{}, {ID: newID()}, {ID: strings.ToUpper(out.Challenge.ID)}, {ID: newID(), Purpose: out.Challenge.Purpose, Subject: out.Challenge.Subject},
			{Purpose: userapi.PurposeEmail, Subject: out.Challenge.Subject}, {Subject: out.Challenge.Subject}, {Purpose: userapi.PurposeReset, Subject: newID()},
			{Purpose: userapi.PurposeReset}, {Purpose: userapi.PurposeReset, Subject: strings.ToUpper(out.Challenge.Subject)}, {Purpose: "RESET", Subject: out.Challenge.Subject},
		} {
			f.noTry(w)
		}
		f.wantTry(userapi.ChallengeTry{ID: out.Challenge.ID, Purpose: userapi.PurposeEmail, Subject: "whatever"}, out, 1)
	})

	t.Run("a challenge ends once, with its messages", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		out, stays := f.pose(userapi.PurposePhone, a.ID), f.pose(userapi.PurposeReset, a.ID)
		for _, id := range []string{newID(), "", strings.ToUpper(out.Challenge.ID)} {
			w := userapi.ChallengeEnd{ID: id, Event: f.event(userapi.EventPhoneProved)}
			f.refused(userapi.ErrNotFound, func() error { return f.EndChallenge(t.Context(), w) }, a.ID)
			same(t, f.recorded(w.Event), false, "whether an end of nothing left its event")
		}
		w := userapi.ChallengeEnd{ID: out.Challenge.ID, Event: f.event(userapi.EventPhoneProved)}
		must(t, f.EndChallenge(t.Context(), w))
		same(t, f.recorded(w.Event), true, "whether the event is there")
		f.leaves(stays)
		f.noTry(bySubject(out))
		w.Event = f.event(userapi.EventPhoneProved)
		is(t, f.EndChallenge(t.Context(), w), userapi.ErrNotFound)
		same(t, f.recorded(w.Event), false, "whether a second end left its event")
	})
}

// outgoing makes a challenge that nothing else is like, and a message with its secret. It is the account's, or, with "", of
// a number that nobody else has.
func (f *tenant) outgoing(purpose userapi.Purpose, userID string, edits ...func(*userapi.Challenge)) userapi.Outgoing {
	ch := userapi.Challenge{
		ID: newID(), Purpose: purpose, Subject: cmp.Or(userID, "+4940"+digits()), UserID: userID, Target: f.key("@example"), Display: f.key("@Example"),
		MAC: "mac of " + newID(), MaxTries: 5, ExpiresAt: f.now.Add(time.Hour),
	}
	for _, edit := range edits {
		edit(&ch)
	}
	f.posed = append(f.posed, ch)
	return userapi.Outgoing{Challenge: &ch, Messages: []userapi.SealedMessage{f.message(userID, ch.ID)}}
}

// outgoings makes as many for one account.
func (f *tenant) outgoings(n int, purpose userapi.Purpose, userID string, edits ...func(*userapi.Challenge)) []userapi.Outgoing {
	list := make([]userapi.Outgoing, n)
	for i := range list {
		list[i] = f.outgoing(purpose, userID, edits...)
	}
	return list
}

// send stores what is to be sent, posed to the account as it is now.
func (f *tenant) send(out userapi.Outgoing) error {
	f.t.Helper()
	w := userapi.ChallengeInsert{Outgoing: out, Event: f.event(userapi.EventResetAsked)}
	if out.Challenge != nil && out.Challenge.UserID != "" {
		w.IfVersion = f.read(out.Challenge.UserID).Version
	}
	return f.InsertChallenge(f.t.Context(), w)
}

// pose makes and stores a challenge of the account.
func (f *tenant) pose(purpose userapi.Purpose, userID string) userapi.Outgoing {
	f.t.Helper()
	out := f.outgoing(purpose, userID)
	must(f.t, f.send(out))
	return out
}

// poseTo makes and stores one of no account.
func (f *tenant) poseTo(subject string) userapi.Outgoing {
	f.t.Helper()
	out := f.outgoing(userapi.PurposePhone, "", func(ch *userapi.Challenge) { ch.Subject = subject })
	must(f.t, f.send(out))
	return out
}

func byID(out userapi.Outgoing) userapi.ChallengeTry {
	return userapi.ChallengeTry{ID: out.Challenge.ID}
}

func bySubject(out userapi.Outgoing) userapi.ChallengeTry {
	return userapi.ChallengeTry{Purpose: out.Challenge.Purpose, Subject: out.Challenge.Subject}
}

// try asks now, unless the moment is given.
func (f *tenant) try(w userapi.ChallengeTry) userapi.ChallengeTry {
	if w.Now.IsZero() {
		w.Now = f.now
	}
	return w
}

// counted is the challenge as a store gives it back with so many tries.
func counted(out userapi.Outgoing, tries int) userapi.Challenge {
	ch := *out.Challenge
	ch.Tries, ch.ExpiresAt = tries, stamp(ch.ExpiresAt)
	return ch
}

func (f *tenant) wantTry(w userapi.ChallengeTry, out userapi.Outgoing, tries int) {
	f.t.Helper()
	got, err := f.TryChallenge(f.t.Context(), f.try(w))
	must(f.t, err)
	same(f.t, got, counted(out, tries), "challenge")
}

func (f *tenant) noTry(w userapi.ChallengeTry) {
	f.t.Helper()
	got, err := f.TryChallenge(f.t.Context(), f.try(w))
	is(f.t, err, userapi.ErrNotFound)
	same(f.t, got, userapi.Challenge{}, "what comes with a refusal")
}

// left is what is there, by id, of all the challenges (their tries not used up) and messages that this tenant made.
func (f *tenant) left() map[string]any {
	f.t.Helper()
	left := map[string]any{}
	for _, ch := range f.posed {
		got, err := f.TryChallenge(f.t.Context(), userapi.ChallengeTry{ID: ch.ID, Now: ch.ExpiresAt.Add(-time.Millisecond)})
		if err != nil {
			is(f.t, err, userapi.ErrNotFound)
			continue
		}
		must(f.t, f.ReturnTry(f.t.Context(), ch.ID))
		got.Tries--
		left[ch.ID] = got
	}
	if len(f.queued) > 0 {
		for id, m := range f.outbox() {
			if slices.ContainsFunc(f.queued, func(made userapi.SealedMessage) bool { return made.ID == id }) {
				left[id] = m
			}
		}
	}
	return left
}

// leaves wants just these to be there, of all the challenges and messages that this tenant made.
func (f *tenant) leaves(wanted ...userapi.Outgoing) {
	f.t.Helper()
	want := map[string]string{}
	for _, out := range wanted {
		if out.Challenge != nil {
			want[out.Challenge.ID] = "challenge"
		}
		for _, m := range out.Messages {
			want[m.ID] = "message"
		}
	}
	got := map[string]string{}
	for id, row := range f.left() {
		got[id] = "message"
		if _, ok := row.(userapi.Challenge); ok {
			got[id] = "challenge"
		}
	}
	same(f.t, got, want, "challenges and messages left")
}
