package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/userapi/userapi"
)

type customerAdd struct {
	Database
	Name  string `required:"" help:"Name of the customer."`
	ID    string `name:"id" help:"Id of the customer. Default: a new one."`
	Quota int    `default:"0" help:"How many active users it may have; 0 is unlimited."`
}

// Run adds the customer.
func (c *customerAdd) Run(ctx context.Context) error {
	return c.use(ctx, func(api *userapi.API) error {
		customer, err := api.Customers.Create(ctx, userapi.System(), userapi.Customer{ID: c.ID, Name: c.Name, Quota: c.Quota})
		if err != nil {
			return err
		}
		fmt.Println(customer.ID)
		return nil
	})
}

type customerList struct {
	Database
}

// Run prints the customers, page by page.
func (c *customerList) Run(ctx context.Context) error {
	const page = 100
	return c.use(ctx, func(api *userapi.API) error {
		out, after := newTable("ID", "NAME", "QUOTA"), ""
		for {
			customers, err := api.Customers.List(ctx, userapi.System(), after, page)
			if err != nil {
				return err
			}
			for _, customer := range customers {
				out.row(customer.ID, customer.Name, strconv.Itoa(customer.Quota))
				after = customer.ID
			}
			if err := out.Flush(); err != nil || len(customers) < page {
				return err
			}
		}
	})
}
