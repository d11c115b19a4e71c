package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/userapi/userapi"
)

// AccountByID implements userapi.UserStore.
func (s *Store) AccountByID(ctx context.Context, scope userapi.Scope, id string) (userapi.Account, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return userapi.Account{}, err
	}
	defer unlock()
	a, ok := s.accounts[id]
	if !ok || !scope.Holds(a.CustomerID) {
		return userapi.Account{}, userapi.ErrNotFound
	}
	return s.read(a), nil
}

// AccountByIdentifier implements userapi.UserStore.
func (s *Store) AccountByIdentifier(ctx context.Context, scope userapi.Scope, id userapi.Identifier) (userapi.Account, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return userapi.Account{}, err
	}
	defer unlock()
	a, ok := s.accounts[s.taken[id]]
	if !ok || !scope.Holds(a.CustomerID) {
		return userapi.Account{}, userapi.ErrNotFound
	}
	return s.read(a), nil
}

// ListUsers implements userapi.UserStore.
func (s *Store) ListUsers(ctx context.Context, f userapi.UserFilter) ([]userapi.User, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	after := place{named: true, id: f.AfterID}
	if f.Prefix != "" {
		after = place{f.AfterUser == "", cmp.Or(f.AfterUser, f.AfterName), f.AfterID}
	}
	var found []userapi.Account
	for _, a := range s.accounts {
		behind := after == place{named: true} || placeOf(f, a).compare(after) > 0
		if behind && f.Scope.Holds(a.CustomerID) && matches(f, a) {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b userapi.Account) int { return placeOf(f, a).compare(placeOf(f, b)) })
	users := make([]userapi.User, 0, len(found))
	for _, a := range page(found, f.Offset, f.Limit) {
		if a = s.read(a); !f.WithRoles {
			a.Roles = nil
		}
		users = append(users, a.User)
	}
	return users, nil
}

// place is where an account stands in a list.
type place struct {
	named   bool // not for the username alone
	key, id string
}

func placeOf(f userapi.UserFilter, a userapi.Account) place {
	switch {
	case f.Prefix == "":
		return place{named: true, id: a.ID}
	case strings.HasPrefix(a.NameKey, f.Prefix):
		return place{true, a.NameKey, a.ID}
	}
	return place{false, a.UsernameKey, ""}
}

func (p place) compare(q place) int {
	if p.named != q.named {
		if p.named {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(p.key, q.key), cmp.Compare(p.id, q.id))
}

// matches applies all of the filter but its scope and its place in the list.
func matches(f userapi.UserFilter, a userapi.Account) bool {
	email, name := strings.Contains(a.EmailKey, f.EmailPart), strings.Contains(a.NameKey, f.NamePart)
	parts := email && name
	if !f.MatchAll && f.EmailPart != "" && f.NamePart != "" {
		parts = email || name
	}
	return parts &&
		(strings.HasPrefix(a.NameKey, f.Prefix) || strings.HasPrefix(a.UsernameKey, f.Prefix)) &&
		(f.Active == nil || *f.Active == a.Active)
}

// InsertUser implements userapi.UserStore.
func (s *Store) InsertUser(ctx context.Context, w userapi.UserInsert) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := s.accounts[w.Account.ID]; ok {
		return userapi.ErrIDTaken
	}
	if err := s.mayKeep(w.Account, true, nil); err != nil {
		return err
	}
	s.put(w.Account)
	if w.Session != nil {
		s.putSession(*w.Session)
	}
	s.give(w.Outgoing)
	s.record(w.Event)
	return nil
}

