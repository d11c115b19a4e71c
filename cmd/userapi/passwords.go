package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/term"

	"github.com/userapi/userapi"
)

// maxLine bounds what is read from standard input, in bytes; the library decides what a password may be.
const maxLine = 4096

// readPassword asks twice on the terminal, without echo; where there is none it reads one line of standard input.
func readPassword() (userapi.Secret, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		line, err := readLine(os.Stdin)
		if err != nil {
			return "", err
		}
		if line == "" {
			return "", wrongUsef("no password: give one line on standard input, or use a terminal")
		}
		return userapi.Secret(line), nil
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	second, err := ask("Once more: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ")
	}
	return userapi.Secret(first), nil
}

// ask reads a line that does not show. An interrupt must not leave the terminal without echo.
func ask(prompt string) (string, error) {
	fd := int(os.Stdin.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	interrupted, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(interrupted, os.Interrupt)
	defer signal.Stop(interrupted)
	defer close(done)
	go func() {
		select {
		case <-interrupted:
			_ = term.Restore(fd, state)
			fmt.Fprintln(os.Stderr)
			os.Exit(exitFailure)
		case <-done:
		}
	}()
	fmt.Fprint(os.Stderr, prompt)
	line, err := term.ReadPassword(fd)
	fmt.Fprintln(os.Stderr)
	return string(line), err
}

// readLine reads one line, without its end and otherwise as it is.
func readLine(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, maxLine)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}
