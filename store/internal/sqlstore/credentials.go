package sqlstore

import (
	"context"

	"github.com/userapi/userapi"
)

type credentialRow struct {
	Kind    string `db:"kind"`
	Key     string `db:"cred_key"`
	UserID  string `db:"user_id"`
	Data    []byte `db:"data"`
	Version int64  `db:"version"`
}

// Credential implements userapi.CredentialStore.
func (s *Store) Credential(ctx context.Context, kind, key string) (userapi.Credential, error) {
	found, err := s.credentials(ctx, `kind = ? AND cred_key = ?`, kind, key)
	switch {
	case err != nil:
		return userapi.Credential{}, err
	case len(found) == 0:
		return userapi.Credential{}, userapi.ErrNotFound
	}
	return found[0], nil
}

// CredentialsOf implements userapi.CredentialStore.
func (s *Store) CredentialsOf(ctx context.Context, userID, kind string) ([]userapi.Credential, error) {
	if kind == "" {
		return s.credentials(ctx, `user_id = ?`, userID)
	}
	return s.credentials(ctx, `user_id = ? AND kind = ?`, userID, kind)
}

func (s *Store) credentials(ctx context.Context, cond string, args ...any) (found []userapi.Credential, err error) {
	err = s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []credentialRow
		err := q.query(ctx, &rows, `SELECT kind, cred_key, user_id, data, version FROM userapi_credentials WHERE `+cond+` ORDER BY kind, cred_key`, args...)
		if err != nil {
			return err
		}
		found = nil
		for _, r := range rows {
			found = append(found, userapi.Credential{UserID: r.UserID, Kind: r.Kind, Key: r.Key, Data: r.Data, Version: r.Version})
		}
		return nil
	})
	return found, err
}

// PutCredential implements userapi.CredentialStore.
func (s *Store) PutCredential(ctx context.Context, w userapi.CredentialWrite) error {
	c := w.Credential
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		// The account's row comes first: nothing is added to an account that goes meanwhile.
		change, args := `login_count = login_count + 1 WHERE id = ?`, []any{c.UserID}
		if w.IfVersion != 0 {
			change, args = `version = version + 1 WHERE id = ? AND version = ?`, append(args, w.IfVersion)
		}
		n, err := q.exec(ctx, `UPDATE userapi_users SET `+change, args...)
		if err != nil {
			return err
		}
		if n == 0 {
			return s.goneOrChanged(ctx, q, userapi.Scope{All: true}, c.UserID)
		}
		if err := insideSession(ctx, q, w.IfSession); err != nil {
			return err
		}
		if c.Version == 0 {
			n, err = q.exec(ctx, `INSERT INTO userapi_credentials (kind, cred_key, user_id, data, version) VALUES (?, ?, ?, ?, 1)`,
				c.Kind, c.Key, c.UserID, c.Data)
			if err != nil && s.d.Violated(err) != "" {
				return userapi.ErrChanged
			}
		} else {
			n, err = q.exec(ctx, `UPDATE userapi_credentials SET data = ?, version = version + 1
				WHERE kind = ? AND cred_key = ? AND user_id = ? AND version = ?`, c.Data, c.Kind, c.Key, c.UserID, c.Version)
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return userapi.ErrChanged
		}
		return s.insertOutgoing(ctx, q, w.Outgoing)
	})
}

// DeleteCredential implements userapi.CredentialStore.
func (s *Store) DeleteCredential(ctx context.Context, w userapi.CredentialWrite) error {
	c := w.Credential
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		if err := insideSession(ctx, q, w.IfSession); err != nil {
			return err
		}
		n, err := q.exec(ctx, `DELETE FROM userapi_credentials WHERE kind = ? AND cred_key = ? AND user_id = ? AND version = ?`,
			c.Kind, c.Key, c.UserID, c.Version)
		if err != nil {
			return err
		}
		if n == 0 {
			return userapi.ErrChanged
		}
		return s.insertOutgoing(ctx, q, w.Outgoing)
	})
}
