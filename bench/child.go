package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

// What a part runs in a process of its own, by name: peak memory can be told of a whole process only.
func children() map[string]func(ctx context.Context, args []byte) (any, error) {
	return map[string]func(context.Context, []byte) (any, error){"flood": floodChild}
}

const (
	childEnv = "USERAPI_BENCH_CHILD" // its name
	argsEnv  = "USERAPI_BENCH_ARGS"  // JSON
)

// beChild does what this process was started for, and writes the result to its standard output.
func beChild(ctx context.Context) error {
	run := children()[os.Getenv(childEnv)]
	if run == nil {
		return fmt.Errorf("there is no child %q", os.Getenv(childEnv))
	}
	result, err := run(ctx, []byte(os.Getenv(argsEnv)))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// inChild runs this program again, as the child of that name.
func inChild(ctx context.Context, name string, args, result any) error {
	text, err := json.Marshal(args)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), childEnv+"="+name, argsEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s %s: %w", name, text, err)
	}
	return json.Unmarshal(out, result)
}
