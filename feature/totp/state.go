package totp

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/userapi/userapi"
)

// kind is that of our credentials; their key is the user's id, so that a user has one.
const kind = "totp"

// pendingFor is how long an enrolment waits for its first code.
const pendingFor = 10 * time.Minute

// state is what is known of a user. It is stored in one piece, so that a code is used up by the same write that does what it is for.
type state struct {
	Secret    userapi.Secret `json:"-"` // base32; "" = switched off
	CreatedAt time.Time      `json:"created_at"`
	LastStep  int64          `json:"last_step"` // the newest that was used: it and all before it are refused
	Recovery  []string       `json:"recovery"`  // hashes of those not used yet

	Pending      userapi.Secret `json:"-"` // of an enrolment under way; logins do not ask for it
	PendingUntil time.Time      `json:"pending_until"`
}

// sealedState is a state with its secrets in the open. It exists sealed alone.
type sealedState struct {
	state
	Secret  string `json:"secret"`
	Pending string `json:"pending,omitempty"`
}

func (s *state) on() bool { return s.Secret != "" }

// use uses up a code, which has been made plain: of the app or for recovery.
func (s *state) use(code string, now time.Time) bool {
	if !s.on() {
		return false
	}
	if step, ok := match(s.Secret, code, now, s.LastStep); ok {
		s.LastStep = step
		return true
	}
	hash := []byte(recoveryHash(code))
	i := slices.IndexFunc(s.Recovery, func(kept string) bool { return subtle.ConstantTimeCompare([]byte(kept), hash) == 1 })
	if i < 0 {
		return false
	}
	s.Recovery = slices.Delete(s.Recovery, i, i+1)
	return true
}

// enrol begins an enrolment, in place of one that is under way.
func (s *state) enrol(now time.Time) {
	s.Pending, s.PendingUntil = newSecret(), now.Add(pendingFor)
}

// confirm ends an enrolment by its first code.
func (s *state) confirm(code string, now time.Time) bool {
	step, ok := match(s.Pending, code, now, 0)
	if !ok || !now.Before(s.PendingUntil) {
		return false
	}
	*s = state{Secret: s.Pending, CreatedAt: now, LastStep: step}
	return true
}

// renew makes new recovery codes; the former are worth nothing.
func (s *state) renew() []userapi.Secret {
	s.Recovery = nil
	codes := make([]userapi.Secret, recoveryCodes)
	for i := range codes {
		codes[i] = newRecoveryCode()
		s.Recovery = append(s.Recovery, recoveryHash(plain(string(codes[i]))))
	}
	return codes
}

// read gives the state of a user, and the credential it is kept in: at version 0 when there is none.
func (f *Factor) read(ctx context.Context, host userapi.Actor, userID string) (state, userapi.Credential, error) {
	cred := userapi.Credential{UserID: userID, Kind: kind, Key: userID}
	api, err := f.bound()
	if err != nil {
		return state{}, cred, err
	}
	all, err := api.Credentials.Of(ctx, host, userID, kind)
	if err != nil || len(all) == 0 {
		return state{}, cred, err
	}
	var sealed sealedState
	if err := json.Unmarshal(all[0].Data, &sealed); err != nil {
		return state{}, cred, errors.New("totp: a credential cannot be read") // the cause could quote it
	}
	sealed.state.Secret, sealed.state.Pending = userapi.Secret(sealed.Secret), userapi.Secret(sealed.Pending)
	return sealed.state, all[0], nil
}

// maxTries bounds how often a change is decided anew because somebody else was faster.
const maxTries = 10

// change stores what decide makes of a user's state, unless it says no. When the state was changed meanwhile, decide is asked anew, with the
// new state: what it uses up is used up once. The user is told when two-step login was switched on or off.
func (f *Factor) change(ctx context.Context, host userapi.Actor, userID string, decide func(s *state) (bool, error)) (bool, error) {
	for range maxTries {
		s, cred, err := f.read(ctx, host, userID)
		if err != nil {
			return false, err
		}
		before := s.Secret
		if ok, err := decide(&s); !ok || err != nil {
			return false, err
		}
		if err := f.write(ctx, host, cred, s, before); !errors.Is(err, userapi.ErrChanged) {
			return err == nil, err
		}
	}
	return false, userapi.ErrUnavailable
}

func (f *Factor) write(ctx context.Context, host userapi.Actor, cred userapi.Credential, s state, before userapi.Secret) error {
	api, err := f.bound()
	if err != nil {
		return err
	}
	var tell userapi.Notice
	switch {
	case s.on() && s.Secret != before:
		tell = userapi.NoticeSecondFactorOn
	case before != "" && !s.on():
		tell = userapi.NoticeSecondFactorOff
	}
	if s.on() || s.Pending != "" {
		cred.Data, err = json.Marshal(sealedState{state: s, Secret: string(s.Secret), Pending: string(s.Pending)})
		if err == nil {
			_, err = api.Credentials.Put(ctx, host, cred, tell)
		}
		return err
	}
	if cred.Version == 0 {
		return nil
	}
	return api.Credentials.Delete(ctx, host, cred, tell)
}
