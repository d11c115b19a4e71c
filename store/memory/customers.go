package memory

import (
	"cmp"
	"context"
	"slices"

	"github.com/userapi/userapi"
)

// CustomerByID implements userapi.CustomerStore.
func (s *Store) CustomerByID(ctx context.Context, id string) (userapi.Customer, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return userapi.Customer{}, err
	}
	defer unlock()
	c, ok := s.customers[id]
	if !ok {
		return userapi.Customer{}, userapi.ErrNotFound
	}
	return c, nil
}

// ListCustomers implements userapi.CustomerStore.
func (s *Store) ListCustomers(ctx context.Context, after string, limit int) ([]userapi.Customer, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var found []userapi.Customer
	for _, c := range s.customers {
		if c.ID > after {
			found = append(found, c)
		}
	}
	slices.SortFunc(found, func(a, b userapi.Customer) int { return cmp.Compare(a.ID, b.ID) })
	return page(found, 0, limit), nil
}

// InsertCustomer implements userapi.CustomerStore.
func (s *Store) InsertCustomer(ctx context.Context, w userapi.CustomerWrite) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := s.customers[w.Customer.ID]; ok {
		return userapi.ErrIDTaken
	}
	s.customers[w.Customer.ID] = w.Customer
	s.record(w.Event)
	return nil
}

// ChangeCustomer implements userapi.CustomerStore.
func (s *Store) ChangeCustomer(ctx context.Context, w userapi.CustomerWrite) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := s.customers[w.Customer.ID]; !ok {
		return userapi.ErrNotFound
	}
	s.customers[w.Customer.ID] = w.Customer
	s.record(w.Event)
	return nil
}
