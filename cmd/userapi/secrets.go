package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

const (
	secretSuffix = ".secret"
	minSecret    = 32 // bytes
	// A start that finds the file of another one half written waits so long for the rest.
	secretWait = 2 * time.Second
)

// givenSecrets reads the secrets from the file, else from USERAPI_SECRET: newest first, nil when neither is given.
func givenSecrets(file *string) ([]userapi.Secret, error) {
	if file != nil { // an empty name is a mistake too
		text, err := os.ReadFile(*file)
		if err != nil {
			return nil, wrongUsef("--secret: %v", err)
		}
		warnIfReadable(*file)
		return splitSecrets("--secret "+*file, string(text))
	}
	if text, set := os.LookupEnv("USERAPI_SECRET"); set {
		// Set but empty is a mistake of whoever deploys, and must not mean development mode.
		return splitSecrets("USERAPI_SECRET", text)
	}
	return nil, nil
}

func splitSecrets(source, text string) ([]userapi.Secret, error) {
	var all []userapi.Secret
	for one := range strings.SplitSeq(text, ",") {
		one = strings.TrimSpace(one)
		if len(one) < minSecret {
			return nil, wrongUsef("%s: a secret has at least %d bytes; several are separated by commas", source, minSecret)
		}
		all = append(all, userapi.Secret(one))
	}
	return all, nil
}

// keptSecret reads the secret beside the database, and makes it at the first start. Of any number of processes that
// start at once one makes it and all use it.
func keptSecret(path string) (userapi.Secret, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return waitForSecret(path)
	}
	if err != nil {
		return "", fmt.Errorf("cannot keep a secret: %w", err)
	}
	secret := rand.Text() + rand.Text()
	_, err = file.WriteString(secret + "\n") // the line break tells that it is whole
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return "", fmt.Errorf("cannot keep a secret: %w", err)
	}
	return userapi.Secret(secret), nil
}

func waitForSecret(path string) (userapi.Secret, error) {
	warnIfReadable(path)
	for end := time.Now().Add(secretWait); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("cannot read the secret: %w", err)
		}
		secret, whole := strings.CutSuffix(string(text), "\n")
		if whole && len(secret) >= minSecret {
			return userapi.Secret(secret), nil
		}
		if time.Now().After(end) {
			return "", fmt.Errorf("%s holds no whole secret: remove it and start again", path)
		}
	}
}

// warnIfReadable tells about a secret that every user of the machine can read. Windows has no such mode.
func warnIfReadable(path string) {
	info, err := os.Stat(path)
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		fmt.Fprintf(os.Stderr, "userapi: warning: %s can be read by every user of this machine; chmod 600 it\n", path)
	}
}

// secretFile is where the made secret is kept: beside the file, or in the working directory where the database is a
// server's.
func (d *database) secretFile() string {
	if d.file == "" {
		return defaultFile + secretSuffix
	}
	return d.file + secretSuffix
}