// ChangeUser implements userapi.UserStore.
func (s *Store) ChangeUser(ctx context.Context, w userapi.UserUpdate) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := s.at(w.Scope, w.Account.ID, w.IfVersion)
	if err != nil {
		return err
	}
	a := w.Account
	if !w.SetRoles {
		a.Roles = old.Roles
	}
	if err := s.mayChange(a, w); err != nil {
		return err
	}
	a.Version, a.LastLogin, a.CreatedAt = old.Version+1, old.LastLogin, old.CreatedAt
	if w.LogsIn {
		a.LastLogin = w.Session.CreatedAt
	}
	s.release(old)
	if w.Releases != nil {
		s.releasePhone(*w.Releases)
	}
	s.put(a)
	if w.EndSessions {
		s.endSessions(func(open userapi.Session) bool { return open.UserID == a.ID })
	}
	if w.Session != nil {
		s.putSession(*w.Session)
	}
	if w.EndMemberships {
		s.endMemberships(func(m membership) bool { return m.user == a.ID })
	}
	s.endChallenges(func(ch userapi.Challenge) bool {
		return ch.UserID == a.ID && (ch.ID == w.Consumes || slices.Contains(w.Voids, ch.Purpose))
	})
	s.endCredentials(func(c userapi.Credential) bool {
		return c.UserID == a.ID && (w.EndCredentials || c.Kind == w.EndKind)
	})
	if w.EndKeys {
		s.endKeys(a.ID)
	}
	s.give(w.Outgoing)
	s.revoke(w.Revoke...)
	s.record(w.Event)
	return nil
}

// DeleteUser implements userapi.UserStore.
func (s *Store) DeleteUser(ctx context.Context, w userapi.UserDelete) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := s.at(w.Scope, w.ID, w.IfVersion)
	if err != nil {
		return err
	}
	if w.KeepAdmin && !s.hasOtherAdmin(w.Customer, old.ID) {
		return userapi.ErrLastAdmin
	}
	s.erase(old)
	s.revoke(w.Revoke...)
	s.record(w.Event)
	return nil
}

// erase deletes the account with all that hangs on it.
func (s *Store) erase(a userapi.Account) {
	s.release(a)
	delete(s.accounts, a.ID)
	s.endSessions(func(open userapi.Session) bool { return open.UserID == a.ID })
	s.endMemberships(func(m membership) bool { return m.user == a.ID })
	s.endKeys(a.ID)
	delete(s.grants, a.ID)
	maps.DeleteFunc(s.counters, func(key string, _ counter) bool { return strings.HasPrefix(key, userapi.MarksOf(a.ID)) })
	s.endChallenges(func(ch userapi.Challenge) bool { return ch.UserID == a.ID })
	s.endMessages(func(m userapi.SealedMessage) bool { return m.UserID == a.ID })
	for i, e := range s.events {
		if e.UserID == a.ID && (e.ActorID == "" || e.ActorID == a.ID) {
			s.events[i].Address, s.events[i].UserAgent = "", ""
		}
	}
	s.endCredentials(func(c userapi.Credential) bool { return c.UserID == a.ID })
}

// at finds the account to change.
func (s *Store) at(scope userapi.Scope, id string, version int64) (userapi.Account, error) {
	a, ok := s.accounts[id]
	switch {
	case !ok || !scope.Holds(a.CustomerID):
		return userapi.Account{}, userapi.ErrNotFound
	case a.Version != version:
		return userapi.Account{}, userapi.ErrChanged
	}
	return a, nil
}

// mayChange reports what forbids the change to a: nothing is written before it agrees.
func (s *Store) mayChange(a userapi.Account, w userapi.UserUpdate) error {
	if w.Consumes != "" && s.challenges[w.Consumes].UserID != a.ID {
		return userapi.ErrInvalidCode
	}
	if w.KeepAdmin && !s.hasOtherAdmin(w.CustomerBefore, a.ID) {
		return userapi.ErrLastAdmin
	}
	if r := w.Releases; r != nil {
		holder := s.accounts[r.UserID]
		if holder.Version != r.IfVersion || !holder.PhoneVerified || holder.Phone != r.Phone {
			return userapi.ErrChanged
		}
		if s.recorded[r.Event.ID] {
			return errEventKnown
		}
	}
	if err := s.mayKeep(a, w.TakesPlace, w.Releases); err != nil {
		return err
	}
	if w.Replaces != "" && s.sessions[w.Replaces].UserID != a.ID {
		return userapi.ErrChanged
	}
	return nil
}

