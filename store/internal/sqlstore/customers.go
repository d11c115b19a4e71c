package sqlstore

import (
	"context"
	"slices"

	"github.com/userapi/userapi"
)

const selectCustomers = `SELECT id, name, quota FROM userapi_customers `

type customerRow struct {
	ID    string `db:"id"`
	Name  string `db:"name"`
	Quota int    `db:"quota"`
}

func (s *Store) customers(ctx context.Context, query string, args ...any) ([]userapi.Customer, error) {
	var customers []userapi.Customer
	err := s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []customerRow
		if err := q.query(ctx, &rows, query, args...); err != nil {
			return err
		}
		customers = nil
		for _, r := range rows {
			customers = append(customers, userapi.Customer(r))
		}
		return nil
	})
	return customers, err
}

// CustomerByID implements userapi.CustomerStore.
func (s *Store) CustomerByID(ctx context.Context, id string) (userapi.Customer, error) {
	found, err := s.customers(ctx, selectCustomers+`WHERE id = ?`, id)
	if err == nil && len(found) == 0 {
		err = userapi.ErrNotFound
	}
	if err != nil {
		return userapi.Customer{}, err
	}
	return found[0], nil
}

// ListCustomers implements userapi.CustomerStore.
func (s *Store) ListCustomers(ctx context.Context, after string, limit int) ([]userapi.Customer, error) {
	return s.customers(ctx, selectCustomers+`WHERE id > ? ORDER BY id LIMIT ?`, after, limit)
}

// InsertCustomer implements userapi.CustomerStore.
func (s *Store) InsertCustomer(ctx context.Context, w userapi.CustomerWrite) error {
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		_, err := q.exec(ctx, `INSERT INTO userapi_customers (id, name, quota, version) VALUES (?, ?, ?, 1)`,
			w.Customer.ID, w.Customer.Name, w.Customer.Quota)
		if err != nil && s.d.Violated(err) == "id" {
			return userapi.ErrIDTaken
		}
		return err
	})
}

// ChangeCustomer implements userapi.CustomerStore.
func (s *Store) ChangeCustomer(ctx context.Context, w userapi.CustomerWrite) error {
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		n, err := q.exec(ctx, `UPDATE userapi_customers SET name = ?, quota = ?, version = version + 1 WHERE id = ?`,
			w.Customer.Name, w.Customer.Quota, w.Customer.ID)
		if err == nil && n == 0 {
			err = userapi.ErrNotFound
		}
		return err
	})
}

// changeCustomers begins whatever counts users: who changes a customer's row goes alone, on every node of a cluster.
// Always in the same order, so that two never wait for each other. It returns what is not there.
func changeCustomers(ctx context.Context, q conn, ids ...string) (missing []string, err error) {
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		n, err := q.exec(ctx, `UPDATE userapi_customers SET version = version + 1 WHERE id = ?`, id)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			missing = append(missing, id)
		}
	}
	return missing, nil
}

// hasRoom counts the active users of the customer, whose row the transaction has changed.
func (s *Store) hasRoom(ctx context.Context, q conn, customer, but string) error {
	var quota []int
	if err := q.query(ctx, &quota, `SELECT quota FROM userapi_customers WHERE id = ?`+s.share(), customer); err != nil {
		return err
	}
	if len(quota) == 0 || quota[0] == 0 {
		return nil
	}
	var active []int
	err := q.query(ctx, &active, `SELECT COUNT(*) FROM userapi_users WHERE customer_id = ? AND active = 1 AND id <> ?`+s.share(),
		customer, but)
	if err == nil && active[0] >= quota[0] {
		err = userapi.ErrQuota
	}
	return err
}

// hasOtherAdmin looks for another active admin of the customer, whose row the transaction has changed.
func (s *Store) hasOtherAdmin(ctx context.Context, q conn, customer, but string) error {
	found, err := q.exists(ctx, `SELECT 1 FROM userapi_users u
		JOIN userapi_user_roles ur ON ur.user_id = u.id
		JOIN userapi_roles r ON r.id = ur.role_id
		WHERE r.code = ? AND u.customer_id = ? AND u.active = 1 AND u.id <> ? LIMIT 1`+s.share(),
		userapi.RoleAdmin, customer, but)
	if err == nil && !found {
		err = userapi.ErrLastAdmin
	}
	return err
}
