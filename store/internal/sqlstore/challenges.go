package sqlstore

import (
	"context"
	"errors"

	"github.com/userapi/userapi"
)

const challengeColumns = `id, purpose, subject, user_id, target, display, mac, tries, max_tries, expires_at`

type challengeRow struct {
	ID        string `db:"id"`
	Purpose   string `db:"purpose"`
	Subject   string `db:"subject"`
	UserID    string `db:"user_id"`
	Target    string `db:"target"`
	Display   string `db:"display"`
	MAC       string `db:"mac"`
	Tries     int    `db:"tries"`
	MaxTries  int    `db:"max_tries"`
	ExpiresAt int64  `db:"expires_at"`
}

func (r challengeRow) challenge() userapi.Challenge {
	return userapi.Challenge{
		ID: r.ID, Purpose: userapi.Purpose(r.Purpose), Subject: r.Subject, UserID: r.UserID, Target: r.Target, Display: r.Display,
		MAC: r.MAC, Tries: r.Tries, MaxTries: r.MaxTries, ExpiresAt: moment(r.ExpiresAt),
	}
}

// InsertChallenge implements userapi.ChallengeStore.
func (s *Store) InsertChallenge(ctx context.Context, w userapi.ChallengeInsert) error {
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		if ch := w.Outgoing.Challenge; ch != nil {
			// For a challenge of no account too: it may be written so that nobody can tell by the time that there is none.
			n, err := q.exec(ctx, `UPDATE userapi_users SET login_count = login_count + 1 WHERE id = ? AND version = ?`, ch.UserID, w.IfVersion)
			if err != nil {
				return err
			}
			if n == 0 && ch.UserID != "" {
				return userapi.ErrChanged
			}
		}
		return s.insertOutgoing(ctx, q, w.Outgoing)
	})
}

// insertOutgoing is part of several writes. Where the challenge has an account, the transaction has changed its row.
func (s *Store) insertOutgoing(ctx context.Context, q conn, out userapi.Outgoing) error {
	if out.Challenge != nil {
		if err := s.replaceChallenge(ctx, q, *out.Challenge); err != nil {
			return err
		}
	}
	for _, m := range out.Messages {
		if err := s.insertMessage(ctx, q, m); err != nil {
			return err
		}
	}
	return nil
}

// replaceChallenge ends what the challenge takes the place of. Which that is comes out only once the row is locked, so the
// row itself notes it; the id comes last: MySQL assigns from left to right, each seeing the ones before.
func (s *Store) replaceChallenge(ctx context.Context, q conn, ch userapi.Challenge) error {
	set := `replaced = userapi_challenges.id`
	for _, column := range []string{"user_id", "target", "display", "mac", "tries", "max_tries", "expires_at", "id"} {
		set += `, ` + column + ` = ` + s.d.Excluded(column)
	}
	_, err := q.exec(ctx, `INSERT INTO userapi_challenges (`+challengeColumns+`, replaced) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '') `+
		s.d.Upsert("purpose, subject")+` `+set,
		ch.ID, string(ch.Purpose), ch.Subject, ch.UserID, ch.Target, ch.Display, ch.MAC, ch.Tries, ch.MaxTries, millis(ch.ExpiresAt))
	if err != nil {
		return err
	}
	var replaced []string
	err = q.query(ctx, &replaced, `SELECT replaced FROM userapi_challenges WHERE purpose = ? AND subject = ? AND id = ?`,
		string(ch.Purpose), ch.Subject, ch.ID)
	switch {
	case err != nil:
		return err
	case len(replaced) == 0:
		return errors.New("a challenge with this id is stored already, for another purpose or subject")
	case replaced[0] == "":
		return nil
	}
	return deleteMessages(ctx, q, replaced)
}

