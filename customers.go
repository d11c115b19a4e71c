package userapi

import "context"

// Customer is a tenant: it owns users.
type Customer struct {
	ID    string
	Name  string // at most 255 code points
	Quota int    // how many active users it may have; 0 = unlimited
}

// Customers manages tenants. Only System() may: no caller of one customer reaches another, or its own quota.
type Customers struct{ *core }

// Create adds a customer. An empty ID is made here. ErrInvalid, ErrIDTaken.
func (c *Customers) Create(ctx context.Context, actor Actor, customer Customer) (Customer, error) {
	if err := actor.hosting(); err != nil {
		return Customer{}, err
	}
	customer, err := c.valid(customer)
	if err != nil {
		return Customer{}, err
	}
	if customer.ID == "" {
		customer.ID = newID()
	} else if !ValidID(customer.ID) {
		return Customer{}, ErrInvalid.Field("id", "1 to 64 of A-Z a-z 0-9 . _ : -")
	}
	event := c.event(actor, EventCustomerCreated, User{CustomerID: customer.ID}, "")
	return customer, c.store.InsertCustomer(ctx, CustomerWrite{Customer: customer, Event: event})
}

// ByID finds a customer. ErrNotFound.
func (c *Customers) ByID(ctx context.Context, actor Actor, id string) (Customer, error) {
	if err := actor.hosting(); err != nil {
		return Customer{}, err
	}
	if !ValidID(id) {
		return Customer{}, ErrNotFound
	}
	return c.store.CustomerByID(ctx, id)
}

// List reads at most limit customers (1 to 1000) with an id behind after, ordered by id. ErrWrongArgs.
func (c *Customers) List(ctx context.Context, actor Actor, after string, limit int) ([]Customer, error) {
	if err := actor.hosting(); err != nil {
		return nil, err
	}
	if limit < 1 || limit > 1000 {
		return nil, ErrWrongArgs.Field("limit", "1 to 1000")
	}
	return c.store.ListCustomers(ctx, after, limit)
}

// Change replaces name and quota. A quota below the present number of active users refuses only newcomers.
// ErrInvalid, ErrNotFound.
func (c *Customers) Change(ctx context.Context, actor Actor, customer Customer) (Customer, error) {
	if err := actor.hosting(); err != nil {
		return Customer{}, err
	}
	customer, err := c.valid(customer)
	if err != nil {
		return Customer{}, err
	}
	if !ValidID(customer.ID) {
		return Customer{}, ErrNotFound
	}
	event := c.event(actor, EventCustomerUpdated, User{CustomerID: customer.ID}, "")
	return customer, c.store.ChangeCustomer(ctx, CustomerWrite{Customer: customer, Event: event})
}

func (c *Customers) valid(customer Customer) (Customer, error) {
	var err error
	if customer.Name, err = normalizeName(customer.Name); err != nil {
		return customer, ErrInvalid.Field("name", err.Error())
	}
	if customer.Quota < 0 || customer.Quota > 1<<31-1 {
		return customer, ErrInvalid.Field("quota", "0 (unlimited) or more")
	}
	return customer, nil
}
