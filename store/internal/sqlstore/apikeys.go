package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

const keyColumns = `k.id AS key_id, k.user_id AS key_user, k.name AS key_name, k.name_key AS key_name_key, k.prefix, k.hash, k.scopes,
	k.active AS key_active, k.expires_at AS key_expires, k.created_at AS key_created, k.last_used_at, k.version AS key_version`

// The names differ from those of accountRow: one statement reads both.
type keyRow struct {
	ID         string        `db:"key_id"`
	UserID     string        `db:"key_user"`
	Name       string        `db:"key_name"`
	NameKey    string        `db:"key_name_key"`
	Prefix     string        `db:"prefix"`
	Hash       string        `db:"hash"`
	Scopes     string        `db:"scopes"`
	Active     bool          `db:"key_active"`
	ExpiresAt  sql.NullInt64 `db:"key_expires"`
	CreatedAt  int64         `db:"key_created"`
	LastUsedAt sql.NullInt64 `db:"last_used_at"`
	Version    int64         `db:"key_version"`
}

func (r keyRow) key() userapi.StoredKey {
	k := userapi.StoredKey{APIKey: userapi.APIKey{
		ID: r.ID, UserID: r.UserID, Name: r.Name, Prefix: r.Prefix, Active: r.Active,
		ExpiresAt: momentOrZero(r.ExpiresAt), CreatedAt: moment(r.CreatedAt), LastUsedAt: momentOrZero(r.LastUsedAt),
	}, NameKey: r.NameKey, Hash: r.Hash, Version: r.Version}
	if r.Scopes != "" {
		k.Scopes = strings.Split(r.Scopes, ",")
	}
	return k
}

// millisOrNull keeps a time that may be none, and momentOrZero is the way back.
func millisOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return millis(t)
}

func momentOrZero(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return moment(ms.Int64)
}

// FindKey implements userapi.KeyStore.
func (s *Store) FindKey(ctx context.Context, scope userapi.Scope, by userapi.KeyRef) (ka userapi.KeyAccount, err error) {
	column, value := "k.id", by.ID
	if value == "" {
		column, value = "k.prefix", by.Prefix
	}
	cond, args := scoped(scope)
	err = s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []struct {
			keyRow
			accountRow
		}
		err := q.query(ctx, &rows, `SELECT `+keyColumns+`, `+accountColumns+`
			FROM userapi_keys k JOIN userapi_users u ON u.id = k.user_id `+joinRoles+` WHERE `+column+` = ?`+cond,
			append([]any{value}, args...)...)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return userapi.ErrNotFound
		}
		accounts := make([]accountRow, len(rows))
		for i, r := range rows {
			accounts[i] = r.accountRow
		}
		ka = userapi.KeyAccount{Key: rows[0].key(), Account: account(accounts)}
		return nil
	})
	return ka, err
}

// ListKeys implements userapi.KeyStore.
func (s *Store) ListKeys(ctx context.Context, scope userapi.Scope, userID string) ([]userapi.APIKey, error) {
	cond, args := scoped(scope)
	var keys []userapi.APIKey
	err := s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []keyRow
		err := q.query(ctx, &rows, `SELECT `+keyColumns+` FROM userapi_keys k JOIN userapi_users u ON u.id = k.user_id
			WHERE k.user_id = ?`+cond+` ORDER BY k.created_at, k.id`, append([]any{userID}, args...)...)
		if err != nil {
			return err
		}
		keys = nil
		for _, r := range rows {
			keys = append(keys, r.key().APIKey)
		}
		return nil
	})
	return keys, err
}

// InsertKey implements userapi.KeyStore.
func (s *Store) InsertKey(ctx context.Context, w userapi.KeyInsert) error {
	k := w.Key
	cond, scope := scoped(w.Scope)
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		n, err := q.exec(ctx, `UPDATE userapi_users AS u`+s.d.Index("PRIMARY")+` SET login_count = login_count + 1
			WHERE u.id = ? AND u.epoch = ? AND u.active = 1`+cond, append([]any{k.UserID, w.IfEpoch}, scope...)...)
		if err != nil {
			return err
		}
		if n == 0 {
			return userapi.ErrChanged
		}
		if err := insideSession(ctx, q, w.IfSession); err != nil {
			return err
		}
		if err := s.hasRoomForKey(ctx, q, k.APIKey, k.CreatedAt, w.Cap); err != nil {
			return err
		}
		if err := s.hasRoomForAnyKey(ctx, q, k.UserID, w.CapAll); err != nil {
			return err
		}
		_, err = q.exec(ctx, `INSERT INTO userapi_keys
			(id, user_id, name, name_key, prefix, hash, scopes, active, expires_at, created_at, last_used_at, version)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)`,
			k.ID, k.UserID, k.Name, k.NameKey, k.Prefix, k.Hash, strings.Join(k.Scopes, ","), k.Active,
			millisOrNull(k.ExpiresAt), millis(k.CreatedAt), millisOrNull(k.LastUsedAt))
		return s.keyTaken(err)
	})
}

