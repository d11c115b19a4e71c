package sqlstore

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
)

// ConnFault knows the errors of connections that are the same for every driver; else it is Defect.
func ConnFault(err error) Fault {
	var network net.Error
	switch {
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
		return Lost
	case strings.Contains(err.Error(), "sql: database is closed"): // database/sql exports no value for it
		return Down
	}
	return Defect
}