// mayKeep reports what forbids to store the account: nothing is written before it agrees. What frees takes from its
// holder, and has agreed to already, is free.
func (s *Store) mayKeep(a userapi.Account, takesPlace bool, frees *userapi.PhoneRelease) error {
	customer, ok := s.customers[a.CustomerID]
	if !ok {
		return userapi.ErrInvalid.Field("customer", "no such customer")
	}
	if takesPlace && a.Active && customer.Quota > 0 && s.countOthers(a) >= customer.Quota {
		return userapi.ErrQuota
	}
	for _, r := range a.Roles {
		if _, ok := s.roles[r.ID]; !ok {
			return userapi.ErrInvalid.Field("roles", "no such role")
		}
	}
	for _, key := range identifiers(a) {
		holder, ok := s.taken[key]
		freed := frees != nil && key.Kind == userapi.PhoneIdentifier && holder == frees.UserID
		if ok && holder != a.ID && !freed {
			return takenErrors[key.Kind]
		}
	}
	return nil
}

var takenErrors = map[userapi.IdentifierKind]error{
	userapi.EmailIdentifier:    userapi.ErrEmailTaken,
	userapi.UsernameIdentifier: userapi.ErrUsernameTaken,
	userapi.PhoneIdentifier:    userapi.ErrPhoneTaken,
}

// identifiers are the keys that one account alone may hold, and is found by.
func identifiers(a userapi.Account) []userapi.Identifier {
	var keys []userapi.Identifier
	if a.EmailKey != "" {
		keys = append(keys, userapi.Identifier{Kind: userapi.EmailIdentifier, Value: a.EmailKey})
	}
	if a.UsernameKey != "" {
		keys = append(keys, userapi.Identifier{Kind: userapi.UsernameIdentifier, Value: a.UsernameKey})
	}
	if a.Phone != "" && a.PhoneVerified {
		keys = append(keys, userapi.Identifier{Kind: userapi.PhoneIdentifier, Value: a.Phone})
	}
	return keys
}

// countOthers counts the other active accounts of a's customer.
func (s *Store) countOthers(a userapi.Account) int {
	n := 0
	for _, other := range s.accounts {
		if other.Active && other.CustomerID == a.CustomerID && other.ID != a.ID {
			n++
		}
	}
	return n
}

func (s *Store) hasOtherAdmin(customer, id string) bool {
	for _, a := range s.accounts {
		if a.Active && a.CustomerID == customer && a.ID != id && s.read(a).HasRole(userapi.RoleAdmin) {
			return true
		}
	}
	return false
}

// put stores a copy of the account. Of its roles only the ids count: definitions may be renamed.
func (s *Store) put(a userapi.Account) {
	a.Roles = slices.Clone(a.Roles)
	a.LastLogin, a.CreatedAt, a.UpdatedAt = stamp(a.LastLogin), stamp(a.CreatedAt), stamp(a.UpdatedAt)
	s.accounts[a.ID] = a
	for _, key := range identifiers(a) {
		s.taken[key] = a.ID
	}
}

// releasePhone takes the verified mark from a number's holder.
func (s *Store) releasePhone(r userapi.PhoneRelease) {
	holder := s.accounts[r.UserID]
	s.release(holder)
	holder.PhoneVerified = false
	holder.Version++
	s.put(holder)
	s.record(r.Event)
}

// release frees the identifiers of an account that changes or goes.
func (s *Store) release(a userapi.Account) {
	for _, key := range identifiers(a) {
		delete(s.taken, key)
	}
}

// read is the account as callers get it: a copy, its roles as they are defined now.
func (s *Store) read(a userapi.Account) userapi.Account {
	roles := make([]userapi.Role, len(a.Roles))
	for i, r := range a.Roles {
		roles[i] = s.roles[r.ID]
	}
	slices.SortFunc(roles, func(a, b userapi.Role) int { return cmp.Compare(a.Code, b.Code) })
	a.Roles = roles
	return a
}