// TryChallenge implements userapi.ChallengeStore. No event tells what became of a COMMIT whose answer is lost: the caller gets
// ErrUnavailable and the try may have counted, which errs on the side that is safe.
func (s *Store) TryChallenge(ctx context.Context, w userapi.ChallengeTry) (userapi.Challenge, error) {
	index, cond, args := "userapi_challenges_by_id", `id = ?`, []any{w.ID}
	if w.ID == "" {
		index, cond, args = "PRIMARY", `purpose = ? AND subject = ?`, []any{string(w.Purpose), w.Subject}
	}
	var ch userapi.Challenge
	err := s.write(ctx, userapi.Event{}, func(ctx context.Context, q conn) error {
		// The try comes before the look: it locks the row, and of callers on two nodes of a cluster one has to do it again.
		n, err := q.exec(ctx, `UPDATE userapi_challenges`+s.d.Index(index)+` SET tries = tries + 1
			WHERE `+cond+` AND tries < max_tries AND expires_at > ?`, append(args[:len(args):len(args)], millis(w.Now))...)
		if err != nil {
			return err
		}
		if n == 0 {
			return userapi.ErrNotFound
		}
		var rows []challengeRow
		if err := q.query(ctx, &rows, `SELECT `+challengeColumns+` FROM userapi_challenges WHERE `+cond, args...); err != nil {
			return err
		}
		ch = rows[0].challenge()
		return nil
	})
	if err != nil {
		return userapi.Challenge{}, err
	}
	return ch, nil
}

// ReturnTry implements userapi.ChallengeStore.
func (s *Store) ReturnTry(ctx context.Context, id string) error {
	return s.statement(ctx, func(ctx context.Context, q conn) error {
		_, err := q.exec(ctx, `UPDATE userapi_challenges SET tries = tries - 1 WHERE id = ? AND tries > 0`, id)
		return err
	})
}

// EndChallenge implements userapi.ChallengeStore.
func (s *Store) EndChallenge(ctx context.Context, w userapi.ChallengeEnd) error {
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		n, err := q.exec(ctx, `DELETE FROM userapi_challenges WHERE id = ?`, w.ID)
		if err != nil {
			return err
		}
		if n == 0 {
			return userapi.ErrNotFound
		}
		return deleteMessages(ctx, q, []string{w.ID})
	})
}

// consumeChallenge ends the challenge that a change of the account is the answer to.
func consumeChallenge(ctx context.Context, q conn, id, userID string) error {
	if id == "" {
		return nil
	}
	n, err := q.exec(ctx, `DELETE FROM userapi_challenges WHERE id = ? AND user_id = ?`, id, userID)
	if err != nil {
		return err
	}
	if n == 0 {
		return userapi.ErrInvalidCode
	}
	return deleteMessages(ctx, q, []string{id})
}

// voidChallenges ends the challenges of accounts whose rows the transaction has changed: nobody adds any now. Without
// purposes all of them end.
func (s *Store) voidChallenges(ctx context.Context, q conn, userIDs []string, purposes ...userapi.Purpose) error {
	query, args := `SELECT id FROM userapi_challenges WHERE user_id IN (?)`, []any{userIDs}
	if len(purposes) > 0 {
		names := make([]string, len(purposes))
		for i, p := range purposes {
			names[i] = string(p)
		}
		query, args = query+` AND purpose IN (?)`, append(args, names)
	}
	query, args, err := in(query+s.share(), args...)
	if err != nil {
		return err
	}
	var ids []string
	if err := q.query(ctx, &ids, query, args...); err != nil {
		return err
	}
	if err := deleteAll(ctx, q, `DELETE FROM userapi_challenges WHERE id IN (?)`, ids); err != nil {
		return err
	}
	return deleteMessages(ctx, q, ids)
}

// deleteAll runs a DELETE for all of a list of ids, which may be empty.
func deleteAll(ctx context.Context, q conn, query string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	query, args, err := in(query, ids)
	if err != nil {
		return err
	}
	_, err = q.exec(ctx, query, args...)
	return err
}
