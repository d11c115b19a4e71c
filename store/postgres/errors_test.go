package postgres

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/userapi/userapi/store/internal/sqlstore"
)

// said is an error of a server, as drivers have it.
type said struct{ code, message string }

func (e said) Error() string { return e.message }

func (e said) SQLState() string { return e.code }

func TestErrorsAreKnownByTheirCode(t *testing.T) {
	for code, want := range map[string]sqlstore.Fault{
		"40001": sqlstore.Conflict, "40P01": sqlstore.Conflict, "55P03": sqlstore.Conflict, "40003": sqlstore.Lost,
		"08006": sqlstore.Lost, "08P01": sqlstore.Lost, "57P01": sqlstore.Lost, "57P02": sqlstore.Lost, "57P03": sqlstore.Lost, "25P03": sqlstore.Lost,
		"53300": sqlstore.Down, "53100": sqlstore.Down, "25006": sqlstore.Down, "57014": sqlstore.Down, "58030": sqlstore.Down,
		"25P02": sqlstore.Defect, "42601": sqlstore.Defect, "23505": sqlstore.Defect, "22021": sqlstore.Defect, "": sqlstore.Defect,
	} {
		assert.Equal(t, want, fault(fmt.Errorf("wrapped: %w", said{code, "x"})), code)
	}
	assert.Equal(t, sqlstore.Conflict, fault(said{"23505", `duplicate key value violates unique constraint "pg_type_typname_nsp_index"`}))
	assert.Equal(t, sqlstore.Lost, fault(errors.New("conn closed")))
	assert.Equal(t, sqlstore.Defect, fault(errors.New("something else")))
}

func TestKeysAreFoundInEveryLanguage(t *testing.T) {
	for message, want := range map[string]string{
		`ERROR: duplicate key value violates unique constraint "userapi_users_unique_email_key" (SQLSTATE 23505)`: "email_key",
		`doppelter Schlüsselwert verletzt Unique-Constraint »userapi_users_unique_verified_phone«`:                "verified_phone",
		`la valeur d'une clé dupliquée rompt la contrainte unique « userapi_keys_unique_name_key »`:               "name_key",
		`重複したキー値は一意性制約"userapi_events_pkey"違反となります`:                                                               "id",
		`duplicate key value violates unique constraint "userapi_challenges_by_id"`:                               "other",
	} {
		assert.Equal(t, want, violated(said{"23505", message}), message)
	}
	assert.Equal(t, sqlstore.Reference, violated(said{"23503", ""}))
	assert.Equal(t, sqlstore.Reference, violated(said{"23001", ""}))
	assert.Equal(t, sqlstore.Oversize, violated(said{"54000", ""}))
	assert.Empty(t, violated(said{"40001", "userapi_users_unique_email_key"}))
	assert.Empty(t, violated(errors.New("userapi_users_unique_email_key")))
}
