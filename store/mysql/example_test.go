package mysql_test

import (
	"context"
	"database/sql"
	"log"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/mysql"
)

// A host beside the first of three nodes. What it needs for one server is the same, with one address.
func ExampleNewNodes() {
	nodes, err := mysql.ParseNodes("app:secret@tcp(db1:3306,db2:3306,db3:3306)/accounts")
	if err != nil {
		log.Fatal(err)
	}
	connector, err := mysql.NewNodes(nodes...)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(32)
	db.SetMaxIdleConns(32)
	defer db.Close()

	st := mysql.New(db)
	if err := st.Migrate(context.Background()); err != nil {
		log.Fatal(err)
	}
	_, err = userapi.New(userapi.Config{Store: st, Secret: "at least 32 bytes, from a safe place"})
	if err != nil {
		log.Fatal(err)
	}
}