// insideSession makes a write conflict with the end of the session it is asked for in.
func insideSession(ctx context.Context, q conn, id string) error {
	if id == "" {
		return nil
	}
	n, err := q.exec(ctx, `UPDATE userapi_sessions SET key_count = key_count + 1 WHERE id = ?`, id)
	if err == nil && n == 0 {
		err = userapi.ErrChanged
	}
	return err
}

// hasRoomForKey counts the other usable keys of the owner, whose row the transaction has changed.
func (s *Store) hasRoomForKey(ctx context.Context, q conn, k userapi.APIKey, now time.Time, most int64) error {
	var usable []int64
	err := q.query(ctx, &usable, `SELECT COUNT(*) FROM userapi_keys
		WHERE user_id = ? AND active = 1 AND (expires_at IS NULL OR expires_at > ?) AND id <> ?`+s.share(), k.UserID, millis(now), k.ID)
	if err == nil && usable[0] >= most {
		err = userapi.ErrKeyQuota
	}
	return err
}

// hasRoomForAnyKey counts all keys of the owner, likewise.
func (s *Store) hasRoomForAnyKey(ctx context.Context, q conn, userID string, most int64) error {
	if most == 0 {
		return nil
	}
	var all []int64
	err := q.query(ctx, &all, `SELECT COUNT(*) FROM userapi_keys WHERE user_id = ?`+s.share(), userID)
	if err == nil && all[0] >= most {
		err = userapi.ErrKeyQuota
	}
	return err
}

// keyTaken says which unique key an INSERT or UPDATE of an API key ran into.
func (s *Store) keyTaken(err error) error {
	if err == nil {
		return nil
	}
	switch s.d.Violated(err) {
	case "id", "prefix":
		return userapi.ErrIDTaken
	case "name_key":
		return userapi.ErrKeyNameTaken
	}
	return err
}

// changeOwner begins a change of a key that exists.
func (s *Store) changeOwner(ctx context.Context, q conn, sc userapi.Scope, userID string) error {
	cond, scope := scoped(sc)
	n, err := q.exec(ctx, `UPDATE userapi_users AS u`+s.d.Index("PRIMARY")+` SET version = version + 1 WHERE u.id = ?`+cond,
		append([]any{userID}, scope...)...)
	if err == nil && n == 0 {
		err = userapi.ErrNotFound
	}
	return err
}

// ChangeKey implements userapi.KeyStore.
func (s *Store) ChangeKey(ctx context.Context, w userapi.KeyUpdate) error {
	k := w.Key
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		if err := s.changeOwner(ctx, q, w.Scope, k.UserID); err != nil {
			return err
		}
		// The session before the key, as everywhere; that it is gone is told after what is wrong with the key, and so is a quota.
		ended := insideSession(ctx, q, w.IfSession)
		if ended != nil && !errors.Is(ended, userapi.ErrChanged) {
			return ended
		}
		var full error
		if w.TakesPlace && ended == nil {
			if full = s.hasRoomForKey(ctx, q, k.APIKey, w.Now, w.Cap); full != nil && !errors.Is(full, userapi.ErrKeyQuota) {
				return full
			}
		}
		n, err := q.exec(ctx, `UPDATE userapi_keys`+s.d.Index("PRIMARY")+` SET name = ?, name_key = ?, scopes = ?, active = ?, version = version + 1
			WHERE id = ? AND user_id = ? AND version = ?`,
			k.Name, k.NameKey, strings.Join(k.Scopes, ","), k.Active, k.ID, k.UserID, w.IfVersion)
		if err == nil && n == 0 {
			return s.keyGoneOrChanged(ctx, q, k.APIKey)
		}
		if err != nil && s.d.Violated(err) == "" {
			return err
		}
		switch {
		case ended != nil:
			return ended
		case full != nil:
			return full
		case err != nil:
			return s.keyTaken(err)
		}
		return s.revoke(ctx, q, w.Revoke)
	})
}

func (s *Store) keyGoneOrChanged(ctx context.Context, q conn, k userapi.APIKey) error {
	found, err := q.exists(ctx, `SELECT 1 FROM userapi_keys WHERE id = ? AND user_id = ?`+s.share(), k.ID, k.UserID)
	switch {
	case err != nil:
		return err
	case found:
		return userapi.ErrChanged
	}
	return userapi.ErrNotFound
}

// DeleteKey implements userapi.KeyStore.
func (s *Store) DeleteKey(ctx context.Context, w userapi.KeyDelete) error {
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		if err := s.changeOwner(ctx, q, w.Scope, w.UserID); err != nil {
			return err
		}
		n, err := q.exec(ctx, `DELETE FROM userapi_keys WHERE id = ? AND user_id = ?`, w.ID, w.UserID)
		if err != nil {
			return err
		}
		if n == 0 {
			return userapi.ErrNotFound
		}
		return s.revoke(ctx, q, w.Revoke)
	})
}

// TouchKey implements userapi.KeyStore.
func (s *Store) TouchKey(ctx context.Context, id string, at time.Time, every time.Duration) error {
	return s.statement(ctx, func(ctx context.Context, q conn) error {
		_, err := q.exec(ctx, `UPDATE userapi_keys SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at <= ?)`,
			millis(at), id, millis(at.Add(-every)))
		return err
	})
}

const disableKeys = `UPDATE userapi_keys SET active = 0, version = version + 1`
